"""When to speak, and what is worth hearing at once: once a period anyway, and on news."""

from powerd.core.leases.host_state import Hold, HostState, Lend
from powerd.core.leases.leases import Leases
from powerd.core.units import MilliWatts

# Said once a period, the beat must not slip to two for a loop that is early by a moment.
BEAT = 0.9
# What changes by more than both is news: peers should not have to wait for the next beat to hear of it.
NEWS_MW = 10_000
NEWS_PCT = 10


def beat_is_due(leases: Leases, period_s: float, boot_s: float) -> bool:
    """Say whether it is time for a message although there is no news."""
    return leases.said is None or boot_s >= leases.said.received_boot_s + BEAT * period_s


def is_much(before_mw: MilliWatts, after_mw: MilliWatts) -> bool:
    """Say whether a change is news."""
    change_mw = abs(after_mw - before_mw)
    # Mostly little or nothing has changed, and this is asked about every message of every host.
    return change_mw > NEWS_MW and change_mw > max(before_mw, after_mw) * NEWS_PCT // 100


def is_news(before: HostState, after: HostState) -> bool:
    """Say whether a message tells peers something that they should not have to wait for."""
    return (
        _is_of_another_mind(before, after)
        or _changes_the_exchange(before, after)
        or len(before.lends) != len(after.lends)
        or len(before.holds) != len(after.holds)
        or any(_differs(before.lent_to(lend.to), lend) for lend in after.lends)
        or any(_acknowledges(before.held_from(hold.donor), hold) for hold in after.holds)
    )


def concerns(before: HostState, after: HostState, host: str, *, lends: bool) -> bool:
    """Say whether a host should decide anew at once because of a message: a peer's, or its own come back.

    Args:
        lends: the host has watts to spare.
    """
    if after.host == host:
        return before.key.epoch != after.key.epoch
    if _is_of_another_mind(before, after) or (lends and _leaves_others_short(before, after)):
        return True
    # Mostly a peer deals with a few others, or with none.
    if (before.lends or after.lends) and _differs(before.lent_to(host), after.lent_to(host)):
        return True
    return bool(before.holds or after.holds) and _differs(before.held_from(host), after.held_from(host))


def _is_of_another_mind(before: HostState, after: HostState) -> bool:
    return (
        before.key.epoch != after.key.epoch
        or before.rack_cap_mw != after.rack_cap_mw
        or before.roster != after.roster
        or before.is_leasing != after.is_leasing
        or is_much(before.over_mw, after.over_mw)
    )


def _changes_the_exchange(before: HostState, after: HostState) -> bool:
    return is_much(_missing_mw(before), _missing_mw(after)) or is_much(before.spare_mw, after.spare_mw)


def _leaves_others_short(before: HostState, after: HostState) -> bool:
    """Say whether a donor should lend differently at once; for a peer that has more to spare nobody waits."""
    has_less = before.spare_mw > after.spare_mw
    return is_much(_missing_mw(before), _missing_mw(after)) or (
        has_less and is_much(before.spare_mw, after.spare_mw)
    )


def _differs(before: Lend | Hold | None, after: Lend | Hold | None) -> bool:
    """Say whether a lease begins, ends, or becomes another; a few watts more or less can wait."""
    if before is None and after is None:
        return False
    before_mw, after_mw = before.mw if before else 0, after.mw if after else 0
    return bool(before_mw) != bool(after_mw) or is_much(before_mw, after_mw)


def _acknowledges(before: Hold | None, after: Hold) -> bool:
    """Say whether a donor learns that more of its watts are in use, or fewer, or none under a later message.

    It has none back before it hears the last, also when they were let go before it recalled them.
    """
    is_let_go = before is not None and after.mw == 0 and before.key < after.key
    return is_let_go or _differs(before, after)


def _missing_mw(state: HostState) -> MilliWatts:
    return max(0, state.want_mw - state.entitlement_mw)
