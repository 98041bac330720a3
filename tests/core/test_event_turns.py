"""Whose turn it is: precedence, clocks, and when that changes."""

from dataclasses import replace

import pytest

from powerd.core.events.grid_event import EventClass, EventRamp, GridEvent, Level
from powerd.core.events.schedule import EventRules
from tests.core.make import W, at
from tests.core.make_events import RELEASE, RULES, Desk, cut, event, flex, limit, part

UP = EventRamp(up_s=100)


def asks(watts: float, name: str, start: float = 100, end: float | None = 200, **fields: object) -> GridEvent:
    """Return an event of the rack with one limit, issued when it was received unless said."""
    one = replace(event(part(start, end, limit(watts)), name=name), **fields)  # type: ignore[arg-type]
    return one if "issued_at_s" in fields else replace(one, issued_at_s=one.received.wall_s)


# Precedence


@pytest.mark.parametrize(
    ("first", "second", "governs"),
    [
        # Of one source and program: priority, then the newer, then the lower watts.
        (asks(2500, "a", priority=1), asks(3500, "b", priority=0), ["b"]),
        (asks(2500, "a", priority=None), asks(3500, "b", priority=9), ["b"]),
        (asks(2500, "a", issued_at_s=10.0), asks(3500, "b", issued_at_s=11.0), ["b"]),
        (asks(3500, "a", issued_at_s=11.0, priority=1), asks(3600, "b", priority=0), ["b"]),
        (asks(2500, "a", seq=1), asks(3500, "b", seq=9), ["a"]),
        (asks(3500, "a"), asks(2500, "b"), ["b"]),
        (asks(2500, "a"), asks(2500, "b"), ["a"]),
        # Different ones do not take each other's place.
        (asks(2500, "a", priority=1), asks(3500, "b", priority=0, program="x"), ["a", "b"]),
        (asks(2500, "a", priority=1), asks(3500, "b", priority=0, source="x"), ["a", "b"]),
    ],
)
def test_who_governs(first: GridEvent, second: GridEvent, governs: list[str]) -> None:
    """Sequence numbers are counted event by event, so they say nothing between two."""
    rules = replace(RULES, max_skew_s=1e12)
    for order in ((first, second), (second, first)):
        desk = Desk(rules=rules)
        desk.hear(*order)
        assert sorted(desk.governing(150)) == governs


def test_between_sources_the_minimum_holds() -> None:
    desk = Desk()
    desk.hear(asks(3500, "a", 100, 200), asks(3000, "b", 150, 250, source="x"))
    assert desk.caps(99, 100, 150, 200, 250) == [4000, 3500, 3000, 3000, 4000]


def test_an_event_that_is_only_said_again_does_not_become_the_newest() -> None:
    """Bridges repeat every event each minute: two that overlap would take turns for ever."""
    desk = Desk()
    desk.hear(asks(2500, "old"))
    desk.hear(asks(3500, "new", received=at(10)))
    desk.hear(asks(2500, "old", seq=2, received=at(60)))
    desk.hear(asks(2500, "old", seq=3, received=at(90)))
    assert desk.governing(150) == ["new"]
    desk.hear(asks(2600, "old", seq=4, received=at(150)))
    assert desk.governing(151) == ["old"]


def test_the_latest_target_that_covers_an_instant_wins_and_the_one_before_comes_back() -> None:
    desk = Desk()
    desk.hear(flex("long", part(100, 400, limit(5000)), time_s=0))
    desk.hear(flex("short", part(200, 300, limit(6000)), time_s=5))
    assert desk.caps(150, 250, 350, 400) == [2500, 3000, 2500, 4000]


def test_a_later_target_of_the_same_message_wins() -> None:
    desk = Desk()
    both = (part(100, 200, limit(5000)), part(120, 180, limit(6000)))
    desk.hear(*(flex(f"m.{n}", each, time_s=0, digest="m", index=n) for n, each in enumerate(both)))
    assert desk.caps(110, 150, 190) == [2500, 3000, 2500]


