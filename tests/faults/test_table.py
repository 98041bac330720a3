"""The page of faults is true: no fault is left out, every test that it names exists, and it is up to date."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.faults.fault import Fault
from tests.faults.table import page, rows

ROOT = Path(__file__).parents[2]

# The fault matrix: these must have a row, others may.
FROM_OUTSIDE = {
    "Broker down at start",
    "Broker down while controlled",
    "Broker restart, retained budget lost",
    "Broker restart, stale retained budget",
    "Half-open connection",
    "Loss in one direction",
    "One host cut off",
    "Reconnect storm",
    "Duplicate message",
    "Message out of order",
    "Late message",
    "Garbage",
    "Forged message",
    "Two controllers",
    "Flapping budget",
    "Budget below the floors",
    "Wall clock jump",
    "Rack meter stale, jumping or negative",
    "Meter above the budget although limits fit",
    "Half of a rack's daemons dead",
    "Server certificate expired",
    "Authority rotated",
    "Password changed",
    "Mixed versions",
}
OF_THE_HOST = {
    "Suspend or pause",
    "GPU lost",
    "GPU reset or added again",
    "NVML hangs",
    "Limit refused",
    "Limit accepted, not in effect",
    "Other writer",
    "Out-of-band cap",
    "Driver unloaded or upgraded",
    "Daemon killed",
    "Crash loop",
    "Out of memory",
    "Event loop stalled",
    "Disk full, read-only or corrupt",
    "Descriptors exhausted, slow HTTP clients",
    "Host rebooted",
    "Reload that is invalid or removes a GPU",
    "Hardware power brake",
}


def test_every_fault_of_the_matrix_has_one_row() -> None:
    names = [row.name for row in rows()]
    assert (FROM_OUTSIDE | OF_THE_HOST) - set(names) == set()
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_a_row_names_tests_that_exist(row: Fault) -> None:
    assert row.tests
    assert [test for test in row.tests if not exists(test)] == []


def test_the_page_is_what_the_rows_say() -> None:
    """`make generated` writes it."""
    assert (ROOT / "docs/faults.md").read_text(encoding="utf-8") == page()


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    function, _, parameter = name.partition("[")
    if parameter and not (ROOT / "tests/scenarios" / f"{parameter.rstrip(']')}.toml").exists():
        return False
    return function in functions(ROOT / path)


@cache
def functions(path: Path) -> frozenset[str]:
    """Return the tests of a file without running it."""
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in found if node.name.startswith("test_"))
