"""Host r17-n3 of a rack of four, at one moment: every kind of GPU, its peers, and what it decides about them.

Decided by the real core; only what the GPUs are limited to is set by hand, so that numbers can be told apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from powerd.core.confirm import confirm
from powerd.core.decide import Decision, decide
from powerd.core.events.grid_event import Action, ActionKind, EventClass, GridEvent, Interval, Level
from powerd.core.gpus.demand import Demand
from powerd.core.gpus.targets import GpuTarget
from powerd.core.leases.host_state import HeardBudget, HostState, Key, Lend
from powerd.core.leases.memory import LeaseMemory, recall
from powerd.core.metering.meter import MeterReading, MeterRules, Quality
from powerd.core.model import (
    Capability,
    Constraints,
    EventReason,
    GpuReading,
    GpuState,
    Now,
    Outcome,
    Result,
    Step,
)
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.advisory import AdvisorySignal, SignalKind
from powerd.core.rack.ramp import RampRules
from powerd.core.rack.timeline import BudgetMessage, Verdict, VerdictKind
from powerd.core.state import Config, Inputs, initial_state
from powerd.core.topology import Host, Rack
from powerd.snapshot import BusStatus, CallHistogram, GuardStatus, Problem, Reaction, Snapshot

BOOT_S = 1000.0
WALL_S = 1795280400.0  # 2026-11-21T17:00:00Z
CONSTRAINTS = Constraints(200_000, 700_000, 700_000)
RACK = Rack(
    site="hel1",
    name="r17",
    hosts=tuple(Host(f"r17-n{number}", 1.0, 2_600_000) for number in range(1, 5)),
    hard_limit_mw=40_000_000,
    failsafe_mw=20_000_000,
)
CONFIG = Config(
    rack=RACK,
    host="r17-n3",
    admission=AdmissionRules(RACK.hard_limit_mw),
    ramp=RampRules(100_000_000, 0.0),
    overhead_mw=1_800_000,
)
EPOCH = 1763690000000
# The host's own epoch, by the wall clock at its start.
STARTED_S = -15.0
OWN_EPOCH = round((WALL_S + STARTED_S) * 1000)
# When it decides; at the first one it hears its budget, at the second one its GPUs have warmed up.
TIMES_S = (-12.0, -1.0, 0.0)
MEMORY = LeaseMemory(EPOCH, (), is_lost=False, wait_until_boot_s=0.0, rack=RACK)
VERDICTS = (
    Verdict(VerdictKind.ACCEPTED, "facility-a", EPOCH, 1842, skew_s=0.25),
    Verdict(VerdictKind.REJECTED, "facility-a", EPOCH, 1800, "older", "seq 1800 is older"),
)


def moment(after_s: float) -> Now:
    """Return a moment so many seconds after the one that is shown."""
    return Now(BOOT_S + after_s, WALL_S + after_s)


def gpu(index: int, **changes: object) -> GpuReading:
    reading = GpuReading(
        uuid=f"GPU-{index}{index}aa-{index}",
        index=index,
        name="NVIDIA H100 80GB HBM3",
        state=GpuState.OK,
        capability=Capability.SETTABLE,
        constraints=CONSTRAINTS,
        draw_mw=300_000 + 10_000 * index,
        energy_mj=5_000_000 + index,
        requested_mw=400_000,
        enforced_mw=400_000,
        capped_ns=2_000_000_000,
        event_reasons=EventReason.HW_THERMAL if index == 1 else 0,
        written_mw=400_000,
        worst_case_mw=400_000,
        sampled_boot_s=BOOT_S - 0.05,
    )
    return replace(reading, **changes)  # type: ignore[arg-type] # fields by name, checked when they are used


def readings() -> tuple[GpuReading, ...]:
    return (
        *(gpu(index) for index in range(5)),
        gpu(5, capability=Capability.READABLE, written_mw=None),
        gpu(6, state=GpuState.HUNG, detail="a driver call has not returned for 4 s"),
        gpu(7, state=GpuState.LOST, capability=Capability.LOST, draw_mw=None, detail="fell off the bus"),
    )


def target(reading: GpuReading) -> GpuTarget:
    if reading.state is not GpuState.OK or reading.capability is not Capability.SETTABLE:
        fixed = Step("not_controllable", 400_000, "powerd", reading.state.value)
        return GpuTarget(reading.uuid, None, 400_000, 400_000, Demand.UNKNOWN, (fixed,))
    steps = (
        Step("floor", 200_000, "gpu"),
        Step("fair_share", 380_000, "powerd", "capped: wants 700 W"),
        Step("spare", 400_000, "powerd", "watts nobody wants, spread evenly"),
    )
    return GpuTarget(reading.uuid, 400_000, 400_000, 380_000, Demand.CAPPED, steps)


def peer(name: str, heard_s: float, *, seq: int = 1, watts: int = 30000, **changes: object) -> HostState:
    """Return the message of another host, heard so many seconds after the moment that is shown.

    Args:
        watts: the rack budget that it follows; it draws what its share of that is worth.
    """
    share_mw = RACK.entitlement_mw(name, RACK.usable_mw(watts * 1000))
    state = HostState(
        host=name,
        key=Key(EPOCH, seq),
        roster=CONFIG.roster,
        is_leasing=True,
        rack_cap_mw=watts * 1000,
        entitlement_mw=share_mw,
        want_mw=share_mw,
        spare_mw=0,
        lent_mw=0,
        over_mw=0,
        worst_case_mw=share_mw,
        budget=HeardBudget("facility-a", EPOCH, 1842, watts * 1000, 40.0),
        received_boot_s=BOOT_S + heard_s,
    )
    return replace(state, **changes)  # type: ignore[arg-type] # fields by name


def lend(watts: int, *, answers: int) -> tuple[Lend, ...]:
    """Return what a peer lends to the host, in answer to one of its messages."""
    return (Lend(CONFIG.host, watts * 1000, Key(OWN_EPOCH, answers)),)


def decided(
    heard: Iterable[HostState] = (),
    *,
    watts: int = 30000,
    gpus: Sequence[GpuReading] | None = None,
    memory: LeaseMemory | None = MEMORY,
    events: tuple[GridEvent, ...] = (),
    meters: tuple[MeterReading, ...] = (),
    signals: tuple[AdvisorySignal, ...] = (),
    config: Config = CONFIG,
) -> Decision:
    """Return what the host decides under a budget, once it has seen for a while what its GPUs want.

    Args:
        heard: what peers say; each is taken in at the first of `TIMES_S` that is not before its receipt.
        memory: of leases; None if it was lost.
        events, meters, signals: heard at the last of `TIMES_S`.
    """
    found = readings() if gpus is None else tuple(gpus)
    leases = recall(memory, RACK, CONFIG.leases, moment(STARTED_S))
    state = initial_state(moment(STARTED_S), leases=leases)
    for before_s, after_s in pairwise((STARTED_S, *TIMES_S)):
        messages = (_budget(watts, moment(after_s)),) if after_s == TIMES_S[0] else ()
        states = tuple(s for s in heard if before_s < s.received_boot_s - BOOT_S <= after_s)
        sampled = tuple(replace(each, sampled_boot_s=BOOT_S + after_s - 0.05) for each in found)
        inputs = Inputs(sampled, messages, states=states, may_lease=True)
        if after_s == TIMES_S[-1]:
            inputs = replace(inputs, events=events, meters=meters, signals=signals)
        decision, state = decide(inputs, state, moment(after_s), config)
        _, state = confirm(decision, sampled, state, moment(after_s), config)
    return decision._replace(leases=state.leases, verdicts=VERDICTS, targets=tuple(map(target, readings())))


def held_back() -> tuple[GpuReading, ...]:
    """Return GPUs whose limit holds them back: they want all they can get."""
    cap = EventReason.SW_POWER_CAP
    return tuple(
        replace(each, draw_mw=395_000, capped_ns=None, energy_mj=None, event_reasons=cap)
        if each.state is GpuState.OK
        else each
        for each in readings()
    )


def lending() -> Snapshot:
    """Return a host that lends 650 W to n1; n2 fell silent, and n4 goes by another roster."""
    short = RACK.entitlement_mw("r17-n1", 29_400_000) + 650_000
    return snapshot(
        decided(
            [
                peer("r17-n2", -9.0, spare_mw=900_000),
                peer("r17-n1", -1.5, want_mw=short),
                peer("r17-n4", -0.25, roster="0123456789abcdef", is_leasing=False, budget=None),
            ]
        )
    )


def borrowing() -> Snapshot:
    """Return a host that borrows 600 W from n1; n2 and n4 were never heard."""
    donor = peer("r17-n1", -0.5, watts=24000, spare_mw=600_000, lent_mw=600_000, lends=lend(600, answers=2))
    return snapshot(decided([donor], watts=24000, gpus=held_back()))


def curtailed() -> Snapshot:
    """Return a host under an event that asks for a quarter less; one feed of its rack gives no reading."""
    event = GridEvent(
        source="vtn1",
        event_id="peak-7",
        epoch=EPOCH,
        seq=3,
        issued_at_s=WALL_S - 600.0,
        event_class=EventClass.MANDATORY,
        level=Level.RACK,
        targets=("r17",),
        intervals=(Interval(WALL_S - 2.0, WALL_S + 1800.0, Action(ActionKind.REDUCE_PCT, pct=25.0)),),
        received=moment(0.0),
        retained=True,
        origin="openadr3.1 8842",
    )
    readings_of_feeds = (
        MeterReading("a", 14_200_000, Quality.GOOD, BOOT_S - 1.0),
        MeterReading("b", None, Quality.BAD, BOOT_S - 2.0),
    )
    price = AdvisorySignal(
        kind=SignalKind.PRICE_SPOT,
        zone="fi",
        value=0.31,
        currency="EUR",
        valid_from_s=WALL_S - 900.0,
        valid_until_s=WALL_S + 900.0,
        source="market",
        epoch=EPOCH,
        seq=1,
        issued_at_s=WALL_S - 900.0,
    )
    config = replace(CONFIG, meter=MeterRules(parts=("a", "b")))
    decision = decided(events=(event,), meters=readings_of_feeds, signals=(price,), config=config)
    return replace(snapshot(decision), meter_rules=config.meter)


def _budget(watts: int, received: Now) -> BudgetMessage:
    """Return a budget that ends 41 s after the moment that is shown."""
    return BudgetMessage(
        source="facility-a",
        epoch=EPOCH,
        seq=1842,
        issued_at_s=received.wall_s,
        valid_until_s=WALL_S + 41.0,
        mw=watts * 1000,
        received=received,
    )


def snapshot(decision: Decision) -> Snapshot:
    """Return the iteration that ended with a decision."""
    return Snapshot(
        now=moment(0.0),
        iteration=7,
        period_s=1.0,
        mode="enforce",
        site="hel1",
        rack="r17",
        host="r17-n3",
        readings=readings(),
        decision=decision,
        outcomes=(
            Outcome("GPU-00aa-0", 400_000, Result.APPLIED, 400_000, 400_000, 400_000),
            Outcome("GPU-11aa-1", 400_000, Result.FAILED, 500_000, 500_000, 500_000, "read back 500 W"),
        ),
        guard=GuardStatus(
            reconnections=2, fallbacks=1, calls={"read": CallHistogram((0.001, 0.01), (3, 1, 1), 0.05)}
        ),
        bus=BusStatus(
            "mqtts://broker.hel1.example:8883", connected=True, protocol="5", received=12, rejected=1
        ),
        problems=(
            Problem("gpu_hung", "critical", "GPU-66aa-6", "GPU 6 does not answer", WALL_S - 60, WALL_S, 12),
            Problem("signal_rejected", "warning", "facility-a", "seq 1800 is old", WALL_S - 5, WALL_S - 5, 1),
        ),
        reaction=Reaction(BOOT_S - 0.002, BOOT_S - 0.0002),
        elapsed_s=0.05,
    )
