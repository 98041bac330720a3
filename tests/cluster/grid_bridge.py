"""The grid bridge: publishes grid events, says them again, changes and cancels them."""

from dataclasses import dataclass

from powerd.core.events.grid_event import EventClass, EventRamp, GridEvent, Interval, Level
from powerd.core.model import Now
from powerd.signals.grid_event import encode_event
from tests.cluster.daemon import EPOCH_S, EVENT_TOPICS, RACK
from tests.cluster.network import Broker
from tests.cluster.world import World


@dataclass(frozen=True, slots=True)
class Ask:
    """An event to be published, in seconds of true time.

    Attributes:
        intervals: with times since the world began.
    """

    name: str
    intervals: tuple[Interval, ...]
    ramp: EventRamp


class GridBridge:
    """Publishes events for the rack. Each is its own program, so that of all in force the lowest counts.

    Attributes:
        asks: what it says now, by name; what was cancelled included.
    """

    def __init__(self, world: World, broker: Broker) -> None:
        self.asks: dict[str, Ask] = {}
        self._cancelled: set[str] = set()
        self._world = world
        self._broker = broker
        self._epoch = int(EPOCH_S * 1000)
        self._seq = 0

    def run(self, every_s: float) -> None:
        """Say everything again, now and for ever."""
        for name in self.asks:
            self.say(name)
        self._world.after(every_s, self.run, every_s)

    def ask(self, ask: Ask) -> None:
        """Publish an event, or a change of it; one that was cancelled is in force again."""
        self.asks[ask.name] = ask
        self._cancelled.discard(ask.name)
        self._world.history.note("bridge", f"event {ask.name} {ask.intervals}")
        self.say(ask.name)

    def cancel(self, name: str) -> None:
        """Cancel an event."""
        self._cancelled.add(name)
        self._world.history.note("bridge", f"event {name} cancelled")
        self.say(name)

    def restart(self) -> None:
        """Begin a new epoch."""
        self._epoch += 1_000
        self._seq = 0

    def say(self, name: str) -> None:
        """Publish the state of an event."""
        self._seq += 1
        ask, wall_s = self.asks[name], EPOCH_S + self._world.now_s
        event = GridEvent(
            source="bridge",
            event_id=name,
            epoch=self._epoch,
            seq=self._seq,
            issued_at_s=wall_s,
            event_class=EventClass.MANDATORY,
            level=Level.RACK,
            targets=(RACK,),
            intervals=tuple(_dated(interval) for interval in ask.intervals),
            received=Now(0.0, wall_s),
            is_cancelled=name in self._cancelled,
            ramp=ask.ramp,
            program=name,
        )
        self._broker.send(None, EVENT_TOPICS + name, encode_event(event))


def _dated(interval: Interval) -> Interval:
    end_s = None if interval.end_s is None else interval.end_s + EPOCH_S
    return interval._replace(start_s=interval.start_s + EPOCH_S, end_s=end_s)