def test_a_release_frees_from_what_its_source_asked_for_and_from_nothing_else() -> None:
    desk = Desk()
    desk.hear(flex("low", part(100, None, limit(5000)), time_s=0), asks(3000, "other", 100, 300))
    assert desk.cap(150) == 2500
    desk.hear(flex("null", part(160, None, RELEASE), time_s=155))
    assert desk.caps(159, 160, 300) == [2500, 3000, 4000]
    [status] = desk.look(301)
    assert (status.target_mw, status.cap_mw) == (None, 6000 * W)


def test_what_another_event_took_the_place_of_has_no_way_back_of_its_own() -> None:
    desk = Desk()
    slow = EventRamp(up_s=1000)
    desk.hear(asks(2500, "under", 100, 200, ramp=slow), asks(3500, "over", 150, 250, priority=0, ramp=UP))
    assert [desk.governing(t) for t in (120, 150, 200, 250, 349, 350)] == [
        ["under"],
        ["over"],
        ["over"],
        ["over restoring"],
        ["over restoring"],
        [],
    ]


def test_an_event_that_comes_back_into_its_own_has_one() -> None:
    desk = Desk()
    desk.hear(asks(2500, "under", 100, 300, ramp=UP), asks(3500, "over", 150, 250, priority=0))
    assert [desk.governing(t) for t in (120, 150, 250, 300)] == [
        ["under"],
        ["over"],
        ["under"],
        ["under restoring"],
    ]


def test_a_new_event_takes_the_place_of_a_way_back() -> None:
    desk = Desk()
    desk.hear(asks(2500, "a", 100, 200, ramp=UP), asks(3600, "b", 220, 230, ramp=EventRamp(up_s=10)))
    assert [desk.governing(t) for t in (150, 210, 220, 235)] == [
        ["a"],
        ["a restoring"],
        ["b"],
        ["b restoring"],
    ]


@pytest.mark.parametrize(
    ("event_class", "obeys_voluntary", "cap"),
    [
        (EventClass.EMERGENCY, False, 2500),
        (EventClass.MANDATORY, False, 2500),
        (EventClass.VOLUNTARY, True, 2500),
        (EventClass.VOLUNTARY, False, 4000),
        (EventClass.ADVISORY, True, 4000),
    ],
)
def test_the_operator_may_opt_out_of_voluntary_events_and_advice_is_no_cap(
    event_class: EventClass, obeys_voluntary: bool, cap: float
) -> None:
    desk = Desk(rules=EventRules(obeys_voluntary=obeys_voluntary))
    desk.hear(asks(2500, "a", event_class=event_class))
    assert desk.cap(150) == cap


def test_an_event_for_somebody_else_has_no_say() -> None:
    desk = Desk()
    desk.hear(asks(2500, "a", level=Level.RACK, targets=("r2",)))
    assert desk.governing(150) == []


# What is frozen


def test_a_reduction_counts_from_the_budget_at_the_first_start_however_often_it_is_said_again() -> None:
    desk = Desk()
    desk.hear(event(part(100, 500, cut(25))))
    assert desk.caps(100, 101) == [3000, 3000]
    desk.base = 3500
    for seq in range(2, 6):
        desk.hear(event(part(100, 500, cut(25)), seq=seq, received=at(100 + seq)))
        assert desk.cap(100 + seq) == 3000
    desk.base = 2500
    assert desk.cap(200) == 2500


def test_a_budget_that_comes_back_during_an_event_is_counted_from_then_on() -> None:
    """Without a controller there is only the failsafe to count from, which is no baseline to keep."""
    desk = Desk(base=3000, is_controlled=False)
    desk.hear(event(part(100, 500, cut(20))))
    assert desk.cap(100) == 2400
    desk.base, desk.is_controlled = 4000, True
    assert desk.cap(200) == 3200
    desk.base, desk.is_controlled = 3000, False
    assert desk.cap(300) == 3000
    assert desk.held().budget_mw == 4000 * W


def test_what_was_found_is_noted_when_an_event_starts_and_not_before() -> None:
    desk = Desk(measured=3600)
    desk.hear(event())
    desk.cap(99)
    assert (desk.held().before_mw, desk.held().measured_mw) == (None, None)
    desk.cap(100)
    desk.measured = 2500
    desk.cap(110)
    assert (desk.held().before_mw, desk.held().measured_mw) == (4000 * W, 3600 * W)


# When it changes


