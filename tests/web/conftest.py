"""A snapshot of a host with every kind of GPU, a clock that tests set, and a running endpoint."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from powerd.core.decide import Decision
from powerd.core.demand import Demand
from powerd.core.failsafe import Phase
from powerd.core.model import (
    Capability,
    Constraints,
    EventReason,
    GpuReading,
    GpuState,
    Now,
    Outcome,
    Plan,
    Result,
    Step,
)
from powerd.core.targets import GpuTarget
from powerd.core.timeline import Statement, Verdict, VerdictKind
from powerd.metrics import Metrics
from powerd.snapshot import BusStatus, CallHistogram, GuardStatus, Problem, Reaction, Snapshot
from powerd.web.server import WebServer

BOOT_S = 1000.0
WALL_S = 1795280400.0  # 2026-11-21T17:00:00Z
CONSTRAINTS = Constraints(200_000, 700_000, 700_000)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    boot_s: float = BOOT_S

    def now(self) -> Now:
        return Now(self.boot_s, WALL_S + self.boot_s - BOOT_S)


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


def decision() -> Decision:
    lease_end_s = BOOT_S + 41.0
    return Decision(
        phase=Phase.LIMITED,
        rack_cap_mw=30_000_000,
        usable_mw=29_400_000,
        entitlement_mw=7_350_000,
        cap_mw=7_350_000,
        overhead_mw=1_800_000,
        gpu_budget_mw=5_550_000,
        infeasible_mw=0,
        compliant=True,
        failsafe_cause="",
        statement=Statement("facility-a", 1763690000000, 1842, 30_000_000, 100, lease_end_s),
        rack_steps=(
            Step("hard_limit", 40_000_000, "rack.hard_limit_watts"),
            Step("budget", 30_000_000, "facility-a", "", lease_end_s),
            Step("guard_band", 29_400_000, "rack.guard_band_pct", "2 % for the error of the sensors"),
        ),
        host_steps=(
            Step(
                "entitlement", 7_350_000, "rack.hosts.r17-n3", "floor + 25.0% of the watts above all floors"
            ),
            Step("host_overhead", 5_550_000, "host.overhead_watts"),
        ),
        targets=tuple(map(target, readings())),
        plan=Plan(),
        verdicts=(
            Verdict(VerdictKind.ACCEPTED, "facility-a", 1763690000000, 1842),
            Verdict(VerdictKind.REJECTED, "facility-a", 1763690000000, 1800, "older", "seq 1800 is older"),
        ),
    )


SNAPSHOT = Snapshot(
    now=Now(BOOT_S, WALL_S),
    iteration=7,
    period_s=1.0,
    mode="enforce",
    site="hel1",
    rack="r17",
    host="r17-n3",
    readings=readings(),
    decision=decision(),
    outcomes=(
        Outcome("GPU-00aa-0", 400_000, Result.APPLIED, 400_000, 400_000, 400_000),
        Outcome("GPU-11aa-1", 400_000, Result.FAILED, 500_000, 500_000, 500_000, "read back 500 W"),
    ),
    guard=GuardStatus(
        reconnections=2, fallbacks=1, calls={"read": CallHistogram((0.001, 0.01), (3, 1, 1), 0.05)}
    ),
    bus=BusStatus("mqtts://broker.hel1.example:8883", connected=True, protocol="5", received=12, rejected=1),
    problems=(
        Problem("gpu_hung", "critical", "GPU-66aa-6", "GPU 6 does not answer", WALL_S - 60, WALL_S, 12),
        Problem("signal_rejected", "warning", "facility-a", "seq 1800 is old", WALL_S - 5, WALL_S - 5, 1),
    ),
    reaction=Reaction(BOOT_S - 0.002, BOOT_S - 0.0002),
    elapsed_s=0.05,
)


@pytest.fixture
def snapshot() -> Snapshot:
    """Return a host in a fresh lease: five good GPUs, one read-only, one hung, one lost."""
    return SNAPSHOT


@pytest.fixture
def failsafe(snapshot: Snapshot) -> Snapshot:
    """Return the same host after its controller fell silent; its limits were read back as written."""
    steps = (snapshot.decision.rack_steps[0], Step("failsafe", 20_000_000, "rack.failsafe_watts"))
    lost = replace(
        snapshot.decision,
        phase=Phase.FAILSAFE,
        failsafe_cause="lease_over",
        statement=None,
        rack_cap_mw=20_000_000,
        rack_steps=steps,
    )
    return replace(snapshot, decision=lost)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics("r17", "r17-n3", clock)


@dataclass
class Endpoint:
    """A running endpoint, what it shows, and a client of it."""

    server: WebServer
    shown: list[Snapshot | None]
    session: aiohttp.ClientSession
    url: str
    socket_path: Path

    def show(self, snapshot: Snapshot | None) -> None:
        self.shown[0] = snapshot


@pytest.fixture
async def endpoint(
    snapshot: Snapshot, clock: Clock, metrics: Metrics, tmp_path: Path
) -> AsyncIterator[Endpoint]:
    """Run the endpoint on a free port and a Unix socket."""
    shown: list[Snapshot | None] = [snapshot]
    path = tmp_path / "powerd.sock"
    server = WebServer(lambda: shown[0], clock, metrics, listen="127.0.0.1:0", socket_path=path)
    async with server, aiohttp.ClientSession() as session:
        yield Endpoint(server, shown, session, f"http://127.0.0.1:{server.port}", path)
