"""powerd itself: the real core on one host that has all GPUs of the rack, in virtual time.

The plan is executed as the guard does it: every cut, then every raise. Nothing is kept back of the budget, so
that all policies share out the same watts.
"""

from itertools import repeat

import numpy as np

from powerd.core.decide import Decision, decide
from powerd.core.gpus.charge import Accounting, AccountingRules
from powerd.core.gpus.value import Objective
from powerd.core.model import (
    Capability,
    Constraints,
    GpuReading,
    GpuState,
    Now,
    Outcome,
    Result,
    Write,
)
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.ramp import RampRules
from powerd.core.state import Config, Inputs, State, initial_state
from powerd.core.topology import GpuPolicies, GpuPolicy, Host, Rack
from powerd.study.curves import Floats
from powerd.study.plant import Readings
from powerd.study.racks import Rack as Work

HOST = "host"
FIRST_BOOT_S = 1000.0
WALL_AT_BOOT_S = 1_763_690_000.0


def config_of(
    work: Work,
    objective: Objective = Objective.THROUGHPUT,
    accounting: Accounting = Accounting.PROVABLE,
) -> Config:
    """Return the configuration of a host with all GPUs of the rack, whose operator sets the budget.

    The GPUs of a synchronous job are named as such, as an operator or a scheduler would. With accounting
    `measured` nothing bounds what idle GPUs are charged less.
    """
    floor_mw = work.gpus * _mw(work.board.min_w)
    limit_mw = work.gpus * _mw(work.board.max_w)
    sizes = np.bincount(work.group)
    jobs = {
        uuid_of(index): GpuPolicy(job=f"job-{group}")
        for index, group in enumerate(work.group.tolist())
        if sizes[group] > 1
    }
    rack = Rack("study", "rack", (Host(HOST, 1.0, floor_mw),), limit_mw, floor_mw, guard_band_pct=0.0)
    return Config(
        rack,
        HOST,
        AdmissionRules(limit_mw),
        RampRules(mw_per_s=float(limit_mw)),
        GpuPolicies(by_uuid=jobs),
        overhead_mw=0,
        standing_mw=limit_mw,
        objective=objective,
        accounting=AccountingRules(accounting, most_mw=limit_mw),
    )


class Powerd:
    """The core with a memory, and the GPUs as its guard would tell them."""

    def __init__(
        self,
        work: Work,
        objective: Objective = Objective.THROUGHPUT,
        accounting: Accounting = Accounting.PROVABLE,
    ) -> None:
        board, gpus = work.board, work.gpus
        self.config = config_of(work, objective, accounting)
        self._uuids = [uuid_of(index) for index in range(gpus)]
        self._index = {uuid: i for i, uuid in enumerate(self._uuids)}
        self._span = Constraints(_mw(board.min_w), _mw(board.max_w), _mw(board.max_w))
        self._max_clock_mhz = board.max_clock_mhz
        self._name = board.model
        self._written_mw: list[int | None] = [None] * gpus
        self._outcomes: tuple[Outcome, ...] = ()
        self._state: State | None = None
        self.decision: Decision | None = None

    @property
    def worst_excess_w(self) -> float:
        """Return the most that may be drawn above the budget now, as powerd tells it."""
        return self.decision.excess.worst_mw / 1000 if self.decision else 0.0

    @property
    def excess_ws(self) -> float:
        """Return what was drawn above the budget until the last decision, as powerd tells it."""
        return self.decision.excess.drawn_mj / 1000 if self.decision else 0.0

    def limits_w(self, seen: Readings, budget_w: float) -> Floats:
        """Decide, and return the limits after all writes."""
        boot_s = FIRST_BOOT_S + seen.time_s
        now = Now(boot_s, WALL_AT_BOOT_S + boot_s)
        state = initial_state(now) if self._state is None else self._state
        inputs = Inputs(
            self._readings(seen, boot_s), outcomes=self._outcomes, operator_cap_mw=int(budget_w * 1000)
        )
        self.decision, self._state = decide(inputs, state, now, self.config)
        plan = self.decision.plan
        limits_w = seen.limit_w.copy()
        self._outcomes = tuple(self._write(write, limits_w) for write in plan.cuts + plan.raises)
        return limits_w

    def _write(self, write: Write, limits_w: Floats) -> Outcome:
        index = self._index[write.uuid]
        limits_w[index] = write.mw / 1000
        self._written_mw[index] = write.mw
        return Outcome(write.uuid, write.mw, Result.APPLIED, write.mw, write.mw, write.mw)

    def _readings(self, seen: Readings, boot_s: float) -> tuple[GpuReading, ...]:
        """Return what the guard would tell, column by column: there are as many at every decision."""
        draw_mw, energy_mj, limit_mw = (
            np.rint(column * 1000).astype(np.int64).tolist()
            for column in (seen.draw_w, seen.energy_j, seen.limit_w)
        )
        capped_ns = np.rint(seen.capped_s * 1e9).astype(np.int64).tolist()
        return tuple(
            map(
                GpuReading,
                self._uuids,
                range(len(self._uuids)),
                repeat(self._name),
                repeat(GpuState.OK),
                repeat(Capability.SETTABLE),
                repeat(self._span),
                draw_mw,
                energy_mj,
                limit_mw,  # requested
                limit_mw,  # enforced
                capped_ns,
                seen.reasons.tolist(),
                repeat(None),  # persistence mode
                self._written_mw,
                repeat(None),  # pending
                limit_mw,  # the worst case
                repeat(boot_s),
                repeat(""),
                seen.clock_mhz.tolist(),
                repeat(self._max_clock_mhz),
            )
        )


def uuid_of(index: int) -> str:
    """Return the name of a GPU; names sort like indices."""
    return f"GPU-{index:05d}"


def _mw(watts: float) -> int:
    return round(watts * 1000)
