"""What daemon and guard say to each other: one JSON object per line over a Unix stream socket.

Request  {"id": 7, "op": "read"}
         {"id": 8, "op": "plan", "token": ..., "number": 1, "end_boot_s": ...,
          "cuts": {uuid: mw}, "raises": {...}, "fallback": {...}}
         {"id": 9, "op": "release", "token": ...}
         {"id": 10, "op": "detach", "token": ..., "reason": "who: why"}
         {"id": 11, "op": "attach", "token": ...}
         {"id": 12, "op": "fallback"}                           answered in any order, by `id`
Reply    {"id": 7, "ok": true, ...}  or  {"id": 7, "ok": false, "error": "one line"}

On connection the guard speaks first: {"id": 0, "ok": true, "token": ..., "protocol": 1}. The token names
the connection: a plan is executed only if its token is the newest connection's, its number is larger than any
before on that connection, and its end has not passed. `detach` gives up the driver until `attach`; both are
answered at once, and `read` tells by "attachment" how far that is. `fallback` fires the dead-man's switch
now; that never raises, so it needs no token.

Both sides are of one version and one host, so records travel as the JSON form of their dataclass.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from powerd.core.model import (
    Capability,
    Constraints,
    GpuReading,
    GpuState,
    Outcome,
    Plan,
    Result,
    Write,
)

PROTOCOL_VERSION: Final = 1
MAX_LINE_BYTES: Final = 256 * 1024
MAX_TEXT_CHARS: Final = 512
MAX_UUID_CHARS: Final = 128
# Enough to count with for ever; what is longer would be told again in errors.
MAX_NUMBER: Final = 2**63 - 1
# Far above any GPU; and what is larger than a float can hold must not get into arithmetic.
MAX_MW: Final = 1_000_000_000

Message: TypeAlias = dict[str, Any]

_FIELDS: Final = {
    record: tuple(field.name for field in dataclasses.fields(record))
    for record in (Constraints, GpuReading, Outcome)
}


def _record(value: object) -> Message:
    # dataclasses.asdict copies deeply, at ten times the cost; the encoder calls this for nested records.
    return {name: getattr(value, name) for name in _FIELDS[type(value)]}  # type: ignore[index]


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_record)


def encode(message: Message) -> bytes:
    """Return one message, records included, as a line."""
    return _ENCODER.encode(message).encode() + b"\n"


def decode(line: bytes | bytearray) -> Message:
    """Return the message of one line.

    Raises:
        ValueError: not UTF-8, not JSON, or not an object.
    """
    try:
        message = json.loads(line.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    return message


def plan_from(message: Mapping[str, Any]) -> Plan:
    """Return the plan of a request, every field checked: the daemon may be of another mind, or compromised.

    Raises:
        ValueError: naming the field.
    """
    return Plan(
        cuts=_writes_from(message, "cuts"),
        raises=_writes_from(message, "raises"),
        fallback=_writes_from(message, "fallback"),
        end_boot_s=_seconds_from(message, "end_boot_s"),
    )


def integer_from(message: Mapping[str, Any], key: str) -> int:
    """Return a field that must be a whole number, of no more digits than it takes to count.

    Raises:
        ValueError: naming the field.
    """
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_NUMBER:
        raise ValueError(f"{key} must be a whole number of up to 64 bits")
    return value


def line_from(message: Mapping[str, Any], key: str) -> str:
    """Return a field that must be one line of text for people: it goes into the log.

    Raises:
        ValueError: naming the field.
    """
    value = message.get(key)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_TEXT_CHARS:
        raise ValueError(f"{key} must be one line of 1 to {MAX_TEXT_CHARS} characters")
    return value


def outcome_from(fields: Mapping[str, Any]) -> Outcome:
    """Return an outcome that `encode` wrote."""
    return Outcome(**{**fields, "result": Result(fields["result"])})


def reading_from(fields: Mapping[str, Any]) -> GpuReading:
    """Return a reading that `encode` wrote."""
    constraints = fields["constraints"]
    return GpuReading(
        **{
            **fields,
            "state": GpuState(fields["state"]),
            "capability": Capability(fields["capability"]),
            "constraints": None if constraints is None else Constraints(**constraints),
        }
    )


def writes_to(writes: Iterable[Write]) -> dict[str, int]:
    """Return writes as they travel: milliwatts by UUID. On the way of every cut, so kept short."""
    return {write.uuid: write.mw for write in writes}


def _seconds_from(message: Mapping[str, Any], key: str) -> float:
    value = message.get(key)
    try:
        seconds = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:  # of an integer with hundreds of digits
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError(f"{key} must be a finite number of seconds")
    return seconds


def _writes_from(message: Mapping[str, Any], key: str) -> tuple[Write, ...]:
    entries = message.get(key, {})
    if not isinstance(entries, dict):
        raise ValueError(f"{key} must be an object of milliwatts by UUID")
    writes = []
    for uuid, mw in entries.items():
        # On the way of every cut, so kept short; a boolean is no int to `type`.
        if type(mw) is not int or not 0 <= mw <= MAX_MW:
            raise ValueError(f"{key} must be whole milliwatts from 0 to {MAX_MW}")
        if len(uuid) > MAX_UUID_CHARS or not uuid.isprintable():
            raise ValueError(f"{key} names a GPU by what is no UUID")
        writes.append(Write(uuid, mw))
    return tuple(writes)
