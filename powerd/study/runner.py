"""One policy on one rack in virtual time, and what came of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from powerd.core.gpus.gpu_load import LEAST_S_FOR_A_MEAN
from powerd.errors import ConfigError
from powerd.study.curves import Floats
from powerd.study.dataset import Dataset
from powerd.study.plant import Faults, Plant, Sensor
from powerd.study.policies import MEASURED, POLICIES
from powerd.study.powerd_policy import Powerd
from powerd.study.racks import Rack, build

# A lower budget is obeyed within a period and the lag of the boards: what is drawn until then is not counted.
REACTION_S = 1.0
# Limits are watts in floating point; a sum is above the budget from here on.
ROUNDING_W = 1e-3
SAMPLES = 2_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """From some time on the budget is another part of what all GPUs can draw together."""

    from_s: float
    part: float


@dataclass(frozen=True)
class Case:
    """What is simulated, for every policy alike.

    Attributes:
        budget: what it is at the start and when it changes, in the order of time.
        period_s: time between two decisions.
        start_h: where in the traces to begin; None: the seed chooses.
    """

    rack: str
    gpus: int
    budget: tuple[Change, ...]
    hours: float
    period_s: float = 1.0
    data: Path | None = None
    model: str = ""
    start_h: float | None = None
    sensor: Sensor = field(default_factory=Sensor)
    faults: Faults = field(default_factory=Faults)

    def build(self, seed: int) -> Rack:
        """Build the rack.

        Raises:
            ConfigError: there is no such rack, or its data cannot be used.
        """
        return build(
            self.rack,
            Dataset(self.data) if self.data else Dataset(),
            gpus=self.gpus,
            seconds=self.hours * 3600,
            step_s=step_s(self.rack, self.period_s),
            seed=seed,
            model=self.model,
            start_h=self.start_h,
        )


def step_s(rack: str, period_s: float) -> float:
    """Return a step that divides the period and is fine enough for the loads of a rack."""
    finest_s = min(1.0, period_s)
    for load in rack.split("+"):
        kind, _, argument = load.partition(":")
        if kind == "square":
            try:
                finest_s = min(finest_s, float(argument) / 8)
            except ValueError:
                raise ConfigError(f'rack "{rack}": "{argument}" is not a number of seconds') from None
    if finest_s <= 0:
        raise ConfigError(f'rack "{rack}": a period must be above 0 s')
    return period_s / math.ceil(period_s / finest_s - 1e-9)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run.

    Attributes:
        throughput: work done, as a part of the work asked for.
        jain: Jain's index over the GPUs of the same; 1 = all alike. Only GPUs that had work.
        worst: of the GPU that got least.
        over_ws: drawn above the budget, in watt-seconds, outside a cut's reaction.
        over_limits_ws: the same of the sum of the limits: what could have been drawn.
        changes_per_gpu_min: limits written per GPU and minute.
        backlog_p99_s: of work that waits, in seconds at full speed; None where nothing waits.
        excess_ws: drawn above the budget at any time.
        told_ws: the same as powerd tells it, which is never less; None for other policies.
        excess_w: the most that was drawn above the budget, as a mean over a step, outside a cut's reaction.
        told_w: the most that powerd told could be; None for other policies.
    """

    policy: str
    seed: int
    throughput: float
    jain: float
    worst: float
    over_ws: float
    over_limits_ws: float
    changes_per_gpu_min: float
    backlog_p99_s: float | None
    excess_ws: float
    energy_kwh: float
    excess_w: float = 0.0
    told_ws: float | None = None
    told_w: float | None = None


@dataclass
class Recording:
    """A run, sampled now and then: for plots. Sums over the rack in watts; lists grow together."""

    every_s: float = 30.0
    time_s: list[float] = field(default_factory=list)
    budget_w: list[float] = field(default_factory=list)
    draw_w: list[float] = field(default_factory=list)
    limits_w: list[float] = field(default_factory=list)
    stranded_w: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)


def budgets_w(case: Case, rack: Rack) -> Floats:
    """Return the budget in every step."""
    times_s = np.arange(rack.rows) * rack.step_s
    parts = np.full(rack.rows, case.budget[0].part)
    for change in case.budget:
        parts[times_s >= change.from_s] = change.part
    return np.asarray(parts * rack.gpus * rack.board.max_w)


def run(
    case: Case, policy: str, seed: int, rack: Rack | None = None, recording: Recording | None = None
) -> Result:
    """Simulate one policy."""
    rack = rack or case.build(seed)
    plant = Plant(rack, seed, case.sensor, case.faults)
    shares = POLICIES[policy](plant, seed)
    every = round(case.period_s / rack.step_s)
    budget_w = budgets_w(case, rack)
    tally = _Tally(rack, budget_w)
    for row in range(rack.rows):
        if row % every == 0:
            seen = plant.read()
            limits_w = shares.limits_w(seen, float(budget_w[row]))
            tally.changes += int(np.count_nonzero(limits_w != plant.limit_w))
            plant.limit_w = limits_w
            if isinstance(shares, Powerd):
                tally.told_w = max(tally.told_w, shares.worst_excess_w)
        before_j = plant.energy_j
        plant.step()
        tally.add(row, plant, float((plant.energy_j - before_j).sum()))
        if recording is not None:
            _record(recording, plant, float(budget_w[row]))
    result = tally.result(policy, seed, plant)
    if isinstance(shares, Powerd):
        shares.limits_w(plant.read(), float(budget_w[-1]))  # it accounts for the past when it decides
        return replace(result, told_ws=shares.excess_ws, told_w=tally.told_w)
    return result


