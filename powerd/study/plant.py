"""The physics of a rack of GPUs, and what NVML would show of it. Watts, joules and seconds, as arrays by GPU.

A GPU that could do more than is asked for works at the pace that its limit allows and then rests, in turns
too short to be seen one by one: it draws in proportion to the time at work. What it shows is no more than a
real board shows: draw, energy, the time its clocks were held down, and clocks that follow from the draw and
never from the throughput.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from powerd.core.model import EventReason
from powerd.study.curves import Bools, Floats, Ints, Tables
from powerd.study.racks import NO_JOB, Rack

# The board's own control loop settles within tens of milliseconds.
LAG_S = 0.05
# Dynamic power is about clock x voltage squared, and voltage falls with the clock.
CLOCK_EXPONENT = 1 / 3
CLOCK_STEP_MHZ = 15
IDLE_CLOCK_MHZ = 210
# A GPU that serves below its capacity works and waits in turns of about this length: a short sample sees few.
TURN_S = 0.005
# The shortest that a board measures for.
LOOK_S = 0.025


@dataclass(frozen=True, slots=True)
class Sensor:
    """How the draw is measured.

    Attributes:
        window_s: a reading is the mean over as long; boards give 25 ms (instantaneous) or 1 s (average).
        lag_steps: it shows what was that many steps ago.
        coverage: the part of the time that is measured at all, by readings and by the energy counter; some
            boards look for 25 ms of every 100 ms.
    """

    window_s: float = LOOK_S
    lag_steps: int = 0
    coverage: float = 1.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with some of the GPUs, by index.

    Attributes:
        hot: throttled by heat to `hot_w`, whatever their limit.
        deaf: draw up to `deaf_w` where their limit is below it.
    """

    hot: tuple[int, ...] = ()
    hot_w: float = math.inf
    deaf: tuple[int, ...] = ()
    deaf_w: float = 0.0


@dataclass(slots=True)
class Readings:
    """What NVML shows at one moment, by GPU.

    Attributes:
        draw_w: as the sensor gives it.
        energy_j, capped_s: counters; the second runs while the power cap holds the clocks down.
        utilisation: part of the last step in which the GPU was at work.
        reasons: bits of `EventReason`.
    """

    time_s: float
    min_w: float
    max_w: float
    limit_w: Floats
    draw_w: Floats
    energy_j: Floats
    capped_s: Floats
    utilisation: Floats
    clock_mhz: Ints
    reasons: Ints


@dataclass(slots=True)
class _Shown:
    """What a sample shows that is not a counter."""

    draw_w: Floats
    utilisation: Floats
    clock_mhz: Ints
    reasons: Ints


