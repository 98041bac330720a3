"""What a run says of itself: figures that can be checked by hand, and the same figures for the same seed."""

from dataclasses import replace

import numpy as np
import pytest

from powerd.errors import ConfigError
from powerd.study.curves import Floats
from powerd.study.plant import Sensor
from powerd.study.runner import Case, Change, Part, Recording, Result, check, run, run_part, step_s, total
from powerd.study.table import compare, render
from tests.study.make import rack

HALF = Case("test", 2, (Change(0.0, 0.5),), hours=1.0)


def test_throughput_is_the_work_done_of_the_work_asked_for() -> None:
    """At 200 W each the steep job does 0.8 and the linear one 0.4; the second is asked for 0.2 only."""
    work = rack([[1.0, 0.2]] * 10, [0, 1])
    result = run(HALF, "uniform", 0, work)
    assert result.throughput == pytest.approx(1.0 / 1.2)
    assert result.worst == pytest.approx(0.8)
    assert result.jain == pytest.approx(1.8**2 / (2 * (0.8**2 + 1)))
    assert result.backlog_p99_s is None


def test_work_that_waits_is_counted_by_its_99_percent_quantile() -> None:
    work = rack([[1.0, 0.0]] * 100, [1, 1], queues=True)
    result = run(HALF, "uniform", 0, work)
    assert result.backlog_p99_s == pytest.approx(0.6 * 98.01, rel=0.01)


def test_a_draw_above_the_budget_counts_except_while_a_cut_takes_effect() -> None:
    case = replace(HALF, budget=(Change(0.0, 1.0), Change(5.0, 0.5)))
    result = run(case, "uniform", 0, rack([[1.0, 1.0]] * 10, [0, 0], step_s=1.0))
    assert result.excess_ws == pytest.approx(2 * 200 * 0.05, rel=0.01)  # the lag of two boards
    assert result.over_ws == result.over_limits_ws == 0


def test_who_watches_draws_only_goes_above_the_budget_and_that_is_seen() -> None:
    work = rack([[0.0, 0.0]] * 3 + [[1.0, 1.0]] * 6, [0, 0])
    result = run(HALF, "dynamo", 0, work)
    assert result.over_ws > 300


def test_a_written_limit_is_a_change_and_keeping_one_is_not() -> None:
    case = replace(HALF, budget=(Change(0.0, 0.5), Change(30.0, 0.75)))
    result = run(case, "uniform", 0, rack([[1.0, 1.0]] * 60, [0, 0]))
    assert result.changes_per_gpu_min == 2


@pytest.mark.parametrize("policy", ["powerd", "thunderbolt", "oracle"])
def test_the_same_seed_gives_the_same_result(policy: str) -> None:
    case = Case("training+llm", 8, (Change(0.0, 0.6),), hours=0.1)
    first, again, other = (run(case, policy, seed) for seed in (1, 1, 2))
    assert first == again
    assert replace(other, seed=1) != first


def test_a_period_shorter_or_longer_than_a_second_decides_as_often() -> None:
    """A load that goes on and off every second is followed by a decision every 0.25 s, not every 10 s."""
    case = Case("square:2", 4, (Change(0.0, 0.6),), hours=0.02)
    assert step_s("square:2", 1.0) == step_s("square:2", 0.25) == 0.25
    assert step_s("llm", 10.0) == 1.0
    assert step_s("llm", 0.1) == 0.1
    quick, slow = (run(replace(case, period_s=s), "proportional", 0) for s in (0.25, 10.0))
    assert quick.changes_per_gpu_min > 10 * slow.changes_per_gpu_min


@pytest.mark.parametrize("policy", ["powerd", "uniform", "geopm", "slurm", "proportional"])
@pytest.mark.parametrize("sensor", [Sensor(), Sensor(window_s=1.0), Sensor(lag_steps=1)])
def test_the_sum_of_limits_stays_within_the_budget_whatever_the_sensor_shows(
    policy: str, sensor: Sensor
) -> None:
    case = Case(
        "training+llm", 8, (Change(0.0, 0.8), Change(60.0, 0.5), Change(120.0, 0.7)), 0.05, sensor=sensor
    )
    assert run(case, policy, 0).over_limits_ws == 0


