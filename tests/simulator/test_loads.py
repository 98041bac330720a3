"""The load of a simulated GPU is repeatable, and gives powerd something to do."""

from dataclasses import replace
from itertools import pairwise

import pytest

from powerd.guard.config import SimulatedGpus
from powerd.simulator.loads import GPUS_PER_JOB, curve_at, kind_of, load_at

DEMO = SimulatedGpus(time_factor=600.0)
MINUTE = range(60)


def test_the_load_is_a_function_of_settings_gpu_and_time_alone() -> None:
    """Another process can account for the work done."""
    assert [load_at(DEMO, 3, float(t)) for t in MINUTE] == [
        load_at(replace(DEMO), 3, float(t)) for t in MINUTE
    ]


def test_shifting_the_start_shifts_the_load() -> None:
    later = replace(DEMO, start_boot_s=1000.0)
    for at_s in MINUTE:
        assert load_at(later, 1, 1000.0 + at_s) == load_at(DEMO, 1, float(at_s))


@pytest.mark.parametrize("load", ["training", "inference", "mixed", "idle", "full"])
@pytest.mark.parametrize("at_s", [0.0, 0.001, 59.9, 86_400.0, 1e7, -5.0])
def test_a_load_is_a_part_of_one_at_any_time(load: str, at_s: float) -> None:
    for index in range(16):
        assert 0.0 <= load_at(replace(DEMO, load=load, seed=index), index, at_s) <= 1.0


def test_idle_and_full_are_what_they_say() -> None:
    assert {load_at(replace(DEMO, load="idle"), gpu, float(t)) for gpu in range(8) for t in MINUTE} == {0.0}
    assert {load_at(replace(DEMO, load="full"), gpu, float(t)) for gpu in range(8) for t in MINUTE} == {1.0}


def test_gpus_of_a_job_work_together_on_the_same_thing() -> None:
    for gpu in range(0, 8, GPUS_PER_JOB):
        for other in range(gpu + 1, gpu + GPUS_PER_JOB):
            assert curve_at(DEMO, gpu) == curve_at(DEMO, other)
            assert all(load_at(DEMO, gpu, float(t)) == load_at(DEMO, other, float(t)) for t in MINUTE)


def test_mixed_means_both_kinds_on_every_host() -> None:
    for seed in range(10):
        assert {kind_of(replace(DEMO, seed=seed), gpu) for gpu in range(8)} == {"training", "inference"}


def test_a_minute_of_demo_has_idle_busy_and_waking_gpus() -> None:
    """Four hosts of eight GPUs, as `powerd demo` starts them."""
    hosts = [replace(DEMO, seed=seed) for seed in range(4)]
    traces = [[load_at(host, gpu, float(t)) for t in MINUTE] for host in hosts for gpu in range(8)]
    for at_s in MINUTE:
        busy = sum(trace[at_s] for trace in traces) / len(traces)
        assert 0.15 < busy < 0.85
    woken = {gpu for gpu, trace in enumerate(traces) for pair in pairwise(trace) if pair == (0.0, 1.0)}
    assert len(woken) >= 8


def test_training_follows_the_occupancy_of_the_cluster() -> None:
    """The trace's mean is 49 %: many jobs over its fifteen days come close to it."""
    training = SimulatedGpus(load="training")
    loads = [
        load_at(replace(training, seed=seed), 0, 3600.0 * hour) for seed in range(20) for hour in range(360)
    ]
    assert sum(loads) / len(loads) == pytest.approx(0.49, abs=0.03)


def test_an_unknown_load_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gpu\.simulated\.load"):
        SimulatedGpus(load="heavy")
