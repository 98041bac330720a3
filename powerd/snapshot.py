"""The immutable result of one iteration: all that status, metrics, telemetry and the page are made of.

One writer (the controller), many readers; nobody reads anything else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from powerd.core.decide import Decision
from powerd.core.gpus.charge import AccountingRules
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import LeaseRules, counting
from powerd.core.metering.meter import MeterRules
from powerd.core.metering.shed import Shed
from powerd.core.model import GpuReading, GpuState, Now, Outcome
from powerd.core.orders.override import Override
from powerd.core.units import MilliWatts
from powerd.errors import UnknownGpuError

# A loop, or a reading, that is older than this many control periods is not alive, or not true, any more.
STALE_PERIODS = 3


@dataclass(frozen=True, slots=True)
class BusStatus:
    """How the connection to the broker stands. A hint only: leases decide.

    Attributes:
        url: without credentials.
        protocol: "5" or "3.1.1" once connected, empty before.
        error: why it is not connected; empty when it is.
        published, received, rejected: messages since the start.
        certificate_end_wall_s: until when the broker's certificate is good, as it was last seen; None if it
            has shown none.
    """

    url: str
    connected: bool = False
    protocol: str = ""
    error: str = ""
    received: int = 0
    rejected: int = 0
    published: int = 0
    certificate_end_wall_s: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, or was: kept until it has not recurred for a while.

    Attributes:
        event: the same slug as in the log and in notices.
        severity: "info", "warning" or "critical".
        count: how often since `first_wall_s`.
    """

    event: str
    severity: str
    subject: str
    text: str
    first_wall_s: float
    last_wall_s: float
    count: int


@dataclass(frozen=True, slots=True)
class Reaction:
    """How fast a message was obeyed.

    Attributes:
        received_boot_s: when the message came in, on the boot clock.
        last_cut_boot_s: when the last cut that it led to was read back.
    """

    received_boot_s: float
    last_cut_boot_s: float

    @property
    def seconds(self) -> float:
        """Return the time from the one to the other."""
        return self.last_cut_boot_s - self.received_boot_s