def test_gpus_stand_in_racks_of_the_same_size_that_differ_as_seeds_do() -> None:
    case = Case("training+llm", 10, (Change(0.0, 0.6),), hours=0.02, racks=3)
    assert [case.part(number).gpus for number in range(3)] == [4, 3, 3]
    first, second, third = (run_part(case, "powerd", 0, number) for number in range(3))
    assert len(first.served_s) == 4
    assert second.energy_j != third.energy_j
    assert total("powerd", 0, [first]) == run(case.part(0), "powerd", 0)


def test_racks_together_have_done_the_work_of_all_and_each_kept_its_own_budget() -> None:
    def part(served_s: Floats, **figures: float) -> Part:
        known = {"over_ws": 1.0, "over_limits_ws": 0.0, "excess_ws": 2.0, "excess_w": 3.0, "told_ws": 4.0}
        return Part(
            served_s=served_s,
            asked_s=np.full(len(served_s), 10.0),
            backlog_s=np.zeros(0),
            minutes=2.0,
            changes=8,
            energy_j=3.6e6,
            **{**known, "told_w": 5.0, **figures},
        )

    result = total("powerd", 7, [part(np.array([10.0, 8.0])), part(np.array([6.0, 4.0]), excess_w=9.0)])
    assert (result.seed, result.throughput, result.worst) == (7, 0.7, 0.4)
    assert (result.over_ws, result.excess_ws, result.told_ws, result.energy_kwh) == (2.0, 4.0, 8.0, 2.0)
    assert (result.excess_w, result.told_w) == (9.0, 5.0)
    assert result.changes_per_gpu_min == 2.0
    assert result.backlog_p99_s is None


def test_the_table_shows_shares_of_the_gap_where_there_is_one() -> None:
    def result(policy: str, seed: int, throughput: float) -> Result:
        return Result(policy, seed, throughput, 1.0, 1.0, 0.0, 0.0, 0.5, None, 0.0, 1.0)

    wide = [result("uniform", 0, 0.8), result("powerd", 0, 0.88), result("oracle", 0, 0.9)]
    wide += [result("uniform", 1, 0.7), result("powerd", 1, 0.7), result("oracle", 1, 0.8)]
    comparison = compare(HALF, wide)
    row = comparison.row("powerd")
    assert comparison.gap == pytest.approx(0.1)
    assert row.gap_share == pytest.approx(0.4)
    assert row.gap_shares == pytest.approx((0.8, 0.0))
    assert row.least_against_uniform == 0
    assert "40.0%" in render(comparison)
    narrow = [result("uniform", 0, 0.99), result("powerd", 0, 0.99), result("oracle", 0, 1.0)]
    assert compare(HALF, narrow).row("powerd").gap_share is None


def test_a_recording_shows_watts_that_some_hold_while_others_are_held_back() -> None:
    def stranded(policy: str) -> Floats | list[float]:
        recording = Recording(every_s=1.0)
        run(HALF, policy, 0, rack([[1.0, 0.0]] * 60, [0, None]), recording)
        assert len(recording.time_s) == 60
        return recording.stranded_w

    assert stranded("uniform")[-1] == pytest.approx(100.0)
    assert stranded("oracle")[-1] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gpus": 0}, "must be above 0"),
        ({"racks": 0}, "--racks must be from 1 to the number of GPUs, 4"),
        ({"racks": 5}, "--racks must be from 1 to the number of GPUs, 4"),
        ({"hours": 0.0}, "must be above 0"),
        ({"budget": (Change(0.0, 0.2),)}, "a budget of 20% cannot be kept"),
        ({"budget": (Change(0.0, 0.6), Change(9.0, 1.2))}, "a budget of 120% cannot be kept"),
    ],
)
def test_what_cannot_be_simulated_is_refused_before_anything_runs(
    change: dict[str, object], told: str
) -> None:
    case = Case("training", 4, (Change(0.0, 0.6),), hours=0.1)
    with pytest.raises(ConfigError, match=told):
        check(replace(case, **change), ["uniform"])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no policy of name best; there are: powerd"):
        check(case, ["uniform", "best"])
