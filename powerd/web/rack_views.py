"""Snapshot -> document, for what passes between this host and the others of its rack.

Like `powerd.web.views`, of which it is a part: pure, and an old snapshot looks old.
"""

from powerd.core.leases.host_state import HostState
from powerd.core.model import Now
from powerd.core.units import watts
from powerd.snapshot import Snapshot
from powerd.web.models import LendingView, PeerBudget, PeerView, WattLease
from powerd.web.optional import watts_or_none


def leases(snapshot: Snapshot, now: Now) -> list[WattLease]:
    """Return what is lent and what is borrowed, host by host."""
    return [
        WattLease(
            direction=lease.direction,
            host=lease.peer,
            watts=watts(lease.mw),
            remaining_s=max(0.0, lease.end_boot_s - now.boot_s),
        )
        for lease in snapshot.leases
    ]


def lending(snapshot: Snapshot, now: Now) -> LendingView | None:
    """Return how this host takes part, and what keeps it from it."""
    decision = snapshot.decision
    if not decision.place.has_peers:
        return None
    obstacle = _obstacle(snapshot)
    lost = decision.leases.is_lost
    return LendingView(
        taking_part=not obstacle,
        obstacle=obstacle,
        roster=decision.place.roster,
        memory_lost_s=max(0.0, decision.leases.wait_until_boot_s - now.boot_s) if lost else None,
        lent_watts=watts(sum(lease.mw for lease in snapshot.leases if lease.direction == "lent")),
        borrowed_watts=watts(sum(lease.mw for lease in snapshot.leases if lease.direction == "borrowed")),
        given_up_watts=watts(decision.standing.part_mw),
    )


def peers(snapshot: Snapshot, now: Now) -> list[PeerView]:
    """Return every other host of the roster, also those that were never heard."""
    return [_peer(snapshot, name, state, now) for name, state in snapshot.peers.items()]


def _obstacle(snapshot: Snapshot) -> str:
    remembered = snapshot.decision.leases
    if snapshot.mode != "enforce":
        return f"mode is {snapshot.mode}: no limit is written"
    if snapshot.orders.detached is not None:
        return "the driver is given up"
    if remembered.foreign_epoch:
        return "another daemon may speak under this host's name"
    if remembered.is_lost:
        return "what was lent before the start is not known"
    if not snapshot.decision.place.is_leasing:
        return "limits or leases cannot be written, or something lowers this host alone"
    return ""


def _peer(snapshot: Snapshot, name: str, state: HostState | None, now: Now) -> PeerView:
    if state is None:
        return PeerView.model_validate({**dict.fromkeys(PeerView.model_fields), "host": name, "live": False})
    budget, live = state.budget, snapshot.is_live(state, now)
    return PeerView(
        host=name,
        live=live,
        age_s=max(0.0, now.boot_s - state.received_boot_s),
        roster_agrees=state.roster == snapshot.decision.place.roster,
        taking_part=state.is_leasing,
        rack_cap_watts=watts(state.rack_cap_mw),
        share_watts=watts(state.entitlement_mw),
        demand_watts=watts(state.want_mw),
        spare_watts=watts(state.spare_mw),
        lent_watts=watts(state.lent_mw),
        worst_case_watts=watts_or_none(state.worst_case_mw),
        draw_watts=watts_or_none(state.measured_mw if live else None),
        over_watts=watts(state.over_mw),
        budget=None if budget is None else PeerBudget(source=budget.source, watts=watts_or_none(budget.mw)),
    )
