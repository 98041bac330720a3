"""What this host's GPUs get of the rack's budget, now and if the controller fell silent."""

from collections.abc import Iterator
from typing import NamedTuple

from powerd.core.gpus import overhead
from powerd.core.gpus.charge import Parts
from powerd.core.gpus.excess import Excess
from powerd.core.gpus.gpu_range import Ranges
from powerd.core.gpus.targets import GpuTarget, Sharing, fallback, may_draw_mw, share_out, sort_out
from powerd.core.gpus.value import Objective, appraise, learn
from powerd.core.leases.host_state import HeardBudget
from powerd.core.leases.leases import Leases, Promise, counting
from powerd.core.leases.place import Place, entitlement_mw
from powerd.core.leases.standing import Standing, standing
from powerd.core.model import GpuReading, Now, Step, Write
from powerd.core.orders.override import in_force
from powerd.core.rack.failsafe import CONTROLLED, Phase
from powerd.core.rack.host_excess import host_excess
from powerd.core.rack.rack_view import RackView
from powerd.core.rack.timeline import Statement
from powerd.core.reconfigure import tended
from powerd.core.state import Config, Inputs, State
from powerd.core.units import MilliWatts, watts


class HostShare(NamedTuple):
    """What this host's GPUs get.

    Attributes:
        place, standing: how that came about between the hosts of the rack.
        gpu_mw: what the GPUs may draw; may be negative where the overhead is above the host's cap.
        excess: how far their limits may sum up to above that, and what came of it.
        parts: how much less than its limit each idle GPU is charged.
    """

    place: Place
    standing: Standing
    overhead_mw: MilliWatts
    gpu_mw: MilliWatts
    excess: Excess
    parts: Parts
    infeasible_mw: MilliWatts
    sharing: Sharing
    targets: tuple[GpuTarget, ...]
    fallback: tuple[Write, ...]
    steps: tuple[Step, ...]


def host_share(
    inputs: Inputs, ranges: Ranges, view: RackView, state: State, now: Now, config: Config
) -> tuple[HostShare, State]:
    """Share the host's part among its GPUs, and work out what the guard falls back to."""
    over = overhead.overhead_step(state.overhead, config.overhead_mw, now.boot_s)
    overrides = in_force(inputs.overrides, now.boot_s)
    readings, demands = inputs.readings, state.demands
    sharing = sort_out(readings, config.policies, demands, state.observed, ranges, now.boot_s, overrides)
    values = known = state.values
    if config.objective is Objective.THROUGHPUT:
        values = {r.uuid: learn(known.get(r.uuid), r, demands[r.uuid].demand) for r in readings}
        sharing = sharing._replace(requests=appraise(sharing.requests, values))
    place = _place(inputs, view, sharing, over.mw, state.meter.trim_mw, now, config)
    leases, state = tended(
        state._replace(values=values), config, now, knows_budget=_knows_budget(state, now, config)
    )
    stands = standing(place, leases, config.leases, now.boot_s)
    gpu_mw, found, state = _without_raise(
        inputs.readings, sharing, stands.limit_mw - over.mw, view.statement, state, now, config
    )
    infeasible_mw = max(view.infeasible_mw, sharing.floors_mw + over.mw - stands.entitlement_mw)
    parts, exceeds, state = host_excess(
        inputs,
        sharing,
        gpu_mw,
        state,
        now,
        config,
        statement=view.statement,
        is_feasible=infeasible_mw <= 0,
    )
    fallback_mw = entitlement_mw(place, leases, view.failsafe_cap_mw) - stands.lent_mw - over.mw
    share = HostShare(
        place=place,
        standing=stands,
        overhead_mw=over.mw,
        gpu_mw=gpu_mw,
        excess=state.excess,
        parts=parts,
        infeasible_mw=infeasible_mw,
        sharing=sharing,
        targets=share_out(sharing, gpu_mw + state.excess.granted_mw, state.demands),
        fallback=fallback(sharing, min(gpu_mw, fallback_mw)),
        steps=(
            *_steps(place, stands, leases),
            over._replace(mw=stands.limit_mw - over.mw),
            *found,
            *exceeds,
        ),
    )
    return share, state


