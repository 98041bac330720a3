"""What the events that hold make of the rack cap."""

from dataclasses import dataclass
from enum import StrEnum

from powerd.core.grid_event import GridEvent
from powerd.core.units import MilliWatts


class EventPhase(StrEnum):
    """Where an event stands."""

    PENDING = "pending"
    ACTIVE = "active"
    RESTORING = "restoring"  # over; the cap is on its way back up
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class EventStatus:
    """An event that has a say in the rack cap now.

    Attributes:
        phase: `ACTIVE` or `RESTORING`.
        cap_mw: what it lets the rack draw now, on its way to `target_mw` where it ramps.
        target_mw: what the interval in force asks of the rack; None while it restores, or for a release.
        baseline_mw: what its reductions count from; None if nothing is reduced.
        before_mw: the rack cap before it started.
    """

    event: GridEvent
    phase: EventPhase
    cap_mw: MilliWatts
    target_mw: MilliWatts | None
    baseline_mw: MilliWatts | None
    before_mw: MilliWatts
