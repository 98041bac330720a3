"""What a decision is made from: the operator's configuration, what is new, and what is remembered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from powerd.core.events.grid_event import GridEvent
from powerd.core.events.schedule import EventRules, Schedule
from powerd.core.events.turns import Agenda
from powerd.core.gpus.charge import AccountingRules
from powerd.core.gpus.demand import DemandRules, GpuDemand
from powerd.core.gpus.excess import Excess
from powerd.core.gpus.observed import Observed, ObservedRules
from powerd.core.gpus.overhead import Overhead, OverheadSample
from powerd.core.gpus.plan import DeadBand
from powerd.core.gpus.quiet import NONE_QUIET, QuietGpus
from powerd.core.gpus.value import Known, Objective
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import LeaseRules, Leases
from powerd.core.leases.memory import has_peers, roster_digest
from powerd.core.metering.draw import DrawHistory
from powerd.core.metering.meter import Meter, MeterAlive, MeterReading, MeterRules
from powerd.core.metering.shed import ShedRules
from powerd.core.model import GpuReading, Now, Outcome
from powerd.core.orders.override import Override
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.advisory import AdvisoryRules, AdvisorySignal, Signals
from powerd.core.rack.failsafe import Failsafe, FailsafeRules, Phase
from powerd.core.rack.ramp import Ramp, RampRules
from powerd.core.rack.timeline import BudgetMessage, Timeline
from powerd.core.topology import GpuPolicies, Rack
from powerd.core.units import MilliWatts


@dataclass(frozen=True)
class Config:
    """Everything the operator decided that the core needs.

    Attributes:
        overhead_mw: configured host overhead; None if it is only measured.
        standing_mw: the operator's own budget, where nobody publishes any; None = budgets are published.
        hold_s: how long a plan holds without a newer one before the guard falls back.
        brake_hold_s: how long the failsafe budget holds after a hardware power brake was seen.
        objective: what the host's watts are shared out for, where they do not suffice.
        accounting: what a GPU is charged with.
    """

    rack: Rack
    host: str
    admission: AdmissionRules
    ramp: RampRules
    policies: GpuPolicies = field(default_factory=GpuPolicies)
    overhead_mw: MilliWatts | None = None
    standing_mw: MilliWatts | None = None
    failsafe: FailsafeRules = field(default_factory=FailsafeRules)
    demand: DemandRules = field(default_factory=DemandRules)
    observed: ObservedRules = field(default_factory=ObservedRules)
    dead_band: DeadBand = field(default_factory=DeadBand)
    leases: LeaseRules = field(default_factory=LeaseRules)
    events: EventRules = field(default_factory=EventRules)
    meter: MeterRules = field(default_factory=MeterRules)
    advisory: AdvisoryRules = field(default_factory=AdvisoryRules)
    shed: ShedRules = field(default_factory=ShedRules)
    hold_s: float = 5.0
    brake_hold_s: float = 300.0
    objective: Objective = Objective.THROUGHPUT
    accounting: AccountingRules = field(default_factory=AccountingRules)

    @cached_property
    def has_peers(self) -> bool:
        """Return whether there is anybody to lend to or to borrow from."""
        return has_peers(self.rack, self.leases)

    @cached_property
    def roster(self) -> str:
        """Return the digest of all that the hosts of the rack must agree on."""
        return roster_digest(self.rack, self.leases)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is new since the last decision.

    Attributes:
        readings: the latest of every GPU, whether new or not; empty while the guard cannot be reached.
        outcomes: of the writes since the last decision.
        operator_cap_mw: a cap on the rack that no sender leases: the lowest budget of a drill; None = none.
        states: of this rack's hosts, this one's own included, in the order of arrival.
        may_lease: limits are written, and what is lent can be remembered.
        events: versions of grid events, in the order of arrival.
        meters: readings of the rack's meters, and signs of life of those who send them.
        signals: prices and emissions.
        overrides: what operators have ordered for single GPUs.
    """

    readings: tuple[GpuReading, ...]
    messages: tuple[BudgetMessage, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    overhead: OverheadSample | None = None
    operator_cap_mw: MilliWatts | None = None
    states: tuple[HostState, ...] = ()
    may_lease: bool = False
    events: tuple[GridEvent, ...] = ()
    meters: tuple[MeterReading | MeterAlive, ...] = ()
    signals: tuple[AdvisorySignal, ...] = ()
    overrides: tuple[Override, ...] = ()


class State(NamedTuple):
    """What one decision hands to the next.

    Attributes:
        found_mw: the sum of the limits found at the start: not exceeded before a controller is heard,
            since what held before this start is not known.
        heard: sources whose newest message came, or came again, since the start; what is only remembered
            of the others may have been lowered meanwhile.
        asked_mw, asked_since_boot_s: what the whole rack is asked for, before any ramp, and since when.
        schedule, agenda: the grid events that are held, and whose turn it is.
        draws: what the rack has drawn of late.
        values: what is known of the value of a watt to each GPU.
        quiet: GPUs that draw little, by UUID; empty unless accounting is `measured`.
        excess: what the GPUs may draw above their budget, and did.
    """

    timeline: Timeline
    failsafe: Failsafe
    ramp: Ramp
    demands: Mapping[str, GpuDemand] = MappingProxyType({})
    observed: Mapping[str, Observed] = MappingProxyType({})
    overhead: Overhead = Overhead()
    brake_until_boot_s: float = 0.0
    found_mw: MilliWatts | None = None
    heard: frozenset[str] = frozenset()
    asked_mw: MilliWatts | None = None
    asked_since_boot_s: float = 0.0
    leases: Leases = Leases()
    schedule: Schedule = Schedule()
    agenda: Agenda | None = None
    meter: Meter = Meter()
    draws: DrawHistory = DrawHistory()
    signals: Signals = MappingProxyType({})
    values: Mapping[str, Known] = MappingProxyType({})
    quiet: QuietGpus = NONE_QUIET
    excess: Excess = Excess()

    @property
    def known_cap_mw(self) -> MilliWatts | None:
        """Return the rack cap that is to be remembered; None where none is known to have been in force.

        A host that has lost its memory and has heard of no budget goes by the failsafe, at its floor: its
        peers may keep to less.
        """
        phase = self.failsafe
        if self.leases.is_lost and phase.phase is Phase.INIT and phase.held_mw is None:
            return None
        return self.ramp.cap_mw


def initial_state(
    now: Now,
    timeline: Timeline | None = None,
    cap_mw: MilliWatts | None = None,
    leases: Leases | None = None,
    schedule: Schedule | None = None,
    trim_mw: MilliWatts = 0,
) -> State:
    """Return the state at the start of the daemon.

    Args:
        timeline: what was remembered: keys of any time, leases only of this boot.
        cap_mw: the rack cap in effect when it was written; None if nothing was remembered.
        leases: as `memory.recall` returns them.
        schedule: the grid events that were held, of any time.
        trim_mw: what was taken off the budget for the rack's meter.
    """
    return State(
        timeline or Timeline(),
        Failsafe(Phase.INIT, now, held_mw=cap_mw),
        Ramp(free_mw=cap_mw),
        leases=leases or Leases(),
        schedule=schedule or Schedule(),
        meter=Meter(excess_mw=trim_mw, held_mw=trim_mw),
    )
