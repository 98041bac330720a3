"""What a person should hear about grid events: that one begins or ends, and what stands in its way."""

from collections.abc import Iterable, Iterator

from powerd.core.events.caps import EventStatus
from powerd.core.events.grid_event import ActionKind, Baseline, EventClass
from powerd.core.events.schedule import EventRules, Schedule
from powerd.core.events.target import is_unsplit
from powerd.core.events.turns import Agenda, EventPhase
from powerd.core.model import Notice, Severity
from powerd.core.rack.timeline import Statement
from powerd.core.units import MilliWatts, watts

# Below this part of the nameplate somebody probably wrote kilowatts where watts are meant.
SUSPECT_PPM = 20_000
PPM = 1_000_000


def about_events(
    before: Agenda | None,
    now: Iterable[EventStatus],
    schedule: Schedule,
    rules: EventRules,
    hard_limit_mw: MilliWatts,
) -> Iterator[Notice]:
    """Tell which events have begun or ended since the last decision, and which cannot be followed exactly."""
    statuses = {status.key: status for status in now}
    had = {turn.key: turn.phase for turn in before.turns} if before else {}
    for key, status in statuses.items():
        if had.get(key) is not status.phase:
            yield _about_phase(status)
        if status.phase is EventPhase.ACTIVE:
            yield from _about_odds(status, schedule, rules)
            yield from _about_unit(status, hard_limit_mw)
    for key in had.keys() - statuses.keys():
        yield Notice("event_ended", Severity.INFO, f"event {key} has no say in the rack cap any more", key)


def about_budget_unit(statement: Statement | None, hard_limit_mw: MilliWatts) -> Iterator[Notice]:
    """Tell when a budget is so little that its unit may be wrong."""
    if statement is not None and statement.mw is not None:
        yield from about_suspect_watts(statement.mw, hard_limit_mw, statement.source, is_emergency=False)


def about_suspect_watts(
    asked_mw: MilliWatts, hard_limit_mw: MilliWatts, source: str, *, is_emergency: bool
) -> Iterator[Notice]:
    """Tell when what is asked for is so little that its unit may be wrong; it is obeyed all the same."""
    if not is_emergency and 0 < asked_mw * PPM < hard_limit_mw * SUSPECT_PPM:
        text = (
            f"{source} asks for {watts(asked_mw):g} W, less than {SUSPECT_PPM * 100 / PPM:g} % of "
            "rack.hard_limit_watts: is it in kilowatts? It is obeyed"
        )
        yield Notice("suspect_unit", Severity.WARNING, text, source)


def _about_phase(status: EventStatus) -> Notice:
    event = status.event
    if status.phase is EventPhase.RESTORING:
        text = f"event {event.event_id} of {event.source} asks for no less any more: on the way back up"
        return Notice("event_restoring", Severity.INFO, text, status.key)
    asked = "releases the rack" if status.target_mw is None else f"asks for {watts(status.target_mw):g} W"
    text = f"event {event.event_id} of {event.source} ({event.event_class}) {asked}"
    return Notice("event_started", Severity.INFO, text, status.key)


def _about_unit(status: EventStatus, hard_limit_mw: MilliWatts) -> Iterator[Notice]:
    event = status.event
    kinds = {interval.action.kind for interval in event.intervals}
    if ActionKind.LIMIT in kinds and status.target_mw is not None:
        is_emergency = event.event_class is EventClass.EMERGENCY
        yield from about_suspect_watts(status.target_mw, hard_limit_mw, status.key, is_emergency=is_emergency)


def _about_odds(status: EventStatus, schedule: Schedule, rules: EventRules) -> Iterator[Notice]:
    event = status.event
    if is_unsplit(event, rules):
        key = "rack.site_fraction" if event.level == "site" else "rack.feeds"
        text = (
            f"event {event.event_id} of {event.source} is for the whole {event.level}, and {key} is not set: "
            "the failsafe budget holds as long as it does"
        )
        yield Notice("event_unsplit", Severity.WARNING, text, status.key)
    is_measured = any(interval.action.baseline is Baseline.MEASURED for interval in event.intervals)
    held = schedule.held.get(status.key)
    if is_measured and held is not None and held.measured_mw is None:
        text = (
            f"event {event.event_id} of {event.source} counts from the measured draw, which was not known at "
            "its start: it counts from the budget"
        )
        yield Notice("event_baseline_unknown", Severity.WARNING, text, status.key)
