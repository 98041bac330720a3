"""From everything that limits the rack down to what its hosts may draw together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.model import Step
from powerd.core.rack.budget import lowered, rack_cap, usable
from powerd.core.topology import Host
from tests.core.make import W, rack, rules


def caps(*watts: int) -> list[Step]:
    return [Step(f"cap{i}", mw * W, "someone") for i, mw in enumerate(watts)]


@pytest.mark.parametrize(
    ("watts", "asked", "cap"),
    [
        ((), 6000, 6000),
        ((4000,), 4000, 4000),
        ((4000, 3000, 5000), 3000, 3000),
        ((9000,), 6000, 6000),
        ((0,), 0, 2000),
    ],
)
def test_the_lowest_cap_holds_between_floors_and_hard_limit(
    watts: tuple[int, ...], asked: int, cap: int
) -> None:
    result = rack_cap(rack(), caps(*watts))
    assert (result.asked_mw, result.mw) == (asked * W, cap * W)


def test_every_step_shows_the_value_after_it() -> None:
    chain = rack_cap(rack(), caps(4000, 5000, 0))
    assert [(step.rule, step.mw // W) for step in chain.steps] == [
        ("hard_limit", 6000),
        ("cap0", 4000),
        ("cap1", 4000),
        ("cap2", 0),
        ("floors", 2000),
    ]
    assert rules(rack_cap(rack(), caps(4000)).steps) == ["hard_limit", "cap0"]


def test_rack_overhead_and_guard_band_are_taken_off_before_sharing() -> None:
    example = rack(overhead=300, guard_band_pct=2.0)
    result = usable(example, 5000 * W, 5000 * W)
    assert result.mw == (5000 - 300 - 100) * W
    assert [(s.rule, s.mw // W, s.source) for s in result.steps] == [
        ("rack_overhead", 4700, "rack.overhead_watts"),
        ("guard_band", 4600, "rack.guard_band_pct"),
    ]


def test_what_the_meter_shows_beyond_the_hosts_is_taken_off_too_and_shown() -> None:
    example = rack(overhead=300, guard_band_pct=2.0)
    result = usable(example, 5000 * W, 5000 * W, 120 * W)
    assert result.mw == (5000 - 300 - 100 - 120) * W
    assert [(s.rule, s.mw // W, s.source) for s in result.steps][-1] == ("meter_trim", 4480, "meter")


def test_a_trim_makes_no_budget_infeasible() -> None:
    """It is what limiting found missing, not what was asked for."""
    assert usable(rack(), 2100 * W, 2100 * W, 500 * W).infeasible_mw == 0


def test_a_guard_band_is_rounded_up() -> None:
    assert rack(guard_band_pct=2.0).guard_band_mw(1) == 1


@pytest.mark.parametrize(("asked", "missing"), [(2400, 0), (2143, 0), (2142, 1), (2100, 42), (0, 2100)])
def test_a_budget_below_the_floors_tells_what_is_missing(asked: int, missing: int) -> None:
    """Floors 2000, rack overhead 100, guard band 2 %."""
    example = rack(overhead=100, guard_band_pct=2.0)
    cap = rack_cap(example, caps(asked))
    assert round(usable(example, cap.mw, cap.asked_mw).infeasible_mw / W) == missing


def test_a_cap_that_is_still_climbing_is_not_infeasible() -> None:
    example = rack(overhead=100, guard_band_pct=2.0)
    assert usable(example, example.least_mw, 5000 * W).infeasible_mw == 0


@given(st.lists(st.integers(0, 9000), max_size=4), st.lists(st.integers(0, 9000), max_size=4))
def test_lowering_in_two_steps_is_lowering_by_all_at_once(first: list[int], then: list[int]) -> None:
    """What lowers the whole rack, and then what lowers this host alone."""
    in_two = lowered(rack(), rack_cap(rack(), caps(*first)), caps(*then))
    at_once = rack_cap(rack(), [*caps(*first), *caps(*then)])
    assert in_two == at_once


@given(
    st.lists(st.integers(0, 20_000), max_size=6),
    st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 400)), min_size=1, max_size=5),
)
def test_all_hosts_together_stay_within_the_cap_that_every_signal_allows(
    watts: list[int], hosts: list[tuple[float, int]]
) -> None:
    roster = tuple(Host(f"h{i}", share, floor * W) for i, (share, floor) in enumerate(hosts))
    example = rack(hosts=roster, overhead=50, guard_band_pct=2.0)
    cap = rack_cap(example, caps(*watts))
    shared = usable(example, cap.mw, cap.asked_mw)
    total = sum(example.entitlements_mw(shared.mw).values())
    assert total <= max(shared.mw, example.floors_mw)
    assert total + example.overhead_mw + example.guard_band_mw(cap.mw) <= cap.mw
    assert (
        cap.mw <= max([6000 * W] if not watts else [min(6000, *watts) * W], default=0) or shared.infeasible_mw
    )
