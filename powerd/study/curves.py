"""What a board does under a power limit: throughput and draw, as tables with one entry per watt.

A measured curve is made non-decreasing and joined by straight lines; throughput is a part of the curve's own
best. Outside the measured limits the nearest point holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from powerd.core.units import watts
from powerd.simulator.curves import MODELS, non_decreasing
from powerd.study.dataset import DataError, Dataset, Measured

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DEFAULT_MODEL = "A100-SXM"
# What boards draw without work; of others a part of the highest limit.
IDLE_W = {model.name: watts(model.idle_mw) for model in MODELS}
IDLE_PART = 0.15
MAX_CLOCK_MHZ = {"A100-SXM": 1410, "A40": 1740, "V100": 1380}
USUAL_CLOCK_MHZ = 1500


@dataclass(frozen=True, slots=True)
class Board:
    """A GPU model: the limits it accepts, taken to be the lowest and the highest that were measured."""

    model: str
    min_w: float
    max_w: float
    idle_w: float
    max_clock_mhz: int


@dataclass(frozen=True, slots=True)
class Curve:
    """One workload at full load.

    Attributes:
        limits_w, throughputs, draws_w: the points, smoothed; throughput is 1 at the highest limit. A draw
            can be above its limit: some boards cannot go lower.
    """

    name: str
    is_inference: bool
    limits_w: tuple[float, ...]
    throughputs: tuple[float, ...]
    draws_w: tuple[float, ...]


def smoothed(measured: Measured) -> Curve:
    """Return a curve whose throughput and draw never fall when the limit rises."""
    throughputs = non_decreasing([point.throughput for point in measured.points])
    return Curve(
        measured.name,
        measured.is_inference,
        tuple(point.limit_w for point in measured.points),
        tuple(throughput / throughputs[-1] for throughput in throughputs),
        non_decreasing([point.draw_w for point in measured.points]),
    )


def board_and_curves(data: Dataset, model: str = "") -> tuple[Board, tuple[Curve, ...]]:
    """Return a GPU model and the curves measured on it.

    Args:
        model: empty for the A100 where the data has it, and for the first model of the data otherwise.
    """
    measured = data.curves()
    models = list(dict.fromkeys(each.gpu_model for each in measured))
    chosen = model or (DEFAULT_MODEL if DEFAULT_MODEL in models else models[0])
    if chosen not in models:
        known = ", ".join(models)
        raise DataError(f'{data.directory}/power_curves.csv: no curve of "{chosen}"; there are: {known}')
    curves = tuple(smoothed(each) for each in measured if each.gpu_model == chosen)
    max_w = max(curve.limits_w[-1] for curve in curves)
    board = Board(
        model=chosen,
        min_w=min(curve.limits_w[0] for curve in curves),
        max_w=max_w,
        idle_w=IDLE_W.get(chosen, IDLE_PART * max_w),
        max_clock_mhz=MAX_CLOCK_MHZ.get(chosen, USUAL_CLOCK_MHZ),
    )
    return board, curves


class Tables:
    """Throughput and draw of many curves at once, for arrays of limits.

    The last row is a GPU without work: it does nothing, and draws what it draws idle.
    """

    def __init__(self, board: Board, curves: Sequence[Curve]) -> None:
        grid_w = np.arange(int(np.ceil(board.max_w)) + 2, dtype=np.float64)
        self.board = board
        self.throughput = np.array(
            [np.interp(grid_w, curve.limits_w, curve.throughputs) for curve in curves] + [0.0 * grid_w]
        )
        idle_w = np.full_like(grid_w, board.idle_w)
        busy_w = [np.interp(grid_w, curve.limits_w, curve.draws_w) for curve in curves]
        self.draw_w = np.array([*busy_w, idle_w])
        self.natural_w = self.draw_w[:, -1]

    def at(self, jobs: Ints, limits_w: Floats) -> tuple[Floats, Floats]:
        """Return throughput and draw at full load of jobs (rows; -1: none) under limits in watts."""
        below = limits_w.astype(np.int64)
        part = limits_w - below
        throughput = self.throughput[jobs, below] * (1 - part) + self.throughput[jobs, below + 1] * part
        draw_w = self.draw_w[jobs, below] * (1 - part) + self.draw_w[jobs, below + 1] * part
        return throughput, draw_w
