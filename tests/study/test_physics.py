"""What the simulated boards do, against the measured points and against physics."""

from dataclasses import replace

import numpy as np
import pytest

from powerd.core.model import EventReason
from powerd.study.curves import Tables, board_and_curves
from powerd.study.dataset import Dataset
from powerd.study.plant import LAG_S, Faults, Plant, Sensor
from tests.study.make import ABOVE, BOARD, CURVES, LINEAR, rack

STEEP_JOB, LINEAR_JOB, FLAT_JOB, ABOVE_JOB = range(4)


def run(plant: Plant, limit_w: float) -> Plant:
    plant.limit_w = np.full(plant.rack.gpus, limit_w)
    for _ in range(plant.rack.rows):
        plant.step()
    return plant


def test_curves_go_through_the_measured_points_where_these_do_not_fall() -> None:
    measured = {each.name: each for each in Dataset().curves()}
    for model in ("A100-SXM", "A40", "V100"):
        board, curves = board_and_curves(Dataset(), model)
        tables = Tables(board, curves)
        for job, curve in enumerate(curves):
            points = measured[curve.name].points
            limits_w = np.array([point.limit_w for point in points])
            throughput, draw_w = tables.at(np.full(len(points), job), limits_w)
            given = np.array([point.throughput for point in points])
            assert np.all(np.diff(throughput) >= 0)
            assert np.all(np.diff(draw_w) >= 0)
            assert throughput[-1] == 1
            if np.all(np.diff(given) >= 0):
                assert throughput == pytest.approx(given / given[-1])


def test_smoothing_keeps_the_mean_and_moves_points_by_no_more_than_the_noise() -> None:
    """Each point was measured once: neighbours contradict each other by up to 10 % of the best."""
    measured = {each.name: each for each in Dataset().curves()}
    for model in ("A100-SXM", "A40", "V100"):
        for curve in board_and_curves(Dataset(), model)[1]:
            given = np.array([point.throughput for point in measured[curve.name].points])
            smooth = np.array(curve.throughputs) * given.sum() / sum(curve.throughputs)
            assert np.abs(smooth - given).max() < 0.11 * given.max()


def test_between_points_a_curve_is_straight_and_outside_it_is_level() -> None:
    tables = Tables(BOARD, CURVES)
    throughput, draw_w = tables.at(np.full(3, LINEAR_JOB), np.array([250.0, 100.25, 400.0]))
    assert throughput == pytest.approx([0.55, 0.10075, 1.0])
    assert draw_w == pytest.approx([240.0, 100 + 0.25 * 280 / 300, 380.0])


def test_near_the_floor_a_board_draws_above_its_limit_where_that_was_measured() -> None:
    plant = run(Plant(rack([[1.0]] * 3, [ABOVE_JOB])), 100.0)
    assert plant.draw_w[0] == pytest.approx(ABOVE.draws_w[0])


def test_energy_is_the_integral_of_the_draw() -> None:
    """Whatever the steps: two ways of counting, one with steps of 1 s and one with steps of 10 ms."""
    loads = [1.0, 0.0, 0.5, 1.0, 0.25]
    coarse = run(Plant(rack([[load] for load in loads], [LINEAR_JOB])), 250.0)
    fine_rows = [[load] for load in loads for _ in range(100)]
    fine = Plant(rack(fine_rows, [LINEAR_JOB], step_s=0.01))
    fine.limit_w = np.full(1, 250.0)
    sampled_j = 0.0
    for _ in fine_rows:
        before_w = fine.draw_w[0]
        fine.step()
        sampled_j += 0.01 * (before_w + fine.draw_w[0]) / 2
    assert fine.energy_j[0] == pytest.approx(coarse.energy_j[0], rel=1e-9)
    assert sampled_j == pytest.approx(fine.energy_j[0], rel=2e-3)


def test_the_draw_follows_a_limit_with_the_lag_of_the_board() -> None:
    plant = Plant(rack([[1.0]] * 10, [STEEP_JOB], step_s=LAG_S))
    run_w = []
    for _ in range(3):
        plant.step()
        run_w.append(plant.draw_w[0])
    gone = [(400 - watts) / (400 - BOARD.idle_w) for watts in run_w]
    assert gone == pytest.approx(np.exp([-1, -2, -3]))


def test_a_gpu_with_less_to_do_draws_less_and_is_held_down_for_less_of_the_time() -> None:
    plant = run(Plant(rack([[0.275]] * 10, [LINEAR_JOB])), 250.0)
    assert plant.served_s[0] == pytest.approx(2.75)
    assert plant.draw_w[0] == pytest.approx(60 + (240 - 60) / 2)
    assert plant.capped_s[0] == pytest.approx(5.0)
    assert run(Plant(rack([[0.275]] * 10, [FLAT_JOB])), 250.0).capped_s[0] == 0


