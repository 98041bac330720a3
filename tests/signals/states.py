"""What host h3 of a rack of three says: a finished iteration, and the message to its peers."""

from dataclasses import replace
from typing import Any, Final

from powerd.core.decide import decide
from powerd.core.gpus.demand import Demand
from powerd.core.gpus.targets import GpuTarget
from powerd.core.leases.host_state import HeardBudget, Hold, HostState, Key, Lend
from powerd.core.leases.leases import Leases
from powerd.core.model import Capability, Constraints, GpuReading, GpuState, Now, Step
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.failsafe import Phase
from powerd.core.rack.ramp import RampRules
from powerd.core.rack.timeline import Statement
from powerd.core.state import Config, Inputs, initial_state
from powerd.core.topology import Host, Rack
from powerd.signals.report import HostReport
from powerd.snapshot import BusStatus, GuardStatus, Snapshot

NOW: Final = Now(boot_s=500.0, wall_s=1795280401.0)
EPOCH: Final = 1763690001000
RACK: Final = Rack(
    site="hel1",
    name="r12",
    hosts=tuple(Host(name, 1.0, 1_400_000) for name in ("h1", "h2", "h3")),
    hard_limit_mw=40_000_000,
    failsafe_mw=20_000_000,
)
NAMES: Final = frozenset(host.name for host in RACK.hosts)

# It lends 450 W to h1, recalls what it lent to h2, of which 250 W are still counted, and has let go of what
# it held from h2.
STATE: Final = HostState(
    host="h3",
    key=Key(EPOCH, 5521),
    roster="0123456789abcdef",
    is_leasing=True,
    rack_cap_mw=30_000_000,
    entitlement_mw=9_800_001,
    want_mw=8_000_999,
    spare_mw=1_799_002,
    lent_mw=700_000,
    over_mw=0,
    worst_case_mw=2_300_000,
    budget=HeardBudget("facility-a", 1763690000000, 1842, 30_000_000, 59.0),
    lends=(Lend("h1", 450_000, Key(1763690000500, 17)), Lend("h2", 0, Key(1763690000700, 4711))),
    holds=(Hold("h2", 0, Key(1763690000700, 4711)),),
    received_boot_s=NOW.boot_s,
)


def gpu(uuid: str, **changes: Any) -> GpuReading:
    reading = GpuReading(
        uuid=uuid,
        index=0,
        name="Test GPU",
        state=GpuState.OK,
        capability=Capability.SETTABLE,
        constraints=Constraints(min_mw=200_000, max_mw=700_000, default_mw=700_000),
        draw_mw=612_500,
        enforced_mw=650_000,
        worst_case_mw=650_000,
    )
    return replace(reading, **changes)


def target(uuid: str, limit_mw: int | None = 650_000) -> GpuTarget:
    return GpuTarget(uuid=uuid, limit_mw=limit_mw, counted_mw=650_000, want_mw=640_000, demand=Demand.BUSY)


CONFIG: Final = Config(
    rack=RACK,
    host="h3",
    admission=AdmissionRules(RACK.hard_limit_mw),
    ramp=RampRules(mw_per_s=1_000_000, jitter_s=0.0),
    overhead_mw=1_000_000,
)
_FIRST, _ = decide(Inputs(readings=()), initial_state(NOW), NOW, CONFIG)

DECISION: Final = _FIRST._replace(
    phase=Phase.LIMITED,
    rack_cap_mw=30_000_000,
    entitlement_mw=STATE.entitlement_mw,
    cap_mw=7_350_000,
    overhead_mw=1_000_000,
    infeasible_mw=0,
    compliant=True,
    failsafe_cause="",
    statement=Statement(
        source="facility-a",
        epoch=1763690000000,
        seq=1842,
        mw=30_000_000,
        priority=100,
        end_boot_s=559.0,
        reason="peak",
        correlation_id="9a1e",
    ),
    rack_steps=(
        Step("hard_limit", 40_000_000, "rack.hard_limit_watts"),
        Step("budget", 30_000_000, "facility-a"),
        Step("guard_band", 29_400_000, "rack.guard_band_pct"),
    ),
    targets=(target("GPU-a"), target("GPU-b")),
    place=_FIRST.place._replace(asked_mw=30_000_000),
    standing=_FIRST.standing._replace(want_mw=STATE.want_mw),
    leases=Leases(epoch=EPOCH, seq=5521, said=STATE),
)
SNAPSHOT: Final = Snapshot(
    now=NOW,
    iteration=7,
    period_s=1.0,
    mode="enforce",
    site="hel1",
    rack="r12",
    host="h3",
    readings=(gpu("GPU-a"), gpu("GPU-b")),
    decision=DECISION,
    outcomes=(),
    guard=GuardStatus(),
    bus=BusStatus(url="mqtt://localhost"),
    problems=(),
)


def report() -> HostReport:
    return HostReport(host="h3", rack="r12", epoch=EPOCH)


def payload(state: HostState = STATE) -> bytes:
    """Return what the host publishes for a message of its own."""
    return HostReport(host=state.host, rack="r12", epoch=EPOCH).state(SNAPSHOT, state)
