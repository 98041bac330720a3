"""The rack's budget as this host sees it: everything that limits the rack now, down to what hosts share."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from powerd.core.events.caps import EventStatus, statuses
from powerd.core.events.target import Ground
from powerd.core.events.turns import agenda, begin
from powerd.core.metering.meter import stale
from powerd.core.model import Now, Step
from powerd.core.rack import advisory, budget, failsafe, ramp
from powerd.core.rack.failsafe import CONTROLLED, Phase
from powerd.core.rack.timeline import Statement, governing
from powerd.core.state import Config, Inputs, State
from powerd.core.units import MilliWatts, watts


class RackView(NamedTuple):
    """The rack's budget as this host sees it.

    Attributes:
        asked_mw: what the whole rack is asked for, before any ramp and what lowers this host alone.
        asked_since_boot_s: since when.
        is_trimmed: something lowers this host alone, or could be passed with what it borrows.
        failsafe_cap_mw: the rack cap if the controller fell silent now: what the guard falls back to.
        events: those that have a say now.
        wake_boot_s: when an event changes that; None if none does.
    """

    statement: Statement | None
    conflict: tuple[str, ...]
    asked_mw: MilliWatts
    asked_since_boot_s: float
    is_trimmed: bool
    cap_mw: MilliWatts
    usable_mw: MilliWatts
    infeasible_mw: MilliWatts
    failsafe_cap_mw: MilliWatts
    steps: tuple[Step, ...]
    events: tuple[EventStatus, ...] = ()
    wake_boot_s: float | None = None


def rack_view(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[RackView, State]:
    """Combine every cap on the rack, climb no faster than the ramp, and take off what is not for hosts."""
    rack = config.rack
    statement, conflict = governing(state.timeline)
    phase = failsafe.step(state.failsafe, statement, state.ramp.cap_mw, now, config.failsafe)
    if phase is not state.failsafe:
        state = state._replace(failsafe=phase)
    asked_mw = state.timeline.failsafe_mw
    failsafe_mw = rack.failsafe_mw if asked_mw is None else min(rack.failsafe_mw, asked_mw)
    base = budget.rack_cap(rack, _caps(statement, state, failsafe_mw, now, config))
    if (advised := advisory.cap(state.signals, config.advisory, base.mw, now.wall_s)) is not None:
        base = budget.lowered(rack, base, (advised,))
    events, state = _events(base.mw, failsafe_mw, state, now, config)
    # What hosts agree on is where an event leads, not where each of them is on the way: their clocks differ.
    shared = budget.lowered(rack, base, _event_steps(events, now, ramped=False)) if events else base
    if shared.mw != state.asked_mw:
        state = state._replace(asked_mw=shared.mw, asked_since_boot_s=now.boot_s)
    held = budget.lowered(rack, base, _event_steps(events, now, ramped=True)) if events else base
    asked = budget.lowered(rack, held, _own_caps(inputs, events, state, failsafe_mw, now))
    climb, climbing = _climb(asked.mw, state, now, config)
    cap_mw = asked.mw if climb.cap_mw is None else climb.cap_mw
    usable = budget.usable(rack, cap_mw, asked.asked_mw, state.meter.trim_mw)
    view = RackView(
        statement=statement,
        conflict=conflict,
        asked_mw=shared.mw,
        asked_since_boot_s=state.asked_since_boot_s,
        is_trimmed=asked.mw < held.mw or any(each.is_own and each.target_mw is not None for each in events),
        cap_mw=cap_mw,
        usable_mw=usable.mw,
        infeasible_mw=usable.infeasible_mw,
        failsafe_cap_mw=max(rack.least_mw, min(cap_mw, failsafe_mw, shared.mw, *_own_targets_mw(events))),
        steps=asked.steps + climbing + usable.steps,
        events=events,
        wake_boot_s=_wake_boot_s(state, now),
    )
    return view, state if climb is state.ramp else state._replace(ramp=climb)


def _climb(
    asked_mw: MilliWatts, state: State, now: Now, config: Config
) -> tuple[ramp.Ramp, tuple[Step, ...]]:
    """Move the cap towards what is asked for; up only while it is known what the rack draws."""
    before = state.ramp
    found_mw = before.free_mw if before.cap_mw is None else before.cap_mw
    missing = stale(state.meter, config.meter, now.boot_s)
    lid_mw = asked_mw
    if missing:
        lid_mw = min(asked_mw, config.rack.failsafe_mw if found_mw is None else found_mw)
    climb = ramp.follow(
        before,
        lid_mw,
        now,
        config.ramp,
        controlled=state.failsafe.phase in CONTROLLED and lid_mw == asked_mw,
        not_before_boot_s=state.failsafe.dwell_until_boot_s,
    )
    if climb.cap_mw is None or climb.cap_mw >= asked_mw:
        return climb, ()
    if missing:
        note = f"no raise while nothing usable is heard of {', '.join(missing)}"
        return climb, (Step("meter_unknown", climb.cap_mw, "meter", note),)
    note = f"climbing to {watts(asked_mw):g} W"
    return climb, (Step("ramp", climb.cap_mw, "control.raise_ramp_pct_per_min", note),)


def _events(
    base_mw: MilliWatts, failsafe_mw: MilliWatts, state: State, now: Now, config: Config
) -> tuple[tuple[EventStatus, ...], State]:
    """Find whose turn it is among the events that are held, and what they let the rack draw."""
    if not state.schedule.held:
        return (), state if state.agenda is None else state._replace(agenda=None)
    ground = Ground(
        rack=config.rack,
        host=config.host,
        base_mw=base_mw,
        before_mw=base_mw if state.ramp.cap_mw is None else state.ramp.cap_mw,
        failsafe_mw=failsafe_mw,
        is_controlled=state.failsafe.phase in CONTROLLED,
        measured_mw=state.draws.mean_mw,
    )
    plan = begin(agenda(state.agenda, state.schedule, ground, config.events, now), ground)
    state = state._replace(schedule=plan.schedule, agenda=plan)
    return statuses(plan, ground, config.events, now.wall_s), state


def _event_steps(events: tuple[EventStatus, ...], now: Now, *, ramped: bool) -> Iterable[Step]:
    """List the caps of events that are about more than this host."""
    for status in events:
        mw = status.cap_mw if ramped else status.target_mw
        if mw is not None and not status.is_own:
            yield _event_step(status, mw, now)


def _own_targets_mw(events: tuple[EventStatus, ...]) -> Iterable[MilliWatts]:
    """List where the events lead that are about this host alone."""
    return (each.target_mw for each in events if each.is_own and each.target_mw is not None)


def _event_step(status: EventStatus, mw: MilliWatts, now: Now) -> Step:
    event = status.event
    note = f"{event.event_id}, {event.event_class}, {status.phase}"
    until_boot_s = None if status.until_s is None else now.boot_s + status.until_s - now.wall_s
    return Step("event", mw, event.source, note, until_boot_s)


def _wake_boot_s(state: State, now: Now) -> float | None:
    if state.agenda is None or state.agenda.until_s == math.inf:
        return None
    return now.boot_s + state.agenda.until_s - now.wall_s


def _caps(
    statement: Statement | None,
    state: State,
    failsafe_mw: MilliWatts,
    now: Now,
    config: Config,
) -> Iterable[Step]:
    """List every cap on the whole rack that holds now, in the order in which `explain` shows them."""
    if statement is None:
        cap = failsafe.cap_mw(state.failsafe, failsafe_mw, now, config.failsafe)
        note = "no controller heard yet" if state.failsafe.phase is Phase.INIT else "no controller heard"
        yield Step("failsafe", cap, "rack.failsafe_watts", note)
    elif statement.mw is not None:
        yield Step("budget", statement.mw, statement.source, statement.reason, statement.end_boot_s)
    lids = (*state.timeline.ceilings.items(), *state.timeline.unsigned.items())
    for source, ceiling in sorted(lids, key=lambda lid: lid[0]):
        yield Step("lower_only", ceiling.mw, source, ceiling.reason, ceiling.until_boot_s)


def _own_caps(
    inputs: Inputs, events: tuple[EventStatus, ...], state: State, failsafe_mw: MilliWatts, now: Now
) -> Iterable[Step]:
    """List what lowers this host alone, as caps on its rack."""
    yield from (_event_step(status, status.cap_mw, now) for status in events if status.is_own)
    if inputs.operator_cap_mw is not None:
        note = "the lowest budget that arrived during a drill"
        yield Step("operator", inputs.operator_cap_mw, "operator", note)
    if now.boot_s < state.brake_until_boot_s:
        yield Step("power_brake", failsafe_mw, "gpu", "hardware power brake", state.brake_until_boot_s)
