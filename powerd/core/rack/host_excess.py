"""How far the limits of this host may sum up to above its GPU budget, if its operator lets them."""

from powerd.core.gpus import charge
from powerd.core.gpus.charge import Accounting, Parts
from powerd.core.gpus.excess import follow
from powerd.core.gpus.quiet import NONE_QUIET, watch
from powerd.core.gpus.targets import Sharing
from powerd.core.model import Now, Step
from powerd.core.rack.failsafe import CONTROLLED
from powerd.core.rack.timeline import Statement
from powerd.core.state import Config, Inputs, State
from powerd.core.units import MilliWatts


def host_excess(
    inputs: Inputs,
    sharing: Sharing,
    gpu_mw: MilliWatts,
    state: State,
    now: Now,
    config: Config,
    *,
    statement: Statement | None,
    is_feasible: bool,
) -> tuple[Parts, tuple[Step, ...], State]:
    """Return how much less than its limit each idle GPU is charged, and the link of the chain that says so.

    The state's account of what was drawn above the budget goes on in any accounting.

    Args:
        gpu_mw: the GPU budget, which is kept by limits alone in `provable`.
        statement: the budget in force. One that is only remembered may have been lowered meanwhile.
    """
    rules, parts, quiet = config.accounting, charge.NO_PARTS, NONE_QUIET
    readings, demands = inputs.readings, state.demands
    if rules.mode is Accounting.MEASURED:
        quiet = watch(state.quiet, readings, demands)
        is_heard = statement is not None and statement.source in state.heard
        if is_heard and is_feasible and _is_controlled(state, now):
            parts = charge.grant(sharing, gpu_mw, readings, quiet, state.observed, now.boot_s, rules)
    excess = follow(state.excess, parts, gpu_mw, sharing, readings, demands, quiet, rules, now.boot_s)
    steps = charge.steps(parts, gpu_mw, rules.worst_s)
    return parts, steps, state._replace(excess=excess, quiet=quiet)


def _is_controlled(state: State, now: Now) -> bool:
    """Say whether a fresh budget holds, no hardware brake was pulled, and it is known what was lent."""
    return (
        state.failsafe.phase in CONTROLLED
        and now.boot_s >= state.brake_until_boot_s
        and not state.leases.is_lost
    )
