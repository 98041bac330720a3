"""Bytes from the bus to one JSON object, or a refusal. Never a crash, never a guess (docs/signals.md).

`json.loads` alone is too kind: it takes UTF-16, NaN, repeated keys and half surrogate pairs, reads 1e999 as
infinity, and answers deep nesting with RecursionError. So form is checked in order of cost, size first.
"""

import json
import math
import re
from collections import Counter
from typing import NoReturn, TypeAlias

from powerd.errors import SignalRejectedError
from powerd.signals.reasons import Reason

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
# Objects and arrays cost the most to read: 64 KiB of nothing else would take thirty times as long as of text.
MAX_PARTS = 2048

JsonObject: TypeAlias = dict[str, object]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A string that never ends is one too, and nothing is tried twice: else such a payload takes quadratic time.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
# All bytes but those that decide about levels; none of these is part of a longer UTF-8 sequence.
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"\\'))
# Only an integer of more digits than these may be beyond a double, and takes long to read.
_SHORT_NUMBER = 300
_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * (_SHORT_NUMBER + 1)


def read_message(payload: bytes, source: str = "unknown", *, empty: str = "no statement") -> JsonObject:
    """Parse the payload of a message.

    Args:
        source: who sent it, where that is known from elsewhere; refusals are counted for it.
        empty: what an empty payload means, which clears a retained message.

    Raises:
        SignalRejectedError: it is empty, or refused by `loads`.
    """
    if not payload:
        raise SignalRejectedError(Reason.EMPTY, f"payload is empty: {empty}", source)
    try:
        return loads(payload)
    except SignalRejectedError as error:
        raise SignalRejectedError(error.reason, str(error), source) from None


def loads(payload: bytes) -> JsonObject:
    """Parse one payload.

    Raises:
        SignalRejectedError: it is not an object in the strict sense of docs/signals.md, Verdicts.
    """
    if len(payload) > MAX_BYTES:
        _refuse(Reason.TOO_LARGE, f"payload has {len(payload)} bytes, more than {MAX_BYTES}")
    if payload.startswith(_BYTE_ORDER_MARK):
        _refuse(Reason.ENCODING, "payload starts with a byte order mark; send plain UTF-8")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        _refuse(Reason.ENCODING, f"payload is not UTF-8 at byte {error.start}")
    if _too_deep(payload, text):
        _refuse(Reason.TOO_DEEP, f"payload nests deeper than {MAX_DEPTH} levels")
    parts = payload.count(b"{") + payload.count(b"[")
    if parts > MAX_PARTS:
        _refuse(Reason.TOO_LARGE, f"payload has {parts} objects and arrays, more than {MAX_PARTS}")
    try:
        # To look at every integer by itself costs as much as all the rest.
        decoder = _WARY_DECODER if _LONG_NUMBER in payload.translate(_AS_ZEROS) else _DECODER
        parsed = decoder.decode(text)
    except json.JSONDecodeError as error:
        _refuse(Reason.JSON, f"payload is not JSON: {error.msg} at character {error.pos}")
    if not isinstance(parsed, dict):
        _refuse(Reason.NOT_OBJECT, f"payload is a JSON {_json_type(parsed)}, not an object")
    if "\\u" in text and _has_half_surrogate(parsed):
        _refuse(Reason.SURROGATE, "payload holds half of a surrogate pair (\\ud800 to \\udfff)")
    return parsed


def _refuse(reason: Reason, text: str) -> NoReturn:
    raise SignalRejectedError(reason, text)


def _too_deep(payload: bytes, text: str) -> bool:
    """Count levels without recursion; few payloads hold enough brackets to need the count."""
    if payload.count(b"{") + payload.count(b"[") <= MAX_DEPTH or _is_shallow(payload):
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _is_shallow(payload: bytes) -> bool:
    """Say that levels are few, at a fifth of the cost of counting them; False where only counting can tell.

    A string without brackets and escapes leaves nothing but its two quotes, side by side. Each round then
    takes one or two levels away.
    """
    marks = payload.translate(None, _NO_MARKS).replace(b'""', b"")
    for _ in range(MAX_DEPTH // 2):
        marks = marks.replace(b"{}", b"").replace(b"[]", b"")
        if not marks:
            return True
    return False


def _unique(pairs: list[tuple[str, object]]) -> JsonObject:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        _refuse(Reason.DUPLICATE_KEY, f"key {_short(ascii(repeated))} appears more than once")
    return parsed


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse(Reason.NOT_FINITE, f"number {_short(text)} is beyond the range of a double")
    return number


def _finite_int(text: str) -> int:
    # The length is checked before int(): converting digits takes quadratic time.
    if len(text) > _SHORT_NUMBER:
        _finite_float(text)
    return int(text)


def _no_constant(text: str) -> NoReturn:
    _refuse(Reason.NOT_FINITE, f"{text} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite_float, parse_constant=_no_constant)
_WARY_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite_float, parse_int=_finite_int, parse_constant=_no_constant
)


def _has_half_surrogate(parsed: JsonObject) -> bool:
    try:
        json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _json_type(parsed: object) -> str:
    match parsed:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "number"


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:20]}... ({len(text)} characters)"  # noqa: PLR2004 - for people
