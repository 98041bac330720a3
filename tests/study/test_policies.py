"""Every published rule on a case that was worked out by hand. Limits from 100 to 400 W."""

from dataclasses import replace

import numpy as np
import pytest

from powerd.study.plant import Plant
from powerd.study.policies import POLICIES, Dynamo, Geopm, Proportional, Slurm, Thunderbolt, Uniform
from powerd.study.runner import Case, Change, run
from tests.study.make import rack, seen


def test_uniform_gives_everybody_the_same_within_what_the_board_allows() -> None:
    readings = seen([400, 400], [60, 400])
    assert Uniform().limits_w(readings, 500.0).tolist() == [250, 250]
    assert Uniform().limits_w(readings, 900.0).tolist() == [400, 400]
    assert Uniform().limits_w(readings, 100.0).tolist() == [100, 100]


def test_proportional_gives_in_proportion_to_the_draw() -> None:
    limits_w = Proportional().limits_w(seen([250] * 3, [60, 100, 200]), 700.0)
    assert limits_w == pytest.approx([116.6667, 194.4444, 388.8889], rel=1e-4)
    limits_w = Proportional().limits_w(seen([250] * 3, [60, 60, 200]), 700.0)
    assert limits_w == pytest.approx([150, 150, 400])


def test_geopm_takes_8_w_from_slack_and_shares_the_rest_among_those_at_their_limit() -> None:
    policy = Geopm()
    policy.limits_w(seen([250, 250], [0, 0]), 500.0)
    limits_w = policy.limits_w(seen([250, 250], [60, 248], time_s=1.0), 500.0)
    assert limits_w.tolist() == [242, 258]
    limits_w = policy.limits_w(seen([242, 258], [60, 256], time_s=2.0), 500.0)
    assert limits_w.tolist() == [234, 266]


def test_slurm_halves_what_is_unused_every_30_s_and_lets_the_others_share_it() -> None:
    policy = Slurm()
    assert policy.limits_w(seen([400, 400, 400], [60, 200, 250]), 750.0).tolist() == [250, 250, 250]
    kept = policy.limits_w(seen([250] * 3, [60, 240, 250], time_s=29.0), 750.0)
    assert kept.tolist() == [250, 250, 250]
    limits_w = policy.limits_w(seen([250] * 3, [60, 235, 250], time_s=30.0), 750.0)
    # (250 - 60) / 2 = 95 W less; 94 % is between the thresholds; 20 % of 300 W is the most to rise by.
    assert limits_w.tolist() == [155, 250, 310]


def test_slurm_lets_a_new_job_rise_at_once() -> None:
    policy = Slurm()
    policy.limits_w(seen([400, 400], [60, 60], utilisation=0.0), 500.0)
    policy.limits_w(seen([250, 250], [60, 60], time_s=15.0, utilisation=0.0), 500.0)
    working = replace(seen([100, 250], [100, 60], time_s=30.0), utilisation=np.array([1.0, 0.0]))
    # The other one loses (250 - 60) / 2 = 95 W: 345 W are left.
    assert policy.limits_w(working, 500.0).tolist() == [345, 155]


def test_dynamo_cuts_the_highest_bucket_first_holds_and_releases() -> None:
    policy = Dynamo()
    limits_w = policy.limits_w(seen([400] * 3, [150, 310, 350]), 810.0)
    # 810 W is the budget: down to 0.95 of it is 40.5 W less. What is above 340 W gives 10, then what is above
    # 320 W gives 20, and the last 10.5 come from those above 300 W, both at the same rate.
    assert limits_w.tolist() == pytest.approx([400, 310 - 10.5 / 3, 320 - 10.5 * 2 / 3])
    between = policy.limits_w(seen([400, 306, 313], [140, 306, 313], time_s=3.0), 810.0)
    assert between.tolist() == limits_w.tolist()
    assert policy.limits_w(seen(limits_w.tolist(), [60, 300, 300], time_s=6.0), 810.0).tolist() == [400] * 3


def test_dynamo_waits_3_s_between_two_looks() -> None:
    policy = Dynamo()
    policy.limits_w(seen([400], [100]), 300.0)
    assert policy.limits_w(seen([400], [400], time_s=2.0), 300.0).tolist() == [400]
    assert policy.limits_w(seen([400], [400], time_s=3.0), 300.0).tolist() == [285]


def test_thunderbolt_cuts_hard_then_softly_then_lets_go_in_small_steps() -> None:
    policy = Thunderbolt(seed=1)
    assert policy.limits_w(seen([400], [297]), 300.0).tolist() == [100 + 0.01 * 300]
    assert policy.limits_w(seen([103], [291], time_s=1.0), 300.0).tolist() == pytest.approx(
        [100 + 0.0075 * 300]
    )
    freed = [policy.limits_w(seen([103], [100], time_s=float(t)), 300.0)[0] for t in range(2, 40)]
    steps_w = np.diff([102.25, *freed])
    assert set(np.round(steps_w, 6)) == {0.0, 15.0}
    assert 0 < np.count_nonzero(steps_w) < len(steps_w)


@pytest.mark.parametrize("policy", ["powerd", "uniform", "proportional", "geopm", "slurm"])
def test_no_policy_that_keeps_the_sum_of_limits_does_better_than_the_oracle(policy: str) -> None:
    random = np.random.default_rng(3)
    for _ in range(3):
        demand = np.repeat(random.choice([0.0, 0.4, 1.0], size=(6, 4)), 40, axis=0)
        work = rack(demand.tolist(), random.integers(4, size=4).tolist())
        for part in (0.4, 0.6, 0.8):
            case = Case("test", 4, (Change(0.0, part),), hours=1.0)
            result, oracle = (run(case, name, 0, work) for name in (policy, "oracle"))
            assert result.throughput <= oracle.throughput + 1e-9
            assert result.over_limits_ws == 0


def test_powerd_gives_the_watts_of_idle_gpus_to_busy_ones() -> None:
    work = rack([[1.0, 1.0, 0.0, 0.0]] * 120, [1, 1, None, None])
    case = Case("test", 4, (Change(0.0, 0.6),), hours=1.0)
    uniform, powerd = (run(case, name, 0, work) for name in ("uniform", "powerd"))
    assert powerd.throughput > 1.2 * uniform.throughput


def test_gpus_of_one_job_have_one_limit_under_powerd() -> None:
    work = rack([[1.0, 1.0, 1.0, 0.0]] * 60, [0, 0, 1, None], group=[0, 0, 2, 3])
    plant = Plant(work)
    policy = POLICIES["powerd"](plant, 0)
    for _ in range(work.rows):
        plant.limit_w = policy.limits_w(plant.read(), 900.0)
        assert plant.limit_w[0] == plant.limit_w[1]
        plant.step()


def test_hindsight_is_one_step_behind_the_oracle() -> None:
    work = rack([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [1, 1])
    plant = Plant(work)
    oracle, hindsight = POLICIES["oracle"](plant, 0), POLICIES["hindsight"](plant, 0)
    first = oracle.limits_w(plant.read(), 500.0).tolist()
    plant.step()
    assert hindsight.limits_w(plant.read(), 500.0).tolist() == first
    assert oracle.limits_w(plant.read(), 500.0).tolist() == first[::-1]
