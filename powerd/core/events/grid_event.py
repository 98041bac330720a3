"""What a grid or a facility asks for, over time: a grid event as it was received, checked for form only.

Format and meaning: docs/grid-events.md. Whether an event counts is decided in `admission`, what it
makes of the rack cap in `caps`. Times are Unix seconds of the sender's wall clock, as schedules are.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from powerd.core.model import Now
from powerd.core.units import MilliWatts, watts


class EventClass(StrEnum):
    """How binding an event is."""

    EMERGENCY = "emergency"
    MANDATORY = "mandatory"
    VOLUNTARY = "voluntary"  # the operator may opt out
    ADVISORY = "advisory"  # shown, and never a cap


class Level(StrEnum):
    """What part of the site an event is about."""

    SITE = "site"
    FEED = "feed"
    RACK = "rack"
    HOST = "host"


class ActionKind(StrEnum):
    """How an interval says what may be drawn."""

    LIMIT = "limit"  # so many watts
    REDUCE = "reduce"  # so many watts less than the baseline
    REDUCE_PCT = "reduce_pct"  # so much per cent less than the baseline
    SHED_LEVEL = "level"  # 0 to 3, a table of the configuration says what they mean
    FLOOR = "floor"  # as little as limiting can reach
    RELEASE = "release"  # no limit: what its sender asked for before is over (DSX Flex, a null constraint)


class Baseline(StrEnum):
    """What a reduction counts from. It is frozen when the event first starts, else it would ratchet down."""

    BUDGET = "budget"  # the rack cap without events
    NAMEPLATE = "nameplate"  # the rack's hard limit
    MEASURED = "measured"  # the mean draw of the ten minutes before


_BASELINES = {
    Baseline.BUDGET: "the budget",
    Baseline.NAMEPLATE: "the hard limit",
    Baseline.MEASURED: "the draw before",
}


@dataclass(frozen=True, slots=True)
class Action:
    """What is asked for in one interval.

    Attributes:
        mw: of `LIMIT` and `REDUCE`, for the whole scope of the event.
        pct: of `REDUCE_PCT`, 0..100.
        level: of `SHED_LEVEL`, 0..3.
        baseline: of the three that reduce.
    """

    kind: ActionKind
    mw: MilliWatts = 0
    pct: float = 0.0
    level: int = 0
    baseline: Baseline = Baseline.BUDGET

    @property
    def text(self) -> str:
        """Say in a phrase what is asked of the event's scope."""
        match self.kind:
            case ActionKind.LIMIT:
                return f"at most {watts(self.mw):g} W"
            case ActionKind.REDUCE:
                return f"{watts(self.mw):g} W less than {_BASELINES[self.baseline]}"
            case ActionKind.REDUCE_PCT:
                return f"{self.pct:g} % less than {_BASELINES[self.baseline]}"
            case ActionKind.SHED_LEVEL:
                return f"shed level {self.level}"
            case ActionKind.FLOOR:
                return "as little as possible"
        return "no limit"


class Interval(NamedTuple):
    """A part of an event with one action.

    Attributes:
        end_s: None = until it is cancelled; only in the last interval.
    """

    start_s: float
    end_s: float | None
    action: Action


@dataclass(frozen=True, slots=True)
class EventRamp:
    """How fast an event's steps are taken.

    Attributes:
        down_s: a reduction is spread over this long.
        up_s: so is the way back, on which the rack's own ramp holds too.
        up_jitter_s: each host starts its way back up to this much later; never delays a reduction.
    """

    down_s: float = 0.0
    up_s: float = 0.0
    up_jitter_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GridEvent:
    """One version of an event.

    Attributes:
        source: who sends it. Only a source itself can change or cancel its events.
        epoch, seq: newer means a larger pair, per source and event.
        program: events of one source and program take each other's place where they overlap.
        priority: between those, the lowest number governs; None = after all numbers.
        targets: names at `level`; of sites, feeds, racks or hosts.
        intervals: sorted, not overlapping, at least one.
        is_cancelled: it is over from now on, whatever its intervals say.
        is_best_effort: as said by its sender; reported back, with no other effect.
        keeps_order: its source sends in order, so one that is issued before the newest known is a replay.
        origin: the standard and message it was made from, for people; empty if native.
        correlation_id: echoed to the sender.
        received: when this version arrived.
        retained: delivered from a broker's store.
        digest: of the payload, to tell a repeat from other content under the same key.
    """

    source: str
    event_id: str
    epoch: int
    seq: int
    issued_at_s: float
    event_class: EventClass
    level: Level
    targets: tuple[str, ...]
    intervals: tuple[Interval, ...]
    received: Now
    is_cancelled: bool = False
    ramp: EventRamp = EventRamp()
    priority: int | None = None
    program: str = ""
    is_best_effort: bool = False
    keeps_order: bool = False
    origin: str = ""
    correlation_id: str = ""
    retained: bool = False
    digest: str = ""

    @property
    def start_s(self) -> float:
        """Return when the first interval starts."""
        return self.intervals[0].start_s

    @property
    def end_s(self) -> float | None:
        """Return when the last interval ends; None = open."""
        return self.intervals[-1].end_s
