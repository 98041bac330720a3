"""Measured behaviour of GPUs under a power limit: models, and curves of draw and throughput.

The points come from `data/power_curves.csv` (sources and licences: `data/README.md`). Each was measured once,
so neighbours contradict each other by noise: a curve is made non-decreasing before it is used, and straight
lines connect its points. Outside the measured limits the nearest point holds.
"""

import functools
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from powerd.core.units import MilliWatts, milliwatts
from powerd.errors import ConfigError

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A board: the limits it accepts, and what it draws without work."""

    name: str
    min_mw: MilliWatts
    default_mw: MilliWatts
    max_mw: MilliWatts
    idle_mw: MilliWatts


# Idle: for the A100 the 1 % quantile of a production cluster, else assumed (`data/README.md`).
MODELS = (
    GpuModel("A100-SXM", 100_000, 400_000, 400_000, 60_000),
    GpuModel("A40", 100_000, 300_000, 300_000, 30_000),
    GpuModel("V100", 100_000, 250_000, 250_000, 30_000),
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One workload on one GPU model, at full load.

    Attributes:
        kind: "training" or "inference".
        limits_mw: the measured limits, ascending.
        capacities: work per second under each limit, 1 at the highest.
        draws_mw: average draw under each limit; on some boards above the lowest limits.
    """

    name: str
    kind: str
    limits_mw: tuple[float, ...]
    capacities: tuple[float, ...]
    draws_mw: tuple[float, ...]

    def capacity(self, limit_mw: MilliWatts) -> float:
        """Return the work per second that a limit allows, as a part of what is possible without one."""
        return _interpolate(self.limits_mw, self.capacities, limit_mw)

    def busy_mw(self, limit_mw: MilliWatts) -> float:
        """Return the draw under a limit at full load."""
        return _interpolate(self.limits_mw, self.draws_mw, limit_mw)

    def throughput(self, limit_mw: MilliWatts, load: float) -> float:
        """Return the work done per second, 0..1, when `load` (0..1) is asked for."""
        return min(load, self.capacity(limit_mw))

    def is_capped(self, limit_mw: MilliWatts, load: float) -> bool:
        """Tell whether less work is done than asked for because of the limit."""
        return load > self.capacity(limit_mw)


def _interpolate(xs: tuple[float, ...], ys: tuple[float, ...], x: float) -> float:
    right = bisect_right(xs, x)
    if right == 0:
        return ys[0]
    if right == len(xs):
        return ys[-1]
    left = right - 1
    return ys[left] + (ys[right] - ys[left]) * (x - xs[left]) / (xs[right] - xs[left])


def non_decreasing(values: list[float]) -> tuple[float, ...]:
    """Return the non-decreasing sequence nearest to `values` in least squares.

    Pool adjacent violators: neighbours in the wrong order are replaced by their mean until none are left
    (Ayer et al., Annals of Mathematical Statistics 26, 1955).
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, size = value, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean = (before * count + mean * size) / (count + size)
            size += count
        pools.append((mean, size))
    return tuple(mean for mean, size in pools for _ in range(size))


def read_table(name: str) -> list[list[str]]:
    """Return the rows of a data file without its header. No quoting is used in these files."""
    text = (DATA / name).read_text(encoding="ascii")
    return [line.split(",") for line in text.splitlines()[1:]]


@functools.cache
def _curves_by_model() -> dict[str, tuple[Curve, ...]]:
    points: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    for model, name, kind, limit, throughput, draw in read_table("power_curves.csv"):
        points.setdefault((model, name, kind), []).append((float(limit), float(throughput), float(draw)))
    curves: dict[str, tuple[Curve, ...]] = {}
    for (model, name, kind), measured in points.items():
        limits, throughputs, draws = zip(*sorted(measured), strict=True)
        capacities = non_decreasing(list(throughputs))
        curve = Curve(
            name=name,
            kind=kind,
            limits_mw=tuple(map(milliwatts, limits)),
            capacities=tuple(capacity / capacities[-1] for capacity in capacities),
            draws_mw=tuple(map(milliwatts, non_decreasing(list(draws)))),
        )
        curves[model] = (*curves.get(model, ()), curve)
    return curves


def model_named(name: str) -> GpuModel:
    """Return a model.

    Raises:
        ConfigError: no curves of a model with that name come with powerd.
    """
    for model in MODELS:
        if model.name == name:
            return model
    known = ", ".join(f'"{model.name}"' for model in MODELS)
    raise ConfigError(f'gpu.simulated.model must be one of {known}, not "{name}"')


def curves_of(model: GpuModel, kind: str) -> tuple[Curve, ...]:
    """Return a model's curves of one kind of work, or all of them when none of that kind was measured."""
    curves = _curves_by_model()[model.name]
    return tuple(curve for curve in curves if curve.kind == kind) or curves
