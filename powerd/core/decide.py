"""decide(inputs, state, now, config) -> (decision, state): the one door into the core.

    messages -> timeline -> failsafe -> rack cap -> ramp -> leases -> host -> demand -> targets -> plan

Pure: the same arguments give the same results. Deciding twice at one moment on the same readings changes
nothing, so the controller decides again after a write that failed, in the same iteration.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from powerd.core.events.caps import EventStatus
from powerd.core.events.notices import about_budget_unit, about_events
from powerd.core.events.schedule import Schedule
from powerd.core.gpus import overhead
from powerd.core.gpus.charge import charged
from powerd.core.gpus.demand import assess
from powerd.core.gpus.excess import Excess
from powerd.core.gpus.gpu_range import Range, Ranges, gpu_range
from powerd.core.gpus.observed import UNKNOWN, learn_from_outcome, learn_from_reading
from powerd.core.gpus.plan import writes
from powerd.core.gpus.targets import GpuTarget, may_draw_mw, settle
from powerd.core.hearing import STEP_DOWN_LEAD_S, expire, hear
from powerd.core.leases.leases import Leases
from powerd.core.leases.place import Place
from powerd.core.leases.standing import Standing
from powerd.core.metering import meter
from powerd.core.metering.draw import RackDraw
from powerd.core.metering.shed import Sheds
from powerd.core.metering.weighing import could_shed, weigh
from powerd.core.model import EventReason, GpuReading, Notice, Now, Plan, Step
from powerd.core.notices import about_budget, about_gpus, about_messages, about_peers, about_phase
from powerd.core.rack.advisory import Signals
from powerd.core.rack.failsafe import Phase
from powerd.core.rack.host_share import HostShare, host_share
from powerd.core.rack.rack_view import RackView, rack_view
from powerd.core.rack.timeline import Statement, Verdict
from powerd.core.state import Config, Inputs, State
from powerd.core.units import MilliWatts


class Decision(NamedTuple):
    """Everything that one iteration decided.

    Attributes:
        statement: the budget in force; None in `init` and `failsafe`.
        rack_steps: the chain from the hard limit to what the rack's hosts may use.
        host_steps: the chain from there to what this host's GPUs may use.
        excess: how far limits may sum up to above the GPU budget, the worst case, and what came of it.
        infeasible_mw: how far the asked-for budget lies below what limiting can reach; 0 if reachable.
        compliant: every GPU's worst case fits the GPU budget and what is granted above it, and nothing is
            infeasible.
        failsafe_cause: why the failsafe budget holds; empty when it does not.
        place, standing: how this host stands with the others of its rack.
        leases: what has been lent, and what peers said.
        events: the grid events that have a say in the rack cap.
        schedule: all that are held.
        draw: what the whole rack draws.
        sheds: how much less this host, and the whole rack, could be made to draw.
        meter: what the rack's meters say.
        signals: prices and emissions, the newest of each kind and zone.
        wake_boot_s: when the next decision falls due without any news; None = not before a period is over.
    """

    phase: Phase
    rack_cap_mw: MilliWatts
    usable_mw: MilliWatts
    entitlement_mw: MilliWatts
    cap_mw: MilliWatts
    overhead_mw: MilliWatts
    gpu_budget_mw: MilliWatts
    excess: Excess
    infeasible_mw: MilliWatts
    compliant: bool
    failsafe_cause: str
    statement: Statement | None
    rack_steps: tuple[Step, ...]
    host_steps: tuple[Step, ...]
    targets: tuple[GpuTarget, ...]
    plan: Plan
    place: Place
    standing: Standing
    leases: Leases
    events: tuple[EventStatus, ...]
    schedule: Schedule
    draw: RackDraw
    sheds: Sheds
    meter: meter.Meter
    signals: Signals
    verdicts: tuple[Verdict, ...] = ()
    notices: tuple[Notice, ...] = ()
    wake_boot_s: float | None = None


def decide(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[Decision, State]:
    """Decide what every GPU of this host may draw now, and what to write to get there."""
    before, agenda = state.failsafe.phase, state.agenda
    state, verdicts = hear(inputs, expire(state, now, config), now, config)
    state, ranges, learned = _look(inputs, state, now, config)
    draw, state = weigh(inputs, state, now, config)
    view, state = rack_view(inputs, state, now, config)
    share, state = host_share(inputs, ranges, view, state, now, config)
    current = {r.uuid: may_draw_mw(r) for r in inputs.readings if r.uuid in share.sharing.ranges}
    limits = {target.uuid: target.limit_mw for target in share.targets if target.limit_mw is not None}
    wants = {target.uuid: target.want_mw for target in share.targets}
    limits_mw = share.gpu_mw + share.excess.granted_mw
    # What an operator has asked for is written to the watt.
    exact = {each.uuid for each in share.targets if each.steps[-1].rule == "override"}
    spendable_mw = limits_mw - share.sharing.fixed_mw
    cuts, raises = writes(current, limits, wants, spendable_mw, config.dead_band, exact)
    written = {write.uuid for write in cuts + raises}
    compliant = share.infeasible_mw <= 0 and fits(inputs.readings, limits_mw)
    told = (
        *learned,
        *about_phase(before, state.failsafe.phase, view.cap_mw),
        *about_messages(verdicts, view.conflict),
        *about_gpus(inputs.readings, share.sharing.fixed),
        *about_budget(share.infeasible_mw, braking=now.boot_s < state.brake_until_boot_s),
        *about_peers(share.place, share.standing, state.leases, config.leases, now.boot_s),
        *about_events(agenda, view.events, state.schedule, config.events, config.rack.hard_limit_mw),
        *about_budget_unit(view.statement, config.rack.hard_limit_mw),
    )
    decision = Decision(
        phase=state.failsafe.phase,
        rack_cap_mw=view.cap_mw,
        usable_mw=view.usable_mw,
        entitlement_mw=share.standing.entitlement_mw,
        cap_mw=share.standing.limit_mw,
        overhead_mw=share.overhead_mw,
        gpu_budget_mw=share.gpu_mw,
        excess=share.excess,
        infeasible_mw=share.infeasible_mw,
        compliant=compliant,
        failsafe_cause=_failsafe_cause(state, now),
        statement=view.statement,
        rack_steps=view.steps,
        host_steps=share.steps,
        targets=charged(settle(share.targets, current, written), share.parts),
        plan=Plan(cuts, raises, share.fallback, _end_boot_s(view.statement, share.standing, now, config)),
        place=share.place,
        standing=share.standing,
        leases=state.leases,
        events=view.events,
        schedule=state.schedule,
        draw=draw,
        sheds=could_shed(inputs, share, state, now, config),
        meter=state.meter,
        signals=state.signals,
        verdicts=verdicts,
        notices=told,
        wake_boot_s=_wake_boot_s(state, view, share),
    )
    return decision, state


def fits(readings: Sequence[GpuReading], limits_mw: MilliWatts) -> bool:
    """Say whether the most that the GPUs may draw together is known and within what is given."""
    worst_cases = [reading.worst_case_mw for reading in readings]
    known = [mw for mw in worst_cases if mw is not None]
    return bool(known) and len(known) == len(worst_cases) and sum(known) <= limits_mw


def _look(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[State, Ranges, tuple[Notice, ...]]:
    """Take in readings and outcomes: what the GPUs want, in which range, and what they would not do."""
    demands, observed = dict(state.demands), dict(state.observed)
    ranges: dict[str, Range | None] = {}
    told: list[Notice] = []
    for outcome in inputs.outcomes:
        before = observed.get(outcome.uuid, UNKNOWN)
        observed[outcome.uuid] = learn_from_outcome(before, outcome, now.boot_s)
    for reading in inputs.readings:
        uuid = reading.uuid
        before = observed.get(uuid, UNKNOWN)
        observed[uuid], learned = learn_from_reading(before, reading, now.boot_s, config.observed)
        told.extend(learned)
        span = ranges[uuid] = gpu_range(reading, config.policies.of(uuid), observed[uuid])
        ceiling = span.ceiling_mw if span else reading.worst_case_mw or 0
        demands[uuid] = assess(demands.get(uuid), reading, ceiling, config.demand)
    brake_until = state.brake_until_boot_s
    if any(reading.event_reasons & EventReason.HW_POWER_BRAKE for reading in inputs.readings):
        brake_until = now.boot_s + config.brake_hold_s
    updated = state._replace(
        demands=demands,
        observed=observed,
        overhead=overhead.smooth(state.overhead, inputs.overhead),
        brake_until_boot_s=brake_until,
    )
    return updated, ranges, tuple(told)


def _end_boot_s(statement: Statement | None, standing: Standing, now: Now, config: Config) -> float:
    """Return how long a plan may hold: never longer than any lease it rests on."""
    end = min(now.boot_s + config.hold_s, standing.end_boot_s)
    return end if statement is None else min(end, statement.end_boot_s)


def _wake_boot_s(state: State, view: RackView, share: HostShare) -> float | None:
    ends = [statement.end_boot_s - STEP_DOWN_LEAD_S for statement in state.timeline.statements.values()]
    ends += [override.end_boot_s for override in share.sharing.overrides.values()]
    if view.wake_boot_s is not None:
        ends.append(view.wake_boot_s)
    wake_boot_s = min((share.standing.step_down_boot_s, *ends))
    return wake_boot_s if math.isfinite(wake_boot_s) else None


def _failsafe_cause(state: State, now: Now) -> str:
    if now.boot_s < state.brake_until_boot_s:
        return "power_brake"
    causes = {Phase.INIT: "no_controller", Phase.FAILSAFE: "lease_over"}
    return causes.get(state.failsafe.phase, "")
