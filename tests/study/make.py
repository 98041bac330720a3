"""Small racks with curves that can be worked out by hand. Watts as on an imaginary board of 100..400 W."""

from collections.abc import Sequence

import numpy as np

from powerd.study.curves import Board, Curve
from powerd.study.plant import Readings
from powerd.study.racks import NO_JOB, Rack

BOARD = Board("test", min_w=100.0, max_w=400.0, idle_w=60.0, max_clock_mhz=1500)
STEEP = Curve("steep", False, (100.0, 200.0, 400.0), (0.2, 0.8, 1.0), (100.0, 200.0, 400.0))
LINEAR = Curve("linear", False, (100.0, 400.0), (0.1, 1.0), (100.0, 380.0))
FLAT = Curve("flat", True, (100.0, 200.0, 400.0), (0.5, 1.0, 1.0), (100.0, 180.0, 180.0))
ABOVE = Curve("above", False, (100.0, 400.0), (0.5, 1.0), (120.0, 400.0))
CURVES = (STEEP, LINEAR, FLAT, ABOVE)


def rack(
    demand: Sequence[Sequence[float]],
    curves: Sequence[int | None] = (0,),
    *,
    step_s: float = 1.0,
    queues: bool = False,
    group: Sequence[int] | None = None,
) -> Rack:
    """Return a rack from its demand, a row per step; `curves` name each GPU's job, None = none."""
    table = np.array(demand, dtype=np.float64)
    jobs = np.array([NO_JOB if curve is None else curve for curve in curves], dtype=np.int64)
    return Rack(
        name="test",
        board=BOARD,
        curves=CURVES,
        step_s=step_s,
        demand=table,
        job=np.broadcast_to(jobs, table.shape),
        queues=np.full(table.shape[1], queues),
        group=np.arange(table.shape[1]) if group is None else np.array(group),
    )


def seen(
    limits: Sequence[float], draws: Sequence[float], *, time_s: float = 0.0, utilisation: float = 1.0
) -> Readings:
    """Return readings of GPUs that have drawn this much from the start."""
    draw_w, count = np.array(draws, dtype=np.float64), len(draws)
    return Readings(
        time_s=time_s,
        min_w=BOARD.min_w,
        max_w=BOARD.max_w,
        limit_w=np.array(limits, dtype=np.float64),
        draw_w=draw_w,
        energy_j=draw_w * time_s,
        capped_s=np.zeros(count),
        utilisation=np.full(count, utilisation),
        clock_mhz=np.full(count, 1500),
        reasons=np.zeros(count, dtype=np.int64),
    )
