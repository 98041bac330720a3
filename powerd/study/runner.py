"""One policy on one rack in virtual time, or on many that have a budget each, and what came of it."""

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
# Racks of one seed differ as seeds do; those of the next seed are others.
SEEDS_APART = 1_000_000
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
        racks: the GPUs stand in as many, alike in load and size; each keeps its part of the budget by itself.
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
    racks: int = 1

    def part(self, number: int) -> "Case":
        """Return one of the racks, from 0 on, as a case of its own."""
        gpus, more = divmod(self.gpus, self.racks)
        return replace(self, gpus=gpus + (number < more), racks=1)

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
        excess_w: the most that a rack drew above its budget, as a mean over a step, outside a cut's reaction.
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


@dataclass(frozen=True, slots=True)
class Part:
    """What one rack adds to a result.

    Attributes:
        served_s, asked_s: work by GPU, in seconds at full speed.
        backlog_s: samples of the work that waits.
        the others: as in `Result`, or what makes it up.
    """

    served_s: Floats
    asked_s: Floats
    backlog_s: Floats
    minutes: float
    changes: int
    energy_j: float
    over_ws: float
    over_limits_ws: float
    excess_ws: float
    excess_w: float
    told_ws: float | None
    told_w: float | None


def total(policy: str, seed: int, parts: Sequence[Part]) -> Result:
    """Return the result of all racks together."""
    served_s = np.concatenate([part.served_s for part in parts])
    asked_s = np.concatenate([part.asked_s for part in parts])
    backlog_s = np.concatenate([part.backlog_s for part in parts])
    got = served_s[asked_s > 0] / asked_s[asked_s > 0]
    any_work = len(got) > 0
    return Result(
        policy=policy,
        seed=seed,
        throughput=float(served_s.sum() / asked_s.sum()) if any_work else 1.0,
        jain=float(got.sum() ** 2 / (len(got) * (got**2).sum())) if any_work else 1.0,
        worst=float(got.min()) if any_work else 1.0,
        over_ws=sum(part.over_ws for part in parts),
        over_limits_ws=sum(part.over_limits_ws for part in parts),
        changes_per_gpu_min=sum(part.changes for part in parts) / len(asked_s) / parts[0].minutes,
        backlog_p99_s=float(np.percentile(backlog_s, 99)) if len(backlog_s) else None,
        excess_ws=sum(part.excess_ws for part in parts),
        excess_w=max(part.excess_w for part in parts),
        energy_kwh=sum(part.energy_j for part in parts) / 3.6e6,
        told_ws=sum(told) if (told := [part.told_ws for part in parts if part.told_ws is not None]) else None,
        told_w=max((part.told_w for part in parts if part.told_w is not None), default=None),
    )


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
    """Simulate one policy on all GPUs as one rack."""
    return total(policy, seed, [_run(case, policy, seed, rack or case.build(seed), recording)])


def run_part(case: Case, policy: str, seed: int, number: int) -> Part:
    """Simulate one policy on one of the racks, from 0 on."""
    part, own_seed = case.part(number), seed + number * SEEDS_APART
    return _run(part, policy, own_seed, part.build(own_seed))


def _run(case: Case, policy: str, seed: int, rack: Rack, recording: Recording | None = None) -> Part:
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
                tally.told_w = max(tally.told_w or 0.0, shares.worst_excess_w)
        before_j = plant.energy_j
        plant.step()
        tally.add(row, plant, float((plant.energy_j - before_j).sum()))
        if recording is not None:
            _record(recording, plant, float(budget_w[row]))
    if isinstance(shares, Powerd):
        shares.limits_w(plant.read(), float(budget_w[-1]))  # it accounts for the past when it decides
        tally.told_ws = shares.excess_ws
    return tally.part(plant)


class _Tally:
    def __init__(self, rack: Rack, budget_w: Floats) -> None:
        self.rack = rack
        self.budget_w = budget_w
        self.changes = 0
        self.over_ws = self.over_limits_ws = self.excess_ws = self.excess_w = 0.0
        self.told_ws: float | None = None
        self.told_w: float | None = None
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

    def part(self, plant: Plant) -> Part:
        return Part(
            served_s=plant.served_s,
            asked_s=plant.asked_s,
            backlog_s=np.concatenate(self._backlogs) if self._backlogs else np.zeros(0),
            minutes=self.rack.rows * self.rack.step_s / 60,
            changes=self.changes,
            energy_j=float(plant.energy_j.sum()),
            over_ws=self.over_ws,
            over_limits_ws=self.over_limits_ws,
            excess_ws=self.excess_ws,
            excess_w=self.excess_w,
            told_ws=self.told_ws,
            told_w=self.told_w,
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
    if not 1 <= case.racks <= case.gpus:
        raise ConfigError(f"--racks must be from 1 to the number of GPUs, {case.gpus}")
    if MEASURED in policies and case.period_s < LEAST_S_FOR_A_MEAN:
        raise ConfigError(f"--accounting measured needs a --period of at least {LEAST_S_FOR_A_MEAN:g}")
    rack = build(
        case.rack,
        Dataset(case.data) if case.data else Dataset(),
        gpus=case.part(0).gpus,
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
