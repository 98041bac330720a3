"""What the rack's own meters say: readings of its parts, and their sum.

A rack's power is the sum of all its parts (feeds, or taps of a distribution unit). A part that is missing
makes the sum unknown, never smaller.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from powerd.core.units import MilliWatts


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
        mw: None if the meter gives no number, or one that is not `GOOD`.
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
            while its last sign of life is not older than `alive_s`.
        max_trim_pct: the budget is trimmed by this much of the hard limit at most.
    """

    parts: tuple[str, ...] = ()
    fresh_s: float = 5.0
    alive_s: float = 30.0
    value_s: float = 130.0
    max_trim_pct: float = 20.0


@dataclass(frozen=True, slots=True)
class Meter:
    """What is known of the rack's meters.

    Attributes:
        readings: the last one of each part.
        alive_boot_s: the last sign of life of each part's publisher.
        trim_mw: what the rack draws beyond what its hosts account for, smoothed; never negative.
        trimmed_boot_s: when `trim_mw` was worked out last.
    """

    readings: dict[str, MeterReading] = field(default_factory=dict)
    alive_boot_s: dict[str, float] = field(default_factory=dict)
    trim_mw: MilliWatts = 0
    trimmed_boot_s: float | None = None


@dataclass(frozen=True, slots=True)
class RackDraw:
    """What the whole rack draws.

    Attributes:
        mw: None if it is not known.
        source: "meter", or "hosts": the sum of what the hosts say of themselves, and the rack's configured
            overhead; empty if it is not known.
    """

    mw: MilliWatts | None
    source: str


# How fast the trim follows what the meter shows: up soon, down slowly.
TRIM_UP_S = 10.0
TRIM_DOWN_S = 120.0


def hear(meter: Meter, heard: tuple[MeterReading | MeterAlive, ...], rules: MeterRules) -> Meter:
    """Take in what meters say, in the order of arrival."""
    readings, alive = dict(meter.readings), dict(meter.alive_boot_s)
    for each in heard:
        if isinstance(each, MeterAlive):
            alive.update((part, each.boot_s) for part in each.parts if part in rules.parts)
        elif each.part in rules.parts:
            readings[each.part] = each
    return replace(meter, readings=readings, alive_boot_s=alive)


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

    First-order: the distance shrinks by 1/e in `TRIM_UP_S` upwards, `TRIM_DOWN_S` downwards. While either is
    not known the trim stays: lack of news never raises what hosts may draw.

    Args:
        accounted_mw: what the hosts say that they draw, and the rack's configured overhead.
    """
    before_boot_s = boot_s if meter.trimmed_boot_s is None else meter.trimmed_boot_s
    meter = replace(meter, trimmed_boot_s=boot_s)
    if metered_mw is None or accounted_mw is None:
        return meter
    most_mw = int(hard_limit_mw * rules.max_trim_pct / 100)
    aim_mw = min(max(0, metered_mw - accounted_mw), most_mw)
    constant_s = TRIM_UP_S if aim_mw > meter.trim_mw else TRIM_DOWN_S
    part = min(1.0, max(0.0, boot_s - before_boot_s) / constant_s)
    return replace(meter, trim_mw=meter.trim_mw + round((aim_mw - meter.trim_mw) * part))


def _counts(meter: Meter, part: str, rules: MeterRules, boot_s: float) -> bool:
    reading = meter.readings.get(part)
    if reading is None or reading.mw is None or reading.quality is not Quality.GOOD:
        return False
    age_s = boot_s - reading.taken_boot_s
    if age_s <= rules.fresh_s:
        return True
    alive_boot_s = meter.alive_boot_s.get(part)
    return age_s <= rules.value_s and alive_boot_s is not None and boot_s - alive_boot_s <= rules.alive_s
