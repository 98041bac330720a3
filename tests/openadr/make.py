"""Events and programs as a VTN would give them, and when the tests take place."""

from typing import Any

from powerd.core.model import Now
from powerd.openadr.event import AdrEvent, read_event
from powerd.openadr.mapping import Context, Mapped, map_event
from powerd.openadr.options import Program
from powerd.signals import rfc3339
from powerd.signals.strict_json import JsonObject

# 2026-11-21T16:55:00Z
START_S = rfc3339.parse("2026-11-21T16:55:00Z")
FIVE = "2026-11-21T17:00:00Z"
NOW = Now(boot_s=1000.0, wall_s=START_S)
KW = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}
EURO = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "PRICE", "units": "KWH", "currency": "EUR"}


def at(time: str) -> float:
    """Return a time of the tests' day."""
    return rfc3339.parse(f"2026-11-21T{time}Z")


def payload(kind: str, *values: object) -> JsonObject:
    return {"type": kind, "values": list(values)}


def interval(number: int, *payloads: JsonObject, **period: str) -> JsonObject:
    return {"id": number, "payloads": list(payloads)} | ({"intervalPeriod": period} if period else {})


def limits(*kilowatts: float) -> list[JsonObject]:
    return [interval(i, payload("IMPORT_CAPACITY_LIMIT", kw)) for i, kw in enumerate(kilowatts)]


def event(event_id: str = "8842", *, modified: str = "16:50:00", **fields: Any) -> JsonObject:
    """Return an event of two half-hours, 800 kW and 650 kW; `fields` replace what it has, None removes."""
    found = {
        "id": event_id,
        "createdDateTime": "2026-11-21T12:00:00Z",
        "modificationDateTime": f"2026-11-21T{modified}Z",
        "objectType": "EVENT",
        "programID": "44",
        "intervalPeriod": {"start": FIVE, "duration": "PT30M"},
        "payloadDescriptors": [KW],
        "intervals": limits(800.0, 650.0),
    } | fields
    return {name: value for name, value in found.items() if value is not None}


def program(program_id: str = "44", name: str = "peak-saver", **fields: Any) -> JsonObject:
    return {
        "id": program_id,
        "createdDateTime": "2026-11-21T12:00:00Z",
        "modificationDateTime": "2026-11-21T12:00:00Z",
        "objectType": "PROGRAM",
        "programName": name,
    } | fields


def read(**fields: Any) -> AdrEvent:
    return read_event(event(**fields))


def mapped(
    rules: Program | None = None, now: Now = NOW, first_seen_s: float = START_S, **fields: Any
) -> Mapped:
    """Return what an event comes to."""
    context = Context("hel1", "vtn1", rules or Program(zone="hel1"), {}, first_seen_s, now)
    return map_event(read(**fields), context)
