"""What this host's GPUs get of the rack's budget, now and if the controller fell silent."""

from dataclasses import dataclass, replace

from powerd.core import budget, overhead
from powerd.core.failsafe import Phase
from powerd.core.model import GpuReading, Now, Step, Write
from powerd.core.rack_view import RackView
from powerd.core.state import Config, State
from powerd.core.targets import GpuTarget, Sharing, fallback, may_draw_mw, share_out, sort_out
from powerd.core.timeline import Statement
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class HostShare:
    """What this host's GPUs get."""

    host: budget.HostBudget
    gpu_mw: MilliWatts
    infeasible_mw: MilliWatts
    sharing: Sharing
    targets: tuple[GpuTarget, ...]
    fallback: tuple[Write, ...]
    steps: tuple[Step, ...]


def host_share(
    readings: tuple[GpuReading, ...], view: RackView, state: State, now: Now, config: Config
) -> tuple[HostShare, State]:
    """Share the host's part among its GPUs, and work out what the guard falls back to."""
    over = overhead.overhead_step(state.overhead, config.overhead_mw, now.boot_s)
    host = budget.host_budget(config.rack, config.host, view.usable_mw, over)
    sharing = sort_out(readings, config.policies, state.demands, state.observed, now.boot_s)
    gpu_mw, found, state = _without_raise(readings, sharing, host.gpu_mw, view.statement, state, now, config)
    targets = share_out(sharing, gpu_mw, state.demands)
    usable_mw = config.rack.usable_mw(view.failsafe_cap_mw)
    fallback_mw = budget.host_budget(config.rack, config.host, usable_mw, over).gpu_mw
    share = HostShare(
        host=host,
        gpu_mw=gpu_mw,
        infeasible_mw=max(view.infeasible_mw, sharing.floors_mw - host.gpu_mw),
        sharing=sharing,
        targets=targets,
        fallback=fallback(sharing, min(gpu_mw, fallback_mw)),
        steps=host.steps + found,
    )
    return share, state


def _without_raise(
    readings: tuple[GpuReading, ...],
    sharing: Sharing,
    gpu_mw: MilliWatts,
    statement: Statement | None,
    state: State,
    now: Now,
    config: Config,
) -> tuple[MilliWatts, tuple[Step, ...], State]:
    """Before any controller is heard, stay at or below the limits that were found.

    What holds now is not known: nothing was remembered, or what was may have been lowered meanwhile. The
    failsafe budget or the remembered one may be above it, and going there would be a raise without a grant.
    After the longest possible lease there is no such budget any more.
    """
    over_boot_s = state.failsafe.entered.boot_s + config.admission.max_lease_s
    if statement is None:
        is_known = state.failsafe.phase is not Phase.INIT or state.failsafe.held_mw is not None
    else:
        is_known = statement.source in state.heard
    if is_known or now.boot_s >= over_boot_s or not readings:
        return gpu_mw, (), state
    found_mw = state.found_mw
    if found_mw is None:
        found_mw = sharing.fixed_mw + sum(may_draw_mw(r) or 0 for r in readings if r.uuid in sharing.ranges)
        state = replace(state, found_mw=found_mw)
    if found_mw >= gpu_mw:
        return gpu_mw, (), state
    note = "no raise above the limits found before a controller is heard"
    return found_mw, (Step("found", found_mw, "gpu", note, over_boot_s),), state