@dataclass
class Plant:
    """A rack in time.

    Attributes:
        limit_w: the limits in effect; set them between steps.
        energy_j: as it is drawn.
        served, asked: work of the last step, in seconds at full speed.
        backlog_s: work that waits, in seconds at full speed.
        served_s, asked_s: the same since the start.
    """

    rack: Rack
    seed: int = 0
    sensor: Sensor = field(default_factory=Sensor)
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        rack, count = self.rack, self.rack.gpus
        self.tables = Tables(rack.board, rack.curves)
        self.row = 0
        self.limit_w = np.full(count, rack.board.max_w)
        self.draw_w = np.full(count, rack.board.idle_w)
        self.energy_j, self.capped_s, self.backlog_s = np.zeros(count), np.zeros(count), np.zeros(count)
        self.served, self.asked = np.zeros(count), np.zeros(count)
        self.served_s, self.asked_s = np.zeros(count), np.zeros(count)
        self._random = np.random.default_rng([self.seed, 1])
        self._decay = math.exp(-rack.step_s / LAG_S)
        self._hot, self._deaf = _marked(count, self.faults.hot), _marked(count, self.faults.deaf)
        self._any_fault = bool(self.faults.hot or self.faults.deaf)
        self._counted_j = np.zeros(count)
        self._groups = len(np.unique(rack.group))
        idle = np.zeros(count)
        clocks = np.full(count, IDLE_CLOCK_MHZ)
        self._shown = [_Shown(self.draw_w, idle, clocks, np.zeros(count, dtype=np.int64))]

    @property
    def time_s(self) -> float:
        """Return the time, from the start."""
        return self.row * self.rack.step_s

    @property
    def missing_w(self) -> float:
        """Return how much more all jobs would draw together if no limit held them back."""
        job = self.rack.job[max(0, self.row - 1)]
        short = self.served < self.asked * (1 - 1e-9)
        return float(np.maximum(0.0, self.tables.natural_w[job] - self.draw_w)[short].sum())

    def wanted(self) -> tuple[Ints, Floats]:
        """Return the jobs of the step that comes, and the work that each could do in it, per second."""
        return self._wanted(min(self.row, self.rack.rows - 1))

    def was_wanted(self) -> tuple[Ints, Floats]:
        """Return the same of the step before, with what waits by now."""
        return self._wanted(max(0, self.row - 1))

    def _wanted(self, row: int) -> tuple[Ints, Floats]:
        rack = self.rack
        return rack.job[row], np.minimum(1.0, rack.demand[row] + self.backlog_s / rack.step_s)

    def step(self) -> None:
        """Go on by one step, under the limits in effect."""
        rack, step_s = self.rack, self.rack.step_s
        job = rack.job[self.row]
        effective_w = self._effective_w()
        throughput, busy_w = self.tables.at(job, effective_w)
        new = rack.demand[self.row] * step_s
        asked = new + self.backlog_s
        possible = throughput * step_s
        served = np.minimum(asked, self._pace(possible))
        at_work = np.divide(served, possible, out=np.zeros_like(served), where=possible > 0)
        self.backlog_s = np.where(rack.queues, asked - served, 0.0)
        idle_w = rack.board.idle_w
        self._settle(idle_w + at_work * (busy_w - idle_w))
        held = self._is_held_down(job, effective_w)
        self.capped_s += at_work * step_s * held
        self.served, self.asked = served, new
        self.served_s += served
        self.asked_s += new
        self.row += 1
        if self.sensor.coverage < 1:
            part = self._caught(at_work, step_s * self.sensor.coverage)
            self._counted_j = self._counted_j + step_s * (idle_w + part * (busy_w - idle_w))
        self._shown.append(self._sample(job, at_work, busy_w, held))
        if len(self._shown) > self.sensor.lag_steps + 1:
            del self._shown[0]

    def read(self) -> Readings:
        """Return what NVML shows now."""
        shown = self._shown[0]
        return Readings(
            time_s=self.time_s,
            min_w=self.rack.board.min_w,
            max_w=self.rack.board.max_w,
            limit_w=self.limit_w,
            draw_w=shown.draw_w,
            energy_j=self.energy_j if self.sensor.coverage == 1 else self._counted_j,
            capped_s=self.capped_s,
            utilisation=shown.utilisation,
            clock_mhz=shown.clock_mhz,
            reasons=shown.reasons,
        )

    def _pace(self, possible: Floats) -> Floats:
        """Let nobody be faster than the slowest of its job; who waits for it does not draw meanwhile."""
        if self._groups == self.rack.gpus:
            return possible
        slowest = np.full(self.rack.gpus, np.inf)
        np.minimum.at(slowest, self.rack.group, possible)
        return np.asarray(slowest[self.rack.group])

    def _effective_w(self) -> Floats:
        if not self._any_fault:
            return self.limit_w
        limit_w = np.where(self._deaf, np.maximum(self.limit_w, self.faults.deaf_w), self.limit_w)
        return np.where(self._hot, np.minimum(limit_w, self.faults.hot_w), limit_w)

    def _settle(self, target_w: Floats) -> None:
        """Let the draw follow its target; energy is the exact integral of that."""
        above_w = self.draw_w - target_w
        self.energy_j = self.energy_j + target_w * self.rack.step_s + above_w * (LAG_S * (1 - self._decay))
        self.draw_w = target_w + above_w * self._decay

    def _is_held_down(self, job: Ints, effective_w: Floats) -> Bools:
        """Tell where a job would draw more if the limit let it; heat that limits further is no power cap."""
        held: Bools = self.tables.natural_w[job] > self.limit_w
        return held & (effective_w >= self.limit_w) if self._any_fault else held

    def _caught(self, at_work: Floats, measured_s: float) -> Floats:
        """Return the part of the time at work as a measurement of some length sees it."""
        turns = max(1, round(measured_s / TURN_S))
        return np.asarray(self._random.binomial(turns, at_work) / turns)

    def _sample(self, job: Ints, at_work: Floats, busy_w: Floats, held: Bools) -> _Shown:
        """Measure for as long as the sensor does: of a GPU that works and waits in turns it catches some."""
        idle_w = self.rack.board.idle_w
        draw_w, caught = self.draw_w, at_work >= 1
        partly = (at_work > 0) & ~caught
        if partly.any():
            part = self._caught(at_work, max(LOOK_S, self.sensor.window_s * self.sensor.coverage))
            draw_w = np.where(partly, idle_w + part * (busy_w - idle_w), draw_w)
            caught = self._random.random(len(at_work)) < at_work
        dynamic_w = np.maximum(self.tables.natural_w[job] - idle_w, 1.0)
        pace = np.clip((busy_w - idle_w) / dynamic_w, 0.0, 1.0) ** CLOCK_EXPONENT
        pace = np.where(caught, pace, 1.0)
        steps = np.rint(self.rack.board.max_clock_mhz * pace / CLOCK_STEP_MHZ)
        clock_mhz = np.where(job == NO_JOB, IDLE_CLOCK_MHZ, steps.astype(np.int64) * CLOCK_STEP_MHZ)
        reasons = np.where(held & caught, EventReason.SW_POWER_CAP, 0)
        if self.faults.hot:
            hot = self._hot & (self.limit_w > self.faults.hot_w) & (job != NO_JOB)
            reasons = np.where(hot, EventReason.SW_THERMAL, reasons)
        return _Shown(draw_w, at_work, clock_mhz, reasons)


def _marked(count: int, indices: tuple[int, ...]) -> Bools:
    marks = np.zeros(count, dtype=np.bool_)
    marks[list(indices)] = True
    return marks