def _place(
    inputs: Inputs,
    view: RackView,
    sharing: Sharing,
    overhead_mw: MilliWatts,
    trim_mw: MilliWatts,
    now: Now,
    config: Config,
) -> Place:
    return Place(
        rack=config.rack,
        host=config.host,
        roster=config.roster,
        has_peers=config.has_peers,
        # What lowers this host alone is meant for it: it is not to be undone with others' watts.
        is_leasing=config.has_peers and inputs.may_lease and not view.is_trimmed,
        budget=_heard(view.statement, now),
        asked_mw=view.asked_mw,
        since_boot_s=view.asked_since_boot_s,
        cap_mw=view.cap_mw,
        least_mw=sharing.floors_mw + overhead_mw,
        want_mw=sharing.wants_mw + overhead_mw,
        trim_mw=trim_mw,
    )


def _heard(statement: Statement | None, now: Now) -> HeardBudget | None:
    if statement is None:
        return None
    lease_s = statement.end_boot_s - now.boot_s
    return HeardBudget(statement.source, statement.epoch, statement.seq, statement.mw, lease_s)


def _knows_budget(state: State, now: Now, config: Config) -> bool:
    """Say whether no higher budget than the one that holds can have been in force before this start."""
    phase = state.failsafe
    return (
        phase.phase in CONTROLLED
        or phase.held_mw is not None
        or now.boot_s >= phase.entered.boot_s + config.admission.max_lease_s
    )


def _steps(place: Place, stands: Standing, leases: Leases) -> Iterator[Step]:
    """List how the host's limit came about, each step with the value after it."""
    rack, mw = place.rack, stands.entitlement_mw
    share = rack.units[place.host] / rack.shares_units
    note = f"floor + {share:.1%} of the watts above all floors"
    if leases.formers:
        note += "; the least of the old and the new roster until all hosts have the new one"
    yield Step("entitlement", mw, f"rack.hosts.{place.host}", note)
    for promise in counting(leases):
        mw -= promise.mw
        yield Step("lent", mw, promise.to, _about_promise(promise, leases), promise.end_boot_s)
    for each in stands.borrowed:
        if each.mw:
            mw += each.mw
            note = f"borrows {watts(each.mw):g} W from {each.donor}"
            yield Step("borrowed", mw, each.donor, note, each.end_boot_s)
    if mw != stands.cap_mw and not leases.is_lost:
        note = f"about to lend {watts(mw - stands.cap_mw):g} W"
        mw = stands.cap_mw
        yield Step("lending", mw, "powerd", note)
    if leases.is_lost:
        note = "what was lent before the start is not known: floor until no lease of then can be in use"
        yield Step("memory_lost", stands.limit_mw, "powerd", note, leases.wait_until_boot_s)
        return
    if stands.part_mw:
        mw -= stands.part_mw
        note = f"gives up {watts(stands.part_mw):g} W for hosts that follow a higher budget"
        yield Step("compensation", mw, "powerd", note)
    if mw < place.floor_mw:
        note = "recalled watts are awaited" if stands.cap_mw < place.floor_mw else "no host goes below it"
        yield Step("host_floor", place.floor_mw, f"rack.hosts.{place.host}", note)


def _about_promise(promise: Promise, leases: Leases) -> str:
    said = leases.said.lent_to(promise.to) if leases.said else None
    recalled = said is not None and said.mw < promise.mw
    waiting = ", recalled, not let go yet" if recalled else ""
    return f"lends {watts(promise.mw):g} W to {promise.to}{waiting}"


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
        state = state._replace(found_mw=found_mw)
    if found_mw >= gpu_mw:
        return gpu_mw, (), state
    note = "no raise above the limits found before a controller is heard"
    return found_mw, (Step("found", found_mw, "gpu", note, over_boot_s),), state
