"""Pouring an amount into vessels, to one level.

The sum is exact as far as the units of the vessels allow.
"""

from collections.abc import Sequence
from operator import itemgetter

# Weights are added up in whole parts: taking away a large one leaves no rounding error with the small.
WEIGHT_PARTS = 1 << 64
# The level stays this far below what doubles make of it: amounts never add up to more than there is.
BELOW = 1 - 2.0**-44
_HEIGHT = itemgetter(0)


def fill(total: int, vessels: Sequence[tuple[int, int, float, int]]) -> list[int]:
    """Pour `total` into vessels given as (low, high, weight, unit), low <= high.

    Each gets clamp(weight * level, low, high), in multiples of its unit; low and high are multiples.
    The sum is min(max(total, sum of lows), sum of highs) as far as the units allow.
    """
    if total >= sum([high for _, high, _, _ in vessels]):
        return [high for _, high, _, _ in vessels]
    level = _level(total, vessels)
    amounts = []
    for low, high, weight, unit in vessels:
        amount = int(weight * level)
        if amount <= low:
            amount = low
        elif amount >= high:
            amount = high
        else:
            amount -= amount % unit
        amounts.append(amount)
    _hand_out(total - sum(amounts), amounts, vessels)
    return amounts


def _level(total: int, vessels: Sequence[tuple[int, int, float, int]]) -> float:
    """Find the level by sweeping the heights at which a vessel starts or stops taking water."""
    bends = []
    reached = 0.0
    for low, high, weight, _ in vessels:
        reached += low
        if high > low:
            parts = int(weight * WEIGHT_PARTS)
            bends.append((low / weight, parts))
            bends.append((high / weight, -parts))
    bends.sort(key=_HEIGHT)
    height, slope = 0.0, 0
    for at, parts in bends:
        full = reached + (at - height) * slope / WEIGHT_PARTS
        if full >= total and slope > 0:
            return (height + (total - reached) * WEIGHT_PARTS / slope) * BELOW
        reached = full
        height = at
        slope += parts
    return height * BELOW


def _hand_out(rest: int, amounts: list[int], vessels: Sequence[tuple[int, int, float, int]]) -> None:
    """Give out the few units that rounding down left over, in the order of the vessels."""
    moved = True
    while rest > 0 and moved:
        moved = False
        for i, (_, high, _, unit) in enumerate(vessels):
            if unit <= rest and amounts[i] + unit <= high:
                amounts[i] += unit
                rest -= unit
                moved = True
