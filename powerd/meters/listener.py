"""From topics to readings of the rack's parts: each message goes to the adapters that listen to its topic."""

from collections.abc import Iterator
from typing import Protocol

from powerd.clock import Clock
from powerd.core.model import Notice, Now
from powerd.core.units import MilliWatts
from powerd.meters.dsx_bms import DsxBms
from powerd.meters.generic import GenericMeter
from powerd.meters.native import NativeMeter
from powerd.meters.options import DsxPart, GenericPart, MeterOptions, NativePart
from powerd.meters.values import Heard, Plausible, Sample
from powerd.signals.listener import Hooks, Listener
from powerd.signals.mqtt import matches
from powerd.signals.topics import RackTopics

# Whatever draws something, and not even this fraction of the rack's hard limit, speaks in kilowatts.
LEAST_FRACTION = 1 / 1000


class Adapter(Protocol):
    """What understands one kind of meter.

    Attributes:
        plausible: what one part can draw.
    """

    filters: tuple[str, ...]
    plausible: Plausible

    def read(self, topic: str, payload: bytes, received: Now, *, retained: bool) -> Iterator[Heard]:
        """Read one message.

        Raises:
            SignalRejectedError: it cannot be used.
        """


class MeterListener(Listener[list[Heard]]):
    """Reads all meters of one rack.

    Refusals are counted by part, and as of "dsx-bms" where a message of that bus belongs to none.

    Args:
        topics: of the rack, for native meters.
        hard_limit_mw: of the rack, to tell a wrong unit.
        hooks: `submit` gets readings and signs of life, one by one.

    Attributes:
        filters: what to listen to, and at which QoS: a reading that is lost is soon followed by another.
    """

    def __init__(
        self,
        options: MeterOptions,
        *,
        topics: RackTopics,
        hard_limit_mw: MilliWatts,
        clock: Clock,
        hooks: Hooks[Sample],
    ) -> None:
        super().__init__(Hooks(self._hand_on, hooks.notice, hooks.rejected))
        self._to = hooks
        self._clock = clock
        self._options = options
        self._adapters = _adapters(options, topics, _plausible(options, hard_limit_mw))
        self.filters = {each: 0 for adapter in self._adapters for each in adapter.filters}

    def judge_by(self, hard_limit_mw: MilliWatts) -> None:
        """Tell a wrong unit by another hard limit of the rack from now on."""
        plausible = _plausible(self._options, hard_limit_mw)
        for adapter in self._adapters:
            adapter.plausible = plausible

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        now = self._clock.now()
        for adapter in self._adapters:
            if any(matches(each, topic) for each in adapter.filters):
                self._hear(adapter, topic, payload, now, retained=retained)

    def _hear(self, adapter: Adapter, topic: str, payload: bytes, now: Now, *, retained: bool) -> None:
        self._take(topic, lambda: list(adapter.read(topic, payload, now, retained=retained)))

    def _hand_on(self, heard: list[Heard]) -> None:
        for each in heard:
            if isinstance(each, Notice):
                self._to.notice(each)
            else:
                self._to.submit(each)


def _plausible(options: MeterOptions, hard_limit_mw: MilliWatts) -> Plausible:
    least_mw = int(hard_limit_mw * LEAST_FRACTION) if options.least_mw is None else options.least_mw
    return Plausible(hard_limit_mw, least_mw)


def _adapters(options: MeterOptions, topics: RackTopics, plausible: Plausible) -> list[Adapter]:
    adapters: list[Adapter] = []
    for part in options.parts:
        if isinstance(part, NativePart):
            adapters.append(NativeMeter(part, topics, plausible))
        elif isinstance(part, GenericPart):
            adapters.append(GenericMeter(part, plausible))
    points = tuple(part for part in options.parts if isinstance(part, DsxPart))
    if points:
        adapters.append(DsxBms(points, options.dsx, plausible))
    return adapters
