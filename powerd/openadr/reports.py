"""What is told to the VTN: what the site draws, whether it is curtailed, and how much more it could shed.

Everything comes from the racks' own summaries (docs/signals.md). A rack that is not heard makes the sum
unknown, never smaller.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from powerd.signals import rfc3339
from powerd.signals.strict_json import JsonObject

# A summary comes every 5 s.
FRESH_S = 20.0
MAX_RACKS = 1024
_W_PER_KW = 1000.0
DEMAND, READING, STATE, SHED, QUALITY = (
    "DEMAND",
    "READING",
    "OPERATING_STATE",
    "LOAD_SHED_DELTA_AVAILABLE",
    "DATA_QUALITY",
)
# What an event is told of that did not ask.
UNASKED = (DEMAND, STATE, SHED)


class Reading(NamedTuple):
    """How the site stood during a while.

    Attributes:
        start_s: Unix seconds.
        demand_kw: the mean; None if it is not known.
        is_metered: by meters of the racks, not summed from what their hosts say.
        shed_kw: what could be shed at the end of the while; None if not known.
        is_curtailed: an event asks for less.
    """

    start_s: float
    duration_s: float
    demand_kw: float | None
    is_metered: bool
    shed_kw: float | None
    is_curtailed: bool


@dataclass(slots=True)
class _Rack:
    heard_boot_s: float
    shed_watts: float | None = None
    is_metered: bool = True
    draws_watts: list[float | None] = field(default_factory=list)


class Site:
    """Listens to the summaries of the racks.

    Args:
        racks: whose sum is the site; empty = all that are heard.
    """

    def __init__(self, racks: Collection[str] = ()) -> None:
        self._expected = tuple(racks)
        self._racks: dict[str, _Rack] = {}

    def hear(self, rack: str, summary: JsonObject, boot_s: float) -> None:
        """Take in what a rack says of itself."""
        if (self._expected and rack not in self._expected) or len(self._racks) >= MAX_RACKS:
            return
        known = self._racks.setdefault(rack, _Rack(boot_s))
        draw_watts, is_metered = _draw(summary)
        known.heard_boot_s = boot_s
        known.shed_watts = _number(summary.get("shed"), "watts")
        known.is_metered = known.is_metered and is_metered
        known.draws_watts.append(draw_watts)

    def reading(self, start_s: float, duration_s: float, boot_s: float, *, is_curtailed: bool) -> Reading:
        """Return how the site stood since the last reading, and begin anew."""
        racks = [self._racks.get(name) for name in self._expected or tuple(self._racks)]
        live = [rack for rack in racks if rack is not None and boot_s - rack.heard_boot_s <= FRESH_S]
        is_whole = bool(live) and len(live) == len(racks)
        means = [_mean(rack.draws_watts) for rack in live] if is_whole else [None]
        shed = [rack.shed_watts for rack in live] if is_whole else [None]
        is_metered = is_whole and all(rack.is_metered for rack in live)
        for rack in self._racks.values():
            rack.draws_watts.clear()
            rack.is_metered = True
        return Reading(start_s, duration_s, _kilowatts(means), is_metered, _kilowatts(shed), is_curtailed)


def report(
    reading: Reading, *, event_id: str, client: str, resource: str, kinds: Collection[str]
) -> JsonObject | None:
    """Return the report of a reading as it is sent; None if nothing of what is wanted can be told.

    Args:
        kinds: payload types that are wanted.
    """
    period = {"start": rfc3339.utc(reading.start_s), "duration": f"PT{max(1, round(reading.duration_s))}S"}
    told = [kind for kind in _PAYLOADS if kind in kinds]
    intervals = [
        {"id": number, "intervalPeriod": period, "payloads": payloads}
        for number, payloads in enumerate(filter(None, (_PAYLOADS[kind](reading) for kind in told)))
    ]
    if not intervals:
        return None
    return {
        "eventID": event_id,
        "clientName": client,
        "reportName": f"{resource} {period['start']}",
        "payloadDescriptors": [_DESCRIPTORS[kind] for kind in told if kind in _DESCRIPTORS],
        "resources": [{"resourceName": resource, "intervalPeriod": period, "intervals": intervals}],
    }


def _draw(summary: JsonObject) -> tuple[float | None, bool]:
    draw = summary.get("draw")
    if isinstance(draw, dict):
        return _number(draw, "watts"), draw.get("source") == "meter"
    return _number(summary.get("total"), "measured_watts"), False


def _number(table: object, name: str) -> float | None:
    value = table.get(name) if isinstance(table, dict) else None
    return float(value) if type(value) in (int, float) and value >= 0 else None  # type: ignore[operator, arg-type]


def _mean(watts: list[float | None]) -> float | None:
    known = [each for each in watts if each is not None]
    return sum(known) / len(known) if known and len(known) == len(watts) else None


def _kilowatts(watts: Sequence[float | None]) -> float | None:
    known = [each for each in watts if each is not None]
    return round(sum(known) / _W_PER_KW, 3) if len(known) == len(watts) else None


def _payload(kind: str, value: float | str) -> JsonObject:
    return {"type": kind, "values": [value]}


def _demand(kind: str) -> Callable[[Reading], list[JsonObject]]:
    def payloads(reading: Reading) -> list[JsonObject]:
        if reading.demand_kw is None:
            return [_payload(QUALITY, "MISSING")]
        quality = "OK" if reading.is_metered else "ESTIMATED"
        return [_payload(kind, reading.demand_kw), _payload(QUALITY, quality)]

    return payloads


def _state(reading: Reading) -> list[JsonObject]:
    if reading.demand_kw is None and reading.shed_kw is None:
        return [_payload(STATE, "ERROR")]
    return [_payload(STATE, "RUNNING_CURTAILED" if reading.is_curtailed else "NORMAL")]


def _shed(reading: Reading) -> list[JsonObject]:
    return [] if reading.shed_kw is None else [_payload(SHED, reading.shed_kw)]


# Each type has an interval of its own, so that a quality is that of one value.
_PAYLOADS: dict[str, Callable[[Reading], list[JsonObject]]] = {
    DEMAND: _demand(DEMAND),
    READING: _demand(READING),
    STATE: _state,
    SHED: _shed,
}


def _descriptor(kind: str, reading_type: str) -> JsonObject:
    return {
        "objectType": "REPORT_PAYLOAD_DESCRIPTOR",
        "payloadType": kind,
        "readingType": reading_type,
        "units": "KW",
    }


_DESCRIPTORS = {
    DEMAND: _descriptor(DEMAND, "MEAN"),
    READING: _descriptor(READING, "MEAN"),
    SHED: _descriptor(SHED, "FORECAST"),
}
