"""What came in since the last iteration: bounded, in the order of arrival, taken out once."""

from collections import deque
from dataclasses import dataclass
from typing import TypeVar

from powerd.core.events.grid_event import GridEvent
from powerd.core.leases.host_state import HostState
from powerd.core.metering.meter import MeterAlive, MeterReading
from powerd.core.rack.advisory import AdvisorySignal
from powerd.core.rack.timeline import BudgetMessage

Item = TypeVar("Item")

# More than this at once is a flood: the newest count.
MAX_WAITING = 256


@dataclass(frozen=True, slots=True)
class Heard:
    """What one iteration has to take in."""

    budgets: tuple[BudgetMessage, ...] = ()
    events: tuple[GridEvent, ...] = ()
    states: tuple[HostState, ...] = ()
    meters: tuple[MeterReading | MeterAlive, ...] = ()
    signals: tuple[AdvisorySignal, ...] = ()


class Arrivals:
    """Where messages wait for the next iteration.

    Attributes:
        budgets, events, states, meters, signals: what waits, oldest first; of each kind the newest
            `MAX_WAITING`.
    """

    def __init__(self) -> None:
        self.budgets: deque[BudgetMessage] = deque(maxlen=MAX_WAITING)
        self.events: deque[GridEvent] = deque(maxlen=MAX_WAITING)
        self.states: deque[HostState] = deque(maxlen=MAX_WAITING)
        self.meters: deque[MeterReading | MeterAlive] = deque(maxlen=MAX_WAITING)
        self.signals: deque[AdvisorySignal] = deque(maxlen=MAX_WAITING)

    def take(self) -> Heard:
        """Return, once, what waits."""
        return Heard(
            budgets=_emptied(self.budgets),
            events=_emptied(self.events),
            states=_emptied(self.states),
            meters=_emptied(self.meters),
            signals=_emptied(self.signals),
        )


def _emptied(waiting: deque[Item]) -> tuple[Item, ...]:
    if not waiting:
        return ()
    items = tuple(waiting)
    waiting.clear()
    return items
