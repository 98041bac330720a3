"""Watts at the edges, integer milliwatts inside.

NVML counts in milliwatts, so the core does too: sums are exact and tests need no tolerance.
"""

import math
from typing import TypeAlias

MilliWatts: TypeAlias = int

MW_PER_W = 1000


def milliwatts(watts: float) -> MilliWatts:
    """Convert watts to whole milliwatts, rounded down so that rounding never adds to a budget.

    Raises:
        ValueError: `watts` is not a finite number.
    """
    if not math.isfinite(watts):
        raise ValueError(f"{watts} is not a finite number of watts")
    return math.floor(watts * MW_PER_W)


def watts(mw: MilliWatts) -> float:
    """Convert milliwatts to watts for people, JSON and metrics."""
    return mw / MW_PER_W
