"""What the host draws that is not GPU: up at once, down slowly, never below what was configured."""

import math
from dataclasses import dataclass

from powerd.core.model import Step
from powerd.core.units import MilliWatts

# Fans and voltage regulators follow a falling load by seconds to minutes: giving their watts away sooner
# would be borrowing from the breaker.
FALL_TIME_CONSTANT_S = 60.0
STALE_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class OverheadSample:
    """One measurement of what the host draws besides its GPUs."""

    mw: MilliWatts
    boot_s: float
    source: str


@dataclass(frozen=True, slots=True)
class Overhead:
    """The smoothed measurement; `sample` is None before the first."""

    sample: OverheadSample | None = None
    smoothed_mw: MilliWatts = 0


def smooth(overhead: Overhead, sample: OverheadSample | None) -> Overhead:
    """Take in a measurement; the same one twice, or None, changes nothing."""
    last = overhead.sample
    if sample is None or (last is not None and sample.boot_s <= last.boot_s):
        return overhead
    mw = max(0, sample.mw)
    if last is None or mw >= overhead.smoothed_mw:
        return Overhead(sample, mw)
    kept = math.exp(-(sample.boot_s - last.boot_s) / FALL_TIME_CONSTANT_S)
    return Overhead(sample, mw + round((overhead.smoothed_mw - mw) * kept))


def overhead_step(overhead: Overhead, configured_mw: MilliWatts | None, now_boot_s: float) -> Step:
    """Return the watts to count: the larger of configured and measured.

    A measurement that has become stale still counts: to forget it would raise the GPUs' budget for lack of
    news. Its age is told.
    """
    configured = Step("host_overhead", configured_mw or 0, "host.overhead_watts")
    sample = overhead.sample
    if sample is None or overhead.smoothed_mw <= configured.mw:
        return configured
    age_s = now_boot_s - sample.boot_s
    note = f"measured {age_s:.0f} s ago" if age_s > STALE_AFTER_S else "measured"
    return Step("host_overhead", overhead.smoothed_mw, sample.source, note)
