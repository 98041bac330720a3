"""Meters with a format of their own: a number, or a place in a JSON document (docs/meters.md, Generic)."""

import json
import re
from collections.abc import Iterator

from powerd.core.metering.meter import MeterReading, Quality
from powerd.core.model import Now
from powerd.errors import SignalRejectedError
from powerd.meters.options import UNITS_MW, GenericPart, Scalar
from powerd.meters.pointer import find
from powerd.meters.values import Heard, Plausible, Pulse, Speaker, reading, unix_s
from powerd.signals import rfc3339
from powerd.signals.mqtt import matches
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import read_message

_NUMBER = re.compile(rb"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")


class GenericMeter:
    """Reads one part of the rack.

    Attributes:
        filters: what to listen to.
    """

    def __init__(self, part: GenericPart, plausible: Plausible) -> None:
        self._options = part
        self._part = part.part
        self.plausible = plausible
        self._unit_mw = UNITS_MW[part.unit] * part.scale
        self._speaker = Speaker()
        self._pulse = Pulse((part.part,))
        self._dead = frozenset(text.encode() for text in part.dead)
        self.filters = (part.topic, *([part.liveness_topic] if part.liveness_topic else []))

    def read(self, topic: str, payload: bytes, received: Now, *, retained: bool) -> Iterator[Heard]:
        """Read one message. What the broker had in store is neither a reading nor a sign of life.

        Raises:
            SignalRejectedError: it cannot be used.
        """
        is_liveness = bool(self._options.liveness_topic) and matches(self._options.liveness_topic, topic)
        if is_liveness and payload in self._dead:
            yield MeterReading(self._part, None, Quality.BAD, received.boot_s)
        elif not retained:
            if matches(self._options.topic, topic):
                yield from self._measure(topic, payload, received)
            if is_liveness:
                yield from self._pulse.beat(received.boot_s)

    def _measure(self, topic: str, payload: bytes, received: Now) -> Iterator[Heard]:
        value, quality, stamp_s = self._fields(payload)
        self._speaker.check(topic, self._part, received.boot_s)
        mw = self.plausible.power_mw(value, self._unit_mw, self._part)
        yield from reading(self._part, mw, quality, stamp_s, received)

    def _fields(self, payload: bytes) -> tuple[object, Quality, float | None]:
        options = self._options
        if not options.value:
            return self._scalar(payload), Quality.GOOD, None
        document = read_message(payload, self._part)
        quality, stamp_s = Quality.GOOD, None
        if options.quality:
            said = find(document, options.quality, self._part)
            quality = Quality.GOOD if any(_same(said, good) for good in options.good) else Quality.BAD
        if options.time:
            stamp_s = self._unix_s(find(document, options.time, self._part))
        return find(document, options.value, self._part), quality, stamp_s

    def _scalar(self, payload: bytes) -> object:
        text = payload.strip()
        if not text:
            raise SignalRejectedError(Reason.EMPTY, "payload is empty", self._part)
        if text == b"null":
            return None
        if not _NUMBER.fullmatch(text):
            raise SignalRejectedError(Reason.TYPE, f"payload is {text[:30]!a}, not a number", self._part)
        return json.loads(text)

    def _unix_s(self, stamp: object) -> float:
        if self._options.time_format != "rfc3339":
            return unix_s(stamp, self._options.time_format, self._part)
        if not isinstance(stamp, str):
            raise SignalRejectedError(Reason.TYPE, f"time is {ascii(stamp)[:40]}, not a string", self._part)
        try:
            return rfc3339.parse(stamp)
        except ValueError as error:
            raise SignalRejectedError(
                Reason.TIME, f"time is {ascii(stamp)[:40]}: {error}", self._part
            ) from None


def _same(said: object, good: Scalar) -> bool:
    """Compare as JSON does: true is not 1, and 1.0 is."""
    return said == good and isinstance(said, bool) == isinstance(good, bool)
