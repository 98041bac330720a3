"""How this host stands with the others: what it may draw, what of that is borrowed, and what it lends.

    cap   = entitlement + borrowed - lent
    limit = max(floor, cap - what is given up for a host that cannot be reached)

Decided before the writes; `word` says afterwards what of it came true. Borrowed watts are never lent, and a
host that uses a lease lends nothing (docs/leases.md).
"""

import math
from typing import NamedTuple

from powerd.core.leases import compensation
from powerd.core.leases.exchange import Trader
from powerd.core.leases.host_state import Lend
from powerd.core.leases.leases import Borrowed, LeaseRules, Leases, counted_mw, lease_end_boot_s
from powerd.core.leases.lending import lends, with_recalls
from powerd.core.leases.place import Place, entitlement_mw
from powerd.core.units import MilliWatts


class Standing(NamedTuple):
    """How a host stands.

    Attributes:
        spare_mw: what it could lend, what it has lent included.
        borrowed: one entry for every donor that speaks of a lease to this host, also with 0 W.
        lends: what the next message may say, once the limits are confirmed.
        lent_mw: watts counted as lent: said before and not yet over, or about to be said.
        cap_mw: may lie below the floor, and even below zero, while lent watts are being recalled.
        part_mw: given up for a host that follows a higher budget.
        limit_mw: what the host may draw.
        end_boot_s: when the first of the used leases ends; infinite without any.
        step_down_boot_s: when it is to be out of use; infinite without any.
    """

    entitlement_mw: MilliWatts
    want_mw: MilliWatts
    spare_mw: MilliWatts
    borrowed: tuple[Borrowed, ...]
    lends: tuple[Lend, ...]
    lent_mw: MilliWatts
    cap_mw: MilliWatts
    part_mw: MilliWatts
    limit_mw: MilliWatts
    end_boot_s: float
    step_down_boot_s: float

    @property
    def borrowed_mw(self) -> MilliWatts:
        """Return the watts in use that are others'."""
        return sum(each.mw for each in self.borrowed)


def standing(place: Place, leases: Leases, rules: LeaseRules, boot_s: float) -> Standing:
    """Work out what the host may draw, use and lend now."""
    own_mw = entitlement_mw(place, leases, place.cap_mw)
    counted = counted_mw(leases)
    part_mw = _part_mw(place, leases, rules, sum(counted.values()), boot_s)
    spare_mw = _spare_mw(place, leases, rules, own_mw - part_mw)
    borrowed = _borrowed(place, leases, rules, boot_s, may_use=spare_mw == 0 and _may_deal(place, leases))
    used_mw = sum(each.mw for each in borrowed)
    chosen: tuple[Lend, ...] = ()
    if _may_lend(place, spare_mw, own_mw - part_mw - sum(counted.values())):
        trader = Trader(own_mw, place.want_mw, spare_mw, place.rack.units[place.host])
        chosen = lends(place, leases, rules, counted, trader, boot_s)
    chosen = with_recalls(chosen, counted, leases)
    for lend in chosen:
        counted[lend.to] = max(lend.mw, counted.get(lend.to, 0))
    lent_mw = sum(counted.values())
    # While it is not known what was lent, it may be all above the floor.
    cap_mw = place.floor_mw if leases.is_lost else own_mw + used_mw - lent_mw
    end_boot_s = min((each.end_boot_s for each in borrowed if each.mw), default=math.inf)
    return Standing(
        entitlement_mw=own_mw,
        want_mw=place.want_mw,
        spare_mw=spare_mw,
        borrowed=borrowed,
        lends=chosen,
        lent_mw=lent_mw,
        cap_mw=cap_mw,
        part_mw=part_mw,
        limit_mw=max(place.floor_mw, cap_mw - part_mw),
        end_boot_s=end_boot_s,
        step_down_boot_s=end_boot_s - rules.lead_s,
    )


def _may_deal(place: Place, leases: Leases) -> bool:
    return place.is_leasing and not leases.is_lost and not leases.foreign_epoch


def _least_mw(place: Place) -> MilliWatts:
    return max(place.floor_mw, place.least_mw)


def _spare_mw(place: Place, leases: Leases, rules: LeaseRules, own_mw: MilliWatts) -> MilliWatts:
    """Return what of the host's own watts it could lend; too little is nothing."""
    spare_mw = own_mw - max(_least_mw(place), place.want_mw)
    return spare_mw if _may_deal(place, leases) and spare_mw >= rules.least_mw else 0


def _may_lend(place: Place, spare_mw: MilliWatts, left_mw: MilliWatts) -> bool:
    """Say whether the host may lend at all: none that it needs at the least.

    Nor anybody else's: with watts to spare of its own it uses none of others'.
    """
    return spare_mw > 0 and left_mw >= _least_mw(place)


def _part_mw(
    place: Place, leases: Leases, rules: LeaseRules, lent_mw: MilliWatts, boot_s: float
) -> MilliWatts:
    if place.budget is None or not place.has_peers or leases.is_lost:
        return 0
    return compensation.part_mw(
        place.rack,
        place.host,
        leases.peers,
        budget=place.budget,
        rack_cap_mw=place.asked_mw,
        lent_mw=lent_mw,
        over_mw=leases.said.over_mw if leases.said else 0,
        since_boot_s=place.since_boot_s,
        boot_s=boot_s,
        silent_s=rules.silent_s,
    )


def _borrowed(
    place: Place, leases: Leases, rules: LeaseRules, boot_s: float, *, may_use: bool
) -> tuple[Borrowed, ...]:
    """Return what may be used of each lease that a donor speaks of."""
    entries = []
    for donor, state in leases.peers.items():
        lend = state.lent_to(place.host) if state.lends else None
        if lend is None:
            continue
        end_boot_s = lease_end_boot_s(leases, lend, rules)
        agrees = state.roster == place.roster and state.rack_cap_mw <= place.asked_mw
        if end_boot_s is None or not (may_use and agrees and boot_s < end_boot_s - rules.lead_s):
            entries.append(Borrowed(donor, 0, state.key, 0.0))
        else:
            entries.append(Borrowed(donor, lend.mw, state.key, end_boot_s))
    return tuple(entries)
