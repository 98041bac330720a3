"""docs/faults.md: all rows of the fault matrix, rendered as Markdown."""

from pathlib import Path

from tests.faults import rows_bus, rows_host
from tests.faults.fault import Fault

GROUPS: dict[str, tuple[Fault, ...]] = {
    "What reaches a host from outside": rows_bus.ROWS,
    "The host itself": rows_host.ROWS,
}

_HEAD = "| Fault | How it is injected | How powerd sees it | What it does | Tests |\n|---|---|---|---|---|"
_HERE = Path(__file__).parent


def page() -> str:
    """Return the whole document."""
    groups = (f"## {title}\n\n{_table(rows)}\n" for title, rows in GROUPS.items())
    return "\n".join((_read("page_before.md"), *groups, _read("page_after.md")))


def rows() -> tuple[Fault, ...]:
    """Return the rows of all groups."""
    return tuple(row for group in GROUPS.values() for row in group)


def _table(group: tuple[Fault, ...]) -> str:
    return "\n".join((_HEAD, *map(_line, group)))


def _line(row: Fault) -> str:
    tests = "<br>".join(map(_claim, row.tests))
    return f"| **{row.name}** | {row.injected} | {row.detected} | {row.behaviour} | {tests} |"


def _claim(test: str) -> str:
    """Return the file of a test, and its name as the sentence that it is."""
    path, _, name = test.partition("::")
    scenario = name.partition("[")[2].rstrip("]")
    if scenario:
        return f"`tests/scenarios/{scenario}.toml`"
    return f"`{path}`: {name.removeprefix('test_').replace('_', ' ')}"


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
