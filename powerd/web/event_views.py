"""Events and reports -> documents. Pure, like `powerd.web.views`."""

from collections.abc import Iterable, Mapping
from itertools import groupby

from powerd.core.events.caps import EventStatus
from powerd.core.events.grid_event import GridEvent
from powerd.core.events.schedule import Held
from powerd.core.proof.ledger_entry import Began
from powerd.core.proof.report import EventReport, IntervalReport, ReportRules
from powerd.core.proof.story import Story
from powerd.core.units import MilliWatts, watts
from powerd.ledger.reader import Extract
from powerd.signals.rfc3339 import utc
from powerd.snapshot import Snapshot
from powerd.web.event_models import (
    EventList,
    EventReportView,
    GridEventView,
    IntervalView,
    LedgerProof,
    Phase,
    ReportTerms,
)
from powerd.web.optional import utc_or_none, watts_or_none

# Those to come that are listed, the nearest first.
MAX_PENDING = 500
# Of what an event asks for, interval by interval.
MAX_PHRASES = 3
_ORDER: Mapping[Phase, int] = {"active": 0, "restoring": 1, "pending": 2}
_MJ_PER_J = 1000
_MJ_PER_KWH = 3_600_000 * _MJ_PER_J


def event_list(snapshot: Snapshot, stories: Mapping[str, Story], ledger_error: str = "") -> EventList:
    """Return the events that are held, and those of the past that the ledger knows."""
    decision, wall_s = snapshot.decision, snapshot.now.wall_s
    statuses = {status.key: status for status in decision.events}
    held = decision.schedule.held
    found = [_held(key, each, statuses.get(key), stories, wall_s) for key, each in held.items()]
    found += [_past(key, story) for key, story in stories.items() if key not in held]
    pending = sorted((each for each in found if each.phase == "pending"), key=lambda each: each.start)
    others = sorted((each for each in found if each.phase != "pending"), key=lambda each: each.start)
    listed = [*reversed(others), *pending[:MAX_PENDING]]
    return EventList(
        v=1,
        at=utc(wall_s),
        ledger_error=ledger_error,
        events=sorted(listed, key=lambda each: _ORDER.get(each.phase, 3)),
    )


def _held(
    key: str, held: Held, status: EventStatus | None, stories: Mapping[str, Story], wall_s: float
) -> GridEventView:
    phase: Phase
    if status is not None:
        phase = "active" if status.phase.value == "active" else "restoring"
    elif held.cancelled_s is not None:
        phase = "cancelled"
    elif wall_s < held.event.start_s:
        phase = "pending"
    else:
        phase = "ended" if held.is_over(wall_s) else "set_aside"
    story = stories.get(key)
    target_mw = _last_target_mw(story)
    if status is not None and status.target_mw is not None:
        target_mw = status.target_mw
    return _event(key, held.event, phase, target_mw, status, is_recorded=story is not None)


def _past(key: str, story: Story) -> GridEventView:
    """Return an event that only the ledger knows; one that never ended there was cut short."""
    phase: Phase = "ended" if story.reason is None else story.reason.value
    return _event(key, story.event, phase, _last_target_mw(story), None, is_recorded=True)


def _last_target_mw(story: Story | None) -> MilliWatts | None:
    return story.parts[-1].began.target_mw if story is not None and story.parts else None


def _event(
    key: str,
    event: GridEvent,
    phase: Phase,
    target_mw: MilliWatts | None,
    status: EventStatus | None,
    *,
    is_recorded: bool,
) -> GridEventView:
    return GridEventView(
        id=key,
        source=event.source,
        event_id=event.event_id,
        event_class=event.event_class.value,
        phase=phase,
        start=utc(event.start_s),
        end=utc_or_none(event.end_s),
        intervals=len(event.intervals),
        scope=event.level.value,
        targets=list(event.targets),
        asks=_asks(event),
        target_watts=watts_or_none(target_mw),
        cap_watts=watts_or_none(None if status is None else status.cap_mw),
        baseline_watts=watts_or_none(None if status is None else status.baseline_mw),
        best_effort=event.is_best_effort,
        origin=event.origin,
        recorded=is_recorded,
    )


def event_report(
    snapshot: Snapshot, made: EventReport, rules: ReportRules, extract: Extract
) -> EventReportView:
    """Return the report on one event."""
    event = made.event
    modes = {entry.body.mode for entry in extract.entries if isinstance(entry.body, Began)}
    return EventReportView(
        v=1,
        id=made.key,
        site=snapshot.site,
        rack=snapshot.rack,
        host=snapshot.host,
        modes=sorted(modes),
        event_class=event.event_class.value,
        scope=event.level.value,
        origin=event.origin,
        received=utc(event.received.wall_s),
        started=utc(made.started_s),
        ended=utc_or_none(made.ended_s),
        restored=utc_or_none(made.restored_s),
        reason=None if made.reason is None else made.reason.value,
        ramp_down_s=event.ramp.down_s,
        before_cap_watts=watts(made.before_cap_mw),
        before_mean_watts=watts_or_none(made.before_mean_mw),
        before_peak_watts=watts_or_none(made.before_peak_mw),
        before_known_pct=made.before_known_pct,
        intervals=list(_intervals(made.intervals)),
        known_pct=made.known_pct,
        shed_kwh=_kwh(made.shed_mj),
        shed_against_before_kwh=_kwh(made.shed_before_mj),
        peak_after_watts=watts_or_none(made.peak_after_mw),
        rebound_watts=watts_or_none(made.rebound_mw),
        compliant=made.is_compliant,
        clock_steps=made.clock_steps,
        lost_entries=made.lost_entries,
        terms=ReportTerms(
            tolerance_pct=rules.tolerance_pct, within_pct=rules.within_pct, known_pct=rules.known_pct
        ),
        ledger=LedgerProof(
            first_entry=extract.first,
            last_entry=extract.last,
            digest=extract.digest,
            intact=extract.is_intact,
            cut=extract.is_cut,
        ),
    )


def _intervals(parts: Iterable[IntervalReport]) -> Iterable[IntervalView]:
    for part in parts:
        yield IntervalView(
            index=part.index,
            scheduled_start=utc(part.scheduled_start_s),
            scheduled_end=utc_or_none(part.scheduled_end_s),
            start=utc(part.start_s),
            end=utc(part.end_s),
            over=part.is_over,
            target_watts=watts_or_none(part.target_mw),
            baseline_watts=watts_or_none(part.baseline_mw),
            mean_watts=watts_or_none(part.mean_mw),
            measured_by=part.source,
            known_pct=part.known_pct,
            time_to_target_s=part.time_to_target_s,
            late_s=part.late_s,
            overshoot_watt_seconds=None if part.overshoot_mj is None else part.overshoot_mj / _MJ_PER_J,
            missed_watts=watts_or_none(part.missed_mw),
            missed_pct=part.missed_pct,
            within_pct=part.within_pct,
            compliant=part.is_compliant,
            shed_kwh=_kwh(part.shed_mj),
        )


def _asks(event: GridEvent) -> str:
    phrases = [phrase for phrase, _ in groupby(interval.action.text for interval in event.intervals)]
    more = len(phrases) - MAX_PHRASES
    return ", then ".join(phrases[:MAX_PHRASES]) + (f", and {more} more" if more > 0 else "")


def _kwh(mj: int | None) -> float | None:
    return None if mj is None else round(mj / _MJ_PER_KWH, 6)
