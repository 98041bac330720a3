"""One row of docs/faults.md."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault, what becomes of it, and the tests that show so.

    Attributes:
        name: of the fault, as in `tests/faults/test_table.py`; once in the whole table.
        injected: how the tests make it happen, Markdown on one line.
        detected: by what powerd knows of it.
        behaviour: what it does then, and when it is back to normal.
        tests: ids as pytest takes them, such as
            "tests/daemon/test_broker.py::test_a_broker_that_stalls_without_closing_is_failsafe_after_one_lease";
            of a scenario "tests/test_scenarios.py::test_scenario[two_controllers]".
    """

    name: str
    injected: str
    detected: str
    behaviour: str
    tests: tuple[str, ...]