def test_what_is_not_done_waits_or_is_lost() -> None:
    loads = [[1.0], [1.0], [0.0]]
    assert run(Plant(rack(loads, [LINEAR_JOB])), 250.0).served_s[0] == pytest.approx(1.1)
    waiting = run(Plant(rack(loads, [LINEAR_JOB], queues=True)), 250.0)
    assert waiting.served_s[0] == pytest.approx(1.65)
    assert waiting.backlog_s[0] == pytest.approx(0.35)


def test_a_synchronous_job_is_as_fast_as_its_slowest_gpu_and_the_others_draw_less() -> None:
    plant = Plant(rack([[1.0, 1.0, 1.0]], [LINEAR_JOB] * 3, group=[0, 0, 2]))
    plant.limit_w = np.array([100.0, 400.0, 400.0])
    plant.step()
    assert plant.served == pytest.approx([0.1, 0.1, 1.0])
    assert plant.draw_w == pytest.approx([100.0, 60 + 0.1 * 320, 380.0])


def test_readings_tell_nothing_of_the_throughput() -> None:
    """Two jobs that draw alike show alike, though one is slowed twice as much by its limit."""
    twin = replace(LINEAR, throughputs=(0.8, 1.0))
    plant = Plant(replace(rack([[1.0, 1.0]] * 5, [0, 1]), curves=(LINEAR, twin)))
    run(plant, 200.0)
    shown = plant.read()
    assert plant.served_s[0] < plant.served_s[1]
    for name in ("draw_w", "energy_j", "capped_s", "utilisation", "clock_mhz", "reasons"):
        first, second = getattr(shown, name)
        assert first == second


def test_clocks_fall_with_the_draw_above_idle() -> None:
    plant = run(Plant(rack([[1.0] * 3], [LINEAR_JOB, FLAT_JOB, None])), 250.0)
    shown = plant.read()
    held = round(1500 * ((240 - 60) / (380 - 60)) ** (1 / 3) / 15) * 15
    assert shown.clock_mhz.tolist() == [held, 1500, 210]
    assert shown.reasons.tolist() == [EventReason.SW_POWER_CAP, 0, 0]


def test_a_short_sample_of_a_serving_gpu_scatters_and_a_long_one_less() -> None:
    def scatter(window_s: float) -> float:
        plant = Plant(rack([[0.5]] * 300, [FLAT_JOB]), seed=1, sensor=Sensor(window_s))
        draws = []
        for _ in range(300):
            plant.step()
            draws.append(plant.read().draw_w[0])
        assert np.mean(draws) == pytest.approx(120.0, rel=0.05)
        return float(np.std(draws))

    assert scatter(0.025) > 3 * scatter(1.0) > 0


def test_a_sensor_that_lags_shows_what_was() -> None:
    plant = Plant(rack([[1.0], [0.0], [0.0]]), sensor=Sensor(lag_steps=1))
    shown_w = []
    for _ in range(3):
        plant.step()
        shown_w.append(plant.read().draw_w[0])
    assert shown_w == pytest.approx([60.0, 400.0, 60.0], abs=0.1)


def test_more_watts_do_not_help_a_gpu_that_is_throttled_by_heat() -> None:
    hot = Faults(hot=(0,), hot_w=200.0)
    plants = [run(Plant(rack([[1.0]] * 3), faults=hot), limit_w) for limit_w in (250.0, 400.0)]
    assert plants[0].served_s[0] == plants[1].served_s[0] == pytest.approx(2.4)
    assert plants[1].read().reasons[0] == EventReason.SW_THERMAL
    assert plants[1].capped_s[0] == 0


def test_a_deaf_gpu_draws_above_a_low_limit_and_reports_the_limit_all_the_same() -> None:
    plant = run(Plant(rack([[1.0]] * 3), faults=Faults(deaf=(0,), deaf_w=150.0)), 100.0)
    assert plant.draw_w[0] == pytest.approx(150.0)
    assert plant.read().limit_w[0] == 100.0


def test_a_sensor_that_looks_a_quarter_of_the_time_counts_energy_with_an_error_that_averages_out() -> None:
    plant = run(Plant(rack([[0.5]] * 1000, [FLAT_JOB]), seed=1, sensor=Sensor(coverage=0.25)), 400.0)
    counted_j, drawn_j = plant.read().energy_j[0], plant.energy_j[0]
    assert counted_j != drawn_j
    assert counted_j == pytest.approx(drawn_j, rel=0.01)
