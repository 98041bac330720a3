"""Records to JSON and back: dataclasses and named tuples exactly as they are declared.

What is read must have all fields of its record and no others, each of the declared type. So text that was cut
short, changed by hand or made to do harm is refused as a whole.
"""

import json
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from powerd.errors import shown

Record = TypeVar("Record")

# Beyond a signed 64-bit integer no watts, keys or times are real, and arithmetic with them may overflow.
LARGEST = 2**63 - 1
# Of a key, and of the fields that are odd, an error tells so much.
_KEY_CHARACTERS = 64
_NAMED = 3


def dumps(record: object) -> str:
    """Return the JSON of a record: dataclasses as objects, named tuples as arrays."""
    return _ENCODER.encode(record)


def loads(text: str) -> dict[str, object]:
    """Return one JSON object.

    Raises:
        ValueError: it is something else, or a key is there twice.
    """
    try:
        parsed = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return cast("dict[str, object]", _exactly(dict, parsed, "content"))


def read(kind: type[Record], data: object, where: str) -> Record:
    """Return `data`, as `loads` gives it, as the record that it is the JSON of.

    Fields may be records, `str`, `bool`, `StrEnum`, `int` (from 0), `float` (finite), `X | None`,
    `dict[str, X]` and `tuple[X, ...]`.

    Args:
        where: names the place in errors.

    Raises:
        ValueError: it is not, or the record refuses what it is given.
    """
    return cast("Record", _read(kind, data, where))


def _read(kind: object, data: object, where: str) -> object:
    origin, args = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if data is None else _read(args[0], data, where)
    if origin is dict:
        items = cast("dict[str, object]", _exactly(dict, data, where)).items()
        return {key: _read(args[1], item, f"{where}.{_place(key)}") for key, item in items}
    if origin is tuple:
        entries = cast("list[object]", _exactly(list, data, where))
        return tuple(_read(args[0], entry, f"{where}[{i}]") for i, entry in enumerate(entries))
    return _read_plain(cast("type", kind), data, where)


def _place(key: str) -> str:
    """Return a key as an error names it: others may have chosen it."""
    return key if key.isprintable() and len(key) <= _KEY_CHARACTERS else shown(key)


def _read_plain(kind: type, data: object, where: str) -> object:
    if kind in (int, float):
        return _number(kind, data, where)
    if kind in (str, bool):
        return _exactly(kind, data, where)
    if issubclass(kind, StrEnum):
        return _member(kind, data, where)
    return _read_record(kind, data, where)


def _read_record(kind: type, data: object, where: str) -> object:
    hints = _hints(kind)
    if is_dataclass(kind):
        given = cast("dict[str, object]", _exactly(dict, data, where))
    else:
        entries = cast("list[object]", _exactly(list, data, where))
        if len(entries) != len(hints):
            raise ValueError(f"{where} has {len(entries)} entries, not {len(hints)}")
        given = dict(zip(hints, entries, strict=True))
    if given.keys() != hints.keys():
        odd = sorted(shown(name) for name in given.keys() ^ hints.keys())
        more = f" and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
        raise ValueError(f"{where}: missing or unknown: {', '.join(odd[:_NAMED])}{more}")
    return kind(**{name: _read(hint, given[name], f"{where}.{name}") for name, hint in hints.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _exactly(kind: type, data: object, where: str) -> object:
    """Return what is of one type, not of a kindred one: `True` is no number."""
    if type(data) is not kind:
        raise ValueError(f"{where} is {shown(data)}: {kind.__name__} expected")
    return data


def _member(kind: type[StrEnum], data: object, where: str) -> StrEnum:
    text = cast("str", _exactly(str, data, where))
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{where} is {shown(text)}: not a {kind.__name__}") from None


def _number(kind: type[float], data: object, where: str) -> float:
    number = cast("float", data if kind is float and type(data) is int else _exactly(kind, data, where))
    least = -LARGEST if kind is float else 0
    # So written, it also refuses what is not a number; the largest integer is a little more as a double.
    if not (least <= number <= LARGEST and abs(kind(number)) <= LARGEST):
        raise ValueError(f"{where} is {shown(number)}: out of range")
    return kind(number)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        raise ValueError("a key is there twice")
    return parsed


def _fields(record: Any) -> dict[str, object]:  # noqa: ANN401 - whatever `json` does not know
    kind: type = type(record)
    return {name: getattr(record, name) for name in _names(kind)}


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


_ENCODER = json.JSONEncoder(default=_fields, separators=(",", ":"), check_circular=False)
