"""The ramps of events: down as asked, up not in step with the others, and never above what held before."""

import pytest

from powerd.core.events.grid_event import EventRamp
from powerd.core.events.schedule import EventRules
from tests.core.make import W, at
from tests.core.make_events import (
    RELEASE,
    RULES,
    Desk,
    cut,
    event,
    limit,
    part,
    shed,
    wall,
)

# Of the example: 4000 W before, 3000 W from 100 to 200 s.
DOWN = EventRamp(down_s=50)
UP = EventRamp(up_s=100)
JITTER = EventRamp(up_s=100, up_jitter_s=40)
MIDDLE = EventRules(own_fraction=0.5)


def test_without_a_ramp_both_ways_are_at_once() -> None:
    desk = Desk()
    desk.hear(event())
    assert desk.caps(99.9, 100, 199.9, 200) == [4000, 3000, 3000, 4000]


def test_a_reduction_is_spread_evenly() -> None:
    desk = Desk()
    desk.hear(event(ramp=DOWN))
    assert desk.caps(100, 110, 125, 150, 199) == [4000, 3800, 3500, 3000, 3000]


def test_the_way_back_begins_at_the_end_and_is_spread_evenly() -> None:
    desk = Desk()
    desk.hear(event(ramp=UP))
    assert desk.caps(199, 200, 250, 299, 300) == [3000, 3000, 3500, 3990, 4000]


def test_jitter_delays_the_way_up_and_never_the_way_down() -> None:
    desk = Desk(rules=MIDDLE)
    desk.hear(event(part(100, 200, limit(3000)), ramp=JITTER))
    assert desk.caps(100, 200, 219, 220, 270, 320) == [3000, 3000, 3000, 3000, 3500, 4000]
    desk = Desk(rules=MIDDLE)
    desk.hear(event(ramp=EventRamp(down_s=50, up_jitter_s=40)))
    assert desk.caps(100, 125, 150, 200, 219, 220) == [4000, 3500, 3000, 3000, 3000, 4000]


def test_from_interval_to_interval_the_same_ramps_hold() -> None:
    desk = Desk(rules=MIDDLE)
    steps = (part(100, 300, limit(3000)), part(300, 500, limit(2500)), part(500, 700, limit(3500)))
    desk.hear(event(*steps, ramp=EventRamp(down_s=100, up_s=100, up_jitter_s=40)))
    assert desk.caps(150, 299, 300, 350, 400) == [3500, 3000, 3000, 2750, 2500]
    assert desk.caps(500, 519, 570, 620, 699) == [2500, 2500, 3000, 3500, 3500]
    assert desk.caps(700, 770, 820) == [3500, 3750, 4000]


def test_an_interval_that_is_shorter_than_its_ramp_hands_over_where_it_has_come() -> None:
    """Else the cap would jump by what was left of the ramp."""
    desk = Desk()
    desk.hear(
        event(part(100, 150, limit(3000)), part(150, 350, limit(2500)), ramp=EventRamp(down_s=100, up_s=100))
    )
    assert desk.caps(100, 149, 150, 200, 250) == [4000, 3510, 3500, 3000, 2500]
    desk = Desk()
    desk.hear(
        event(part(100, 150, limit(3000)), part(150, 350, limit(3800)), ramp=EventRamp(down_s=100, up_s=100))
    )
    assert desk.caps(149, 150, 200, 250) == [3510, 3500, 3650, 3800]


def test_between_two_intervals_it_goes_back_up_by_the_same_ramp() -> None:
    desk = Desk()
    desk.hear(event(part(100, 200, limit(3000)), part(400, 500, limit(3000)), ramp=UP))
    assert desk.caps(199, 200, 250, 300, 399, 400, 500, 550) == [
        3000,
        3000,
        3500,
        4000,
        4000,
        3000,
        3000,
        3500,
    ]


def test_after_a_short_gap_the_next_reduction_starts_where_the_way_back_had_come() -> None:
    desk = Desk()
    ramp = EventRamp(down_s=50, up_s=100)
    desk.hear(event(part(100, 200, limit(3000)), part(220, 300, limit(2200)), ramp=ramp))
    assert desk.caps(150, 200, 210, 219, 220, 245, 270) == [3000, 3000, 3100, 3190, 3200, 2700, 2200]


def test_an_interval_that_lowers_nothing_is_left_from_the_budget_and_not_from_what_it_would_allow() -> None:
    """Else the first two thirds of the ramp would be nothing, and the rest three times as steep."""
    desk = Desk()
    desk.hear(event(part(100, 200, limit(6000)), part(200, 400, limit(3000)), ramp=EventRamp(down_s=100)))
    assert desk.caps(199, 200, 250, 300) == [4000, 4000, 3500, 3000]


def test_no_gap_is_no_way_back() -> None:
    """Though up is at once, the next interval goes down from where the one before was."""
    desk = Desk()
    desk.hear(event(part(100, 200, limit(3000)), part(200, 300, limit(2500)), ramp=DOWN))
    assert desk.caps(199, 200, 225) == [3000, 3000, 2750]


@pytest.mark.parametrize("nothing", [RELEASE, shed(0)])
def test_an_interval_that_asks_for_nothing_is_a_way_back_too(nothing: object) -> None:
    desk = Desk()
    free = part(200, 400, RELEASE if nothing is RELEASE else shed(0))
    desk.hear(event(part(100, 200, shed(2)), free, ramp=UP))
    assert desk.caps(199, 250, 300, 399) == [3000, 3500, 4000, 4000]
    assert desk.caps(400, 450) == [4000, 4000]


