"""decide(inputs, state, now) -> (decision, state): the one door into the core."""

from dataclasses import dataclass
from enum import StrEnum

from powerd.core.failsafe import Phase
from powerd.core.model import Notice, Plan, Step
from powerd.core.timeline import Verdict
from powerd.core.units import MilliWatts


class Demand(StrEnum):
    """What a GPU's readings say of the power it could use."""

    UNKNOWN = "unknown"  # no reading to judge by
    IDLE = "idle"
    BUSY = "busy"  # works, and its limit does not hold it back
    CAPPED = "capped"  # its limit holds it back: it wants more
    WAKING = "waking"  # started work a moment ago: given its ceiling until it has shown what it needs
    HELD = "held"  # held back by heat or hardware: more watts would not help


@dataclass(frozen=True, slots=True)
class GpuTarget:
    """What was decided for one GPU.

    Attributes:
        limit_mw: the limit it shall have; None for a GPU that cannot be limited.
        counted_mw: what it takes of the host's GPU budget.
        steps: how `limit_mw` came about, in order.
    """

    uuid: str
    limit_mw: MilliWatts | None
    counted_mw: MilliWatts
    want_mw: MilliWatts
    demand: Demand
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The budget in force and how long its sender is believed to be alive."""

    source: str
    epoch: int
    seq: int
    mw: MilliWatts | None
    end_boot_s: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that one iteration decided.

    Attributes:
        rack_steps: the chain from the hard limit to what the rack's hosts may use.
        host_steps: the chain from there to what this host's GPUs may use.
        infeasible_mw: how far the asked-for budget lies below what limiting can reach; 0 if reachable.
        compliant: every GPU's worst case fits the GPU budget, and nothing is infeasible.
        failsafe_cause: why the failsafe budget holds; empty when it does not.
        wake_boot_s: when the next decision falls due without any news; None = no earlier than a period.
    """

    phase: Phase
    rack_cap_mw: MilliWatts
    usable_mw: MilliWatts
    entitlement_mw: MilliWatts
    cap_mw: MilliWatts
    overhead_mw: MilliWatts
    gpu_budget_mw: MilliWatts
    infeasible_mw: MilliWatts
    compliant: bool
    failsafe_cause: str
    lease: Lease | None
    rack_steps: tuple[Step, ...]
    host_steps: tuple[Step, ...]
    targets: tuple[GpuTarget, ...]
    plan: Plan
    verdicts: tuple[Verdict, ...] = ()
    notices: tuple[Notice, ...] = ()
    wake_boot_s: float | None = None
