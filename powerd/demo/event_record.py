"""How a rack follows a grid event: its target over time, and the draw held against that.

Pure arithmetic on the times it is given, boot clock seconds. The target is worked out from what the bridge
publishes, not from what hosts say of it.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from powerd.demo.scenario import Ask, Call

# A cut has to be obeyed this long after it was published. That takes milliseconds; but it shows in the next
# sample only, up to 0.2 s later, and the draw of the sample before counts until then.
SETTLED_AFTER_S = 0.5
# The level before an event is the highest draw of so long.
BEFORE_S = 1.0
# The slope of a way back is taken between these parts of it.
_LOW_PART, _HIGH_PART = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event as it was published.

    Attributes:
        begun_boot_s: the start of the scenario, from which the times of the call count.
        told_boot_s: when it was published first.
        factor: seconds of event time in one of real time.
        base_watts: the budget that it lowers.
    """

    call: Call
    begun_boot_s: float
    told_boot_s: float
    factor: float
    base_watts: float

    @property
    def start_boot_s(self) -> float:
        """Return when its first interval begins."""
        return self._boot_s(self.call.asks[0].start_s)

    @property
    def end_boot_s(self) -> float:
        """Return when its last interval ends."""
        return self._boot_s(self.call.asks[-1].end_s)

    @property
    def target_watts(self) -> float:
        """Return the lowest that it asks for."""
        return min(self._watts(ask) for ask in self.call.asks)

    @property
    def first_watts(self) -> float:
        """Return what its first interval asks for."""
        return self._watts(self.call.asks[0])

    def level_watts(self, boot_s: float) -> float:
        """Return what it lets the rack draw, ramps included; infinity where it says nothing."""
        at_s, ramp = self._event_s(boot_s), self.call.ramp
        begun = [ask for ask in self.call.asks if ask.start_s <= at_s]
        if not begun:
            return math.inf
        ask = begun[-1]
        if at_s < ask.end_s:
            return self._between(self.base_watts, self._watts(ask), at_s - ask.start_s, ramp.down_s)
        if at_s < ask.end_s + ramp.up_s:
            return self._between(self._watts(ask), self.base_watts, at_s - ask.end_s, ramp.up_s)
        return math.inf

    def is_held(self, boot_s: float) -> bool:
        """Say whether the ramp down of an interval is over, and the interval is not."""
        at_s = self._event_s(boot_s)
        after_s = self.call.ramp.down_s + SETTLED_AFTER_S * self.factor
        return any(ask.start_s + after_s <= at_s < ask.end_s for ask in self.call.asks)

    def _boot_s(self, event_s: float) -> float:
        return self.begun_boot_s + event_s / self.factor

    def _event_s(self, boot_s: float) -> float:
        return (boot_s - self.begun_boot_s) * self.factor

    def _watts(self, ask: Ask) -> float:
        return self.base_watts * (1 - ask.pct / 100)

    @staticmethod
    def _between(from_watts: float, to_watts: float, elapsed_s: float, whole_s: float) -> float:
        if elapsed_s >= whole_s:
            return to_watts
        return from_watts + (to_watts - from_watts) * elapsed_s / whole_s


class EventScore:
    """Takes in the draw of the rack, moment by moment.

    Args:
        step_s: between two moments.
        recent: moment and draw of the time before it was published, in order.

    Attributes:
        overshoot_watt_s: draw above the ramped target, from the very moment that one was asked for.
        reached_boot_s: when the draw was first within the target of the first interval; None = never.
        errors_pct: distance of the draw from the target, in per cent of it, while the target is held and
            nothing else asks for less.
    """

    def __init__(
        self, record: EventRecord, step_s: float, recent: Iterable[tuple[float, float]] = ()
    ) -> None:
        self.record = record
        self.overshoot_watt_s = 0.0
        self.reached_boot_s: float | None = None
        self.errors_pct: list[float] = []
        self._step_s = step_s
        self._before = deque(recent)
        self._after: list[tuple[float, float]] = []
        self._others_watts: float | None = None
        self._is_closed = False

    def weigh(self, boot_s: float, watts: float, others_watts: float) -> None:
        """Take in the draw of a moment, in order.

        Args:
            others_watts: what all but this event let the rack draw.
        """
        record = self.record
        level_watts = record.level_watts(boot_s)
        if boot_s < record.start_boot_s:
            self._before.append((boot_s, watts))
            while self._before[0][0] < boot_s - BEFORE_S:
                self._before.popleft()
            return
        if level_watts < math.inf and boot_s >= record.told_boot_s:
            self.overshoot_watt_s += max(0.0, watts - level_watts) * self._step_s
        if self.reached_boot_s is None and watts <= record.first_watts:
            self.reached_boot_s = boot_s
        if record.is_held(boot_s) and level_watts <= others_watts:
            self.errors_pct.append(100 * abs(watts - level_watts) / level_watts)
        if boot_s >= record.end_boot_s:
            self._follow_back(boot_s, watts, others_watts)

    @property
    def time_to_target_s(self) -> float | None:
        """Return the time from the start of the event, its ramp included; None if it was not reached."""
        return None if self.reached_boot_s is None else self.reached_boot_s - self.record.start_boot_s

    @property
    def rebound_watts(self) -> float | None:
        """Return how far the draw after it is above the level before it; None if one of them is unknown."""
        if not self._before or not self._after:
            return None
        return max(0.0, max(watts for _, watts in self._after) - max(watts for _, watts in self._before))

    @property
    def restore_watts_per_s(self) -> float | None:
        """Return the slope of the way back, in the middle of it; None if there was none."""
        if not self._after:
            return None
        low_watts, high_watts = self._after[0][1], max(watts for _, watts in self._after)

        def passed_s(part: float) -> float:
            level_watts = low_watts + part * (high_watts - low_watts)
            return next(boot_s for boot_s, watts in self._after if watts >= level_watts)

        took_s = passed_s(_HIGH_PART) - passed_s(_LOW_PART)
        return (_HIGH_PART - _LOW_PART) * (high_watts - low_watts) / took_s if took_s > 0 else None

    def _follow_back(self, boot_s: float, watts: float, others_watts: float) -> None:
        """Keep what comes after it, until something else changes what the rack may draw."""
        if self._others_watts is None:
            self._others_watts = others_watts
        self._is_closed = self._is_closed or others_watts != self._others_watts
        if not self._is_closed:
            self._after.append((boot_s, watts))
