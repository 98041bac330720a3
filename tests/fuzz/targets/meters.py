"""Meters of the rack: every adapter, and the places in a payload that a configuration points to."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from powerd.core.metering.meter import MeterAlive, MeterReading, Quality
from powerd.core.model import Notice, Now
from powerd.errors import SignalRejectedError
from powerd.meters.dsx_bms import DsxBms
from powerd.meters.generic import GenericMeter
from powerd.meters.native import NativeMeter
from powerd.meters.options import UNITS_MW, DsxOptions, DsxPart, GenericPart, NativePart
from powerd.meters.pointer import checked_pointer, find
from powerd.meters.values import Heard, Plausible
from powerd.signals.topics import RackTopics
from tests.fuzz.oracle import accepted, check_line, check_mw, fair

HARD_LIMIT_MW = 60_000_000
PLAUSIBLE = Plausible(HARD_LIMIT_MW, 60_000)
NOW = Now(boot_s=1000.0, wall_s=1795280400.5)
BMS = "BMS/v1/PUB"
_POINTS = {b"a": "PowerMeter/ActivePower/hall/a", b"b": "Rack/RackPower/hall/b"}

GENERIC = (
    GenericPart("scalar", "m/scalar"),
    GenericPart("kilowatts", "m/kw", value="/power", unit="kW", time="/t", time_format="s"),
    GenericPart("rows", "m/rows", value="/rows/0/w", unit="W", scale=0.5, time="/t", time_format="ms"),
    GenericPart("stamped", "m/at", value="/w", unit="MW", time="/t", time_format="rfc3339"),
    GenericPart("judged", "m/ok", value="/w", quality="/ok", good=(True, 1, "good", None)),
)


def native_meter(payload: bytes) -> None:
    """A reading is what the JSON says, in this rack and on this feed; what is not good is not known."""
    meter = NativeMeter(NativePart("a"), RackTopics("powerd/v1", "hel1", "r12"), PLAUSIBLE)
    for heard in heard_of(lambda: meter.read("", payload, NOW, retained=False)):
        said = fair(payload)
        assert (said["rack"], said["feed"]) == ("r12", "a")
        check_reading(heard, said["watts"], 1000, is_good=said["quality"] == "good")
    assert not list(meter.read("", payload, NOW, retained=True))


def generic_meter(payload: bytes) -> None:
    """A reading is what stands at the place that was named, in the unit that was named."""
    for part in GENERIC:
        _check_generic(part, payload)


def _check_generic(part: GenericPart, payload: bytes) -> None:
    meter = GenericMeter(part, PLAUSIBLE)
    for heard in heard_of(lambda: meter.read(part.topic, payload, NOW, retained=False)):
        said, is_good = _generically(part, fair(payload.strip()))
        check_reading(heard, said, int(UNITS_MW[part.unit] * part.scale), is_good=is_good)
    assert not list(meter.read(part.topic, payload, NOW, retained=True))


def _generically(part: GenericPart, document: Any) -> tuple[Any, bool]:
    if part.part == "scalar":
        return document, True
    if part.part == "rows":
        return document["rows"][0]["w"], True
    value = document["power" if part.part == "kilowatts" else "w"]
    is_good = part.part != "judged" or document["ok"] in (None, "good") or document["ok"] == 1
    return value, is_good


def bms_points(data: bytes) -> None:
    """A reading is some value that was sent, in the unit that its metadata says; never one without it.

    Each line is a message: `V`, `M` or `H` for value, metadata or heartbeat, the point `a` or `b`, seconds
    that pass before it as one digit, and the payload.
    """
    parts = (DsxPart("a", object_id="id-a"), DsxPart("b", rack_location="r12"))
    meter = DsxBms(parts, DsxOptions(), PLAUSIBLE)
    now = NOW
    said: list[Any] = []
    units: set[int] = set()
    for line in data.split(b"\n")[:64]:
        kind, point, wait, payload = line[:1], _POINTS.get(line[1:2]), line[2:3], line[3:]
        if point is None:
            continue
        now = replace(now, boot_s=now.boot_s + 7 * (wait[0] % 10 if wait else 0))
        topics = {b"V": f"{BMS}/Value/{point}", b"M": f"{BMS}/Metadata/{point}"}
        topic = topics.get(kind, f"{BMS}/Value/System/HeartbeatTimestampBms/x")
        if kind == b"V":
            said += _field(payload, "value")
        if kind == b"M":
            units |= {round(UNITS_MW[unit]) for unit in _field(payload, "engUnit") if _is_unit(unit)}
        for heard in _heard_until_refused(meter, topic, payload, now):
            assert isinstance(heard, MeterReading | MeterAlive | Notice)
            if isinstance(heard, MeterReading) and heard.mw is not None:
                check_form(heard, now)
                assert any(_is_of(heard.mw, value, unit) for value in said for unit in units)


def _heard_until_refused(meter: DsxBms, topic: str, payload: bytes, now: Now) -> list[Heard]:
    return accepted(lambda: list(meter.read(topic, payload, now, retained=False))) or []


def _field(payload: bytes, name: str) -> list[Any]:
    try:
        return [fair(payload)[name]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _is_unit(unit: Any) -> bool:
    return isinstance(unit, str) and unit in UNITS_MW


def _is_of(mw: int, value: Any, unit_mw: int) -> bool:
    return type(value) in (int, Decimal) and abs(Decimal(value) * unit_mw - mw) < 1


def json_pointer(data: bytes) -> None:
    """A pointer leads where RFC 6901 says, or nowhere. First line: the pointer; the rest: the document."""
    text, _, document = data.decode(errors="replace").partition("\n")
    try:
        checked_pointer("value", text)
        tree = fair(document.encode())
    except (ValueError, RecursionError):
        return
    try:
        expected: Any = _walked(tree, text)
    except (LookupError, TypeError, ValueError):
        expected = LookupError
    try:
        assert find(tree, text, "part") is expected
    except SignalRejectedError:
        assert expected is LookupError


def _walked(tree: Any, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(tree, list):
            if not key.isascii() or not key.isdigit() or str(int(key)) != key:
                raise LookupError(key)
            tree = tree[int(key)]
        elif isinstance(tree, dict):
            tree = tree[key]
        else:
            raise LookupError(key)
    return tree


def heard_of(read: Any) -> Iterator[MeterReading]:
    """Yield the readings of a message, if it is not refused."""
    for heard in accepted(lambda: list(read())) or ():
        if isinstance(heard, MeterReading):
            yield heard
        elif isinstance(heard, Notice):
            check_line(heard.text)


def check_reading(reading: MeterReading, said: Any, unit_mw: int, *, is_good: bool) -> None:
    """Prove that a reading is what was said, and known only if it is good and not negative."""
    check_form(reading, NOW)
    if said is None or said < 0 or not is_good:
        assert reading.mw is None
        assert reading.quality is not Quality.GOOD
    else:
        check_mw(reading.mw, said, unit_mw)


def check_form(reading: MeterReading, now: Now) -> None:
    """Prove that a reading is within bounds, and from the past."""
    assert (reading.quality is Quality.GOOD) == (reading.mw is not None)
    assert reading.mw is None or 0 <= reading.mw <= 10 * HARD_LIMIT_MW
    assert -1e12 < reading.taken_boot_s <= now.boot_s