def test_a_cancellation_in_the_middle_of_a_ramp_goes_back_from_where_it_is() -> None:
    desk = Desk()
    ramp = EventRamp(down_s=50, up_s=100)
    desk.hear(event(ramp=ramp))
    assert desk.cap(125) == 3500
    desk.hear(event(ramp=ramp, seq=2, received=at(125), cancelled=True))
    assert desk.caps(125, 175, 225) == [3500, 3750, 4000]


def test_a_cancellation_before_the_start_leaves_no_trace() -> None:
    desk = Desk()
    desk.hear(event(ramp=UP))
    desk.cap(50)
    desk.hear(event(ramp=UP, seq=2, received=at(60), cancelled=True))
    assert desk.caps(60, 100, 150, 250) == [4000] * 4


def test_a_cancellation_between_two_intervals_ends_the_second_one_before_it_starts() -> None:
    desk = Desk()
    two = (part(100, 200, limit(3000)), part(400, 500, limit(3000)))
    desk.hear(event(*two, ramp=EventRamp(up_s=200)))
    assert desk.caps(150, 250) == [3000, 3250]
    desk.hear(event(*two, seq=2, received=at(250), cancelled=True))
    assert desk.caps(300, 400, 450) == [3500, 4000, 4000]


def test_an_event_that_is_heard_late_is_obeyed_at_once() -> None:
    """Its window holds this moment, and its ramp was over by now."""
    desk = Desk()
    desk.hear(event(part(-1000, 1000, limit(3000)), ramp=DOWN, age_s=10))
    assert desk.cap(0) == 3000


def test_an_open_event_holds_until_it_is_cancelled() -> None:
    desk = Desk()
    desk.hear(event(part(100, None, limit(3000)), ramp=UP))
    assert desk.caps(100, 1e7) == [3000, 3000]
    desk.hear(event(part(100, None, limit(3000)), seq=2, received=at(1e7), cancelled=True))
    assert desk.caps(1e7, 1e7 + 50, 1e7 + 100) == [3000, 3500, 4000]


def test_the_way_back_leads_to_the_budget_of_now() -> None:
    """It was 4000 W before; by the end of the event it is less, or more."""
    for base, caps in ((3400, [3000, 3200, 3400]), (5000, [3000, 4000, 5000])):
        desk = Desk()
        desk.hear(event(ramp=UP))
        desk.cap(150)
        desk.base = base
        assert desk.caps(200, 250, 300) == caps


def test_an_event_that_starts_under_another_one_goes_all_the_way_back_by_its_own_ramp() -> None:
    """What held when it started was another event's doing, and that is over by then."""
    desk = Desk()
    desk.hear(event(part(100, 300, limit(3000)), source="x"))
    desk.hear(event(part(200, 400, limit(2500)), ramp=EventRamp(down_s=50, up_s=100)))
    assert desk.caps(199, 200, 225, 250, 350) == [3000, 3000, 2750, 2500, 2500]
    assert desk.caps(400, 450, 500) == [2500, 3250, 4000]


def test_an_event_above_what_holds_lowers_nothing_and_has_no_way_back() -> None:
    desk = Desk()
    desk.hear(event(part(100, 200, limit(5000)), ramp=EventRamp(down_s=50, up_s=100)))
    assert desk.caps(100, 150, 250) == [4000] * 3
    [status] = desk.look(150)
    assert status.cap_mw == 5000 * W
    [status] = desk.look(250)
    assert status.cap_mw == 6000 * W


def test_a_cap_that_was_climbing_when_an_event_began_is_not_held_back_by_its_ramp() -> None:
    desk = Desk(before=2500)
    desk.hear(event(ramp=EventRamp(down_s=50, up_s=100)))
    assert desk.cap(100) == 3000


def test_the_way_back_of_a_doubtful_clock_begins_late() -> None:
    desk = Desk()
    desk.hear(event(ramp=EventRamp(down_s=50, up_s=100)))
    assert [desk.cap(t, synced=False) for t in (70, 110, 229, 230, 280, 330)] == [
        3000,
        3000,
        3000,
        3000,
        3500,
        4000,
    ]


def test_a_status_tells_what_is_asked_from_what_and_until_when() -> None:
    desk = Desk(rules=RULES)
    desk.hear(event(part(100, 200, cut(25)), ramp=EventRamp(down_s=50, up_s=100)))
    [status] = desk.look(125)
    assert (status.key, status.phase.value, status.is_own) == ("grid/e1", "active", False)
    assert [
        mw and mw / W for mw in (status.cap_mw, status.target_mw, status.baseline_mw, status.before_mw)
    ] == [
        3500,
        3000,
        4000,
        4000,
    ]
    assert status.until_s == wall(200)
    [status] = desk.look(250)
    assert (status.phase.value, status.target_mw, status.until_s) == ("restoring", None, wall(300))
    desk.hear(event(part(310, None, limit(3000)), name="e2", received=at(250)))
    [status] = desk.look(310)
    assert status.until_s is None


def test_512_short_intervals_within_one_ramp_add_up() -> None:
    """A staircase faster than its own ramp: from 4000 W down by less than it asks, and never up."""
    desk = Desk()
    stairs = [part(100 + n, 101 + n, limit(3990 - 2 * n)) for n in range(512)]
    desk.hear(event(*stairs, ramp=EventRamp(down_s=900)))
    caps = desk.caps(*(100 + n for n in range(0, 512, 8)))
    assert caps == sorted(caps, reverse=True)
    assert 3500 < caps[-1] < 4000
