"""Named racks: what work every GPU has in every step of the simulated time, from measured traces.

A name is one or more loads joined by "+", which share the GPUs equally: `training+llm`. The seed chooses the
stretch of the traces, which job runs on which GPU, and what job that is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from powerd.errors import ConfigError
from powerd.study.curves import Board, Bools, Curve, Floats, Ints, board_and_curves
from powerd.study.dataset import Dataset, Series

# A service is taken to have one GPU per client, for a load of 0.8 at the 95 % quantile of its rate; a GPU
# works at its full power from a load of 0.7 on.
LOAD_AT_P95 = 0.8
FULL_POWER_LOAD = 0.7
# Mean load of the services whose arrivals are known by the second.
MEAN_LOAD = 0.6
# Synchronous jobs: mean times of work and of pause; both are drawn from exponential distributions.
SYNC_WORK_S, SYNC_PAUSE_S = 2400.0, 1200.0
NO_JOB = -1

LOADS = {
    "helios:VC": "training that comes and goes as in partition VC of a real cluster",
    "training": "training on every GPU, all the time",
    "all-busy": "jobs of every kind on every GPU, at full load, all the time",
    "llm": "LLM services, by the request rate of real clients in windows of ten minutes",
    "azure": "LLM services, by the requests of a real one in every second; what waits is served later",
    "mooncake": "the same of another service, whose requests come in bursts",
    "square:S": "jobs that all work for half of S seconds and pause for the other half",
    "sync:K": "training jobs of K GPUs that come and go; the slowest GPU of a job sets its pace",
    "idle": "nothing to do",
}


@dataclass(frozen=True)
class Rack:
    """GPUs of one model and their work.

    Attributes:
        step_s: seconds that each row of the tables below stands for.
        demand: [row, GPU] work asked for per second, as a part of what the job can do without a limit.
        job: [row, GPU] index of the curve; `NO_JOB`: nothing runs.
        queues: [GPU] work that is not done waits; elsewhere it is lost.
        group: [GPU] GPUs with the same number work on one synchronous job.
    """

    name: str
    board: Board
    curves: tuple[Curve, ...]
    step_s: float
    demand: Floats
    job: Ints
    queues: Bools
    group: Ints

    @property
    def gpus(self) -> int:
        """Return how many GPUs there are."""
        return len(self.queues)

    @property
    def rows(self) -> int:
        """Return how many steps there are."""
        return len(self.demand)


@dataclass(frozen=True)
class _Site:
    """What a load is made from."""

    data: Dataset
    curves: tuple[Curve, ...]
    gpus: int
    rows: int
    step_s: float
    start_h: float | None
    random: np.random.Generator

    def times_s(self, length_s: float) -> Floats:
        """Return the moment in a trace of some length for every row; at its end it begins anew."""
        span_s = self.rows * self.step_s
        first_s = self.random.uniform(0, max(0.0, length_s - span_s))
        if self.start_h is not None:
            first_s = self.start_h * 3600
        return np.asarray((first_s + np.arange(self.rows) * self.step_s) % length_s)

    def jobs(self, *, inference: bool | None) -> Ints:
        """Return the curves of one kind of work: all where none is asked for, or none was measured."""
        kind = [i for i, curve in enumerate(self.curves) if curve.is_inference == inference]
        return np.array(kind or range(len(self.curves)), dtype=np.int64)


def build(
    name: str,
    data: Dataset,
    *,
    gpus: int,
    seconds: float,
    step_s: float,
    seed: int,
    model: str = "",
    start_h: float | None = None,
) -> Rack:
    """Build a rack.

    Args:
        start_h: hours from the start of the traces; None: the seed chooses.

    Raises:
        ConfigError: there is no rack of that name, or the data for it is missing.
    """
    board, curves = board_and_curves(data, model)
    random = np.random.default_rng([seed, gpus])
    rows = max(1, round(seconds / step_s))
    loads = name.split("+")
    sizes = [len(part) for part in np.array_split(np.arange(gpus), len(loads))]
    parts = [
        _load(load, _Site(data, curves, size, rows, step_s, start_h, random))
        for load, size in zip(loads, sizes, strict=True)
    ]
    order = random.permutation(gpus)
    demand, job, queues = (np.concatenate(tables, axis=-1)[..., order] for tables in zip(*parts, strict=True))
    group = np.concatenate([_groups(load, size) for load, size in zip(loads, sizes, strict=True)])
    firsts = np.cumsum([0, *sizes[:-1]])
    return Rack(name, board, curves, step_s, demand, job, queues, (group + np.repeat(firsts, sizes))[order])


_Work = tuple[Floats, Ints, Bools]


def _groups(load: str, size: int) -> Ints:
    return np.arange(size) // (_size_of_job(load) if load.startswith("sync:") else 1)


def _size_of_job(load: str) -> int:
    size = load.partition(":")[2]
    if not size.isdecimal() or int(size) < 1:
        raise ConfigError(f'rack "{load}": "{size}" is not a number of GPUs')
    return int(size)


def _load(name: str, site: _Site) -> _Work:
    kind, _, argument = name.partition(":")
    makers: dict[str, Callable[[_Site, str], _Work]] = {
        "helios": _occupied,
        "training": lambda site, _: _steady(site, site.jobs(inference=False)),
        "all-busy": lambda site, _: _steady(site, site.jobs(inference=None)),
        "llm": _services,
        "azure": lambda site, _: _arrivals(site, "azure"),
        "mooncake": lambda site, _: _arrivals(site, "mooncake"),
        "square": _square,
        "sync": _synchronous,
        "idle": lambda site, _: _constant(site, 0.0, np.full(site.gpus, NO_JOB)),
    }
    if kind not in makers or (":" in name) != any(load.startswith(f"{kind}:") for load in LOADS):
        raise ConfigError(
            f'no rack of name "{name}"; there are: {", ".join(LOADS)}, and any of them joined by +'
        )
    return makers[kind](site, argument)


def _constant(site: _Site, demand: float, job: Ints) -> _Work:
    shape = (site.rows, site.gpus)
    return np.full(shape, demand), np.broadcast_to(job, shape), np.zeros(site.gpus, dtype=np.bool_)


def _steady(site: _Site, jobs: Ints) -> _Work:
    return _constant(site, 1.0, site.random.choice(jobs, site.gpus))


def _occupied(site: _Site, partition: str) -> _Work:
    """Keep as many GPUs at work as in the partition: who begins and who ends is chance."""
    series = site.data.occupancy().get(partition)
    if series is None:
        known = ", ".join(site.data.occupancy())
        raise ConfigError(f'no partition "{partition}" in traces/gpu_occupancy.csv; there are: {known}')
    counts = np.rint(_held(series, site.times_s(series.times_s[-1])) * site.gpus).astype(np.int64)
    jobs = site.jobs(inference=False)
    now = np.full(site.gpus, NO_JOB, dtype=np.int64)
    job = np.empty((site.rows, site.gpus), dtype=np.int64)
    changes = [0, *(np.flatnonzero(np.diff(counts)) + 1), site.rows]
    for row, until in pairwise(changes):
        change = counts[row] - np.count_nonzero(now != NO_JOB)
        waiting = np.flatnonzero(now == NO_JOB) if change > 0 else np.flatnonzero(now != NO_JOB)
        chosen = site.random.choice(waiting, abs(change), replace=False)
        now[chosen] = site.random.choice(jobs, len(chosen)) if change > 0 else NO_JOB
        job[row:until] = now
    return (job != NO_JOB).astype(np.float64), job, np.zeros(site.gpus, dtype=np.bool_)


def _services(site: _Site, _: str) -> _Work:
    clients = list(site.data.service_rates().values())
    rates, times_s = [np.array(client.values) for client in clients], np.array(clients[0].times_s)
    scales = [np.percentile(rate, 95) for rate in rates]
    loads = [rate / scale * LOAD_AT_P95 for rate, scale in zip(rates, scales, strict=True) if scale > 0]
    now_s = site.times_s(float(times_s[-1]))
    demand = np.empty((site.rows, site.gpus))
    for gpu, client in enumerate(site.random.integers(len(loads), size=site.gpus)):
        demand[:, gpu] = np.minimum(1.0, np.interp(now_s, times_s, loads[client]) / FULL_POWER_LOAD)
    return demand, _inference(site), np.zeros(site.gpus, dtype=np.bool_)


def _arrivals(site: _Site, service: str) -> _Work:
    """Give every GPU the same service, each from another moment on."""
    found = [series for name, series in site.data.arrivals().items() if name.startswith(service)]
    if not found:
        raise ConfigError(f'no trace in traces/llm_arrivals_1s.csv begins with "{service}"')
    requests = np.array(found[0].values)
    load = requests / requests.mean() * MEAN_LOAD
    demand = np.empty((site.rows, site.gpus))
    for gpu in range(site.gpus):
        first = site.random.integers(len(load))
        seconds = (first + np.arange(site.rows) * site.step_s).astype(np.int64)
        demand[:, gpu] = load[seconds % len(load)]
    return demand, _inference(site), np.ones(site.gpus, dtype=np.bool_)


def _square(site: _Site, period: str) -> _Work:
    try:
        period_s = float(period)
    except ValueError:
        raise ConfigError(f'rack "square:{period}": "{period}" is not a number of seconds') from None
    if not period_s >= 2 * site.step_s:
        raise ConfigError(f'rack "square:{period}": shorter than two steps of {site.step_s:g} s')
    works = (np.arange(site.rows) * site.step_s) % period_s < period_s / 2
    demand, job, queues = _steady(site, site.jobs(inference=False))
    return demand * works[:, None], job, queues


def _synchronous(site: _Site, size: str) -> _Work:
    group = _groups(f"sync:{size}", site.gpus)
    jobs = site.jobs(inference=False)
    job = np.empty((site.rows, site.gpus), dtype=np.int64)
    for number in range(group[-1] + 1):
        row, works = 0, site.random.random() < SYNC_WORK_S / (SYNC_WORK_S + SYNC_PAUSE_S)
        while row < site.rows:
            mean_s = SYNC_WORK_S if works else SYNC_PAUSE_S
            until = row + 1 + int(site.random.exponential(mean_s) / site.step_s)
            job[row:until, group == number] = site.random.choice(jobs) if works else NO_JOB
            row, works = until, not works
    return (job != NO_JOB).astype(np.float64), job, np.zeros(site.gpus, dtype=np.bool_)


def _inference(site: _Site) -> Ints:
    job = site.random.choice(site.jobs(inference=True), site.gpus)
    return np.broadcast_to(job, (site.rows, site.gpus))


def _held(series: Series, times_s: Floats) -> Floats:
    """Return the values at some moments, each holding until the next."""
    rows = np.searchsorted(series.times_s, times_s, side="right") - 1
    values: Floats = np.array(series.values)[np.maximum(rows, 0)]
    return values
