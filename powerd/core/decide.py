"""decide(inputs, state, now, config) -> (decision, state): the one door into the core.

    messages -> timeline -> failsafe -> rack cap -> ramp -> leases -> host -> demand -> targets -> plan

Pure: the same arguments give the same results. Deciding twice at one moment on the same readings changes
nothing, so the controller decides again after a write that failed, in the same iteration.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from powerd.core import failsafe, overhead
from powerd.core.admission import admit, adopt
from powerd.core.demand import assess
from powerd.core.failsafe import Phase
from powerd.core.host_share import host_share
from powerd.core.leases import Leases, hear
from powerd.core.model import EventReason, GpuReading, Notice, Now, Plan, Step
from powerd.core.notices import about_budget, about_gpus, about_messages, about_peers, about_phase
from powerd.core.observed import Observed, learn_from_outcome, learn_from_reading
from powerd.core.place import Place
from powerd.core.plan import writes
from powerd.core.rack_view import rack_view
from powerd.core.standing import Standing
from powerd.core.state import Config, Inputs, State
from powerd.core.targets import GpuTarget, gpu_range, may_draw_mw, settle
from powerd.core.timeline import Statement, Timeline, Verdict, VerdictKind, lapse
from powerd.core.units import MilliWatts

# The guard falls back by itself when a lease ends: powerd steps down this much earlier, so that the guard
# need not.
STEP_DOWN_LEAD_S = 0.25


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that one iteration decided.

    Attributes:
        statement: the budget in force; None in `init` and `failsafe`.
        rack_steps: the chain from the hard limit to what the rack's hosts may use.
        host_steps: the chain from there to what this host's GPUs may use.
        infeasible_mw: how far the asked-for budget lies below what limiting can reach; 0 if reachable.
        compliant: every GPU's worst case fits the GPU budget, and nothing is infeasible.
        failsafe_cause: why the failsafe budget holds; empty when it does not.
        place, standing: how this host stands with the others of its rack.
        leases: what has been lent, and what peers said.
        wake_boot_s: when the next decision falls due without any news; None = not before a period is over.
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
    statement: Statement | None
    rack_steps: tuple[Step, ...]
    host_steps: tuple[Step, ...]
    targets: tuple[GpuTarget, ...]
    plan: Plan
    place: Place
    standing: Standing
    leases: Leases
    verdicts: tuple[Verdict, ...] = ()
    notices: tuple[Notice, ...] = ()
    wake_boot_s: float | None = None


def decide(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[Decision, State]:
    """Decide what every GPU of this host may draw now, and what to write to get there."""
    before = state.failsafe.phase
    state = _expire(state, now, config)
    state, verdicts = _hear(inputs, state, now, config)
    state, learned = _look(inputs, state, now, config)
    view, state = rack_view(inputs, state, now, config)
    share, state = host_share(inputs, view, state, now, config)
    current = {r.uuid: may_draw_mw(r) for r in inputs.readings if r.uuid in share.sharing.ranges}
    limits = {target.uuid: target.limit_mw for target in share.targets if target.limit_mw is not None}
    cuts, raises = writes(current, limits, share.gpu_mw - share.sharing.fixed_mw, config.dead_band)
    written = {write.uuid for write in cuts + raises}
    compliant = share.infeasible_mw <= 0 and fits(inputs.readings, share.gpu_mw)
    told = (
        *learned,
        *about_phase(before, state.failsafe.phase, view.cap_mw),
        *about_messages(verdicts, view.conflict),
        *about_gpus(inputs.readings, share.sharing.fixed),
        *about_budget(share.infeasible_mw, braking=now.boot_s < state.brake_until_boot_s),
        *about_peers(share.place, share.standing, state.leases, config.leases, now.boot_s),
    )
    decision = Decision(
        phase=state.failsafe.phase,
        rack_cap_mw=view.cap_mw,
        usable_mw=view.usable_mw,
        entitlement_mw=share.standing.entitlement_mw,
        cap_mw=share.standing.limit_mw,
        overhead_mw=share.overhead_mw,
        gpu_budget_mw=share.gpu_mw,
        infeasible_mw=share.infeasible_mw,
        compliant=compliant,
        failsafe_cause=_failsafe_cause(state, now),
        statement=view.statement,
        rack_steps=view.steps,
        host_steps=share.steps,
        targets=settle(share.targets, current, written),
        plan=Plan(cuts, raises, share.fallback, _end_boot_s(view.statement, share.standing, now, config)),
        place=share.place,
        standing=share.standing,
        leases=state.leases,
        verdicts=verdicts,
        notices=told,
        wake_boot_s=_wake_boot_s(state.timeline, share.standing),
    )
    return decision, state


def fits(readings: Sequence[GpuReading], gpu_budget_mw: MilliWatts) -> bool:
    """Say whether the most that the GPUs may draw together is known and within their budget."""
    worst_cases = [reading.worst_case_mw for reading in readings]
    known = [mw for mw in worst_cases if mw is not None]
    return bool(known) and len(known) == len(worst_cases) and sum(known) <= gpu_budget_mw


def _expire(state: State, now: Now, config: Config) -> State:
    """Let what ended while nobody decided end, at the time at which it did.

    So a loop that was away past the end of a lease finds itself in failsafe, as the guard does, and what it
    hears then is judged as heard in failsafe.
    """
    end_boot_s = max((s.end_boot_s for s in state.timeline.statements.values()), default=now.boot_s)
    if end_boot_s > now.boot_s:
        return state
    timeline = lapse(state.timeline, now.boot_s, config.failsafe.hold_s)
    ended = replace(now, boot_s=end_boot_s)
    phase = failsafe.step(state.failsafe, None, state.ramp.cap_mw, ended, config.failsafe)
    return replace(state, timeline=timeline, failsafe=phase)


def _hear(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[State, tuple[Verdict, ...]]:
    """Take in the messages, then drop what is over."""
    timeline = state.timeline
    verdicts = []
    for message in inputs.messages:
        timeline, verdict = admit(timeline, message, config.admission, state.failsafe.since_boot_s)
        verdicts.append(verdict)
    heard = state.heard.union(verdict.source for verdict in verdicts if _is_newest(verdict, timeline))
    timeline = lapse(timeline, now.boot_s + STEP_DOWN_LEAD_S, config.failsafe.hold_s)
    leases = hear(state.leases, inputs.states, config.host) if inputs.states else state.leases
    for peer in inputs.states:
        if peer.budget is not None and peer.roster == config.roster and peer.host != config.host:
            timeline = adopt(timeline, peer.budget, config.admission, now.boot_s)
    return replace(state, timeline=timeline, heard=heard, leases=leases), tuple(verdicts)


def _is_newest(verdict: Verdict, timeline: Timeline) -> bool:
    """Say whether a message, or its repetition, is the last word of its source."""
    seen = timeline.seen.get(verdict.source)
    is_seen = seen is not None and (seen.epoch, seen.seq) == (verdict.epoch, verdict.seq)
    return is_seen and verdict.kind is not VerdictKind.REJECTED


def _look(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[State, tuple[Notice, ...]]:
    """Take in readings and outcomes: what the GPUs want, and what they would not do."""
    demands, observed = dict(state.demands), dict(state.observed)
    told: list[Notice] = []
    for outcome in inputs.outcomes:
        before = observed.get(outcome.uuid, Observed())
        observed[outcome.uuid] = learn_from_outcome(before, outcome, now.boot_s)
    for reading in inputs.readings:
        uuid = reading.uuid
        before = observed.get(uuid, Observed())
        observed[uuid], learned = learn_from_reading(before, reading, now.boot_s, config.observed)
        told.extend(learned)
        span = gpu_range(reading, config.policies.of(uuid), observed[uuid])
        ceiling = span.ceiling_mw if span else reading.worst_case_mw or 0
        demands[uuid] = assess(demands.get(uuid), reading, ceiling, config.demand)
    brake_until = state.brake_until_boot_s
    if any(reading.event_reasons & EventReason.HW_POWER_BRAKE for reading in inputs.readings):
        brake_until = now.boot_s + config.brake_hold_s
    updated = replace(
        state,
        demands=demands,
        observed=observed,
        overhead=overhead.smooth(state.overhead, inputs.overhead),
        brake_until_boot_s=brake_until,
    )
    return updated, tuple(told)


def _end_boot_s(statement: Statement | None, standing: Standing, now: Now, config: Config) -> float:
    """Return how long a plan may hold: never longer than any lease it rests on."""
    end = min(now.boot_s + config.hold_s, standing.end_boot_s)
    return end if statement is None else min(end, statement.end_boot_s)


def _wake_boot_s(timeline: Timeline, standing: Standing) -> float | None:
    ends = [statement.end_boot_s - STEP_DOWN_LEAD_S for statement in timeline.statements.values()]
    wake_boot_s = min(ends, default=math.inf)
    wake_boot_s = min(wake_boot_s, standing.step_down_boot_s)
    return wake_boot_s if math.isfinite(wake_boot_s) else None


def _failsafe_cause(state: State, now: Now) -> str:
    if now.boot_s < state.brake_until_boot_s:
        return "power_brake"
    causes = {Phase.INIT: "no_controller", Phase.FAILSAFE: "lease_over"}
    return causes.get(state.failsafe.phase, "")
