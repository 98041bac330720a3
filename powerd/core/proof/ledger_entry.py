"""What is written down of a grid event and of the rack's draw around it: the entries of the ledger.

Format and meaning: docs/proof-of-response.md. Energy is in millijoules, so that sums are exact.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from powerd.core.events.grid_event import GridEvent
from powerd.core.units import MilliWatts


class EndReason(StrEnum):
    """Why an event has no say any more."""

    ENDED = "ended"  # its last interval is over
    CANCELLED = "cancelled"
    SET_ASIDE = "set_aside"  # another event took its place, or its source withdrew it


class Sample(NamedTuple):
    """What the rack drew in one stretch of time.

    A reading stands until the next one is made, so a cut shows when it was measured and not before.

    Attributes:
        wall_s: when it begins, Unix seconds.
        span_s: how long it is.
        mean_mw, max_mw: None in a gap: nothing is known of this stretch.
        source: "meter" or "hosts", as in `RackDraw`; empty in a gap.
        caps_mw: the mean cap of the rack, then that of each event of the entry.
        over_mj: energy drawn above each of these caps.
    """

    wall_s: float
    span_s: float
    mean_mw: MilliWatts | None
    max_mw: MilliWatts | None
    source: str
    caps_mw: tuple[MilliWatts, ...]
    over_mj: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Began:
    """A daemon began to record, or its mode has changed.

    What happened between the entry before and this one is not known, or was done in the mode before.

    Attributes:
        mode: only in "enforce" anything is done about events.
        version: of powerd.
    """

    site: str
    rack: str
    host: str
    mode: str
    version: str


@dataclass(frozen=True, slots=True)
class ClockStepped:
    """The wall clock was set: times before and after this entry do not compare.

    Attributes:
        by_s: how far forward.
    """

    by_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """Entries that could not be written, and are gone."""

    entries: int


@dataclass(frozen=True, slots=True)
class Started:
    """An event has a say from now on.

    Attributes:
        event: as it was received.
        baseline_mw: what its reductions count from; None if nothing is reduced.
        before_mw: the rack cap before it.
    """

    event: GridEvent
    baseline_mw: MilliWatts | None
    before_mw: MilliWatts


@dataclass(frozen=True, slots=True)
class Changed:
    """Its source asks for something else from now on, or cancels it."""

    event: GridEvent


@dataclass(frozen=True, slots=True)
class IntervalBegan:
    """An interval of an event, or another target within it, holds from now on.

    Attributes:
        index: of the interval, from 0.
        target_mw: what it asks of the rack; None: no limit.
    """

    index: int
    target_mw: MilliWatts | None
    baseline_mw: MilliWatts | None


@dataclass(frozen=True, slots=True)
class Ended:
    """An event asks for nothing any more; the cap may still be on its way back up."""

    reason: EndReason


@dataclass(frozen=True, slots=True)
class Restored:
    """An event has no say any more."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What the rack drew, stretch by stretch.

    Attributes:
        events: keys of those that had a say, in the order of `Sample.caps_mw`.
    """

    events: tuple[str, ...]
    rows: tuple[Sample, ...]


Body: TypeAlias = Began | ClockStepped | Lost | Started | Changed | IntervalBegan | Ended | Restored | Samples


class Entry(NamedTuple):
    """One entry.

    Attributes:
        wall_s: when it was made; of samples, when the first of them begins.
        event: "source/event_id"; empty where it is about none or several.
    """

    wall_s: float
    event: str
    body: Body
