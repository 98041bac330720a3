"""Snapshot -> document: what is shown, and nothing about how it travels.

Invariant: no GPU number is shown that is older than three control periods, or that comes from a GPU whose
driver no longer answers. Every function is pure; `now` is an argument, because an old snapshot must look old.
"""

from collections.abc import Sequence

from powerd import __version__
from powerd.core.gpus.charge import Accounting
from powerd.core.gpus.targets import GpuTarget
from powerd.core.model import Capability, GpuReading, GpuState, Now, Step
from powerd.core.rack.timeline import Statement
from powerd.core.units import MilliWatts, watts
from powerd.signals.rfc3339 import utc
from powerd.snapshot import STALE_PERIODS, Problem, Snapshot, find_gpu
from powerd.web import grid_views, order_views, rack_views
from powerd.web.models import (
    AccountingView,
    BudgetView,
    BusView,
    ChainStep,
    Explanation,
    GpuView,
    GuardView,
    Health,
    LeaseView,
    ProblemView,
    ReactionView,
    Readiness,
    Scope,
    Status,
)
from powerd.web.optional import watts_or_none


def status(snapshot: Snapshot, now: Now) -> Status:
    """Return the whole state of the host."""
    decision = snapshot.decision
    bus = snapshot.bus
    return Status(
        v=1,
        version=__version__,
        site=snapshot.site,
        rack=snapshot.rack,
        host=snapshot.host,
        mode=snapshot.mode,
        state=decision.phase.value,
        failsafe_cause=decision.failsafe_cause,
        iteration=snapshot.iteration,
        at=utc(snapshot.now.wall_s),
        took_s=snapshot.elapsed_s,
        age_s=age_s(snapshot, now),
        period_s=snapshot.period_s,
        stalled=stalled(snapshot, now),
        reaction=_reaction(snapshot),
        compliant=decision.compliant,
        infeasible_watts=watts(decision.infeasible_mw),
        budget=_budget(snapshot, now),
        accounting=_accounting(snapshot),
        gpus=[_gpu(snapshot, reading, now) for reading in _by_index(snapshot)],
        lending=rack_views.lending(snapshot, now),
        leases=rack_views.leases(snapshot, now),
        peers=rack_views.peers(snapshot, now),
        events=grid_views.events(snapshot),
        signals=grid_views.signals(snapshot, now),
        meter=grid_views.meter(snapshot, now),
        shed=grid_views.shed(snapshot),
        orders=order_views.orders(snapshot, now),
        guard=GuardView(
            usable=not snapshot.guard.error,
            error=snapshot.guard.error,
            writes_forbidden=snapshot.guard.writes_forbidden,
            restarts=snapshot.guard.reconnections,
            fallbacks=snapshot.guard.fallbacks,
        ),
        bus=BusView(
            url=bus.url,
            connected=bus.connected,
            protocol=bus.protocol,
            error=bus.error,
            received=bus.received,
            rejected=bus.rejected,
            published=bus.published,
        ),
        errors=[_problem(problem) for problem in snapshot.problems],
    )


def explain(snapshot: Snapshot, gpu: str, now: Now) -> Explanation:
    """Return why one GPU has its limit.

    Args:
        snapshot: the latest iteration.
        gpu: its index, its UUID, or the beginning of its UUID where only one GPU has it.
        now: the moment of asking.

    Raises:
        UnknownGpuError: `gpu` names none of the GPUs, or several.
    """
    reading = find_gpu(snapshot.readings, gpu)
    view = _gpu(snapshot, reading, now)
    target = _target(snapshot, reading.uuid)
    own_steps = _chain("gpu", target.steps, now) if target else []
    steps = [*_host_chain(snapshot, now), *own_steps]
    return Explanation(
        uuid=view.uuid,
        index=view.index,
        name=view.name,
        limit_watts=view.limit_watts,
        enforced_watts=view.enforced_watts,
        text=_paragraph(snapshot, view, steps),
        steps=steps,
    )


def health(snapshot: Snapshot | None, now: Now) -> Health:
    """Return whether the loop is alive. Says nothing of broker, guard or GPUs."""
    if snapshot is None:
        return Health(healthy=False, age_s=None, period_s=None)
    return Health(healthy=not stalled(snapshot, now), age_s=age_s(snapshot, now), period_s=snapshot.period_s)


