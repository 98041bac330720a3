"""The native meter reading (docs/meters.md, Native): what a bridge publishes for one feed of a rack."""

from collections.abc import Iterator

from powerd.core.metering.meter import Quality
from powerd.core.model import Now
from powerd.meters.options import UNITS_MW, NativePart
from powerd.meters.values import Heard, Plausible, reading
from powerd.signals.fields import MAX_SOURCE_CHARACTERS, Fields
from powerd.signals.native import MAX_LABEL_CHARACTERS, VERSION
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import read_message
from powerd.signals.topics import RackTopics


class NativeMeter:
    """Reads one part of the rack.

    Attributes:
        filters: what to listen to.
    """

    def __init__(self, part: NativePart, topics: RackTopics, plausible: Plausible) -> None:
        self.filters: tuple[str, ...] = (topics.meter(part.feed_or_part),)
        self._part = part.part
        self._rack = topics.rack
        self._feed = part.feed_or_part
        self.plausible = plausible

    def read(
        self,
        topic: str,  # noqa: ARG002 - there is but one
        payload: bytes,
        received: Now,
        *,
        retained: bool,
    ) -> Iterator[Heard]:
        """Read one message of the topic; how old one from the broker's store is nobody knows.

        Raises:
            SignalRejectedError: the form is wrong; see `Reason`.
        """
        if retained:
            return
        data = read_message(payload, self._part)
        fields = Fields(data, self._part)
        fields.version(VERSION)
        fields.text("source", MAX_SOURCE_CHARACTERS, min_characters=1)
        self._check_place(fields)
        if fields.has("window_ms"):
            fields.integer("window_ms")
        stamp_s = fields.unix_s("ts")
        quality = _quality(fields)
        is_null = fields.is_null("watts")
        value = None if is_null else data["watts"]
        mw = self.plausible.power_mw(value, UNITS_MW["W"], self._part)
        yield from reading(self._part, mw, quality, stamp_s, received)

    def _check_place(self, fields: Fields) -> None:
        # A bridge that mixes up its racks or feeds would otherwise count one twice.
        for name, mine in (("rack", self._rack), ("feed", self._feed)):
            named = fields.text(name, MAX_LABEL_CHARACTERS)
            if named != mine:
                fields.refuse(Reason.RACK, f'{name} is "{named}", but the topic belongs to "{mine}"')


def _quality(fields: Fields) -> Quality:
    said = fields.text("quality", MAX_LABEL_CHARACTERS)
    try:
        return Quality(said)
    except ValueError:
        fields.refuse(Reason.RANGE, f'quality is "{said}", not good, uncertain or bad')
