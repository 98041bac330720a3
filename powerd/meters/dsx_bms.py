"""Points of a DSX BMS bus: RackPower of a rack, or ActivePower of its taps (docs/meters.md, DSX BMS).

A value says neither whose it is nor its unit: the metadata of the same point does. Values come on change and
every 100 s, so what tells that one still holds is the heartbeat of the BMS; where none was ever heard, any
message of it.
"""

from collections.abc import Iterator

from powerd.core.metering.meter import Quality
from powerd.core.model import Notice, Now, Severity
from powerd.errors import SignalRejectedError
from powerd.meters.options import UNITS_MW, DsxOptions, DsxPart
from powerd.meters.values import Heard, Plausible, Pulse, Speaker, number_of, reading, unix_s
from powerd.signals.mqtt import matches
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject, read_message

GOOD_QUALITY = 1
# Metadata is retained and said again every 100 s: what did not come in this time does not come.
METADATA_WAIT_S = 130.0
# Points that are remembered: some for each part, should a BMS move them.
MAX_POINTS = 64
# Whom refusals of messages are counted for that belong to no part.
SOURCE = "dsx-bms"


class DsxBms:
    """Reads all parts of the rack that are points of the bus.

    Attributes:
        filters: what to listen to.
    """

    def __init__(self, parts: tuple[DsxPart, ...], options: DsxOptions, plausible: Plausible) -> None:
        self._options = options
        self.plausible = plausible
        self._parts = parts
        self._value = f"{options.prefix}/Value/"
        self._metadata = f"{options.prefix}/Metadata/"
        self._heartbeat = f"{self._value}System/HeartbeatTimestampBms/{options.heartbeat}"
        points = [part.point_filter for part in parts]
        self.filters = (
            *(f"{self._value}{point}" for point in points),
            *(f"{self._metadata}{point}" for point in points),
            self._heartbeat,
        )
        self._pulse = Pulse(tuple(part.part for part in parts))
        self._last_heartbeat: int | float | None = None
        # By point: whose it is, from the metadata or the configuration, and milliwatts per unit.
        self._whose: dict[str, str] = {p.point: p.part for p in parts if not _is_found_by_metadata(p)}
        self._units_mw: dict[str, float] = {}
        self._waiting: dict[str, tuple[bytes, Now]] = {}
        self._speakers = {part.part: Speaker() for part in parts}
        self._first_boot_s: float | None = None
        self._told: set[str] = set()

    def read(self, topic: str, payload: bytes, received: Now, *, retained: bool) -> Iterator[Heard]:
        """Read one message of the bus. From the broker's store only metadata counts.

        Raises:
            SignalRejectedError: it cannot be used.
        """
        if matches(self._heartbeat, topic):
            yield from self._beat(payload, received, retained=retained)
        elif topic.startswith(self._metadata):
            yield from self._describe(topic.removeprefix(self._metadata), payload)
            yield from self._other_sign_of_life(received, retained=retained)
        elif not retained:
            yield from self._measure(topic.removeprefix(self._value), payload, received)
            yield from self._other_sign_of_life(received, retained=retained)
        yield from self._missing_metadata(received.boot_s)

    def _beat(self, payload: bytes, received: Now, *, retained: bool) -> Iterator[Heard]:
        data = read_message(payload, SOURCE)
        said = number_of(_required(data, "value", SOURCE), "value", SOURCE)
        if retained or _required(data, "quality", SOURCE) != GOOD_QUALITY:
            return
        # A gateway that repeats the last heartbeat of a BMS that is gone is no sign of life.
        if said != self._last_heartbeat:
            self._last_heartbeat = said
            yield from self._pulse.beat(received.boot_s)

    def _other_sign_of_life(self, received: Now, *, retained: bool) -> Iterator[Heard]:
        if self._last_heartbeat is None and not retained:
            yield from self._pulse.beat(received.boot_s)

    def _describe(self, point: str, payload: bytes) -> Iterator[Heard]:
        whose = self._whose.get(point)
        data = read_message(payload, whose or SOURCE)
        whose = whose or self._owner(point, data)
        if whose is None:
            return
        unit = _required(data, "engUnit", whose)
        if not isinstance(unit, str) or unit not in UNITS_MW:
            text = f"engUnit is {ascii(unit)[:40]}, not W, kW or MW"
            raise SignalRejectedError(Reason.UNIT_ERROR, text, whose)
        if point not in self._whose and len(self._whose) >= MAX_POINTS:
            raise SignalRejectedError(
                Reason.SOURCE, "too many points say that they are one of the parts", whose
            )
        self._whose[point], self._units_mw[point] = whose, UNITS_MW[unit]
        if point in self._waiting:
            yield from self._measure(point, *self._waiting.pop(point))

    def _owner(self, point: str, data: JsonObject) -> str | None:
        for part in self._parts:
            if not _is_found_by_metadata(part) or not matches(part.point_filter, point):
                continue
            racks = (data.get("rackLocationId"), data.get("rackLocationName"))
            if part.rack_location in racks if part.rack_location else part.object_id == data.get("objectId"):
                return part.part
        return None

    def _measure(self, point: str, payload: bytes, received: Now) -> Iterator[Heard]:
        part = self._whose.get(point)
        if part is None:
            return
        if point not in self._units_mw:
            self._waiting[point] = (payload, received)
            return
        data = read_message(payload, part)
        self._speakers[part].check(point, part, received.boot_s)
        quality = number_of(_required(data, "quality", part), "quality", part)
        stamp_s = unix_s(_required(data, "timestamp", part), "ms", part)
        value = _required(data, "value", part)
        yield from reading(
            part,
            self.plausible.power_mw(value, self._units_mw[point], part),
            Quality.GOOD if quality == GOOD_QUALITY else Quality.BAD,
            stamp_s if self._options.use_timestamps else None,
            received,
        )

    def _missing_metadata(self, boot_s: float) -> Iterator[Heard]:
        if self._first_boot_s is None:
            self._first_boot_s = boot_s
        if boot_s - self._first_boot_s < METADATA_WAIT_S:
            return
        known = {self._whose[point] for point in self._units_mw}
        for part in self._parts:
            if part.part not in known and part.part not in self._told:
                self._told.add(part.part)
                what = part.object_id or part.rack_location or part.point
                text = f'meter {part.part}: no metadata for "{what}" came, so its unit is not known'
                yield Notice("meter_without_metadata", Severity.WARNING, text, part.part)


def _is_found_by_metadata(part: DsxPart) -> bool:
    return bool(part.object_id or part.rack_location)


def _required(data: JsonObject, name: str, part: str) -> object:
    if name not in data:
        raise SignalRejectedError(Reason.MISSING, f"{name} is missing", part)
    return data[name]
