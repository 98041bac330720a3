"""Racks are made of the traces, and the same seed makes the same rack."""

import numpy as np
import pytest

from powerd.errors import ConfigError
from powerd.study.dataset import BUNDLED, Dataset
from powerd.study.racks import NO_JOB, Rack, build


def make(
    name: str, *, gpus: int = 16, hours: float = 1.0, seed: int = 0, start_h: float | None = None
) -> Rack:
    return build(
        name, Dataset(BUNDLED), gpus=gpus, seconds=hours * 3600, step_s=1.0, seed=seed, start_h=start_h
    )


def test_as_many_gpus_work_as_in_the_partition_at_that_time() -> None:
    """At the start of the trace 59 of 64 GPUs of vc3sl are in use, 58 from 1140 s on."""
    rack = make("helios:vc3sl", gpus=64, start_h=0)
    busy = np.count_nonzero(rack.job != NO_JOB, axis=1)
    assert busy[0] == busy[1139] == 59
    assert busy[1140] == busy[-1] == 58
    assert np.count_nonzero(make("helios:vc3sl", gpus=16, start_h=0).job[0] != NO_JOB) == 15


def test_who_keeps_working_keeps_its_job() -> None:
    rack = make("helios:vc8Sj", gpus=48, hours=24.0)
    changes = np.count_nonzero(np.diff(rack.job, axis=0), axis=1)
    busy = np.count_nonzero(rack.job != NO_JOB, axis=1)
    assert changes.sum() > 10
    assert changes.tolist() == np.abs(np.diff(busy)).tolist()


@pytest.mark.parametrize("name", ["helios:vc8Sj", "training+llm", "all-busy", "azure", "mooncake", "sync:4"])
def test_a_seed_makes_the_same_rack_and_another_seed_another(name: str) -> None:
    first, again, other = make(name, seed=3), make(name, seed=3), make(name, seed=4)
    assert np.array_equal(first.demand, again.demand)
    assert np.array_equal(first.job, again.job)
    assert not (np.array_equal(first.demand, other.demand) and np.array_equal(first.job, other.job))


def test_training_uses_curves_of_training_and_services_curves_of_inference() -> None:
    rack = make("training+llm", gpus=31)
    is_inference = np.array([rack.curves[job].is_inference for job in rack.job[0]])
    assert np.count_nonzero(is_inference) == 15
    assert np.all(rack.demand[:, ~is_inference] == 1.0)
    assert 0 < rack.demand[:, is_inference].mean() < 1


def test_llm_clients_have_a_load_of_80_percent_at_the_95_percent_quantile() -> None:
    """A GPU is at full power from a load of 0.7 on, so for more than 5 % of the week its demand is 1."""
    rack = build("llm", Dataset(BUNDLED), gpus=64, seconds=7 * 86400, step_s=600.0, seed=0, start_h=0)
    at_full_power = (rack.demand >= 1.0).mean(axis=0)
    assert np.all(at_full_power >= 0.05)
    assert np.quantile(rack.demand, 0.2) < 0.8


def test_arrivals_have_the_mean_load_that_is_said_and_wait() -> None:
    rack = make("azure", gpus=4, hours=3503 / 3600)
    assert rack.demand.mean() == pytest.approx(0.6, rel=1e-3)
    assert rack.queues.all()


def test_gpus_of_a_synchronous_job_begin_and_end_together() -> None:
    rack = make("sync:4+llm", gpus=16, hours=6.0)
    jobs, sizes = np.unique(rack.group, return_counts=True)
    assert sorted(sizes) == [1] * 8 + [4] * 2
    for job in jobs[sizes == 4]:
        members = rack.job[:, rack.group == job]
        assert np.all(members == members[:, :1])
        assert np.unique(members).size > 1


def test_a_square_wave_is_half_work_half_pause() -> None:
    rack = build("square:2", Dataset(BUNDLED), gpus=2, seconds=10.0, step_s=0.25, seed=0)
    assert rack.demand[:8, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vax", 'no rack of name "vax"; there are: helios:VC, training'),
        ("training:3", 'no rack of name "training:3"'),
        ("helios", 'no rack of name "helios"'),
        ("helios:moon", 'no partition "moon" in traces/gpu_occupancy.csv; there are: vc3sl'),
        ("square:x", '"x" is not a number of seconds'),
        ("square:1", "shorter than two steps"),
        ("sync:0", '"0" is not a number of GPUs'),
        ("training+", 'no rack of name ""'),
    ],
)
def test_a_rack_that_does_not_exist_is_told_with_those_that_do(name: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(name)
    assert told in str(error.value)
