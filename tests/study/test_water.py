"""The oracle against every split there is."""

import numpy as np
import pytest

from powerd.study.curves import Curve, Floats, Tables, board_and_curves
from powerd.study.dataset import Dataset
from powerd.study.water import Filling, filled, spread
from tests.study.make import BOARD, CURVES

STEP_W = 10.0


def work(tables: Tables, job: list[int], demand: list[float], limits_w: Floats) -> float:
    throughput, _ = tables.at(np.array(job), limits_w)
    return float(np.minimum(throughput, demand).sum())


def best(tables: Tables, job: list[int], demand: list[float], budget_w: float) -> float:
    """Try every split in steps of 10 W, all of them at once."""
    board = tables.board
    levels = np.arange(board.min_w, board.max_w + 1, STEP_W)
    splits = np.stack(np.meshgrid(*[levels] * len(job)), axis=-1).reshape(-1, len(job))
    splits = splits[splits.sum(axis=1) <= budget_w + 1e-9]
    throughput, _ = tables.at(np.broadcast_to(job, splits.shape), splits)
    return float(np.minimum(throughput, demand).sum(axis=1).max())


@pytest.mark.parametrize("budget_w", [350.0, 500.0, 640.0, 900.0, 1200.0])
@pytest.mark.parametrize("job", [[0, 1, 2], [0, 0, 1], [2, 3, 1], [0, 1, -1], [-1, -1, -1]])
def test_on_concave_curves_no_split_does_more(job: list[int], budget_w: float) -> None:
    tables, filling = Tables(BOARD, CURVES), Filling(BOARD, CURVES)
    for demand in ([1.0, 1.0, 1.0], [0.3, 1.0, 0.6], [0.0, 0.05, 0.9]):
        limits_w = filling.split(np.array(job), np.array(demand), budget_w, np.arange(3))
        assert limits_w.sum() <= max(budget_w, 300.0) + 1e-6
        assert np.all((limits_w >= BOARD.min_w) & (limits_w <= BOARD.max_w))
        assert work(tables, job, demand, limits_w) >= best(tables, job, demand, budget_w) - 1e-9


@pytest.mark.parametrize("model", ["A100-SXM", "A40", "V100"])
def test_on_measured_curves_it_is_as_near_as_one_dent_of_one_curve(model: str) -> None:
    board, curves = board_and_curves(Dataset(), model)
    tables, filling = Tables(board, curves), Filling(board, curves)
    random = np.random.default_rng(5)
    for _ in range(20):
        job = random.integers(len(curves), size=2).tolist()
        budget_w = 2 * random.uniform(board.min_w, board.max_w)
        limits_w = filling.split(np.array(job), np.ones(2), budget_w, np.arange(2))
        reached, possible = work(tables, job, [1.0, 1.0], limits_w), best(tables, job, [1.0, 1.0], budget_w)
        assert reached >= possible - max(_dent(curves[each]) for each in job) - 1e-9


def _dent(curve: Curve) -> float:
    """Return how far a curve lies below a straight line between two of its points."""
    xs, ys = np.array(curve.limits_w), np.array(curve.throughputs)
    return max(
        float(np.max(np.interp(xs[i : j + 1], xs[[i, j]], ys[[i, j]]) - ys[i : j + 1]))
        for i in range(len(xs))
        for j in range(i + 1, len(xs))
    )


def test_gpus_of_one_job_get_one_limit() -> None:
    filling = Filling(BOARD, CURVES)
    limits_w = filling.split(np.array([1, 1, 0]), np.ones(3), 800.0, np.array([7, 7, 3]))
    assert limits_w[0] == limits_w[1]
    assert limits_w.sum() == pytest.approx(800.0)


def test_a_level_is_found_between_floors_and_ceilings() -> None:
    lows, highs = np.array([10.0, 0.0, 0.0]), np.array([20.0, 5.0, 100.0])
    assert filled(lows, highs, 40.0).tolist() == [17.5, 5.0, 17.5]
    assert filled(lows, highs, 5.0).tolist() == [10.0, 0.0, 0.0]
    assert filled(lows, highs, 500.0).tolist() == [20.0, 5.0, 100.0]
    assert spread(np.array([390.0, 100.0]), 50.0, 400.0).tolist() == [400.0, 140.0]
