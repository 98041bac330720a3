"""From a number in a payload to a reading: unit, sign, size and age are judged here for all adapters."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from powerd.core.metering.meter import MeterAlive, MeterReading, Quality
from powerd.core.model import Notice, Now, Severity
from powerd.core.units import MW_PER_W, MilliWatts, watts
from powerd.errors import SignalRejectedError
from powerd.signals.fields import MAX_WATTS, UNIT_ERROR_FACTOR, printable
from powerd.signals.reasons import Reason

# What goes on to the controller, and what an adapter makes of a message.
Sample: TypeAlias = MeterReading | MeterAlive
Heard: TypeAlias = Sample | Notice

# A stamp that is further off is told: one of the two clocks is wrong, or messages are held up.
MAX_SKEW_S = 30.0
# The year 5138: what is beyond is in another unit.
MAX_STAMP_S = 1e11


@dataclass(frozen=True, slots=True)
class Plausible:
    """What one part of the rack can draw; anything else is in the wrong unit.

    Attributes:
        hard_limit_mw: of the rack. Ten times of it are too much.
        least_mw: what is less, and not 0, is too little: kilowatts where watts are expected.
    """

    hard_limit_mw: MilliWatts
    least_mw: MilliWatts

    def power_mw(self, value: object, unit_mw: float, part: str) -> MilliWatts | None:
        """Return a power in milliwatts, rounded to the nearest; None if it is null or below zero.

        Args:
            value: as it stands in the payload.
            unit_mw: milliwatts that one of its unit is.

        Raises:
            SignalRejectedError: it is no number, or in the wrong unit.
        """
        if value is None:
            return None
        number = number_of(value, "power", part)
        if number < 0:
            return None
        mw = number * unit_mw
        if mw > UNIT_ERROR_FACTOR * self.hard_limit_mw or mw > MAX_WATTS * MW_PER_W:
            text = f"{number:g} is more than {UNIT_ERROR_FACTOR} times the hard limit: check the unit"
            raise SignalRejectedError(Reason.UNIT_ERROR, text, part)
        if 0 < mw < self.least_mw:
            text = (
                f"{mw / MW_PER_W:g} W is not 0 and less than {watts(self.least_mw):g} W: is it in kW? "
                "If it is right, set signals.meters.least_watts"
            )
            raise SignalRejectedError(Reason.UNIT_ERROR, text, part)
        return round(mw)


def number_of(value: object, name: str, part: str) -> int | float:
    """Return a JSON number.

    Raises:
        SignalRejectedError: it is something else.
    """
    if type(value) is not int and type(value) is not float:  # to isinstance() a boolean is an int
        raise SignalRejectedError(Reason.TYPE, f"{name} is {ascii(value)[:40]}, not a number", part)
    return value


def unix_s(value: object, unit: str, part: str) -> float:
    """Return a stamp that counts from 1970 in "s" or "ms" as Unix seconds.

    Raises:
        SignalRejectedError: it is no number, or no time of this age of the world.
    """
    stamp_s = number_of(value, "time", part) / (1000 if unit == "ms" else 1)
    if not 0 <= stamp_s <= MAX_STAMP_S:
        raise SignalRejectedError(Reason.RANGE, f"time is {value!a:.40}, not {unit} since 1970", part)
    return stamp_s


def reading(
    part: str, mw: MilliWatts | None, quality: Quality, stamp_s: float | None, received: Now
) -> Iterator[Heard]:
    """Make a reading, as old as its stamp says, and a notice if that is far off.

    Where this host's clock is not synchronised, or the stamp lies ahead, the reading counts from its arrival.

    Args:
        mw: None = not known, which no quality makes good.
        stamp_s: Unix seconds of the meter's clock; None if it gave none.
    """
    age_s = 0.0 if stamp_s is None or not received.wall_synced else received.wall_s - stamp_s
    if mw is None and quality is Quality.GOOD:
        quality = Quality.BAD
    known_mw = mw if quality is Quality.GOOD else None
    yield MeterReading(part, known_mw, quality, received.boot_s - max(0.0, age_s))
    if abs(age_s) > MAX_SKEW_S:
        where = "behind" if age_s > 0 else "ahead of"
        text = f"meter {part}: its stamps are {abs(age_s):.0f} s {where} this host's clock"
        yield Notice("meter_clock", Severity.WARNING, text, part)


class Speaker:
    """Lets one topic at a time speak for a part: two would take turns, and neither is the sum.

    Args:
        hold_s: the next one may speak when the last was silent for so long.
    """

    def __init__(self, hold_s: float = 130.0) -> None:
        self._hold_s = hold_s
        self._topic = ""
        self._boot_s = -math.inf

    def check(self, topic: str, part: str, boot_s: float) -> None:
        """Note that a topic speaks.

        Raises:
            SignalRejectedError: another one does.
        """
        if topic != self._topic and boot_s - self._boot_s <= self._hold_s:
            text = f"{printable(self._topic[:80])} already speaks for this part: name one topic, or two parts"
            raise SignalRejectedError(Reason.SOURCE, text, part)
        self._topic, self._boot_s = topic, boot_s


class Pulse:
    """Passes on one sign of life a second, however many there are."""

    def __init__(self, parts: tuple[str, ...], every_s: float = 1.0) -> None:
        self._parts = parts
        self._every_s = every_s
        self._last_boot_s = -math.inf

    def beat(self, boot_s: float) -> Iterator[MeterAlive]:
        """Take a sign of life."""
        if boot_s - self._last_boot_s >= self._every_s:
            self._last_boot_s = boot_s
            yield MeterAlive(self._parts, boot_s)
