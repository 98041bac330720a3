"""What the rack's own meters say: readings of its parts, and their sum.

A rack's power is the sum of all its parts (feeds, or taps of a distribution unit). A part that is missing
makes the sum unknown, never smaller.
"""

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from powerd.core.units import MW_PER_W, MilliWatts


class Quality(StrEnum):
    """What the meter itself says of a reading."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class MeterReading:
    """One reading of one part.

    Attributes:
        part: as in `MeterRules.parts`.
        mw: None if the meter gives no number; one below zero counts as none.
        taken_boot_s: when it was taken, as far as that is known: never later than when it arrived.
    """

    part: str
    mw: MilliWatts | None
    quality: Quality
    taken_boot_s: float


@dataclass(frozen=True, slots=True)
class MeterAlive:
    """A sign of life from the publisher of some parts: what it has not said again has not changed.

    Attributes:
        parts: all that it speaks for.
        boot_s: when it arrived.
    """

    parts: tuple[str, ...]
    boot_s: float


@dataclass(frozen=True, slots=True)
class MeterRules:
    """Which parts make up the rack, and how long a reading counts.

    Attributes:
        parts: their sum is the rack's power; empty = the rack has no meter.
        fresh_s: a reading counts this long by itself.
        alive_s, value_s: of a publisher that speaks on change only, a reading counts up to `value_s` long
            while its last sign of life is not older than `alive_s`. After a longer pause it has to say its
            values again: what changed meanwhile was not heard.
        max_trim_pct: the budget is trimmed by this much of the hard limit at most.
    """

    parts: tuple[str, ...] = ()
    fresh_s: float = 5.0
    alive_s: float = 30.0
    value_s: float = 130.0
    max_trim_pct: float = 20.0


class SignsOfLife(NamedTuple):
    """When a publisher was heard, without a pause of more than `alive_s` between."""

    first_boot_s: float
    last_boot_s: float


@dataclass(frozen=True, slots=True)
class Meter:
    """What is known of the rack's meters.

    Attributes:
        readings: the last one of each part.
        alive: signs of life of each part's publisher.
        excess_mw: what the meter shows beyond what hosts account for, smoothed; negative if it shows less.
        held_mw: what of that is taken off the budget.
        trimmed_boot_s: when these were worked out last.
    """

    readings: dict[str, MeterReading] = field(default_factory=dict)
    alive: dict[str, SignsOfLife] = field(default_factory=dict)
    excess_mw: float = 0.0
    held_mw: float = 0.0
    trimmed_boot_s: float | None = None

    @property
    def trim_mw(self) -> MilliWatts:
        """Return what is taken off the budget: never negative, and whole watts, so that it rarely changes."""
        return int(self.held_mw) // MW_PER_W * MW_PER_W


# Meter and hosts are not read at the same moment, so a load that swings makes their difference swing. What
# counts is its mean over this long, of both signs; only then is what lies below zero cut off. The other way
# round, or up faster than down, half of every swing would add to the trim.
EXCESS_S = 30.0
# A trim that goes away raises what hosts may draw, so it does that slowly.
TRIM_DOWN_S = 120.0


def hear(meter: Meter, heard: tuple[MeterReading | MeterAlive, ...], rules: MeterRules) -> Meter:
    """Take in what meters say, in the order of arrival."""
    readings, alive = dict(meter.readings), dict(meter.alive)
    for each in heard:
        if isinstance(each, MeterAlive):
            for part in each.parts:
                if part in rules.parts:
                    alive[part] = _again(alive.get(part), each.boot_s, rules)
        elif each.part in rules.parts:
            readings[each.part] = each
    return replace(meter, readings=readings, alive=alive)


def stale(meter: Meter, rules: MeterRules, boot_s: float) -> tuple[str, ...]:
    """Return the parts of which no usable reading is known."""
    return tuple(part for part in rules.parts if not _counts(meter, part, rules, boot_s))


def total_mw(meter: Meter, rules: MeterRules, boot_s: float) -> MilliWatts | None:
    """Return the rack's power; None without meters, or if one part is not known."""
    if not rules.parts or stale(meter, rules, boot_s):
        return None
    return sum(meter.readings[part].mw or 0 for part in rules.parts)


def trim(
    meter: Meter,
    rules: MeterRules,
    metered_mw: MilliWatts | None,
    accounted_mw: MilliWatts | None,
    hard_limit_mw: MilliWatts,
    boot_s: float,
) -> Meter:
    """Follow what the meter shows beyond what is accounted for.

    First-order, however often this is called: the distance to the mean excess shrinks by 1/e in `EXCESS_S`,
    that of the trim to a lower excess in `TRIM_DOWN_S`. While either side is not known the trim stays: lack
    of news never raises what hosts may draw.

    Args:
        accounted_mw: what the hosts say that they draw, and the rack's configured overhead.
    """
    before_boot_s = boot_s if meter.trimmed_boot_s is None else meter.trimmed_boot_s
    meter = replace(meter, trimmed_boot_s=boot_s)
    if metered_mw is None or accounted_mw is None:
        return meter
    elapsed_s = max(0.0, boot_s - before_boot_s)
    most_mw = int(hard_limit_mw * rules.max_trim_pct / 100)
    shown_mw = min(max(-most_mw, metered_mw - accounted_mw), most_mw)
    excess_mw = _towards(shown_mw, meter.excess_mw, elapsed_s, EXCESS_S)
    aim_mw = max(0.0, excess_mw)
    held_mw = max(aim_mw, _towards(aim_mw, meter.held_mw, elapsed_s, TRIM_DOWN_S))
    return replace(meter, excess_mw=excess_mw, held_mw=held_mw)


def _towards(aim: float, value: float, elapsed_s: float, constant_s: float) -> float:
    return aim + (value - aim) * math.exp(-elapsed_s / constant_s)


def _again(before: SignsOfLife | None, boot_s: float, rules: MeterRules) -> SignsOfLife:
    if before is None or boot_s - before.last_boot_s > rules.alive_s:
        return SignsOfLife(boot_s, boot_s)
    return SignsOfLife(before.first_boot_s, max(before.last_boot_s, boot_s))


def _counts(meter: Meter, part: str, rules: MeterRules, boot_s: float) -> bool:
    reading = meter.readings.get(part)
    if reading is None or reading.quality is not Quality.GOOD or reading.mw is None or reading.mw < 0:
        return False
    age_s = boot_s - reading.taken_boot_s
    return age_s <= rules.fresh_s or (age_s <= rules.value_s and _holds(reading, meter, rules, boot_s))


def _holds(reading: MeterReading, meter: Meter, rules: MeterRules, boot_s: float) -> bool:
    """Return whether its publisher was heard ever since, so that it would have told of a change."""
    alive = meter.alive.get(reading.part)
    if alive is None or boot_s - alive.last_boot_s > rules.alive_s:
        return False
    return alive.first_boot_s - reading.taken_boot_s <= rules.alive_s
