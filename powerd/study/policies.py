"""How others share a power budget among GPUs, as they published it: what powerd is compared with.

Each policy sees what NVML shows and returns a limit for every GPU, in watts; only the oracle sees the truth.
m and M are the lowest and the highest limit of the board, B the budget, N the number of GPUs.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from powerd.core.gpus.charge import Accounting
from powerd.core.gpus.value import Objective
from powerd.study.curves import Floats, Ints
from powerd.study.plant import Plant, Readings
from powerd.study.powerd_policy import Powerd
from powerd.study.water import Filling, filled


class Policy(Protocol):
    """Shares a budget, once per period."""

    def limits_w(self, seen: Readings, budget_w: float, /) -> Floats:
        """Return a limit per GPU."""
        ...


class MeanDraw:
    """The mean draw between two looks at the energy counters: what most of the published policies go by."""

    def __init__(self) -> None:
        self._time_s = 0.0
        self._energy_j: Floats | None = None

    def since_last(self, seen: Readings) -> Floats:
        """Return it; the momentary draw at the first look."""
        draw_w = seen.draw_w
        if self._energy_j is not None and seen.time_s > self._time_s:
            draw_w = (seen.energy_j - self._energy_j) / (seen.time_s - self._time_s)
        self._time_s, self._energy_j = seen.time_s, seen.energy_j
        return draw_w


class Uniform:
    """B / N for everybody: what `nvidia-smi -pl`, set once by hand, gives."""

    def limits_w(self, seen: Readings, budget_w: float) -> Floats:
        """Return the same limit for all."""
        count = len(seen.limit_w)
        return np.full(count, np.clip(budget_w / count, seen.min_w, seen.max_w))


class Proportional:
    """In proportion to what each draws: clip(k * draw, m, M), with the k that uses up B."""

    def __init__(self) -> None:
        self._mean = MeanDraw()

    def limits_w(self, seen: Readings, budget_w: float) -> Floats:
        """Find the k."""
        draw_w = np.maximum(1.0, self._mean.since_last(seen))
        # The sum is a broken line in k: find the piece that the budget lies on.
        bends = np.sort(np.concatenate((seen.min_w / draw_w, seen.max_w / draw_w)))
        low, high = 0, len(bends) - 1
        while high - low > 1:
            middle = (low + high) // 2
            fits = _clipped(bends[middle], draw_w, seen).sum() <= budget_w
            low, high = (middle, high) if fits else (low, middle)
        sums = [_clipped(bends[i], draw_w, seen).sum() for i in (low, high)]
        return _clipped(float(np.interp(budget_w, sums, bends[[low, high]])), draw_w, seen)


class Geopm:
    """Steps down whoever has slack, and splits what is left evenly among those at their limit; every period.

    After the power balancer of GEOPM (Eastep et al., ISC 2017; libgeopm/src/PowerBalancer.cpp): steps of 8 W,
    halved down to 0.125 W when one took too much. That balancer sees slack in the epoch times of one job;
    without help from the applications it is seen in the draw: below 95 % of the limit there is slack.
    """

    FIRST_STEP_W, LAST_STEP_W = 8.0, 0.125
    AT_LIMIT = 0.95

    def __init__(self) -> None:
        self._step_w: Floats | None = None
        self._mean = MeanDraw()

    def limits_w(self, seen: Readings, budget_w: float) -> Floats:
        """Do one round of the balancer."""
        draw_w = self._mean.since_last(seen)
        if self._step_w is None:
            self._step_w = np.full(len(seen.limit_w), self.FIRST_STEP_W)
            return Uniform().limits_w(seen, budget_w)
        at_limit = draw_w >= self.AT_LIMIT * seen.limit_w
        halved_w = np.maximum(self.LAST_STEP_W, self._step_w / 2)
        self._step_w = np.where(at_limit, halved_w, self.FIRST_STEP_W)
        needed_w = np.maximum(seen.min_w, draw_w / self.AT_LIMIT)
        lower_w = np.minimum(seen.limit_w, np.maximum(seen.limit_w - self._step_w, needed_w))
        kept_w = np.where(at_limit, seen.min_w, lower_w)
        missing_w = float(kept_w.sum()) - budget_w
        if missing_w > 0:
            kept_w = _given_back(kept_w, missing_w, seen.min_w)
        return filled(kept_w, np.where(at_limit, seen.max_w, kept_w), budget_w)


class Slurm:
    """Takes half of what a GPU leaves unused, and shares the rest among those near their limit; every 30 s.

    The power management plugin of Slurm (src/plugins/power before its removal in 24.05), with its defaults.
    Below 90 % of its limit a GPU loses (limit - draw) / 2, at most half of M - m; up to 95 % it keeps its
    limit; those above share what is left evenly, each rising by at most 20 % of M - m. Whose job began within
    300 s counts as near, and may rise at once. Slurm knows when jobs begin: here the utilisation tells.
    """

    INTERVAL_S, RECENT_S = 30.0, 300.0
    LOWER, UPPER = 0.90, 0.95
    DECREASE, INCREASE = 0.50, 0.20

    def __init__(self) -> None:
        self._next_s = 0.0
        self._began_s = np.zeros(0)
        self._worked = np.zeros(0, dtype=np.bool_)
        self._budget_w = 0.0
        self._mean = MeanDraw()

    def limits_w(self, seen: Readings, budget_w: float) -> Floats:
        """Rebalance when it is time to, and start anew from equal limits with a new budget."""
        works = seen.utilisation > 0
        if not len(self._worked):
            self._began_s, self._worked = np.full(len(works), -self.RECENT_S), works
        self._began_s = np.where(works & ~self._worked, seen.time_s, self._began_s)
        self._worked = works
        if budget_w != self._budget_w:
            self._budget_w, self._next_s = budget_w, seen.time_s + self.INTERVAL_S
            self._mean.since_last(seen)
            return Uniform().limits_w(seen, budget_w)
        if seen.time_s < self._next_s:
            return seen.limit_w
        self._next_s += self.INTERVAL_S
        return self._rebalanced(seen, budget_w)

    def _rebalanced(self, seen: Readings, budget_w: float) -> Floats:
        span_w = seen.max_w - seen.min_w
        recent = seen.time_s - self._began_s < self.RECENT_S
        draw_w = self._mean.since_last(seen)
        low = ~recent & (draw_w < self.LOWER * seen.limit_w)
        near = recent | (draw_w > self.UPPER * seen.limit_w)
        unused_w = seen.limit_w - draw_w
        cut_w = np.where(low, np.minimum(unused_w / 2, self.DECREASE * span_w), 0.0)
        kept_w = np.where(near, seen.min_w, np.maximum(seen.min_w, seen.limit_w - cut_w))
        missing_w = float(kept_w.sum()) - budget_w
        if missing_w > 0:
            kept_w = _given_back(kept_w, missing_w, seen.min_w)
        tops_w = np.where(recent, seen.max_w, np.minimum(seen.max_w, seen.limit_w + self.INCREASE * span_w))
        return filled(kept_w, np.where(near, tops_w, kept_w), budget_w)


class Dynamo:
    """Lets everybody draw what they like until the sum is near the budget, then cuts the highest draws.

    Three bands (Wu et al., Dynamo, ISCA 2016): at 0.99 B cut to 0.95 B at once; at 0.90 B release all; hold
    in between. High bucket first: the draws are sorted into buckets of 20 W, and the highest bucket is cut
    evenly down to the next before that is cut too. Every 3 s. It watches draws, not limits: nothing bounds
    what a rack may draw between two rounds.
    """

    INTERVAL_S = 3.0
    CUT_ABOVE, CUT_TO, RELEASE_BELOW = 0.99, 0.95, 0.90
    BUCKET_W = 20.0
    ROUNDING_W = 1e-6

    def __init__(self) -> None:
        self._next_s = 0.0
        self._limits_w: Floats | None = None

    def limits_w(self, seen: Readings, budget_w: float) -> Floats:
        """Judge the sum of draws by the bands."""
        if self._limits_w is None:
            self._limits_w = np.full(len(seen.limit_w), seen.max_w)
        if seen.time_s < self._next_s:
            return self._limits_w
        self._next_s = seen.time_s + self.INTERVAL_S
        total_w = float(seen.draw_w.sum())
        if total_w >= self.CUT_ABOVE * budget_w:
            self._limits_w = self._cut(seen, self._limits_w, total_w - self.CUT_TO * budget_w)
        elif total_w <= self.RELEASE_BELOW * budget_w:
            self._limits_w = np.full(len(seen.limit_w), seen.max_w)
        return self._limits_w

    def _cut(self, seen: Readings, limits_w: Floats, excess_w: float) -> Floats:
        draw_w = seen.draw_w.copy()
        cut = np.zeros(len(draw_w), dtype=np.bool_)
        while excess_w > self.ROUNDING_W and (draw_w > seen.min_w + self.ROUNDING_W).any():
            floor_w = max(seen.min_w, np.ceil(draw_w.max() / self.BUCKET_W - 1) * self.BUCKET_W)
            top = draw_w > floor_w
            down_w = np.where(top, draw_w - floor_w, 0.0)
            if down_w.sum() > excess_w:
                down_w *= excess_w / down_w.sum()
            draw_w, cut, excess_w = draw_w - down_w, cut | top, excess_w - float(down_w.sum())
        return np.where(cut, np.clip(draw_w, seen.min_w, limits_w), limits_w)


class Thunderbolt:
    """Cuts everybody hard when the sum is near the budget, and lets go in small steps at random times.

    Randomised unthrottling, multiplicative decrease (Li et al., Thunderbolt, OSDI 2020), at 1 Hz on
    x = (limit - m) / (M - m): above 0.98 B times 0.01; while armed above 0.96 B times 0.75; else, after a
    random wait of 1 to 10 s, plus 0.05. It disarms after a dwell below 0.96 B.
    """

    HARD_ABOVE, SOFT_ABOVE = 0.98, 0.96
    HARD, SOFT, UP = 0.01, 0.75, 0.05
    DWELL_S, WAIT_S = 10.0, (1.0, 10.0)

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng([seed, 2])
        self._part: Floats | None = None
        self._due_s = np.zeros(0)
        self._armed_until_s = -1.0
        self._next_s = 0.0

    def limits_w(self, seen: Readings, budget_w: float) -> Floats:
        """Judge the sum of draws, once a second."""
        if self._part is None:
            self._part = np.ones(len(seen.limit_w))
            self._due_s = np.zeros(len(seen.limit_w))
        if seen.time_s >= self._next_s:
            self._next_s = seen.time_s + 1.0
            self._part = self._judged(self._part, float(seen.draw_w.sum()), seen.time_s, budget_w)
        return seen.min_w + self._part * (seen.max_w - seen.min_w)

    def _judged(self, part: Floats, total_w: float, now_s: float, budget_w: float) -> Floats:
        armed = now_s < self._armed_until_s
        hard = total_w > self.HARD_ABOVE * budget_w
        if hard or (armed and total_w > self.SOFT_ABOVE * budget_w):
            self._armed_until_s = now_s + self.DWELL_S
            self._due_s = now_s + self._waits_s(part)
            return part * (self.HARD if hard else self.SOFT)
        due = now_s >= self._due_s
        self._due_s = np.where(due, now_s + self._waits_s(part), self._due_s)
        return np.where(due, np.minimum(1.0, part + self.UP), part)

    def _waits_s(self, part: Floats) -> Floats:
        return self._random.uniform(*self.WAIT_S, len(part))


class Oracle:
    """Knows every curve and what every GPU will be asked for in the step that comes: nobody can do better.

    It keeps the same rule as the others: the sum of limits is at most B, so an idle GPU keeps its m.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._filling = Filling(plant.rack.board, plant.rack.curves)
        self._last: tuple[bytes, bytes, float] | None = None
        self._limits_w = plant.limit_w

    def _wanted(self) -> tuple[Ints, Floats]:
        return self._plant.wanted()

    def limits_w(self, _seen: Readings, budget_w: float) -> Floats:
        """Solve for the step that comes; what has not changed is not solved again."""
        job, demand = self._wanted()
        key = (job.tobytes(), demand.tobytes(), budget_w)
        if key != self._last:
            self._last = key
            self._limits_w = self._filling.split(job, demand, budget_w, self._plant.rack.group)
        return self._limits_w