def readiness(snapshot: Snapshot | None, now: Now) -> Readiness:
    """Return whether the host is under control, and what is missing if not."""
    if snapshot is None:
        return Readiness(ready=False, reasons=["no iteration has finished yet"])
    reasons = [*_unattached(snapshot, now), *_ungoverned(snapshot, now)]
    return Readiness(ready=not reasons, reasons=reasons)


def age_s(snapshot: Snapshot, now: Now) -> float:
    """Return seconds since the iteration finished."""
    return max(0.0, now.boot_s - snapshot.now.boot_s - snapshot.elapsed_s)


def stalled(snapshot: Snapshot, now: Now) -> bool:
    """Return whether the loop has missed three periods."""
    return age_s(snapshot, now) > STALE_PERIODS * snapshot.period_s


def _unattached(snapshot: Snapshot, now: Now) -> list[str]:
    reasons = []
    if stalled(snapshot, now):
        reasons.append(f"the control loop has not finished an iteration for {age_s(snapshot, now):.1f} s")
    if snapshot.guard.error:
        reasons.append(f"the guard cannot be used: {snapshot.guard.error}")
    if not snapshot.readings:
        reasons.append("no GPU is attached")
    return reasons


def _ungoverned(snapshot: Snapshot, now: Now) -> list[str]:
    """Return why neither a fresh budget nor a failsafe that was read back holds."""
    statement = snapshot.decision.statement
    if statement is not None and statement.end_boot_s > now.boot_s:
        return []
    return [
        f"no fresh budget, and failsafe is not verified: GPU {reading.index} enforces "
        f"{_text(watts_or_none(reading.enforced_mw if snapshot.is_fresh(reading, now) else None))}, "
        f"target {_text(watts(target.limit_mw))}"
        for reading in _by_index(snapshot)
        if (target := _target(snapshot, reading.uuid)) is not None
        and target.limit_mw is not None
        and _controllable(reading)
        and not _obeys(snapshot, reading, target.limit_mw, now)
    ]


def _controllable(reading: GpuReading) -> bool:
    return reading.state is GpuState.OK and reading.capability is Capability.SETTABLE


def _obeys(snapshot: Snapshot, reading: GpuReading, limit_mw: MilliWatts, now: Now) -> bool:
    enforced_mw = reading.enforced_mw
    return enforced_mw is not None and snapshot.is_fresh(reading, now) and enforced_mw <= limit_mw


def _budget(snapshot: Snapshot, now: Now) -> BudgetView:
    decision = snapshot.decision
    draws = [reading.draw_mw for reading in snapshot.readings if snapshot.is_fresh(reading, now)]
    known = [draw for draw in draws if draw is not None]
    every_gpu_known = len(known) == len(snapshot.readings)
    return BudgetView(
        rack_watts=watts(decision.rack_cap_mw),
        usable_watts=watts(decision.usable_mw),
        entitlement_watts=watts(decision.entitlement_mw),
        host_watts=watts(decision.cap_mw),
        overhead_watts=watts(decision.overhead_mw),
        gpus_watts=watts(decision.gpu_budget_mw),
        allocated_watts=watts(sum(target.counted_mw for target in decision.targets)),
        draw_watts=watts(sum(known)) if every_gpu_known else None,
        chain=_host_chain(snapshot, now),
        lease=_lease(decision.statement, now) if decision.statement else None,
    )


def _accounting(snapshot: Snapshot) -> AccountingView:
    rules, excess = snapshot.accounting, snapshot.decision.excess
    may_exceed = rules.mode is Accounting.MEASURED
    return AccountingView(
        mode=rules.mode.value,
        granted_watts=watts(excess.granted_mw),
        worst_excess_watts=watts(excess.worst_mw),
        worst_excess_s=rules.worst_s if may_exceed else 0.0,
        claw_back_s=rules.claw_back_s if may_exceed else 0.0,
        excess_joules=watts(excess.drawn_mj),
    )


def _reaction(snapshot: Snapshot) -> ReactionView | None:
    last = snapshot.reaction
    if last is None:
        return None
    return ReactionView(
        seconds=last.seconds, received_boot_s=last.received_boot_s, last_cut_boot_s=last.last_cut_boot_s
    )


def _lease(statement: Statement, now: Now) -> LeaseView:
    return LeaseView(
        source=statement.source,
        epoch=statement.epoch,
        seq=statement.seq,
        watts=watts_or_none(statement.mw),
        reason=statement.reason,
        correlation_id=statement.correlation_id,
        remaining_s=max(0.0, statement.end_boot_s - now.boot_s),
        expires_at=_wall(statement.end_boot_s, now),
    )


