"""The proof of response: what came of an event, number by number.

Every number is of known time only and stands beside the share of time that is known. What cannot be told is
None, never 0. docs/proof-of-response.md has the same definitions for people.
"""

from dataclasses import dataclass

from powerd.core.events.grid_event import GridEvent
from powerd.core.proof.ledger_entry import EndReason
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class ReportRules:
    """What counts as obeyed.

    Attributes:
        tolerance_pct: draw so much above a target is at the target.
        within_pct: an interval is compliant if so much of its known time was within its cap.
        known_pct: with less of its time known, nothing is said about compliance.
    """

    tolerance_pct: float = 2.0
    within_pct: float = 95.0
    known_pct: float = 90.0

    @property
    def factor(self) -> float:
        """Return what a target is multiplied by."""
        return 1 + self.tolerance_pct / 100


@dataclass(frozen=True, slots=True)
class IntervalReport:
    """What came of one interval. "Reference" is its scheduled start, or the receipt of the event if later.

    Attributes:
        scheduled_start_s, scheduled_end_s: as asked for; the end is None if it is open.
        start_s, end_s: when it had a say. Of one that is not over, `end_s` is up to when it is known.
        baseline_mw: what a reduction counts from; None if the action is none.
        mean_mw: mean draw over the known time. `source` says measured by what: meter, hosts, meter+hosts
            or unknown.
        known_pct: known time / (end_s - start_s).
        time_to_target_s: from the reference until the draw is at most target x (1 + tolerance) and stays so
            for 10 s; None if that did not happen, or there is no target.
        late_s: the same without the event's own ramp; at least 0.
        overshoot_mj: energy above the event's ramped cap: sum of max(0, draw - cap) x time.
        missed_mw: mean of max(0, draw - target) after the ramp.
        missed_pct: share of the known time after the ramp with a draw above target x (1 + tolerance).
        within_pct: share of the known time with a draw of at most cap x (1 + tolerance): the event's ramp is
            allowed for.
        is_compliant: `within_pct` is high enough, and the mean draw at most mean cap x (1 + tolerance); None
            if too little is known.
        shed_mj: sum of (baseline - draw) x known time.
    """

    index: int
    scheduled_start_s: float
    scheduled_end_s: float | None
    start_s: float
    end_s: float
    is_over: bool
    target_mw: MilliWatts | None
    baseline_mw: MilliWatts | None
    mean_mw: MilliWatts | None = None
    source: str = "unknown"
    known_pct: float | None = None
    time_to_target_s: float | None = None
    late_s: float | None = None
    overshoot_mj: int | None = None
    missed_mw: MilliWatts | None = None
    missed_pct: float | None = None
    within_pct: float | None = None
    is_compliant: bool | None = None
    shed_mj: int | None = None


@dataclass(frozen=True, slots=True)
class EventReport:
    """What came of an event.

    Attributes:
        event: as it was asked for last.
        reason: why it ended; None while it asks for something.
        ended_s, restored_s: when it asked for nothing more, and when the way back up was done.
        before_cap_mw: the rack cap before it.
        before_mean_mw, before_peak_mw: of the draw in the ten minutes before. `before_known_pct` of them are
            known.
        shed_mj: against the event's own baseline, of the intervals that have one.
        shed_before_mj: against the mean draw of the ten minutes before, of the intervals that have a target.
        peak_after_mw: highest draw from the end until 15 min after the way back up was done.
        rebound_mw: how far that is above `before_peak_mw`; at least 0.
        is_compliant: every interval with a target is; None if one is not known and none is known not to be.
        clock_steps, lost_entries: what makes the numbers doubtful: settings of the wall clock, and entries
            that could not be written.
    """

    key: str
    event: GridEvent
    reason: EndReason | None
    started_s: float
    ended_s: float | None
    restored_s: float | None
    before_cap_mw: MilliWatts
    before_mean_mw: MilliWatts | None
    before_peak_mw: MilliWatts | None
    before_known_pct: float | None
    intervals: tuple[IntervalReport, ...]
    known_pct: float | None
    shed_mj: int | None
    shed_before_mj: int | None
    peak_after_mw: MilliWatts | None
    rebound_mw: MilliWatts | None
    is_compliant: bool | None
    clock_steps: int
    lost_entries: int
