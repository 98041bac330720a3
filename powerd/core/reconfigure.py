"""reconfigured(state, before, config, now) -> state: what is remembered, under another configuration.

The third door of the core. Invariant: no limit rises by a change of the configuration alone, but up to the
host's floor. What it grants more is climbed to like any other raise; what it takes away goes at once.
"""

from powerd.core.gpus.overhead import overhead_step
from powerd.core.leases import memory
from powerd.core.leases.leases import Leases
from powerd.core.leases.place import least_entitlement_mw
from powerd.core.model import Now
from powerd.core.state import Config, State
from powerd.core.units import MilliWatts


def reconfigured(state: State, before: Config, config: Config, now: Now) -> State:
    """Return the state to go on with.

    Where hosts have to agree on what changed, this one deals with the others as after a start: what it has
    lent counts on, what it has borrowed is let go, and the least of the entitlements under the old and the
    new roster holds until all hosts have the new one (docs/leases.md, R1 and R4).

    Args:
        before: the configuration that the state was made by, of the same host.
    """
    after = state
    if config.roster != before.roster:
        leases = memory.recall(memory.keep(state.leases, before.rack), config.rack, config.leases, now)
        after = state._replace(leases=leases)
    ramp = state.ramp
    if ramp.climbing_from_boot_s is not None and ramp.cap_mw is not None and config.ramp != before.ramp:
        # A steeper slope is not one that has been climbed already.
        from_boot_s = max(now.boot_s, ramp.climbing_from_boot_s)
        ramp = ramp._replace(base_mw=ramp.cap_mw, climbing_from_boot_s=from_boot_s)
    return _without_raise(after._replace(ramp=ramp), config, (state, before), now)


def tended(state: State, config: Config, now: Now, *, knows_budget: bool) -> tuple[Leases, State]:
    """Let go of what is over between hosts; return the leases to decide by, and the state to go on with.

    Once all hosts agree, the share under the new roster is climbed to, from the next decision on.

    Args:
        knows_budget: as `memory.tend` takes it.
    """
    before = state.leases
    leases = memory.tend(before, config.rack, now.boot_s, roster=config.roster, knows_budget=knows_budget)
    after = state._replace(leases=leases)
    if leases.formers == before.formers:
        return leases, after
    return leases._replace(formers=before.formers), _without_raise(after, config, (state, config), now)


def _without_raise(state: State, config: Config, before: tuple[State, Config], now: Now) -> State:
    """Return a state with a cap that is worth no more to this host's GPUs than it was before."""
    ramp = state.ramp
    cap_mw, free_mw = (
        None if mw is None else _same_worth_mw(mw, before, (state, config), now)
        for mw in (ramp.cap_mw, ramp.free_mw)
    )
    if cap_mw != ramp.cap_mw:
        ramp = ramp._replace(cap_mw=cap_mw, climbing_from_boot_s=None, arrived_boot_s=None)
    return state._replace(ramp=ramp._replace(free_mw=free_mw))


def _same_worth_mw(
    cap_mw: MilliWatts, before: tuple[State, Config], after: tuple[State, Config], now: Now
) -> MilliWatts:
    """Return a rack cap, lowered as far as this host's GPUs would get more of it than they had."""
    had_mw = _worth_mw(cap_mw, *before, now)
    if _worth_mw(cap_mw, *after, now) <= had_mw:
        return cap_mw
    state, config = after
    same_mw = config.rack.cap_for_mw(config.host, had_mw + _overhead_mw(state, config, now))
    return min(cap_mw, max(config.rack.least_mw, same_mw + state.meter.trim_mw))


def _worth_mw(cap_mw: MilliWatts, state: State, config: Config, now: Now) -> MilliWatts:
    """Return what this host's GPUs get of a rack cap."""
    formers, trim_mw = state.leases.formers, state.meter.trim_mw
    share_mw = least_entitlement_mw(config.rack, formers, config.host, cap_mw, trim_mw)
    return share_mw - _overhead_mw(state, config, now)


def _overhead_mw(state: State, config: Config, now: Now) -> MilliWatts:
    return overhead_step(state.overhead, config.overhead_mw, now.boot_s).mw
