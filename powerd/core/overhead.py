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
    if last is None or sample.mw >= overhead.smoothed_mw:
        return Overhead(sample, max(0, sample.mw))
    kept = math.exp(-(sample.boot_s - last.boot_s) / FALL_TIME_CONSTANT_S)
    return Overhead(sample, sample.mw + round((overhead.smoothed_mw - sample.mw) * kept))


def overhead_step(overhead: Overhead, configured_mw: MilliWatts | None, now_boot_s: float) -> Step:
    """Return the watts to count: the larger of measured and configured; a stale measurement is dropped."""
    configured = Step("host_overhead", configured_mw or 0, "host.overhead_watts")
    sample = overhead.sample
    if sample is None or now_boot_s - sample.boot_s > STALE_AFTER_S:
        return configured
    if overhead.smoothed_mw <= configured.mw:
        return configured
    return Step("host_overhead", overhead.smoothed_mw, sample.source, "measured")
