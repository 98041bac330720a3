"""What a donor lends to whom: own watts only, only what the own GPUs do not want (docs/leases.md).

What is lent is what may be said next, so it is decided before the limits that make room for it are written.
"""

from collections.abc import Mapping

from powerd.core.leases.exchange import Trader, row
from powerd.core.leases.host_state import HostState, Lend
from powerd.core.leases.leases import LeaseRules, Leases
from powerd.core.leases.news import beat_is_due, is_much
from powerd.core.leases.place import Place
from powerd.core.units import MilliWatts

# After a lease was made smaller it is not raised again for so many publishing periods: hosts that change
# places would otherwise pass the same watts to and fro.
DWELL_PERIODS = 2
# A lease is not changed by less than both, except to end it: what a GPU wants trembles with its draw.
DEAD_BAND_MW = 2_000
DEAD_BAND_PCT = 2


def lends(
    place: Place,
    leases: Leases,
    rules: LeaseRules,
    counted: Mapping[str, MilliWatts],
    trader: Trader,
    boot_s: float,
) -> tuple[Lend, ...]:
    """Return the host's row of the exchange, as far as its own watts reach.

    Args:
        counted: what each borrower may be using already.
        trader: this host.
    """
    partners = {name: s for name, s in leases.peers.items() if is_partner(s, place, rules, boot_s)}
    units = place.rack.units
    traders = {
        name: Trader(s.entitlement_mw, s.want_mw, s.spare_mw, units[name]) for name, s in partners.items()
    }
    wishes = row(place.host, {**traders, place.host: trader})
    left_mw = trader.spare_mw - sum(counted.values())
    chosen = []
    for name, wish_mw in wishes.items():
        before_mw = counted.get(name, 0)
        mw = min(_steadied(wish_mw, name, leases, rules, boot_s), before_mw + max(0, left_mw))
        left_mw -= max(0, mw - before_mw)
        if mw:
            chosen.append(Lend(name, mw, partners[name].key))
    return tuple(chosen)


def is_partner(state: HostState, place: Place, rules: LeaseRules, boot_s: float) -> bool:
    """Say whether a host may be lent to, or lent to again: heard of late, and of one mind with this one.

    One that follows a higher budget than this host has missed a cut, and gets nothing on top of it.
    """
    return (
        state.is_leasing
        and boot_s - state.received_boot_s <= rules.silent_s
        and state.roster == place.roster
        and state.rack_cap_mw <= place.asked_mw
    )


def _steadied(
    wish_mw: MilliWatts, borrower: str, leases: Leases, rules: LeaseRules, boot_s: float
) -> MilliWatts:
    """Leave a lease as it is for a small change, and for a while after it was made smaller."""
    lend = leases.said.lent_to(borrower) if leases.said else None
    said_mw = lend.mw if lend else 0
    if said_mw and _can_wait(wish_mw, said_mw, leases, rules, boot_s):
        return said_mw
    cut_boot_s = leases.cut_boot_s.get(borrower)
    is_early = cut_boot_s is not None and boot_s < cut_boot_s + DWELL_PERIODS * rules.publish_s
    return min(wish_mw, said_mw) if is_early else wish_mw


def _can_wait(
    wish_mw: MilliWatts, said_mw: MilliWatts, leases: Leases, rules: LeaseRules, boot_s: float
) -> bool:
    """Say whether a change is too small to be made, or to be made before the next beat.

    Each change has to be answered: while budgets climb, every one of them would be followed by the next.
    """
    if abs(wish_mw - said_mw) < max(DEAD_BAND_MW, said_mw * DEAD_BAND_PCT // 100):
        return True
    return not is_much(said_mw, wish_mw) and not beat_is_due(leases, rules.publish_s, boot_s)


def with_recalls(
    chosen: tuple[Lend, ...], counted: Mapping[str, MilliWatts], leases: Leases
) -> tuple[Lend, ...]:
    """Speak of every lease that still counts, if only to hear that it is let go."""
    spoken_of = {lend.to for lend in chosen}
    recalled = sorted(name for name in counted if name not in spoken_of and name in leases.peers)
    return (*chosen, *(Lend(name, 0, leases.peers[name].key) for name in recalled))