def _gpu(snapshot: Snapshot, reading: GpuReading, now: Now) -> GpuView:
    target = _target(snapshot, reading.uuid)
    measured = snapshot.is_fresh(reading, now)
    constraints = reading.constraints
    return GpuView(
        uuid=reading.uuid,
        index=reading.index,
        name=reading.name,
        state=reading.state.value,
        capability=reading.capability.value,
        reason=_reason(reading, target),
        demand=target.demand.value if target else "unknown",
        detail=reading.detail,
        draw_watts=watts_or_none(reading.draw_mw if measured else None),
        limit_watts=watts_or_none(target.limit_mw if target else None),
        enforced_watts=watts_or_none(reading.enforced_mw if measured else None),
        requested_watts=watts_or_none(reading.requested_mw if measured else None),
        worst_case_watts=watts_or_none(reading.worst_case_mw),
        want_watts=watts_or_none(target.want_mw if target else None),
        min_watts=watts_or_none(constraints.min_mw if constraints else None),
        max_watts=watts_or_none(constraints.max_mw if constraints else None),
        default_watts=watts_or_none(constraints.default_mw if constraints else None),
        age_s=max(0.0, now.boot_s - reading.sampled_boot_s),
    )


def _reason(reading: GpuReading, target: GpuTarget | None) -> str:
    if reading.state is not GpuState.OK:
        return reading.state.value
    return target.steps[-1].rule if target and target.steps else "not_decided"


def _problem(problem: Problem) -> ProblemView:
    return ProblemView(
        event=problem.event,
        severity=problem.severity,
        subject=problem.subject,
        text=problem.text,
        first=utc(problem.first_wall_s),
        last=utc(problem.last_wall_s),
        count=problem.count,
    )


def _host_chain(snapshot: Snapshot, now: Now) -> list[ChainStep]:
    decision = snapshot.decision
    return [*_chain("rack", decision.rack_steps, now), *_chain("host", decision.host_steps, now)]


def _chain(scope: Scope, steps: Sequence[Step], now: Now) -> list[ChainStep]:
    return [
        ChainStep.model_validate(
            {
                "scope": scope,
                "rule": step.rule,
                "watts": watts(step.mw),
                "source": step.source,
                "note": step.note,
                "until": None if step.until_boot_s is None else _wall(step.until_boot_s, now),
                "remaining_s": None
                if step.until_boot_s is None
                else max(0.0, step.until_boot_s - now.boot_s),
            }
        )
        for step in steps
    ]


def _paragraph(snapshot: Snapshot, gpu: GpuView, steps: Sequence[ChainStep]) -> str:
    if gpu.limit_watts is None:
        head = f"GPU {gpu.index} ({gpu.name}) has no limit of ours: {gpu.reason.replace('_', ' ')}."
    else:
        head = f"GPU {gpu.index} ({gpu.name}) shall be limited to {_text(gpu.limit_watts)}."
    places: dict[Scope, str] = {
        "rack": f"Rack {snapshot.rack}",
        "host": f"Host {snapshot.host}",
        "gpu": "This GPU",
    }
    sentences = [
        f"{place}: {'; '.join(links)}."
        for scope, place in places.items()
        if (links := [_link(step) for step in steps if step.scope == scope])
    ]
    state = "" if gpu.state == "ok" else f" It is {gpu.state}; no reading is current."
    tail = f"It enforces {_text(gpu.enforced_watts)} and draws {_text(gpu.draw_watts)}.{state}"
    return " ".join([head, *sentences, tail])


def _link(step: ChainStep) -> str:
    until = f", until {step.until}" if step.until else ""
    note = f", {step.note}" if step.note else ""
    return f"{_text(step.watts)} after {step.rule.replace('_', ' ')} ({step.source}{until}){note}"


def _target(snapshot: Snapshot, uuid: str) -> GpuTarget | None:
    return next((target for target in snapshot.decision.targets if target.uuid == uuid), None)


def _by_index(snapshot: Snapshot) -> list[GpuReading]:
    return sorted(snapshot.readings, key=lambda reading: (reading.index, reading.uuid))


def _text(value_watts: float | None) -> str:
    return (
        "an unknown number of watts" if value_watts is None else f"{value_watts:,.1f} W".replace(".0 W", " W")
    )


def _wall(moment_boot_s: float, now: Now) -> str:
    """Return a moment of the boot clock as this host's wall clock would show it."""
    return utc(now.wall_s + moment_boot_s - now.boot_s)