def _clipped(k: float, draw_w: Floats, seen: Readings) -> Floats:
    return np.asarray(np.clip(k * draw_w, seen.min_w, seen.max_w))


def _given_back(limits_w: Floats, missing_w: float, min_w: float) -> Floats:
    """Lower everybody in proportion to what they have above the minimum."""
    room_w = limits_w - min_w
    return np.asarray(limits_w - room_w * min(1.0, missing_w / max(1e-9, float(room_w.sum()))))


class Hindsight(Oracle):
    """Knows every curve, and what was asked for in the step before: the best that can only react."""

    def _wanted(self) -> tuple[Ints, Floats]:
        return self._plant.was_wanted()


MEASURED = "powerd-measured"

POLICIES: Mapping[str, Callable[[Plant, int], Policy]] = {
    "powerd": lambda plant, _: Powerd(plant.rack),
    "powerd-fair": lambda plant, _: Powerd(plant.rack, Objective.FAIR),
    MEASURED: lambda plant, _: Powerd(plant.rack, accounting=Accounting.MEASURED),
    "uniform": lambda _, __: Uniform(),
    "proportional": lambda _, __: Proportional(),
    "geopm": lambda _, __: Geopm(),
    "slurm": lambda _, __: Slurm(),
    "dynamo": lambda _, __: Dynamo(),
    "thunderbolt": lambda _, seed: Thunderbolt(seed),
    "oracle": lambda plant, _: Oracle(plant),
    "hindsight": lambda plant, _: Hindsight(plant),
}

# What is compared unless something else is asked for.
USUAL = tuple(name for name in POLICIES if name not in ("powerd-fair", MEASURED))
