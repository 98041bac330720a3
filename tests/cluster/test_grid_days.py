"""Racks on their worst days, on which the grid asks for less as well."""

from collections import Counter
from collections.abc import Iterator

import pytest

import powerd.core.rack.rack_view
from powerd.core.model import Step
from tests.cluster.grid_day import run_with_events

SEEDS = 6
STEPS = 25_000


def test_no_rack_is_ever_above_what_its_events_and_budgets_allow_and_all_obey_in_the_end() -> None:
    steps = 0
    faults: Counter[str] = Counter()
    for seed in range(SEEDS):
        result = run_with_events(seed)
        assert not result.violation, str(result)
        steps += result.steps
        faults += result.faults
    assert steps >= STEPS
    assert {"event: ask", "event: cancel", "event: restart"} <= faults.keys()


def test_a_day_with_events_can_be_replayed() -> None:
    assert run_with_events(3).digest == run_with_events(3).digest


def test_a_host_that_does_not_follow_its_events_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail."""

    def nothing(*_: object, **__: object) -> Iterator[Step]:
        return iter(())

    monkeypatch.setattr(powerd.core.rack.rack_view, "_event_steps", nothing)
    found = next(result for seed in range(SEEDS) if (result := run_with_events(seed)).violation)
    assert "follows a budget" in found.violation
