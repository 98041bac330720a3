"""What a person hears of events."""

import pytest

from powerd.core.events.grid_event import Action, Baseline, EventClass, EventRamp, Level
from powerd.core.events.notices import about_events, about_suspect_watts
from powerd.core.events.schedule import EventRules
from powerd.core.model import Notice, Severity
from tests.core.make import W, at
from tests.core.make_events import FLOOR, RELEASE, Desk, cut, event, flex, limit, part, reduce, shed


def told(desk: Desk, boot_s: float) -> list[Notice]:
    """Return what is told at a moment, of what has changed since the last look."""
    before = desk.agenda
    statuses = desk.look(boot_s)
    return list(about_events(before, statuses, desk.schedule, desk.rules, 6000 * W))


def test_the_begin_the_way_back_and_the_end_are_told_once_each() -> None:
    desk = Desk()
    desk.hear(event(ramp=EventRamp(up_s=100)))
    heard = [(each.event, each.subject) for t in (99, 100, 150, 200, 250, 300, 400) for each in told(desk, t)]
    assert heard == [("event_started", "grid/e1"), ("event_restoring", "grid/e1"), ("event_ended", "grid/e1")]


def test_the_texts_name_event_source_class_and_watts() -> None:
    desk = Desk()
    desk.hear(event(event_class=EventClass.EMERGENCY, ramp=EventRamp(up_s=100)))
    [started] = told(desk, 100)
    assert started.text == "event e1 of grid (emergency) asks for 3000 W"
    [restoring] = told(desk, 200)
    assert restoring.text.startswith("event e1 of grid asks for no less any more")
    assert {started.severity, restoring.severity} == {Severity.INFO}


def test_a_release_is_told_as_one() -> None:
    desk = Desk()
    desk.hear(flex("null", part(100, None, RELEASE), time_s=0))
    [started] = told(desk, 100)
    assert started.text == "event null of dsx (mandatory) releases the rack"


@pytest.mark.parametrize(("level", "key"), [(Level.SITE, "rack.site_fraction"), (Level.FEED, "rack.feeds")])
def test_watts_that_cannot_be_split_are_told_with_the_key_that_is_missing(level: Level, key: str) -> None:
    desk = Desk(rules=EventRules())
    desk.hear(event(level=level))
    _, odd = told(desk, 100)
    assert (odd.event, odd.severity, odd.subject) == ("event_unsplit", Severity.WARNING, "grid/e1")
    assert f"for the whole {level.value}, and {key} is not set" in odd.text


def test_a_measured_draw_that_was_not_known_is_told() -> None:
    action = cut(25, Baseline.MEASURED)
    for measured, names in (
        (None, ["event_started", "event_baseline_unknown"]),
        (3600, ["event_started"]),
    ):
        desk = Desk(measured=measured)
        desk.hear(event(part(100, 200, action)))
        assert [each.event for each in told(desk, 100)] == names


@pytest.mark.parametrize(
    ("watts", "event_class", "is_suspect"),
    [
        (119, EventClass.MANDATORY, True),
        (0.001, EventClass.MANDATORY, True),
        (120, EventClass.MANDATORY, False),
        (0, EventClass.MANDATORY, False),
        (119, EventClass.EMERGENCY, False),
    ],
)
def test_next_to_nothing_is_obeyed_and_may_be_in_the_wrong_unit(
    watts: float, event_class: EventClass, is_suspect: bool
) -> None:
    """Less than 2 % of 6000 W; zero is zero in every unit."""
    desk = Desk()
    desk.hear(event(part(100, 200, limit(watts)), event_class=event_class))
    assert ("suspect_unit" in [each.event for each in told(desk, 100)]) is is_suspect
    assert desk.before == watts


def test_per_cent_have_no_unit_to_be_wrong() -> None:
    desk = Desk()
    desk.hear(event(part(100, 200, cut(99))))
    assert [each.event for each in told(desk, 100)] == ["event_started"]


def test_the_suspicion_says_what_to_look_at() -> None:
    [suspicion] = about_suspect_watts(30 * W, 6000 * W, "facility-a", is_emergency=False)
    assert suspicion.text == (
        "facility-a asks for 30 W, less than 2 % of rack.hard_limit_watts: is it in kilowatts? It is obeyed"
    )


def test_an_event_that_another_took_the_place_of_has_ended_for_this_rack() -> None:
    desk = Desk()
    desk.hear(event(part(100, 300, limit(3000))))
    told(desk, 100)
    desk.hear(event(part(100, 300, limit(2500)), name="e2", priority=0, received=at(110)))
    assert [(each.event, each.subject) for each in told(desk, 110)] == [
        ("event_started", "grid/e2"),
        ("event_ended", "grid/e1"),
    ]


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (limit(4500), "at most 4500 W"),
        (reduce(800), "800 W less than the budget"),
        (cut(25, Baseline.NAMEPLATE), "25 % less than the hard limit"),
        (cut(12.5, Baseline.MEASURED), "12.5 % less than the draw before"),
        (shed(2), "shed level 2"),
        (FLOOR, "as little as possible"),
        (RELEASE, "no limit"),
    ],
)
def test_what_is_asked_for_is_said_in_a_phrase(action: Action, text: str) -> None:
    assert action.text == text
