"""The best split of a budget that there is, from the true curves and the true demand.

A GPU's work under a limit, min(demand, throughput), is taken to its concave hull, and watts go where the hull
is steepest. That is the optimum wherever the curves are concave; elsewhere the one GPU that is left halfway
is the only one that can do less than its hull says, so the sum is at most that much from the optimum.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np

from powerd.study.curves import Board, Curve, Floats, Ints
from powerd.study.racks import NO_JOB

# Demand is rounded up to so many steps, so that a hull can be used again.
DEMAND_STEPS = 500


class Filling:
    """Water-filling for GPUs of one board."""

    def __init__(self, board: Board, curves: tuple[Curve, ...]) -> None:
        self._board = board
        self._curves = curves
        self._hull = lru_cache(maxsize=100_000)(self._hull_of)

    def split(self, job: Ints, demand: Floats, budget_w: float, group: Ints) -> Floats:
        """Return the limits that let the most work be done, in watts; what nobody needs is spread evenly.

        Args:
            group: GPUs with the same number work on one synchronous job, and get one limit.
        """
        _, firsts, of_gpu, sizes = np.unique(
            group, return_index=True, return_inverse=True, return_counts=True
        )
        steps = np.ceil(demand[firsts] * DEMAND_STEPS - 1e-9).astype(np.int64)
        hulls = [self._hull(j, s) for j, s in zip(job[firsts].tolist(), steps.tolist(), strict=True)]
        owners = np.repeat(np.arange(len(firsts)), [len(hull) for hull in hulls])
        limits_w = np.full(len(job), self._board.min_w)
        left_w = budget_w - limits_w.sum()
        if left_w <= 0:
            return limits_w
        if len(owners):
            segments = np.array([segment for hull in hulls for segment in hull])
            order = np.argsort(-segments[:, 0], kind="stable")
            widths_w = segments[order, 1] * sizes[owners[order]]
            given_w = np.clip(left_w - (np.cumsum(widths_w) - widths_w), 0.0, widths_w)
            extra_w = np.bincount(owners[order], weights=given_w, minlength=len(firsts)) / sizes
            limits_w += extra_w[of_gpu]
            left_w -= float(given_w.sum())
        return spread(limits_w, left_w, self._board.max_w)

    def _hull_of(self, job: int, demand_steps: int) -> tuple[tuple[float, float], ...]:
        """Return the segments of the hull above the minimum as (work per watt, watts), the steepest first."""
        if job == NO_JOB or demand_steps <= 0:
            return ()
        points = _needed(self._curves[job], self._board, min(1.0, demand_steps / DEMAND_STEPS))
        hull: list[tuple[float, float]] = []
        for point in points:
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], point):
                hull.pop()
            hull.append(point)
        return tuple((_slope(a, b), b[0] - a[0]) for a, b in pairwise(hull) if b[1] > a[1])


def _needed(curve: Curve, board: Board, demand: float) -> list[tuple[float, float]]:
    """Return the points (limit, work) from the minimum to where the demand is met."""
    first = float(np.interp(board.min_w, curve.limits_w, curve.throughputs))
    points = [(board.min_w, min(demand, first))]
    for limit_w, work in zip(curve.limits_w, curve.throughputs, strict=True):
        last_w, last = points[-1]
        if last >= demand:
            break
        if limit_w <= last_w:
            continue
        if work > demand:
            points.append((last_w + (limit_w - last_w) * (demand - last) / (work - last), demand))
        else:
            points.append((limit_w, work))
    return points


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def filled(lows: Floats, highs: Floats, total: float) -> Floats:
    """Return clip(level, lows, highs) with the level at which it sums up to `total`, if there is one."""
    if lows.sum() >= total:
        return lows
    if highs.sum() <= total:
        return highs
    # The sum is a broken line in the level: find the piece that `total` lies on.
    bends = np.unique(np.concatenate((lows, highs)))
    sums = np.clip(bends[:, None], lows, highs).sum(axis=1)
    return np.asarray(np.clip(np.interp(total, sums, bends), lows, highs))


def spread(limits_w: Floats, extra_w: float, max_w: float) -> Floats:
    """Add watts evenly, nobody above the maximum."""
    if extra_w <= 0:
        return limits_w
    return limits_w + filled(np.zeros_like(limits_w), max_w - limits_w, extra_w)
