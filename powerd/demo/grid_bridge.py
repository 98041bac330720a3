"""The grid bridge of the demo: publishes the events of a scenario, as a bridge of a real site would.

Retained, QoS 1, by `powerd.facility.publish_event`. Each is said again and again, which changes nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable
from itertools import cycle

from powerd.clock import Clock
from powerd.core.events.grid_event import EventRamp, GridEvent, Interval, Level
from powerd.core.model import Now
from powerd.demo.event_record import EventRecord
from powerd.demo.rack import DemoRack
from powerd.demo.scenario import CYCLE_S, Call, Scenario
from powerd.errors import BusError
from powerd.facility.publish_event import EventPublisher
from powerd.signals.outbox import Outgoing

_EVERY_S = 1.0


class GridBridge:
    """Follows the scenario.

    Args:
        announced: told of each event just before it is published for the first time.

    Attributes:
        topics: where it has published: what a broker that stays has to forget.
        trouble: why it cannot publish; empty when it can.
    """

    def __init__(
        self, rack: DemoRack, scenario: Scenario, clock: Clock, announced: Callable[[EventRecord], None]
    ) -> None:
        self._rack = rack
        self._scenario = scenario
        self._clock = clock
        self._announced = announced
        self._publisher = EventPublisher(rack.topics, source="demo-grid-bridge", clock=clock)
        self._rounds = 0
        self.topics: set[str] = set()
        self.trouble = ""

    async def run(self, duration_s: float) -> None:
        """Publish what the scenario asks for, again in every round if the duration is 0.

        Raises:
            PublishRefusedError: the broker does not let it publish.
        """
        if not self._scenario.calls:
            return
        await self._round(duration_s or CYCLE_S)
        while not duration_s:
            await self._round(CYCLE_S)

    async def _round(self, duration_s: float) -> None:
        self._rounds += 1
        begun = self._clock.now()
        factor = self._scenario.factor(duration_s)
        events = [self._event(call, begun, factor) for call in self._scenario.calls]
        if not self._scenario.has_notice:
            await asyncio.sleep(min(event.start_s for event in events) - begun.wall_s)
        told = self._clock.now()
        for call in self._scenario.calls:
            self._announced(EventRecord(call, begun.boot_s, told.boot_s, factor, self._rack.nominal_watts))
        self.topics |= {self._rack.topics.grid_event(event.event_id) for event in events}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(begun.boot_s + duration_s - told.boot_s):
                await self._publisher.publish_every(
                    self._rack.bus_options("bridge"),
                    cycle(events).__next__,
                    every_s=_EVERY_S / len(events),
                    on_published=self._published,
                    on_trouble=self._not_published,
                )

    def _event(self, call: Call, begun: Now, factor: float) -> GridEvent:
        ramp = call.ramp
        return GridEvent(
            source="",  # the publisher has its own
            event_id=f"{self._rack.name}-{call.name}-{self._rounds}",
            epoch=0,
            seq=0,
            issued_at_s=begun.wall_s,
            event_class=call.event_class,
            level=Level.RACK,
            targets=(self._rack.name,),
            intervals=tuple(
                Interval(begun.wall_s + ask.start_s / factor, begun.wall_s + ask.end_s / factor, ask.action)
                for ask in call.asks
            ),
            received=begun,
            ramp=EventRamp(ramp.down_s / factor, ramp.up_s / factor, ramp.up_jitter_s / factor),
            program=call.name,
        )

    def _published(self, _message: Outgoing) -> None:
        self.trouble = ""

    def _not_published(self, error: BusError) -> None:
        self.trouble = str(error)
