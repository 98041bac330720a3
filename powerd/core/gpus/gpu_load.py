"""Of the time between two readings of a GPU: its mean draw, and how long its limit held it down."""

from powerd.core.model import EventReason, GpuReading
from powerd.core.units import MilliWatts

# Held down for less of the time than this is not held back at all; for more than that, all the time.
SOME_OF_THE_TIME = 0.05
ALL_THE_TIME = 0.97
# A counter that ran faster than the clock is not in nanoseconds, or was reset: not to be believed.
CREDIBLE_SHARE = 1.5
CREDIBLE_DRAW = 2.0
# Counters of energy move in steps of up to 0.1 s: over less time than this they are too coarse.
LEAST_S_FOR_A_MEAN = 0.5
# At its limit all the time, as far as draw can tell.
NEAR_LIMIT = 0.95
NEAR_LIMIT_BY_THE_BIT = 0.9
# A card that draws less than this cannot be held down by its limit, whatever it reports: idle ones do.
WORKS_AT_LIMIT = 0.8


def mean_mw(energy_mj: int | None, reading: GpuReading, elapsed_s: float) -> MilliWatts:
    """Return the mean draw since the energy counter was read before.

    A sample may show one moment of a load that flickers; it has to do where there is no counter to believe.
    """
    draw = reading.draw_mw or 0
    if energy_mj is None or reading.energy_mj is None or elapsed_s < LEAST_S_FOR_A_MEAN:
        return draw
    mean = (reading.energy_mj - energy_mj) / elapsed_s
    return round(mean) if 0 <= mean <= CREDIBLE_DRAW * max(draw, reading.enforced_mw or 0) else draw


def held_share(capped_ns: int | None, reading: GpuReading, drawn_mw: MilliWatts, elapsed_s: float) -> float:
    """Return for which part of the time, 0..1, the limit held the clocks down; near the limit that is always.

    Args:
        capped_ns: the counter as it was read before.
        drawn_mw: mean draw since then.
    """
    share, part = _counted(capped_ns, reading, elapsed_s), drawn_mw / (reading.enforced_mw or 1)
    if share is None:  # the momentary bit must do
        return float(part >= NEAR_LIMIT_BY_THE_BIT and bool(reading.event_reasons & EventReason.SW_POWER_CAP))
    if share <= SOME_OF_THE_TIME:
        return share
    if part >= NEAR_LIMIT:
        return 1.0
    if share >= ALL_THE_TIME:
        return 1.0 if part >= WORKS_AT_LIMIT else 0.0
    return share


def _counted(capped_ns: int | None, reading: GpuReading, elapsed_s: float) -> float | None:
    if capped_ns is None or reading.capped_ns is None:
        return None
    share = (reading.capped_ns - capped_ns) * 1e-9 / elapsed_s
    return share if 0 <= share <= CREDIBLE_SHARE else None
