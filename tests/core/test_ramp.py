"""How the rack cap climbs: down at once, up after dwell and jitter, along a slope."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.rack.ramp import SAME_CLIMB_S, Ramp, RampRules, follow
from tests.core.make import W, at

RULES = RampRules(mw_per_s=10 * W, jitter_s=5.0)


def after(
    ramp: Ramp, watts: int, boot_s: float, *, controlled: bool = True, dwell_until: float = 0.0
) -> Ramp:
    now = at(boot_s)
    return follow(ramp, watts * W, now, RULES, controlled=controlled, not_before_boot_s=dwell_until)


def at_work(watts: int) -> Ramp:
    """Return the ramp of a host that has followed a controller for a while."""
    return after(Ramp(), watts, 0.0)


def cap_watts(ramp: Ramp) -> float:
    assert ramp.cap_mw is not None
    return ramp.cap_mw / W


def test_a_cut_is_immediate() -> None:
    assert cap_watts(after(at_work(5000), 2500, 100.0)) == 2500


@pytest.mark.parametrize(
    ("boot_s", "watts"),
    [(100.0, 3000), (104.9, 3000), (105.0, 3000), (106.0, 3010), (155.0, 3500), (999.0, 4000)],
)
def test_a_raise_waits_for_the_jitter_then_follows_the_slope(boot_s: float, watts: int) -> None:
    ramp = after(at_work(3000), 4000, 100.0)
    assert cap_watts(after(ramp, 4000, boot_s)) == watts


@pytest.mark.parametrize(("boot_s", "watts"), [(130.0, 3000), (135.0, 3000), (145.0, 3100)])
def test_the_dwell_comes_before_the_jitter(boot_s: float, watts: int) -> None:
    ramp = after(at_work(3000), 4000, 100.0, dwell_until=130.0)
    assert cap_watts(after(ramp, 4000, boot_s, dwell_until=130.0)) == watts


def test_a_dwell_that_begins_during_a_climb_stops_it() -> None:
    """The hold of failsafe was over and the cap was climbing when the controller came back."""
    climbing = after(after(at_work(2500), 3000, 100.0, controlled=False), 3000, 115.0, controlled=False)
    assert cap_watts(climbing) == 2600
    back = after(climbing, 5000, 116.0, dwell_until=146.0)
    assert [cap_watts(after(back, 5000, t, dwell_until=146.0)) for t in (116.0, 146.0, 151.0, 161.0)] == [
        2600,
        2600,
        2600,
        2700,
    ]


def test_a_cut_during_a_climb_starts_the_next_climb_afresh() -> None:
    ramp = after(after(at_work(3000), 4000, 100.0), 4000, 115.0)
    ramp = after(ramp, 2500, 116.0)
    ramp = after(ramp, 4000, 117.0)
    assert cap_watts(after(ramp, 4000, 122.0)) == 2500
    assert cap_watts(after(ramp, 4000, 132.0)) == 2600


def test_a_climb_that_has_arrived_gives_the_next_one_no_start() -> None:
    """Else the time since would be added to the height of a later raise at once."""
    arrived = after(after(at_work(3000), 3100, 100.0), 3100, 500.0)
    assert cap_watts(arrived) == 3100
    assert cap_watts(after(arrived, 6000, 500.0 + 2 * SAME_CLIMB_S)) == 3100


def test_a_target_that_climbs_itself_is_followed_in_one_climb_without_a_new_jitter_at_each_step() -> None:
    ramp = after(at_work(3000), 3001, 100.0)
    for second in range(60):
        ramp = after(ramp, 3001 + second, 115.0 + second)
    assert cap_watts(ramp) == 3060


def test_a_target_that_rests_for_a_while_is_left_with_a_jitter_again() -> None:
    ramp = after(at_work(3000), 3001, 100.0)
    ramp = after(ramp, 3001, 115.0)
    assert cap_watts(ramp) == 3001
    ramp = after(ramp, 3100, 115.0 + SAME_CLIMB_S + 0.1)
    assert cap_watts(after(ramp, 3100, 122.0)) == 3001


def test_a_target_that_falls_ends_its_climb_for_good() -> None:
    """A way back that is broken off by a new event starts again like any other."""
    ramp = after(after(at_work(3000), 3001, 100.0), 3001, 115.0)
    ramp = after(ramp, 2500, 116.0)
    ramp = after(ramp, 2600, 117.0)
    assert [cap_watts(after(ramp, 2600, t)) for t in (117.0, 122.0, 124.0)] == [2500, 2500, 2520]


def test_a_dwell_that_begins_on_a_climbing_target_holds_it() -> None:
    ramp = after(after(at_work(3000), 3001, 100.0), 3001, 115.0)
    ramp = after(ramp, 3002, 116.0, dwell_until=150.0)
    assert [cap_watts(after(ramp, 3002, t, dwell_until=150.0)) for t in (117.0, 150.0, 151.0)] == [
        3001,
        3001,
        3002,
    ]


def test_the_first_budget_after_the_first_start_holds_at_once() -> None:
    """Nothing was curtailed, so there is nothing to return from."""
    init = after(Ramp(), 3000, 0.0, controlled=False)
    assert cap_watts(after(init, 5000, 10.0)) == 5000


def test_that_freedom_is_spent_by_a_first_budget_below_the_failsafe() -> None:
    init = after(Ramp(), 3000, 0.0, controlled=False)
    low = after(init, 2500, 10.0)
    assert cap_watts(after(low, 5000, 11.0)) == 2500


def test_after_a_restart_the_first_raise_reaches_what_held_before_and_then_climbs() -> None:
    init = after(Ramp(free_mw=4000 * W), 3000, 0.0, controlled=False)
    back = after(init, 5000, 10.0)
    assert cap_watts(back) == 4000
    assert cap_watts(after(back, 5000, 25.0)) == 4100


def test_a_restart_within_the_lease_does_not_jump_the_climb_that_was_under_way() -> None:
    """The remembered lease governs from the first decision on, and it allows more than was reached."""
    first = after(Ramp(free_mw=4000 * W), 5000, 0.0)
    assert cap_watts(first) == 4000
    assert cap_watts(after(first, 5000, 15.0)) == 4100


def test_after_a_restart_what_held_before_may_be_above_the_first_budget() -> None:
    assert cap_watts(after(Ramp(free_mw=4000 * W), 3500, 0.0)) == 3500


MOVES = st.lists(
    st.tuples(
        st.floats(0, 100, allow_nan=False),
        st.integers(0, 6000),
        st.booleans(),
        st.floats(0, 60, allow_nan=False),
    ),
    max_size=30,
)


@given(moves=MOVES, free=st.none() | st.integers(0, 6000))
def test_never_above_the_target_never_faster_than_the_slope_and_settled_at_one_moment(
    moves: list[tuple[float, int, bool, float]], free: int | None
) -> None:
    ramp = Ramp(free_mw=None if free is None else free * W)
    boot_s, path = 0.0, []
    for dt, target, controlled, dwell in moves:
        boot_s += dt
        moved = after(ramp, target, boot_s, controlled=controlled, dwell_until=dwell)
        assert after(moved, target, boot_s, controlled=controlled, dwell_until=dwell) == moved
        assert cap_watts(moved) <= target
        path.append((boot_s, cap_watts(moved), ramp.started))
        ramp = moved
    for (t0, before, _), (t1, now, started) in pairwise(path):
        if started:
            assert now <= max(before, before + 10 * (t1 - t0) + 0.01)
