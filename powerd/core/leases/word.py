"""What a host may say after its plan was carried out: lends, acknowledgements, how far it is above its cap.

Said only when it is true: a lease is published after the own limits, read back, have made room for it, and
an acknowledgement after they fit without what was recalled (docs/leases.md). What could not be confirmed
recalls leases and repeats the last acknowledgement.
"""

from collections.abc import Hashable
from typing import NamedTuple

from powerd.core.leases.host_state import Hold, HostState, Key, Lend
from powerd.core.leases.leases import (
    LeaseRules,
    Leases,
    Promise,
    counted_mw,
    promise_end_boot_s,
)
from powerd.core.leases.news import beat_is_due, is_news
from powerd.core.leases.place import Place
from powerd.core.leases.standing import Standing
from powerd.core.units import MilliWatts

# Without peers to deal with, this often.
ALONE_S = 10.0


class Reached(NamedTuple):
    """What the plan came to, by read-back.

    Attributes:
        worst_case_mw: the most that the host may draw, overhead included; None if that is not known.
        excess_mw: what of that its own accounting allows above its cap; no watts of others' are in it.
        is_settled: every write has returned.
        aspects: whatever else makes a message worth saying at once when it changes.
    """

    worst_case_mw: MilliWatts | None
    is_settled: bool
    aspects: Hashable = None
    excess_mw: MilliWatts = 0


def word(
    standing: Standing,
    place: Place,
    reached: Reached,
    leases: Leases,
    rules: LeaseRules,
    boot_s: float,
) -> tuple[HostState | None, Leases]:
    """Return the message to publish now, if one is due, and the memory of having said it.

    The memory counts a message as published from here on, whatever becomes of it on its way; a lease that
    answers it runs from here on, which is before it is sent.
    """
    worst_mw = None if reached.worst_case_mw is None else reached.worst_case_mw - reached.excess_mw
    fits = worst_mw is not None and reached.is_settled and worst_mw <= max(place.floor_mw, standing.cap_mw)
    if not fits and place.has_peers and _may_use_what_is_forgotten(leases, rules, boot_s):
        return None, leases
    leases = _renewed(leases, rules, boot_s) if leases.foreign_epoch and fits else leases
    lent_mw = standing.lent_mw if fits else sum(counted_mw(leases).values())
    state = HostState(
        host=place.host,
        key=Key(leases.epoch, leases.seq + 1),
        roster=place.roster,
        is_leasing=place.is_leasing and not leases.is_lost and not leases.foreign_epoch,
        rack_cap_mw=place.asked_mw,
        entitlement_mw=standing.entitlement_mw,
        want_mw=standing.want_mw,
        spare_mw=standing.spare_mw,
        lent_mw=lent_mw,
        over_mw=_over_mw(standing.cap_mw + standing.lent_mw - lent_mw, worst_mw, leases),
        worst_case_mw=reached.worst_case_mw,
        budget=place.budget,
        lends=_lends(standing, fits=fits),
        holds=_holds(standing, leases, fits=fits),
        received_boot_s=boot_s,
    )
    period_s = rules.publish_s if place.has_peers else ALONE_S
    said = leases.said
    is_due = said is None or beat_is_due(leases, period_s, boot_s) or is_news(said, state)
    if is_due or reached.aspects != leases.said_aspects:
        return state, _with_said(leases, state, reached.aspects, rules, boot_s)
    return None, leases


def _over_mw(cap_mw: MilliWatts, worst_mw: MilliWatts | None, leases: Leases) -> MilliWatts:
    if worst_mw is None:
        return leases.said.over_mw if leases.said else 0
    return max(0, worst_mw - cap_mw)


def _may_use_what_is_forgotten(leases: Leases, rules: LeaseRules, boot_s: float) -> bool:
    """Say whether limits from before this start may rest on leases that its first message would end."""
    return not leases.seq and boot_s <= leases.started_boot_s + rules.forget_s


def _lends(standing: Standing, *, fits: bool) -> tuple[Lend, ...]:
    return standing.lends if fits else tuple(Lend(lend.to, 0, lend.answers) for lend in standing.lends)


def _holds(standing: Standing, leases: Leases, *, fits: bool) -> tuple[Hold, ...]:
    if fits:
        return tuple(Hold(each.donor, each.mw, each.key) for each in standing.borrowed)
    said = leases.said.holds if leases.said else ()
    donors = {each.donor for each in standing.borrowed}
    return tuple(hold for hold in said if hold.donor in donors)


def _renewed(leases: Leases, rules: LeaseRules, boot_s: float) -> Leases:
    """Begin an epoch above the one that somebody spoke of; not again soon, or two of a name would race."""
    if leases.renewed_boot_s and boot_s < leases.renewed_boot_s + rules.forget_s:
        return leases
    epoch = leases.foreign_epoch + 1
    return leases._replace(
        epoch=epoch, seq=0, renewed_boot_s=boot_s, sent_boot_s={}, foreign_epoch=0, said=None
    )


def _with_said(
    leases: Leases, state: HostState, aspects: Hashable, rules: LeaseRules, boot_s: float
) -> Leases:
    promised = tuple(
        Promise(lend.to, lend.mw, state.key, lend.answers, promise_end_boot_s(leases.peers[lend.to], rules))
        for lend in state.lends
        if lend.mw
    )
    sent = {seq: sent_s for seq, sent_s in leases.sent_boot_s.items() if boot_s < sent_s + rules.ttl_s}
    before = {lend.to: lend.mw for lend in leases.said.lends} if leases.said else {}
    now_mw = {lend.to: lend.mw for lend in state.lends}
    cut = {name: boot_s for name, mw in before.items() if now_mw.get(name, 0) < mw}
    if leases.said and state.rack_cap_mw < leases.said.rack_cap_mw:
        cut = {}  # recalled for a lower budget: nobody wants less, so it is lent again once others follow
    return leases._replace(
        seq=state.key.seq,
        promises=leases.promises + promised,
        sent_boot_s={**sent, state.key.seq: boot_s},
        said=state,
        said_aspects=aspects,
        cut_boot_s={**leases.cut_boot_s, **cut},
    )
