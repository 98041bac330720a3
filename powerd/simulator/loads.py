"""What work the simulated GPUs have, and when: a pure function of settings, GPU and time.

Any process that knows the settings can compute the same load, and so account for the work done. Neighbouring
GPUs share one job. A training job runs at full load or not at all, and as many run as in a real cluster; how
wide and how long jobs are is assumed. Inference follows the request rate of real services. Sources:
`data/README.md`.
"""

import functools
from bisect import bisect_right
from typing import TYPE_CHECKING

from powerd.simulator.curves import Curve, curves_of, model_named, read_table

if TYPE_CHECKING:
    from powerd.guard.config import SimulatedGpus

# Assumed: the trace counts GPUs in use, not jobs.
GPUS_PER_JOB = 2
TRAINING_JOB_S = 7200.0

_MASK = 2**64 - 1

# Which random number is for what.
_PHASE, _RANK, _SERVICE, _CURVE = range(4)


def _uniform(*key: int) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments.

    The mixing function is SplitMix64's (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
    OOPSLA 2014): neighbouring seeds and jobs give unrelated numbers.
    """
    state = 0
    for part in key:
        state = ((state ^ part) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state / 2**64


@functools.cache
def _occupancy() -> tuple[tuple[float, ...], tuple[float, ...]]:
    rows = read_table("training_occupancy.csv")
    times_s = tuple(float(time_s) for time_s, _, _ in rows)
    return times_s, tuple(float(running) / float(total) for _, total, running in rows)


@functools.cache
def _services() -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Return the times, and per service its rate in units of what its GPUs can serve.

    They are taken to be dimensioned for the 95 % quantile of the rate: above it, requests wait.
    """
    times_s, *rates = zip(*(map(float, row) for row in read_table("llm_service_rate.csv")), strict=True)
    loads = []
    for rate in rates:
        capacity = sorted(rate)[len(rate) * 95 // 100]
        loads.append(tuple(min(1.0, value / capacity) for value in rate))
    return times_s, tuple(loads)


def kind_of(gpus: "SimulatedGpus", index: int) -> str:
    """Return the kind of work of a GPU: "training", "inference", "idle" or "full"; never "mixed"."""
    if gpus.load != "mixed":
        return gpus.load
    return "training" if (index // GPUS_PER_JOB + gpus.seed) % 2 == 0 else "inference"


def curve_at(gpus: "SimulatedGpus", index: int) -> Curve:
    """Return the measured curve that a GPU follows."""
    kind = "training" if kind_of(gpus, index) == "full" else kind_of(gpus, index)
    curves = curves_of(model_named(gpus.model), kind)
    return curves[int(_uniform(gpus.seed, index // GPUS_PER_JOB, _CURVE) * len(curves))]


def load_at(gpus: "SimulatedGpus", index: int, boot_s: float) -> float:
    """Return the load of a GPU, 0 (nothing to do) to 1 (as much as it can do without a limit).

    Args:
        index: of the GPU on its host.
        boot_s: boot clock, seconds.
    """
    trace_s = (boot_s - gpus.start_boot_s) * gpus.time_factor
    job = index // GPUS_PER_JOB
    match kind_of(gpus, index):
        case "idle":
            return 0.0
        case "training":
            return _training(gpus.seed, job, trace_s)
        case "inference":
            return _inference(gpus.seed, job, trace_s)
        case _:
            return 1.0


def _position(times_s: tuple[float, ...], seed: int, job: int, trace_s: float) -> tuple[int, float]:
    """Return where a job is in a trace that repeats for ever, each job from its own phase on."""
    within_s = (trace_s + _uniform(seed, job, _PHASE) * times_s[-1]) % times_s[-1]
    return bisect_right(times_s, within_s) - 1, within_s


def _training(seed: int, job: int, trace_s: float) -> float:
    # Each job in turn has a rank: it runs while the cluster has at least that many jobs running.
    times_s, occupied = _occupancy()
    row, within_s = _position(times_s, seed, job, trace_s)
    turn = int(within_s / TRAINING_JOB_S)
    return 1.0 if _uniform(seed, job, _RANK, turn) < occupied[row] else 0.0


def _inference(seed: int, job: int, trace_s: float) -> float:
    times_s, services = _services()
    service = services[int(_uniform(seed, job, _SERVICE) * len(services))]
    row, within_s = _position(times_s, seed, job, trace_s)
    part = (within_s - times_s[row]) / (times_s[row + 1] - times_s[row])
    return service[row] + (service[row + 1] - service[row]) * part
