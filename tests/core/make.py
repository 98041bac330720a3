"""Builders for the records the core reads. Arguments are in watts and seconds, as people think.

The example rack: two equal hosts, each with four GPUs of 200..700 W and 200 W of overhead, so that a rack
budget B leaves B / 2 - 200 W for the GPUs of a host.

    rack budget   6000   4000   3000 (failsafe)   2000 (floors)
    per GPU        700    450    325               200
"""

from powerd.core.gpus.plan import DeadBand
from powerd.core.gpus.value import Objective
from powerd.core.leases.leases import LeaseRules
from powerd.core.model import Capability, Constraints, GpuReading, GpuState, Now, Step
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.ramp import RampRules
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.rack.trust import Trust
from powerd.core.state import Config
from powerd.core.topology import GpuPolicies, GpuPolicy, Host, Rack

W = 1000
WALL_AT_BOOT_S = 1_763_690_000.0
MIN_W, MAX_W = 200, 700


def at(boot_s: float, *, synced: bool = True, wall_offset_s: float = 0.0) -> Now:
    """Return the moment `boot_s` seconds after boot; the wall clock may be wrong by an offset."""
    return Now(boot_s, WALL_AT_BOOT_S + boot_s + wall_offset_s, synced)


def budget(
    watts: float | None,
    seq: int,
    received: Now,
    *,
    lease_s: float = 60.0,
    age_s: float = 0.0,
    source: str = "facility-a",
    epoch: int = 1,
    retained: bool = False,
    priority: int = 100,
    failsafe_watts: float | None = None,
    digest: str = "",
    trust: Trust = Trust.BROKER,
) -> BudgetMessage:
    """Return a budget that was issued `age_s` before it was received, by the receiver's wall clock."""
    issued_at_s = received.wall_s - age_s
    return BudgetMessage(
        source=source,
        epoch=epoch,
        seq=seq,
        issued_at_s=issued_at_s,
        valid_until_s=issued_at_s + lease_s,
        mw=None if watts is None else round(watts * W),
        received=received,
        retained=retained,
        priority=priority,
        failsafe_mw=None if failsafe_watts is None else round(failsafe_watts * W),
        digest=digest or f"{epoch}/{seq}/{watts}",
        trust=trust,
    )


def gpu(
    index: int = 0,
    *,
    limit: float | None = 700,
    draw: float | None = 300,
    sampled: float = 0.0,
    state: GpuState = GpuState.OK,
    capability: Capability = Capability.SETTABLE,
    constraints: tuple[int, int] | None = (MIN_W, MAX_W),
    requested: float | None = None,
    written: float | None = None,
    worst_case: float | None = None,
    capped_ns: int | None = None,
    reasons: int = 0,
    persistence_mode: bool | None = True,
) -> GpuReading:
    """Return a reading; the requested limit and the worst case are the enforced limit unless said."""

    def mw(watts: float | None) -> int | None:
        return None if watts is None else round(watts * W)

    span = None
    if constraints is not None:
        span = Constraints(constraints[0] * W, constraints[1] * W, constraints[1] * W)
    return GpuReading(
        uuid=uuid(index),
        index=index,
        name="H100",
        state=state,
        capability=capability,
        constraints=span,
        draw_mw=mw(draw),
        requested_mw=mw(limit if requested is None else requested),
        enforced_mw=mw(limit),
        capped_ns=capped_ns,
        event_reasons=reasons,
        persistence_mode=persistence_mode,
        written_mw=mw(written),
        worst_case_mw=mw(limit if worst_case is None else worst_case),
        sampled_boot_s=sampled,
    )


def uuid(index: int) -> str:
    """Return the UUID of the GPU with an index."""
    return f"GPU-{index}"


def rack(
    *,
    hosts: tuple[Host, ...] = (Host("h1", 1.0, 1000 * W), Host("h2", 1.0, 1000 * W)),
    hard_limit: int = 6000,
    failsafe: int = 3000,
    overhead: int = 0,
    guard_band_pct: float = 0.0,
) -> Rack:
    """Return the example rack, or one like it."""
    return Rack(
        site="hel1",
        name="r1",
        hosts=hosts,
        hard_limit_mw=hard_limit * W,
        failsafe_mw=failsafe * W,
        overhead_mw=overhead * W,
        guard_band_pct=guard_band_pct,
    )


def config(
    *,
    of: Rack | None = None,
    by_uuid: dict[str, GpuPolicy] | None = None,
    watts_per_s: float = 10.0,
    jitter_s: float = 5.0,
    overhead: int | None = 200,
    dead_band: DeadBand | None = None,
    leases: LeaseRules | None = None,
    objective: Objective = Objective.THROUGHPUT,
) -> Config:
    """Return the configuration of host h1 of the example rack: 10 W/s up, 5 s of jitter."""
    of = of or rack()
    return Config(
        rack=of,
        host="h1",
        admission=AdmissionRules(of.hard_limit_mw),
        ramp=RampRules(watts_per_s * W, jitter_s),
        policies=GpuPolicies(by_uuid=by_uuid or {}),
        overhead_mw=None if overhead is None else overhead * W,
        dead_band=dead_band or DeadBand(),
        leases=leases or LeaseRules(enabled=False),
        objective=objective,
    )


def rules(steps: tuple[Step, ...]) -> list[str]:
    """Return the rules of a chain, in order."""
    return [step.rule for step in steps]
