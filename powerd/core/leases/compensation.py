"""Watts given up for a host that still follows a higher budget: silent, cut off, or slow to come down.

Best effort on top of what leases guarantee: it only ever subtracts, waits for nobody, and is computed from
entitlements, never from what peers draw, since a peer's sacrifice is no slack (docs/leases.md, R22).
"""

from collections.abc import Mapping

from powerd.core.gpus.filling import fill
from powerd.core.leases.host_state import HeardBudget, HostState
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts

# A host that is heard is given this long to follow a new budget: it comes to all at the same time, and their
# answers cross.
ANSWER_S = 0.5


def part_mw(
    rack: Rack,
    host: str,
    peers: Mapping[str, HostState],
    *,
    budget: HeardBudget,
    rack_cap_mw: MilliWatts,
    lent_mw: MilliWatts,
    over_mw: MilliWatts,
    since_boot_s: float,
    boot_s: float,
    silent_s: float,
) -> MilliWatts:
    """Return by how much this host lowers its limit.

    Hosts that are heard and follow the same budget share the deficit by their shares, each down to its floor
    and what it has lent. A host that was never heard is taken to follow the budget that holds here, and so is
    one that has heard a newer one.

    Args:
        budget: the one that governs here. Without any there is no deficit: the failsafe is no news.
        rack_cap_mw: what the rack may draw in this host's view.
        lent_mw, over_mw: of this host.
        since_boot_s: since when that cap has held.
    """
    usable_mw = rack.usable_mw(rack_cap_mw)
    is_new = boot_s < since_boot_s + ANSWER_S
    deficit_mw = over_mw
    lent = {host: lent_mw}
    for name, peer in peers.items():
        is_live = boot_s - peer.received_boot_s <= silent_s
        follows_mw = rack_cap_mw if is_live and is_new else followed_mw(peer, rack, boot_s)
        deficit_mw += peer.over_mw
        if follows_mw != rack_cap_mw:
            if not knows_better(peer, budget):
                deficit_mw += rack.entitlement_mw(name, rack.usable_mw(follows_mw))
                deficit_mw -= rack.entitlement_mw(name, usable_mw)
        elif is_live:
            lent[name] = peer.lent_mw
    if deficit_mw <= 0 and usable_mw >= rack.floors_mw:
        return 0  # shares never add up to more than that: mostly they need not be added up
    agreed = rack.entitlements_mw(usable_mw)
    deficit_mw += sum(agreed.values()) - usable_mw
    sharers = [each for each in rack.hosts if each.name in lent]
    rooms = [
        (0, max(0, agreed[each.name] - each.floor_mw - lent[each.name]), float(each.share_units), 1)
        for each in sharers
    ]
    parts = fill(deficit_mw, rooms)
    return next(part for each, part in zip(sharers, parts, strict=True) if each.name == host)


def knows_better(peer: HostState, budget: HeardBudget) -> bool:
    """Say whether a peer follows a newer message of the source that governs here."""
    other = peer.budget
    if other is None or other.source != budget.source:
        return False
    return (other.epoch, other.seq) > (budget.epoch, budget.seq)


def followed_mw(peer: HostState, rack: Rack, boot_s: float) -> MilliWatts:
    """Return the budget that a peer follows, as far as is known: the failsafe once its lease is over."""
    if peer.budget is None or boot_s < peer.received_boot_s + peer.budget.lease_s:
        return peer.rack_cap_mw
    return min(peer.rack_cap_mw, rack.failsafe_mw)
