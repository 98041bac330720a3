"""The table of `docs/metrics.md`, made from the code: `python -m powerd.metrics.docs docs/metrics.md`."""

import sys
from pathlib import Path

from powerd.metrics.table import TABLE, Row

_HEAD = ("| Metric | Type | Labels | Meaning |", "|---|---|---|---|")


def table() -> str:
    """Return one line of Markdown for each metric, below a head of two."""
    return "\n".join((*_HEAD, *map(_line, TABLE)))


def with_table(document: str) -> str:
    """Return the document with its table in place of the one that it has.

    Raises:
        ValueError: it has none.
    """
    lines = document.splitlines()
    start = lines.index(_HEAD[0])
    end = start + 1
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return "\n".join((*lines[:start], table(), *lines[end:])) + "\n"


def _line(row: Row) -> str:
    labels = " ".join(f"`{label}`" for label in row.labels)
    return f"| `{row.name}` | {row.kind} | {labels} | {row.help} |"


def main() -> None:
    """Write the table into the document that is named."""
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
