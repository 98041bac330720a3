"""From what was written down of an event to the report on it (`report` defines each number)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from powerd.core.events.grid_event import ActionKind, Level
from powerd.core.proof import measured as of
from powerd.core.proof.ledger_entry import ClockStepped, Entry, Lost, Samples
from powerd.core.proof.measured import Measured, measured
from powerd.core.proof.recording import BEFORE_S, FINE_S
from powerd.core.proof.report import EventReport, IntervalReport, ReportRules
from powerd.core.proof.story import Part, Story, tell

_REDUCES = (ActionKind.REDUCE, ActionKind.REDUCE_PCT, ActionKind.SHED_LEVEL)


def report(entries: Sequence[Entry], key: str, rules: ReportRules | None = None) -> EventReport:
    """Work out what came of an event.

    Args:
        entries: all about it, and the samples from ten minutes before it until fifteen after; in order.

    Raises:
        ValueError: they do not tell of its start.
    """
    rules = rules or ReportRules()
    story = tell(entries, key)
    rows = measured((each.body for each in entries if isinstance(each.body, Samples)), key)
    seen_s = max((row.sample.wall_s + row.sample.span_s for row in rows), default=story.started_s)
    # A host's own event does not show in what the whole rack draws: nothing is judged by that.
    judged = () if story.event.level is Level.HOST else rows
    parts = tuple(_interval(part, judged, seen_s, rules) for part in story.parts)
    before = of.window(rows, story.started_s - BEFORE_S, story.started_s)
    before_mean_mw, before_peak_mw = of.mean_mw(before), of.peak_mw(before)
    peak_after_mw = of.peak_mw(_after(story, rows))
    rebound_mw = None
    if peak_after_mw is not None and before_peak_mw is not None:
        rebound_mw = max(0, peak_after_mw - before_peak_mw)
    end_s = max(seen_s, story.started_s) if story.ended_s is None else story.ended_s
    during = of.window(judged, story.started_s, end_s)
    limited = [row for part in parts if part.target_mw is not None for row in _of(part, judged)]
    return EventReport(
        key=key,
        event=story.event,
        reason=story.reason,
        started_s=story.started_s,
        ended_s=story.ended_s,
        restored_s=story.restored_s,
        before_cap_mw=story.started.before_mw,
        before_mean_mw=before_mean_mw,
        before_peak_mw=before_peak_mw,
        before_known_pct=of.share_pct(of.known_s(before), BEFORE_S),
        intervals=parts,
        known_pct=of.share_pct(of.known_s(during), end_s - story.started_s),
        shed_mj=_sum(part.shed_mj for part in parts),
        shed_before_mj=None if before_mean_mw is None else of.below_mj(limited, before_mean_mw),
        peak_after_mw=peak_after_mw,
        rebound_mw=rebound_mw,
        is_compliant=_all(part.is_compliant for part in parts if part.target_mw is not None),
        clock_steps=sum(isinstance(each.body, ClockStepped) for each in entries),
        lost_entries=sum(each.body.entries for each in entries if isinstance(each.body, Lost)),
    )


def _after(story: Story, rows: Iterable[Measured]) -> tuple[Measured, ...]:
    if story.ended_s is None:
        return ()
    until_s = float("inf") if story.restored_s is None else story.restored_s + FINE_S
    return of.window(rows, story.ended_s, until_s)


def _of(part: IntervalReport, rows: Iterable[Measured]) -> tuple[Measured, ...]:
    return of.window(rows, part.start_s, part.end_s)


def _interval(part: Part, rows: Sequence[Measured], seen_s: float, rules: ReportRules) -> IntervalReport:
    end_s = max(seen_s, part.start_s) if part.end_s is None else part.end_s
    interval = part.event.intervals[min(part.began.index, len(part.event.intervals) - 1)]
    is_reduction = interval.action.kind in _REDUCES
    made = IntervalReport(
        index=part.began.index,
        scheduled_start_s=interval.start_s,
        scheduled_end_s=interval.end_s,
        start_s=part.start_s,
        end_s=end_s,
        is_over=part.end_s is not None,
        target_mw=part.began.target_mw,
        baseline_mw=part.began.baseline_mw if is_reduction else None,
    )
    rows = _of(made, rows)
    made = replace(
        made,
        mean_mw=of.mean_mw(rows),
        source=of.source(rows),
        known_pct=of.share_pct(of.known_s(rows), end_s - part.start_s),
        shed_mj=None if made.baseline_mw is None else of.below_mj(rows, made.baseline_mw),
    )
    if made.target_mw is None or made.mean_mw is None:
        return made
    reference_s = max(interval.start_s, part.event.received.wall_s)
    return _judged(made, made.target_mw, rows, reference_s, part.event.ramp.down_s, rules)


def _judged(
    made: IntervalReport,
    target_mw: int,
    rows: Sequence[Measured],
    reference_s: float,
    ramp_s: float,
    rules: ReportRules,
) -> IntervalReport:
    """Add what only an interval with a target has."""
    known = [row for row in rows if row.is_known and row.cap_mw is not None]
    down_s = of.down_since_s(rows, target_mw * rules.factor, is_over=made.is_over)
    time_s = None if down_s is None else max(0.0, down_s - reference_s)
    later = [row for row in known if row.sample.wall_s >= reference_s + ramp_s]
    missed = [row for row in later if row.mean_mw > target_mw * rules.factor]
    within = [row for row in known if row.mean_mw <= (row.cap_mw or 0) * rules.factor]
    missed_mj = sum(max(0, row.mean_mw - target_mw) * row.sample.span_s for row in later)
    later_s = of.known_s(later)
    made = replace(
        made,
        time_to_target_s=time_s,
        late_s=None if time_s is None else max(0.0, time_s - ramp_s),
        overshoot_mj=sum(row.over_mj for row in known) if known else None,
        missed_mw=round(missed_mj / later_s) if later_s else None,
        missed_pct=of.share_pct(of.known_s(missed), later_s),
        within_pct=of.share_pct(of.known_s(within), of.known_s(known)),
    )
    return replace(made, is_compliant=_is_compliant(made, of.mean_cap_mw(rows), rules))


def _is_compliant(made: IntervalReport, cap_mw: float | None, rules: ReportRules) -> bool | None:
    if made.within_pct is None or made.mean_mw is None or cap_mw is None:
        return None
    if (made.known_pct or 0) < rules.known_pct:
        return None
    return made.within_pct >= rules.within_pct and made.mean_mw <= cap_mw * rules.factor


def _sum(parts: Iterable[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """Return False if one is, None if one is not known or there are none, else True."""
    found = set(verdicts)
    if False in found:
        return False
    return True if found == {True} else None
