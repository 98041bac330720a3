"""The rack's budget as this host sees it: everything that limits the rack now, down to what hosts share."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from powerd.core import budget, failsafe, ramp
from powerd.core.failsafe import CONTROLLED, Phase
from powerd.core.model import Now, Step
from powerd.core.state import Config, Inputs, State
from powerd.core.timeline import Statement, governing
from powerd.core.units import MilliWatts, watts


@dataclass(frozen=True, slots=True)
class RackView:
    """The rack's budget as this host sees it.

    Attributes:
        asked_mw: what the whole rack is asked for, before the ramp and what lowers this host alone.
        asked_since_boot_s: since when.
        is_trimmed: something lowers this host alone.
        failsafe_cap_mw: the rack cap if the controller fell silent now: what the guard falls back to.
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


def rack_view(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[RackView, State]:
    """Combine every cap on the rack, climb no faster than the ramp, and take off what is not for hosts."""
    rack = config.rack
    statement, conflict = governing(state.timeline)
    phase = failsafe.step(state.failsafe, statement, state.ramp.cap_mw, now, config.failsafe)
    state = replace(state, failsafe=phase)
    asked_mw = state.timeline.failsafe_mw
    failsafe_mw = rack.failsafe_mw if asked_mw is None else min(rack.failsafe_mw, asked_mw)
    shared = budget.rack_cap(rack, _caps(statement, state, failsafe_mw, now, config))
    if shared.mw != state.asked_mw:
        state = replace(state, asked_mw=shared.mw, asked_since_boot_s=now.boot_s)
    asked = budget.lowered(rack, shared, _own_caps(inputs, state, failsafe_mw, now))
    climb = ramp.follow(
        state.ramp,
        asked.mw,
        now,
        config.ramp,
        controlled=phase.phase in CONTROLLED,
        not_before_boot_s=phase.dwell_until_boot_s,
    )
    cap_mw = asked.mw if climb.cap_mw is None else climb.cap_mw
    climbing: tuple[Step, ...] = ()
    if cap_mw < asked.mw:
        note = f"climbing to {watts(asked.mw):g} W"
        climbing = (Step("ramp", cap_mw, "control.raise_ramp_pct_per_min", note),)
    usable = budget.usable(rack, cap_mw, asked.asked_mw)
    view = RackView(
        statement=statement,
        conflict=conflict,
        asked_mw=shared.mw,
        asked_since_boot_s=state.asked_since_boot_s,
        is_trimmed=asked.mw < shared.mw,
        cap_mw=cap_mw,
        usable_mw=usable.mw,
        infeasible_mw=usable.infeasible_mw,
        failsafe_cap_mw=max(rack.least_mw, min(cap_mw, failsafe_mw)),
        steps=asked.steps + climbing + usable.steps,
    )
    return view, replace(state, ramp=climb)


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
    for source, ceiling in sorted(state.timeline.ceilings.items()):
        yield Step("lower_only", ceiling.mw, source, ceiling.reason, ceiling.until_boot_s)


def _own_caps(inputs: Inputs, state: State, failsafe_mw: MilliWatts, now: Now) -> Iterable[Step]:
    """List what lowers this host alone, as caps on its rack."""
    if inputs.operator_cap_mw is not None:
        yield Step("operator", inputs.operator_cap_mw, "operator")
    if now.boot_s < state.brake_until_boot_s:
        yield Step("power_brake", failsafe_mw, "gpu", "hardware power brake", state.brake_until_boot_s)
