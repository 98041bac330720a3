"""What a host may draw by the grid events that it knows: by definition, not by the code under test.

The newest version of each event counts, while one of its intervals is in force by the host's own wall clock.
How a cap comes back after that is no matter of safety. Only watts are counted, not what lowers a baseline.
"""

import math

from powerd.core.events.grid_event import ActionKind, GridEvent
from powerd.core.events.schedule import Schedule
from powerd.core.model import Now
from powerd.core.topology import Rack

# Both sides round what is on its way.
ROUNDING_MW = 2


class EventCaps:
    """The events that one run of a daemon knows: from its file, and heard since.

    Args:
        schedule: as it was read from the file.
    """

    def __init__(self, schedule: Schedule, rack: Rack) -> None:
        self._hard_limit_mw = rack.hard_limit_mw
        self._newest: dict[tuple[str, str], GridEvent] = {}
        for held in schedule.held.values():
            self.hear(held.event)

    def hear(self, event: GridEvent) -> None:
        """Take in a version: what is older than the newest does not count."""
        key = event.source, event.event_id
        known = self._newest.get(key)
        if known is None or (known.epoch, known.seq) < (event.epoch, event.seq):
            self._newest[key] = event

    def cap_mw(self, now: Now) -> float:
        """Return the most that they let the rack draw; infinity if they say nothing."""
        return min((self._of(event, now.wall_s) for event in self._newest.values()), default=math.inf)

    def _of(self, event: GridEvent, wall_s: float) -> float:
        if event.is_cancelled:
            return math.inf
        for interval in event.intervals:
            end_s = math.inf if interval.end_s is None else interval.end_s
            if interval.start_s <= wall_s < end_s:
                if interval.action.kind is not ActionKind.LIMIT:
                    return math.inf
                to_mw = interval.action.mw
                # On its way down it started at the hard limit at the most.
                left = max(0.0, 1 - (wall_s - interval.start_s) / max(event.ramp.down_s, 1e-9))
                return to_mw + max(0.0, self._hard_limit_mw - to_mw) * left + ROUNDING_MW
        return math.inf
