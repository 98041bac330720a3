"""What is held of events, and when one is over."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.events.grid_event import EventRamp, GridEvent
from powerd.core.events.schedule import Held, Schedule, asks_the_same, key_of
from tests.core.make import at
from tests.core.make_events import event, limit, part, wall

OPEN = event(part(100, None, limit(3000)), ramp=EventRamp(up_s=50, up_jitter_s=10))
CLOSED = event(
    part(100, 150, limit(3000)), part(150, 200, limit(3500)), ramp=EventRamp(up_s=50, up_jitter_s=10)
)


@pytest.mark.parametrize(
    ("one", "cancelled_s", "end_s"),
    [(OPEN, None, None), (CLOSED, None, 200), (OPEN, 120, 120), (CLOSED, 120, 120), (CLOSED, 300, 200)],
)
def test_an_event_is_over_by_its_intervals_or_since_it_was_cancelled(
    one: GridEvent, cancelled_s: float | None, end_s: float | None
) -> None:
    held = Held(one, cancelled_s=None if cancelled_s is None else wall(cancelled_s))
    assert held.end_s == (None if end_s is None else wall(end_s))
    assert held.over_s(0) == (math.inf if end_s is None else wall(end_s))


def test_a_doubtful_clock_prolongs_what_is_scheduled_and_not_what_was_cancelled() -> None:
    assert Held(CLOSED).over_s(30) == wall(230)
    assert Held(CLOSED, cancelled_s=wall(150)).over_s(30) == wall(150)


def test_an_event_is_over_after_its_way_back() -> None:
    assert not Held(CLOSED).is_over(wall(259.9))
    assert Held(CLOSED).is_over(wall(260))
    assert not Held(OPEN).is_over(wall(1e9))


def test_events_are_known_by_their_start() -> None:
    events = [event(part(start, None, limit(1)), name=f"e{start}") for start in (300, 100, 200)]
    schedule = Schedule({key_of(one): Held(one) for one in events})
    assert [key for _, key in schedule.by_start] == ["grid/e100", "grid/e200", "grid/e300"]
    assert (CLOSED.start_s, CLOSED.end_s, OPEN.end_s) == (wall(100), wall(200), None)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50), st.sets(st.integers(0, 9))), max_size=12))
def test_starts_stay_in_order_whatever_comes_and_goes(steps: list[tuple[int, int, set[int]]]) -> None:
    schedule = Schedule()
    for number, start, gone in steps:
        held = Held(event(part(start, None, limit(1)), name=str(number)))
        keys = {f"grid/{other}" for other in gone - {number}} & schedule.held.keys()
        schedule = schedule.holding(f"grid/{number}", held, keys)
        schedule = schedule.noting({f"grid/{number}": replace(held, before_mw=1)})
        assert schedule.by_start == Schedule(schedule.held).by_start
        assert keys.isdisjoint(schedule.held)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (replace(CLOSED, seq=9, epoch=9, issued_at_s=0.0, received=at(9), digest="x", retained=True), True),
        (replace(CLOSED, correlation_id="x", origin="x"), True),
        (replace(CLOSED, intervals=CLOSED.intervals[:1]), False),
        (replace(CLOSED, priority=1), False),
        (replace(CLOSED, is_cancelled=True), False),
        (replace(CLOSED, event_id="other"), False),
        (replace(CLOSED, source="other"), False),
    ],
)
def test_what_is_said_again_asks_the_same(other: GridEvent, same: bool) -> None:
    assert asks_the_same(CLOSED, other) is same