class _Tally:
    def __init__(self, rack: Rack, budget_w: Floats) -> None:
        self.rack = rack
        self.budget_w = budget_w
        self.changes = 0
        self.over_ws = self.over_limits_ws = self.excess_ws = self.excess_w = self.told_w = 0.0
        falls = np.flatnonzero(np.diff(budget_w, prepend=np.inf) < 0)
        reacting = np.zeros(rack.rows, dtype=np.bool_)
        steps = int(np.ceil(REACTION_S / rack.step_s))
        for fall in falls:
            reacting[fall : fall + steps] = True
        self._reacting = reacting
        self._queues = np.flatnonzero(rack.queues)
        self._every = max(1, rack.rows * len(self._queues) // SAMPLES)
        self._backlogs: list[Floats] = []

    def add(self, row: int, plant: Plant, energy_j: float) -> None:
        step_s, budget_w = self.rack.step_s, self.budget_w[row]
        above_ws = max(0.0, energy_j - (budget_w + ROUNDING_W) * step_s)
        self.excess_ws += above_ws
        limits_above_w = float(plant.limit_w.sum()) - budget_w
        if not self._reacting[row]:
            self.over_ws += above_ws
            self.excess_w = max(self.excess_w, above_ws / step_s)
            if limits_above_w > ROUNDING_W:
                self.over_limits_ws += limits_above_w * step_s
        if len(self._queues) and row % self._every == 0:
            self._backlogs.append(plant.backlog_s[self._queues])

    def result(self, policy: str, seed: int, plant: Plant) -> Result:
        worked = plant.asked_s > 0
        got = plant.served_s[worked] / plant.asked_s[worked]
        minutes = self.rack.rows * self.rack.step_s / 60
        any_work = len(got) > 0
        waiting = self._backlogs
        backlog_s = float(np.percentile(np.concatenate(waiting), 99)) if waiting else None
        return Result(
            policy=policy,
            seed=seed,
            throughput=float(plant.served_s.sum() / plant.asked_s.sum()) if any_work else 1.0,
            jain=float(got.sum() ** 2 / (len(got) * (got**2).sum())) if any_work else 1.0,
            worst=float(got.min()) if any_work else 1.0,
            over_ws=self.over_ws,
            over_limits_ws=self.over_limits_ws,
            changes_per_gpu_min=self.changes / self.rack.gpus / minutes,
            backlog_p99_s=backlog_s,
            excess_ws=self.excess_ws,
            excess_w=self.excess_w,
            energy_kwh=float(plant.energy_j.sum()) / 3.6e6,
        )


def _record(recording: Recording, plant: Plant, budget_w: float) -> None:
    """Take a sample when one is due. Stranded is what some may draw and don't while others are held back."""
    if recording.time_s and plant.time_s < recording.time_s[-1] + recording.every_s:
        return
    spare_w = budget_w - float(np.maximum(plant.draw_w, plant.rack.board.min_w).sum())
    recording.time_s.append(plant.time_s)
    recording.budget_w.append(budget_w)
    recording.draw_w.append(float(plant.draw_w.sum()))
    recording.limits_w.append(float(plant.limit_w.sum()))
    recording.stranded_w.append(max(0.0, min(spare_w, plant.missing_w)))
    recording.served.append(float(plant.served.sum()) / max(1e-9, float(plant.asked.sum())))


def check(case: Case, policies: Sequence[str]) -> None:
    """Find out before anything runs whether it can.

    Raises:
        ConfigError: names what is wrong.
    """
    unknown = [policy for policy in policies if policy not in POLICIES]
    if unknown or not policies:
        raise ConfigError(
            f"no policy of name {', '.join(unknown) or '(empty)'}; there are: {', '.join(POLICIES)}"
        )
    if case.gpus < 1 or case.hours <= 0 or case.period_s <= 0:
        raise ConfigError("--gpus, --hours and --period must be above 0")
    if MEASURED in policies and case.period_s < LEAST_S_FOR_A_MEAN:
        raise ConfigError(f"--accounting measured needs a --period of at least {LEAST_S_FOR_A_MEAN:g}")
    rack = build(
        case.rack,
        Dataset(case.data) if case.data else Dataset(),
        gpus=case.gpus,
        seconds=step_s(case.rack, case.period_s),
        step_s=step_s(case.rack, case.period_s),
        seed=0,
        model=case.model,
    )
    least = rack.board.min_w / rack.board.max_w
    for change in case.budget:
        if not least <= change.part <= 1:
            raise ConfigError(
                f"a budget of {change.part:.0%} cannot be kept: {rack.board.model} can be limited to "
                f"{least:.0%} to 100 % of {rack.board.max_w:g} W"
            )
