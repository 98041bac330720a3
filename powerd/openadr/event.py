"""An event as the VTN gives it: from JSON to record, checked for form.

What is not needed is not read, so that a VTN may add to it. What is read must be right: an event that is
wrong in one place is refused as a whole, and what was known of it stays.
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple, cast

from powerd.errors import SignalRejectedError, shown
from powerd.openadr import durations
from powerd.openadr.durations import Duration
from powerd.signals import rfc3339
from powerd.signals.fields import Fields
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject

MAX_INTERVALS = 1024
_MAX_PAYLOADS = 32
_MAX_TARGETS = 256
_MAX_DESCRIPTORS = 128
_MAX_CHARACTERS = 128
_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}")
# How OpenADR spells "now", or "right after the interval before".
_NOW = re.compile(r"0001-01-01(T00:00:00(\.0+)?(Z|[+-]00:00)?)?")


class Payload(NamedTuple):
    """Values of one type, as they are: numbers, texts, booleans, points."""

    kind: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Period:
    """When an interval is.

    Attributes:
        start_s: Unix seconds; None if it is not said.
        is_now: the start is said to be "now", or right after the interval before.
        duration, randomize: None if not said.
    """

    start_s: float | None = None
    is_now: bool = False
    duration: Duration | None = None
    randomize: Duration | None = None


class AdrInterval(NamedTuple):
    """One interval, with what it says of its own time."""

    period: Period
    payloads: tuple[Payload, ...]


class Descriptor(NamedTuple):
    """What the values of a payload type count."""

    units: str
    currency: str


@dataclass(frozen=True, slots=True)
class AdrEvent:
    """One version of an event.

    Attributes:
        modified_s: its version; the VTN's clock.
        priority: lower goes first; None = after all numbers.
        duration: all its intervals together; longer than their sum repeats them. None if not said.
        descriptors: by payload type.
        reports: the payload types that it asks to be told of, in kilowatts where that has a meaning.
    """

    event_id: str
    program_id: str
    modified_s: float
    priority: int | None
    targets: tuple[str, ...]
    duration: Duration | None
    period: Period | None
    intervals: tuple[AdrInterval, ...]
    descriptors: dict[str, Descriptor]
    reports: tuple[str, ...]

    @property
    def is_cancelled(self) -> bool:
        """Say whether its time was set to nothing, which is how a VTN cancels without deleting."""
        period = self.period
        if period is None or not period.is_now or period.duration is None:
            return False
        return not period.duration


def object_id(data: JsonObject) -> str:
    """Return the identifier of an object of the VTN.

    Raises:
        SignalRejectedError: it has none that can be used.
    """
    fields = Fields(data, "vtn")
    text = fields.text("id", _MAX_CHARACTERS, min_characters=1)
    if not _ID.fullmatch(text):
        fields.refuse(Reason.ID, f"id {shown(text)} is not of letters, digits, _ and -")
    return text


def modified_s(data: JsonObject) -> float:
    """Return when an object was changed last, by the VTN's clock.

    Raises:
        SignalRejectedError: it does not say, or not so.
    """
    return Fields(data, "vtn").unix_s("modificationDateTime")


def read_event(data: JsonObject) -> AdrEvent:
    """Read one event.

    Raises:
        SignalRejectedError: its form is wrong; the text names the field.
    """
    fields = Fields(data, "vtn")
    intervals = fields.each("intervals", MAX_INTERVALS) if _said(fields, "intervals") else []
    return AdrEvent(
        event_id=object_id(data),
        program_id=fields.text("programID", _MAX_CHARACTERS, min_characters=1),
        modified_s=modified_s(data),
        priority=fields.integer("priority") if _said(fields, "priority") else None,
        targets=fields.texts("targets", _MAX_TARGETS, _MAX_CHARACTERS, least=0)
        if _said(fields, "targets")
        else (),
        duration=_duration(fields, "duration"),
        period=_period(fields) if _said(fields, "intervalPeriod") else None,
        intervals=tuple(map(_interval, intervals, _objects(data, "intervals"))),
        descriptors=read_descriptors(data),
        reports=_reports(fields),
    )


def read_descriptors(data: JsonObject) -> dict[str, Descriptor]:
    """Return what the payloads of an event, or of a program, count; by payload type.

    Raises:
        SignalRejectedError: the descriptors have not the form of such.
    """
    fields = Fields(data, "vtn")
    if not _said(fields, "payloadDescriptors"):
        return {}
    return {
        each.text("payloadType", _MAX_CHARACTERS): Descriptor(_text(each, "units"), _text(each, "currency"))
        for each in fields.each("payloadDescriptors", _MAX_DESCRIPTORS)
    }


def number(value: object) -> float:
    """Return a value of a payload as a number.

    Raises:
        SignalRejectedError: it is none, or not a finite one.
    """
    if type(value) not in (int, float):  # to isinstance() a boolean is an int
        raise SignalRejectedError(Reason.TYPE, f"value {ascii(value)[:40]} is not a number", "vtn")
    try:
        found = float(value)  # type: ignore[arg-type]
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise SignalRejectedError(Reason.NOT_FINITE, "a value is beyond the range of a double", "vtn")
    return found


def _said(fields: Fields, name: str) -> bool:
    """Say whether a field has a value; to OpenADR null is the same as no field."""
    return fields.has(name) and not fields.is_null(name)


def _text(fields: Fields, name: str) -> str:
    return fields.text(name, _MAX_CHARACTERS) if _said(fields, name) else ""


def _reports(fields: Fields) -> tuple[str, ...]:
    if not _said(fields, "reportDescriptors"):
        return ()
    asked = fields.each("reportDescriptors", _MAX_DESCRIPTORS)
    in_kilowatts = [each for each in asked if _text(each, "units") in ("", "KW")]
    return tuple(dict.fromkeys(each.text("payloadType", _MAX_CHARACTERS) for each in in_kilowatts))


def _interval(fields: Fields, data: JsonObject) -> AdrInterval:
    period = _period(fields) if _said(fields, "intervalPeriod") else Period()
    payloads = fields.each("payloads", _MAX_PAYLOADS)
    return AdrInterval(period, tuple(map(_payload, payloads, _objects(data, "payloads"))))


def _payload(fields: Fields, data: JsonObject) -> Payload:
    kind = fields.text("type", _MAX_CHARACTERS, min_characters=1)
    values = data.get("values")
    if not isinstance(values, list) or not values:
        fields.refuse(Reason.TYPE, f"values of {kind} are no array, or empty")
    return Payload(kind, tuple(values))


def _objects(data: JsonObject, name: str) -> list[JsonObject]:
    """Return what `Fields.each` has looked through, to reach what `Fields` has no word for."""
    return cast("list[JsonObject]", data.get(name) or [])


def _period(fields: Fields) -> Period:
    period = fields.inner("intervalPeriod")
    start_s, is_now = None, False
    if _said(period, "start"):
        is_now = bool(_NOW.fullmatch(period.text("start", _MAX_CHARACTERS)))
        start_s = None if is_now else _unix_s(period)
    return Period(start_s, is_now, _duration(period, "duration"), _duration(period, "randomizeStart"))


def _unix_s(period: Fields) -> float:
    text = period.text("start", _MAX_CHARACTERS)
    try:
        return rfc3339.parse(text.upper())  # RFC 3339 allows a small t and z
    except ValueError as error:
        period.refuse(Reason.TIME, f"start is {shown(text)}: {error}")


def _duration(fields: Fields, name: str) -> Duration | None:
    if not _said(fields, name):
        return None
    text = fields.text(name, _MAX_CHARACTERS)
    try:
        duration = durations.parse(text)
    except ValueError as error:
        fields.refuse(Reason.TIME, f"{name} is {shown(text)}: {error}")
    if duration.is_negative and name == "duration":
        fields.refuse(Reason.NEGATIVE, f"duration is {text}; an interval cannot end before it starts")
    return duration