def test_the_agenda_is_kept_until_something_starts_or_ends() -> None:
    desk = Desk()
    two = (part(100, 150, limit(3000)), part(160, 200, limit(3200)))
    desk.hear(event(*two, ramp=UP), event(part(400, None, limit(1)), name="open"))
    changes = []
    for boot_s in (0, 100, 150, 160, 200, 300, 400):
        desk.look(boot_s)
        changes.append(desk.next_change())
        kept = desk.agenda
        desk.look(boot_s + 1)
        assert desk.agenda is kept
    assert changes == [100, 150, 160, 200, 300, 400, None]


def test_what_is_heard_counts_at_once() -> None:
    desk = Desk()
    desk.hear(asks(3000, "a"))
    assert desk.cap(150) == 3000
    desk.hear(asks(2500, "b"))
    assert desk.cap(150) == 2500


# Clocks


@pytest.mark.parametrize(
    ("boot_s", "governs"), [(69, []), (70, ["a"]), (200, ["a"]), (229.9, ["a"]), (230, [])]
)
def test_while_no_time_service_keeps_the_clock_events_start_early_and_end_late(
    boot_s: float, governs: list[str]
) -> None:
    desk = Desk()
    desk.hear(asks(3000, "a"))
    assert desk.governing(boot_s, synced=False) == governs


def test_then_the_lower_of_two_intervals_holds_around_the_change() -> None:
    desk = Desk()
    desk.hear(event(part(100, 200, limit(2500)), part(200, 300, limit(3000))))
    assert [desk.cap(t, synced=False) for t in (169, 199, 229.9, 230, 329, 330)] == [
        2500,
        2500,
        2500,
        3000,
        3000,
        4000,
    ]
    desk = Desk()
    desk.hear(event(part(100, 200, limit(3000)), part(200, 300, limit(2500))))
    assert [desk.cap(t, synced=False) for t in (169, 170)] == [3000, 2500]


def test_then_a_target_is_not_set_aside_by_one_that_starts_early() -> None:
    """Nor by a release: the one before ends late."""
    for later, watts in ((part(200, 300, limit(7000)), 3500), (part(200, 300, RELEASE), 4000)):
        desk = Desk()
        desk.hear(flex("low", part(100, 200, limit(5000)), time_s=0), flex("high", later, time_s=5))
        assert [desk.cap(t, synced=False) for t in (171, 200, 229, 230)] == [2500, 2500, 2500, watts]
        assert desk.next_change() == 270


def test_then_a_cancellation_counts_at_once_all_the_same() -> None:
    desk = Desk()
    desk.hear(asks(3000, "a", ramp=UP))
    assert desk.cap(150, synced=False) == 3000
    desk.hear(asks(3000, "a", seq=2, is_cancelled=True, received=at(150, synced=False)))
    assert desk.governing(150, synced=False) == ["a restoring"]
    assert desk.cap(200, synced=False) == 3500


def test_a_clock_that_is_set_moves_the_windows() -> None:
    desk = Desk()
    desk.hear(asks(3000, "a"))
    assert desk.cap(50) == 4000
    assert desk.cap(51, wall_offset_s=60) == 3000
    assert desk.cap(52, wall_offset_s=160) == 4000
    assert desk.cap(53, wall_offset_s=60) == 3000
    assert desk.cap(54) == 4000
    assert desk.cap(110) == 3000


def test_a_clock_that_is_set_back_brings_no_cancelled_event_back() -> None:
    desk = Desk()
    desk.hear(asks(3000, "a", 100, 1000, ramp=UP))
    assert desk.cap(500) == 3000
    desk.hear(asks(3000, "a", 100, 1000, seq=2, is_cancelled=True, received=at(500)))
    assert desk.cap(510) == 3100
    back = [desk.cap(511 + t, wall_offset_s=-300) for t in (0, 50, 100)]
    assert back == [3000, 3500, 4000]
    assert desk.governing(511 + 101 - 300) == []


def test_a_clock_that_is_set_back_into_a_way_that_was_gone_begins_it_not_again() -> None:
    desk = Desk()
    desk.hear(asks(3000, "a", ramp=UP))
    assert desk.caps(150, 250, 301) == [3000, 3500, 4000]
    assert desk.cap(302, wall_offset_s=-60) == 4000