@dataclass(frozen=True, slots=True)
class CallHistogram:
    """How long one kind of driver call takes at the guard.

    Attributes:
        bounds_s: upper bounds of the buckets in seconds, rising.
        counts: calls per bucket since the guard's start, not cumulated; the last one is above all bounds.
        sum_s: seconds spent in all of them.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """How the guard stands.

    Attributes:
        error: why it cannot be used; empty when it can.
        writes_forbidden: POWERD_FORBID_WRITES is set at the guard.
        reconnections: connections made after the first: it was started again, or hung.
        fallbacks: how often its dead-man's switch has fired since its start.
        calls: driver calls by name: read, read_limits, set_limit.
    """

    error: str = ""
    writes_forbidden: bool = False
    reconnections: int = 0
    fallbacks: int = 0
    calls: Mapping[str, CallHistogram] = field(default_factory=dict)


Direction: TypeAlias = Literal["lent", "borrowed"]


class Lease(NamedTuple):
    """Watts that are another host's to use, or another host's in use here.

    Attributes:
        end_boot_s: when it ends if it is not renewed: a borrower stops before the donor counts on it.
    """

    direction: Direction
    peer: str
    mw: MilliWatts
    end_boot_s: float


class Detached(NamedTuple):
    """The driver was given up on somebody's order.

    Attributes:
        by: who gave the order.
        reason: theirs, one line.
    """

    since_wall_s: float
    by: str
    reason: str

    @property
    def why(self) -> str:
        """Return a line for whoever finds the driver gone."""
        text = f"detached by {self.by}: {self.reason}"
        return "".join(char if char.isprintable() else "?" for char in text)


class Drill(NamedTuple):
    """Budgets are not heard, for practice.

    Attributes:
        end_boot_s: from this moment on they are heard again.
        dropped: budgets that arrived meanwhile.
        lowest_mw: the lowest of them: obeyed, though it renews nothing. None if none had a limit.
    """

    end_boot_s: float
    by: str
    reason: str
    dropped: int = 0
    lowest_mw: MilliWatts | None = None


@dataclass(frozen=True, slots=True)
class OrdersView:
    """Which orders of operators hold.

    Attributes:
        configured_mode: what the configuration says; `Snapshot.mode` is what holds.
        released: limits were put back as they had been found, and nothing is written since.
        overrides: those that have not ended, one per GPU.
    """

    configured_mode: str
    released: bool = False
    detached: Detached | None = None
    drill: Drill | None = None
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One iteration, finished.

    Attributes:
        iteration: counts from 1.
        period_s: the control period; an iteration older than three of them means a stalled loop.
        outcomes: of the writes of this iteration; empty when none was needed or `mode` forbids them.
        reaction: the last time a message led to cuts, in this iteration or before; None if none did yet.
        elapsed_s: from `now`, the iteration's start, to its last read-back.
        lease_rules: what hosts go by when they lend each other watts.
        meter_rules: which parts the rack's meter has.
        accounting: what a GPU is charged with.
        orders: what operators have ordered, as far as it holds.
    """

    now: Now
    iteration: int
    period_s: float
    mode: str
    site: str
    rack: str
    host: str
    readings: tuple[GpuReading, ...]
    decision: Decision
    outcomes: tuple[Outcome, ...]
    guard: GuardStatus
    bus: BusStatus
    problems: tuple[Problem, ...]
    reaction: Reaction | None = None
    elapsed_s: float = 0.0
    lease_rules: LeaseRules = field(default_factory=LeaseRules)
    meter_rules: MeterRules = field(default_factory=MeterRules)
    accounting: AccountingRules = field(default_factory=AccountingRules)
    orders: OrdersView = field(default_factory=lambda: OrdersView(""))

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Return what is lent and borrowed, by host."""
        decision = self.decision
        lent = (Lease("lent", each.to, each.mw, each.end_boot_s) for each in counting(decision.leases))
        borrowed = (
            Lease("borrowed", each.donor, each.mw, each.end_boot_s)
            for each in sorted(decision.standing.borrowed)
            if each.mw
        )
        return (*lent, *borrowed)

    @property
    def shed(self) -> Mapping[str, Shed]:
        """Return how much less could be drawn, by host and rack. Nothing, where no limit is written."""
        sheds = {"host": self.decision.sheds.host, "rack": self.decision.sheds.rack}
        if self.mode == "enforce":
            return sheds
        return {scope: replace(shed, now_mw=0, limit_mw=0) for scope, shed in sheds.items()}

    @property
    def peers(self) -> Mapping[str, HostState | None]:
        """Return the other hosts of the rack and the last that each has said; empty if hosts do not lend."""
        decision = self.decision
        if not decision.place.has_peers:
            return {}
        names = (host.name for host in decision.place.rack.hosts)
        return {name: decision.leases.peers.get(name) for name in names if name != self.host}

    def is_live(self, peer: HostState | None, now: Now) -> bool:
        """Return whether a host of the rack has been heard of late."""
        return peer is not None and now.boot_s - peer.received_boot_s <= self.lease_rules.silent_s

    def is_fresh(self, reading: GpuReading, now: Now) -> bool:
        """Return whether the measured values of one of `readings` still describe its GPU."""
        age_s = now.boot_s - reading.sampled_boot_s
        return reading.state is GpuState.OK and age_s <= STALE_PERIODS * self.period_s


def find_gpu(readings: Sequence[GpuReading], gpu: str) -> GpuReading:
    """Return the GPU that goes by a name: its index, its UUID, or the beginning of its UUID if one has it.

    Raises:
        UnknownGpuError: none goes by it, or several do.
    """
    for reading in readings:
        if gpu in (str(reading.index), reading.uuid):
            return reading
    matches = [reading for reading in readings if gpu and reading.uuid.startswith(gpu)]
    if len(matches) == 1:
        return matches[0]
    by_index = sorted(readings, key=lambda reading: (reading.index, reading.uuid))
    known = ", ".join(f"{reading.index} {reading.uuid}" for reading in by_index) or "none"
    problem = "names several GPUs" if matches else "is not a GPU of this host"
    # repr: the name came from outside and must not break the line.
    raise UnknownGpuError(f"{gpu[:64]!r} {problem}; known: {known}")
