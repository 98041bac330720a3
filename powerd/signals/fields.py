"""Typed access to the fields of one received object. Every refusal names the field and what it should be.

The rules are those of JSON Schema 2020-12, since the schemas in `schemas/` are what others validate with:
a boolean is no number, and 3.0 is an integer.
"""

from enum import StrEnum
from typing import NoReturn, TypeVar, cast

from powerd.core.units import MW_PER_W, MilliWatts, milliwatts
from powerd.errors import SignalRejectedError, shown
from powerd.errors import printable as printable  # noqa: PLC0414 - by this name for all who read messages
from powerd.signals import rfc3339
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject

# Largest value of an integer field: a signed 64-bit integer holds it everywhere it is stored.
MAX_INTEGER = 2**63 - 1
# Largest value of a watts field: 10 MW is more than a rack can be.
MAX_WATTS = 10_000_000
# Largest value of one that is about a whole site, or a feed of many racks: 10 GW is more than any site.
MAX_SITE_WATTS = 10_000_000_000
MAX_SOURCE_CHARACTERS = 64
# Above this multiple of the hard limit the sender mistook its unit (docs/signals.md, Verdicts).
UNIT_ERROR_FACTOR = 10

Choice = TypeVar("Choice", bound=StrEnum)


class Fields:
    """Reads one object.

    Args:
        source: who sent it, where that is known from elsewhere; empty = the object tells.
        at: where the object stands in the message, as a prefix of its fields' names.

    Attributes:
        source: who sent it, as far as that is known; "unknown" otherwise.
    """

    __slots__ = ("_at", "_data", "source")

    def __init__(self, data: JsonObject, source: str = "", at: str = "") -> None:
        self._data = data
        self._at = at
        self.source = source or _source_of(data)

    def refuse(self, reason: Reason, text: str) -> NoReturn:
        """Refuse the object.

        Raises:
            SignalRejectedError: always.
        """
        raise SignalRejectedError(reason, f"{self._at}{text}", self.source)

    def has(self, name: str) -> bool:
        """Return whether the field is there, null or not."""
        return name in self._data

    def is_null(self, name: str) -> bool:
        """Return whether a required field is null.

        Raises:
            SignalRejectedError: it is missing.
        """
        return self._required(name) is None

    def version(self, supported: int) -> None:
        """Check the major version of the format.

        Raises:
            SignalRejectedError: it is another one.
        """
        version = self._required("v")
        if isinstance(version, bool) or version != supported:
            self.refuse(Reason.VERSION, f"v is {shown(version)}; this powerd reads v {supported}")

    def text(self, name: str, max_characters: int, *, min_characters: int = 0) -> str:
        """Return a string of limited length, fit to be printed.

        Raises:
            SignalRejectedError: it is missing, not a string, too short or too long.
        """
        value = self._required(name)
        if not isinstance(value, str):
            self.refuse(Reason.TYPE, f"{name} is {shown(value)}, not a string")
        if not min_characters <= len(value) <= max_characters:
            self.refuse(
                Reason.LENGTH,
                f"{name} has {len(value)} characters, not {min_characters} to {max_characters}",
            )
        return printable(value)

    def optional_text(self, name: str, max_characters: int) -> str:
        """Return a string of limited length, as `text`; empty if it is missing.

        Raises:
            SignalRejectedError: it is not a string, or too long.
        """
        return self.text(name, max_characters) if name in self._data else ""

    def texts(self, name: str, most: int, max_characters: int, *, least: int = 1) -> tuple[str, ...]:
        """Return an array of `least` to `most` strings of 1 to `max_characters`, each of them once.

        Raises:
            SignalRejectedError: it is missing, not an array, too short or too long, or holds other things.
        """
        items = self._array(name, least, most)
        each = (Fields({name: item}, self.source, self._at) for item in items)
        return tuple(dict.fromkeys(one.text(name, max_characters, min_characters=1) for one in each))

    def choice(self, name: str, of: type[Choice], reason: Reason) -> Choice:
        """Return the member of an enumeration.

        Args:
            reason: of the refusal of a string that is none of them.

        Raises:
            SignalRejectedError: it is missing, not a string, or none of them.
        """
        value = self._required(name)
        if not isinstance(value, str):
            self.refuse(Reason.TYPE, f"{name} is {shown(value)}, not a string")
        try:
            return of(value)
        except ValueError:
            self.refuse(reason, f"{name} is {shown(value)}, not one of {', '.join(of)}")

    def integer(self, name: str) -> int:
        """Return an integer from 0 to `MAX_INTEGER`.

        Raises:
            SignalRejectedError: it is missing, not an integer, or out of range.
        """
        value = self._number(name)
        if isinstance(value, float) and not value.is_integer():
            self.refuse(Reason.TYPE, f"{name} is {shown(value)}, not an integer")
        if not 0 <= value <= MAX_INTEGER:
            self.refuse(Reason.RANGE, f"{name} is {shown(value)}, not between 0 and {MAX_INTEGER}")
        return int(value)

    def power_mw(self, name: str, hard_limit_mw: MilliWatts) -> MilliWatts:
        """Return a number of watts in milliwatts, rounded down.

        Args:
            name: the field.
            hard_limit_mw: what the unit is judged by. More than it is not refused here, ten times it is.

        Raises:
            SignalRejectedError: it is missing, not a number, negative or in the wrong unit.
        """
        return milliwatts(self._power_watts(name, hard_limit_mw))

    def nearest_mw(self, name: str, hard_limit_mw: MilliWatts | None) -> MilliWatts:
        """Return a number of watts in milliwatts, as `power_mw`, but rounded to the nearest.

        So milliwatts that were written as watts come back exactly: 1.001 W is a little less as a double.

        Args:
            name: the field.
            hard_limit_mw: None = it is about more than a rack, so that only `MAX_SITE_WATTS` bounds it.

        Raises:
            SignalRejectedError: it is missing, not a number, negative or in the wrong unit.
        """
        return round(self._power_watts(name, hard_limit_mw) * MW_PER_W)

    def seconds(self, name: str, longest_s: float) -> float:
        """Return a duration from 0 to `longest_s`.

        Raises:
            SignalRejectedError: it is missing, not a number, or out of range.
        """
        return self.number(name, 0, longest_s)

    def number(self, name: str, least: float, most: float) -> float:
        """Return a number from `least` to `most`.

        Raises:
            SignalRejectedError: it is missing, not a number, or out of range.
        """
        value = self._number(name)
        if not least <= value <= most:
            self.refuse(Reason.RANGE, f"{name} is {shown(value)}, not between {least:g} and {most:g}")
        return float(value)

    def boolean(self, name: str) -> bool:
        """Return true or false.

        Raises:
            SignalRejectedError: it is missing, or neither.
        """
        value = self._required(name)
        if not isinstance(value, bool):
            self.refuse(Reason.TYPE, f"{name} is {shown(value)}, not true or false")
        return value

    def inner(self, name: str) -> "Fields":
        """Return an object within this one.

        Raises:
            SignalRejectedError: it is missing, or not an object.
        """
        return self._inner(name, self._required(name), f"{self._at}{name}.")

    def each(self, name: str, most: int, *, least: int = 0) -> list["Fields"]:
        """Return an array of objects.

        Raises:
            SignalRejectedError: it is missing, not an array, has less than `least` or more than `most` items,
                or other ones.
        """
        at = f"{self._at}{name}."
        return [self._inner(name, item, at) for item in self._array(name, least, most)]

    def unix_s(self, name: str) -> float:
        """Return a time stamp in Unix seconds.

        Raises:
            SignalRejectedError: it is missing, not a string, or not RFC 3339 with an offset.
        """
        value = self._required(name)
        if not isinstance(value, str):
            self.refuse(Reason.TYPE, f"{name} is {shown(value)}, not a string")
        try:
            return rfc3339.parse(value)
        except ValueError as error:
            self.refuse(Reason.TIME, f"{name} is {shown(value)}: {error}")

    def _inner(self, name: str, value: object, at: str) -> "Fields":
        if not isinstance(value, dict):
            self.refuse(Reason.TYPE, f"{name} holds {shown(value)}, not an object")
        return Fields(value, self.source, at)

    def _array(self, name: str, least: int, most: int) -> list[object]:
        items = self._required(name)
        if not isinstance(items, list):
            self.refuse(Reason.TYPE, f"{name} is {shown(items)}, not an array")
        if len(items) > most:
            self.refuse(Reason.LENGTH, f"{name} has {len(items)} items, more than {most}")
        if len(items) < least:
            self.refuse(Reason.LENGTH, f"{name} has {len(items)} items, less than {least}")
        return items

    def _power_watts(self, name: str, hard_limit_mw: MilliWatts | None) -> int | float:
        watts = self._number(name)
        if watts < 0:
            self.refuse(Reason.NEGATIVE, f"{name} is {shown(watts)}; power cannot be negative")
        if hard_limit_mw is None:
            if watts > MAX_SITE_WATTS:
                text = f"{name} is {shown(watts)}, more than {MAX_SITE_WATTS}: is it in watts?"
                self.refuse(Reason.UNIT_ERROR, text)
            return watts
        if watts > MAX_WATTS or watts * MW_PER_W >= UNIT_ERROR_FACTOR * hard_limit_mw + 1:
            self.refuse(
                Reason.UNIT_ERROR,
                f"{name} is {shown(watts)}, more than {UNIT_ERROR_FACTOR} times the hard limit of "
                f"{hard_limit_mw / 1000:g}: is it in watts?",
            )
        return watts

    def _required(self, name: str) -> object:
        try:
            return self._data[name]
        except KeyError:
            self.refuse(Reason.MISSING, f"{name} is missing")

    def _number(self, name: str) -> int | float:
        value = self._data.get(name)
        if type(value) is not int and type(value) is not float:  # to isinstance() a boolean is an int
            self.refuse(Reason.TYPE, f"{name} is {shown(self._required(name))}, not a number")
        return value


def _source_of(data: JsonObject) -> str:
    source = data.get("source")
    is_known = isinstance(source, str) and 0 < len(source) <= MAX_SOURCE_CHARACTERS
    return printable(cast("str", source)) if is_known else "unknown"
