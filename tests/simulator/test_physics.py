"""The simulated GPUs behave as the measured ones did."""

import pytest

from powerd.errors import ConfigError
from powerd.simulator.curves import Curve, GpuModel, curves_of, model_named, non_decreasing
from powerd.simulator.plant import LAG_S, GpuPlant, target_draw_mw

MODELS = ["A100-SXM", "A40", "V100"]
CASES = [
    pytest.param(model, curve, id=curve.name)
    for model in map(model_named, MODELS)
    for kind in ("training", "inference")
    for curve in curves_of(model, kind)
    if curve.kind == kind
]


@pytest.fixture
def plant() -> GpuPlant:
    """An idle A100 at its default limit."""
    model = model_named("A100-SXM")
    return GpuPlant(model, curves_of(model, "inference")[0], 0.0)


def test_measured_points_are_reproduced() -> None:
    """data/power_curves.csv: 200 W gave this inference service 78 % of its throughput at 194.7 W."""
    (curve,) = curves_of(model_named("A100-SXM"), "inference")
    assert curve.capacity(200_000) == pytest.approx(0.780781)
    assert curve.busy_mw(200_000) == 194_684
    assert curve.capacity(225_000) == pytest.approx((0.780781 + 0.870871) / 2)


@pytest.mark.parametrize(("model", "curve"), CASES)
def test_more_watts_never_mean_less_work_or_less_draw(model: GpuModel, curve: Curve) -> None:
    limits = range(model.min_mw, model.max_mw + 1, 5000)
    for values in ([curve.capacity(limit) for limit in limits], [curve.busy_mw(limit) for limit in limits]):
        assert values == sorted(values)
    assert curve.capacity(model.max_mw) == 1.0
    assert curve.capacity(model.min_mw) > 0


@pytest.mark.parametrize(("model", "curve"), CASES)
def test_draw_stays_within_the_limit_except_where_it_was_measured_above(
    model: GpuModel, curve: Curve
) -> None:
    for limit_mw in range(model.min_mw, model.max_mw + 1, 5000):
        for load in (0.0, 0.3, 0.7, 1.0):
            draw_mw = target_draw_mw(model, curve, limit_mw, load)
            assert model.idle_mw <= draw_mw <= max(limit_mw, curve.busy_mw(limit_mw))
            if model.name == "A100-SXM":
                # The one point measured above its limit: 101.734 W at 100 W, pre-training.
                assert draw_mw <= limit_mw + 1_734


def test_smoothing_pools_neighbours_in_the_wrong_order_and_keeps_the_mean() -> None:
    assert non_decreasing([1, 3, 2, 4]) == (1, 2.5, 2.5, 4)
    assert non_decreasing([3, 2, 1]) == (2, 2, 2)
    assert non_decreasing([1, 1, 2]) == (1, 1, 2)
    assert non_decreasing([]) == ()


def test_an_unknown_model_is_a_configuration_error_that_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="A100-SXM"):
        model_named("H9000")


def test_an_idle_gpu_draws_its_idle_power_and_no_limit_holds_it_back(plant: GpuPlant) -> None:
    plant.limit_mw = 100_000
    plant.step(10.0, load=0.0)
    assert plant.draw_mw == 60_000
    assert plant.energy_mj == pytest.approx(600_000)
    assert (plant.capped_s, plant.work_s) == (0.0, 0.0)


def test_a_busy_gpu_reaches_its_natural_draw_within_a_few_time_constants(plant: GpuPlant) -> None:
    plant.step(LAG_S, load=1.0)
    rise = (plant.draw_mw - 60_000) / (368_375 - 60_000)
    assert rise == pytest.approx(0.632, abs=0.001)
    plant.step(1.0, load=1.0)
    assert plant.draw_mw == pytest.approx(368_375, rel=1e-3)


def test_energy_is_the_integral_of_the_draw_and_lags_with_it(plant: GpuPlant) -> None:
    """The rise costs one time constant of the difference: 368.375 W * 10 s - 308.375 W * 0.05 s."""
    plant.step(10.0, load=1.0)
    assert plant.energy_mj == pytest.approx(3_683_750 - 308_375 * LAG_S)


def test_energy_does_not_depend_on_how_often_it_is_looked_at(plant: GpuPlant) -> None:
    often = GpuPlant(plant.model, plant.curve, 0.0)
    for tick in range(1, 1001):
        often.step(tick / 100, load=1.0)
    plant.step(10.0, load=1.0)
    assert often.energy_mj == pytest.approx(plant.energy_mj, rel=1e-9)
    assert often.work_s == pytest.approx(plant.work_s)


def test_a_limit_costs_work_only_when_there_is_more_work_than_it_allows(plant: GpuPlant) -> None:
    plant.limit_mw = 200_000
    plant.step(10.0, load=0.5)
    assert (plant.capped_s, plant.work_s) == (0.0, 5.0)
    plant.step(20.0, load=1.0)
    assert plant.capped_s == 10.0
    assert plant.work_s == pytest.approx(5.0 + 7.80781)


def test_the_same_work_under_a_lower_limit_takes_fewer_watts(plant: GpuPlant) -> None:
    """Lower clocks are more efficient: half a load at 200 W draws less than the same at 400 W."""
    unlimited_mw = target_draw_mw(plant.model, plant.curve, 400_000, 0.5)
    assert target_draw_mw(plant.model, plant.curve, 200_000, 0.5) < unlimited_mw


def test_time_never_runs_backwards(plant: GpuPlant) -> None:
    plant.step(5.0, load=1.0)
    before = (plant.now_s, plant.energy_mj, plant.draw_mw)
    plant.step(4.0, load=0.0)
    assert (plant.now_s, plant.energy_mj, plant.draw_mw) == before
