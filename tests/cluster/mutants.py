"""Rules taken out, one at a time: each function replaces the few lines of powerd that keep one rule.

Numbers in brackets are the rules of docs/leases.md. Where two mechanisms keep the same rule, both are taken
out, and the docstring says so: a sequence that fails only then shows that each of them would do.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from powerd.core import hearing
from powerd.core.gpus import targets
from powerd.core.leases import compensation, leases, memory, standing, word
from powerd.core.leases.host_state import HostState, Lend
from powerd.core.leases.leases import LeaseRules, Leases, Promise
from powerd.core.model import Plan
from powerd.core.rack import host_share
from powerd.core.topology import Rack
from powerd.files import runtime_file
from powerd.guard import deadman, fleet, gpu, jobs, keeper, plans

Patch = pytest.MonkeyPatch


# What a host knows of itself


def waits_from_host_boot(patch: Patch) -> None:
    """[R3] Lost memory is waited for from the boot of the host instead of from the start of the daemon."""
    real = memory.recall

    def recall(known: Any, rack: Rack, rules: LeaseRules, *rest: Any, **named: Any) -> Leases:
        return real(known, rack, rules, *rest, **named)._replace(wait_until_boot_s=rules.forget_s)

    patch.setattr(memory, "recall", recall)


def forgets_that_it_waits(patch: Patch) -> None:
    """[R3] The file that is written while memory is lost does not say that it is."""
    real = memory.keep
    patch.setattr(memory, "keep", lambda *given: replace(real(*given), is_lost=False))


def forgets_the_budget(patch: Patch) -> None:
    """[R3] A start without any memory goes to the failsafe budget.

    Also taken out: no raise above the limits found before a controller is heard.
    """
    patch.setattr(host_share, "_knows_budget", lambda *_: True)
    patch.setattr(host_share, "_without_raise", lambda _r, _s, gpu_mw, _b, state, *_: (gpu_mw, (), state))


def uses_an_epoch_again(patch: Patch) -> None:
    """[R1] A start goes on in the epoch of before."""
    real = memory.recall

    def recall(known: Any, *rest: Any, **named: Any) -> Leases:
        return real(known, *rest, **named)._replace(epoch=known.epoch)

    patch.setattr(memory, "recall", recall)


def says_before_writing(patch: Patch) -> None:
    """[R2] A message is sent first, and what it promises is written down later."""

    def say(self: runtime_file.Keeper, remembered: Any, send: Any) -> None:
        self.keep(remembered)
        send()

    patch.setattr(runtime_file.Keeper, "say", say)


# Messages


def follows_older_messages(patch: Patch) -> None:
    """[R7] Whatever arrives last counts."""
    real = leases.hear

    def hear(known: Leases, states: tuple[HostState, ...], host: str) -> Leases:
        for state in states:
            peers = {name: peer for name, peer in known.peers.items() if name != state.host}
            known = real(known._replace(peers=peers), [state], host)
        return known

    patch.setattr(leases, "hear", hear)
    patch.setattr(hearing, "hear_peers", hear)


# Donors


def lends_what_it_borrowed(patch: Patch) -> None:
    """[R9] What can be used of others' leases is spare like own watts.

    Also taken out: a host that has watts to spare uses no lease, and one that uses a lease lends nothing.
    """
    real_borrowed, real_spare_mw = standing._borrowed, standing._spare_mw

    def spare_mw(place: Any, known: Leases, rules: LeaseRules, own_mw: int) -> int:
        offers = [peer.lent_to(place.host) for peer in known.peers.values()]
        return real_spare_mw(place, known, rules, own_mw + sum(lend.mw for lend in offers if lend))

    patch.setattr(standing, "_spare_mw", spare_mw)
    patch.setattr(standing, "_borrowed", lambda *given, may_use: real_borrowed(*given, may_use=True))
    patch.setattr(standing, "_may_lend", lambda _place, spare_mw, *_: spare_mw > 0)


def counts_what_it_said_last(patch: Patch) -> None:
    """[R8] Only the newest of a donor's messages counts."""

    def counted_mw(known: Leases) -> dict[str, int]:
        return {lend.to: lend.mw for lend in known.said.lends if lend.mw} if known.said else {}

    patch.setattr(standing, "counted_mw", counted_mw)


def count_ends_at_its_end(patch: Patch) -> None:
    """[R8] The last instant of a lease is not counted any more."""

    def expire(known: Leases, boot_s: float) -> Leases:
        return known._replace(promises=tuple(p for p in known.promises if p.end_boot_s > boot_s))

    patch.setattr(memory, "expire", expire)


def trusts_all_clocks(patch: Patch) -> None:
    """[g] The guard time leaves no room for clocks that run at different speeds."""
    patch.setattr(leases, "CLOCK_RATE_ERROR", 0.0)


def compares_acknowledgements_by_seq(patch: Patch) -> None:
    """[R10] The epoch in an acknowledgement is not looked at."""

    def is_superseded(promise: Promise, state: HostState, host: str) -> bool:
        hold = state.held_from(host) if promise.to == state.host else None
        return hold is not None and promise.key.seq < hold.key.seq

    patch.setattr(leases, "is_superseded", is_superseded)


def lends_before_it_has_lowered(patch: Patch) -> None:
    """[R9] A lease is said although the own limits do not leave room for it yet."""
    patch.setattr(word, "_lends", lambda stands, **_: stands.lends)


# Borrowers


def counts_from_receipt(patch: Patch) -> None:
    """[R12] A lease may be used for its ttl after it arrived."""

    def lease_end_boot_s(known: Leases, lend: Lend, rules: LeaseRules) -> float:
        return next(s.received_boot_s for s in known.peers.values() if lend in s.lends) + rules.ttl_s

    patch.setattr(standing, "lease_end_boot_s", lease_end_boot_s)


def ignores_the_epoch_of_a_lease(patch: Patch) -> None:
    """[R12] A lease may answer a message of any epoch."""

    def lease_end_boot_s(known: Leases, lend: Lend, rules: LeaseRules) -> float | None:
        sent_boot_s = known.sent_boot_s.get(lend.answers.seq)
        return None if sent_boot_s is None else sent_boot_s + rules.ttl_s

    patch.setattr(standing, "lease_end_boot_s", lease_end_boot_s)


def acknowledges_before_it_has_lowered(patch: Patch) -> None:
    """[R14] A donor's message is acknowledged when it is heard."""
    real = word._holds
    patch.setattr(word, "_holds", lambda stands, known, **_: real(stands, known, fits=True))


def speaks_before_it_has_lowered(patch: Patch) -> None:
    """[R15] The first message of an epoch waits for nothing."""
    patch.setattr(word, "_may_use_what_is_forgotten", lambda *_: False)


# Guards


def runs_plans_that_have_ended(patch: Patch) -> None:
    """[R16] A plan that comes after its end is taken as one that ends in a second."""
    real = keeper.Keeper.plan

    def plan(self: keeper.Keeper, token: str, number: int, plan: Plan, reply: Any) -> None:
        end_boot_s = max(plan.end_boot_s, self._clock() + 1)
        real(self, token, number, replace(plan, end_boot_s=end_boot_s), reply)

    patch.setattr(keeper.Keeper, "plan", plan)


def runs_plans_of_older_connections(patch: Patch) -> None:
    """[R16] Nobody looks at the token of a plan."""
    patch.setattr(keeper.Keeper, "_check_token", lambda *_: None)


def raises_after_the_end(patch: Patch) -> None:
    """[R16, R19] A raise that has waited for its GPU past the end of its plan is started all the same."""
    patch.setattr(plans.Execution, "stop_raising", lambda *_: None)
    patch.setattr(fleet, "too_late", lambda *_: None)


def falls_back_to_the_entitlement(patch: Patch) -> None:
    """[R17] The fallback does not know what was lent, and the guard goes there also where that is a raise."""
    real = targets.fallback
    patch.setattr(host_share, "fallback", lambda sharing, mw: real(sharing, max(mw, 300_000)))
    patch.setattr(jobs, "at_or_below", lambda *_: False)


def keeps_its_first_fallback(patch: Patch) -> None:
    """[R17] A newer plan moves the end, not the fallback, and the guard goes there also by a raise."""
    real = deadman.DeadMan.arm

    def arm(self: deadman.DeadMan, plan: Plan, *rest: Any) -> None:
        first = self._new
        real(self, plan, *rest)
        if first is not None and self._new is not None:
            self._new = replace(self._new, fallback_mw=first.fallback_mw)

    patch.setattr(deadman.DeadMan, "arm", arm)
    patch.setattr(jobs, "at_or_below", lambda *_: False)


def gives_up_the_older_end(patch: Patch) -> None:
    """[R18] A newer plan replaces the end of the one before, whether its cuts are confirmed or not."""
    real = deadman.DeadMan.arm

    def arm(self: deadman.DeadMan, plan: Plan, *rest: Any) -> None:
        self._old = self._new = None
        real(self, plan, *rest)

    patch.setattr(deadman.DeadMan, "arm", arm)


def forgets_writes_that_hang(patch: Patch) -> None:
    """[R19] A write that has not returned counts for nothing."""
    patch.setattr(gpu.Gpu, "pending_mw", None)


# Compensation and entitlements

Peers = Mapping[str, HostState]


def shares_the_excess_of_worst_cases(patch: Patch) -> None:
    """[R22] Each gives up its share of how far its entitlement and the others' worst cases are too much."""

    def part_mw(rack: Rack, host: str, peers: Peers, *, rack_cap_mw: int, **_: Any) -> int:
        return max(0, _excess_mw(rack, host, peers, rack_cap_mw)) // len(rack.hosts)

    patch.setattr(compensation, "part_mw", part_mw)


def takes_the_whole_excess(patch: Patch) -> None:
    """[R22] Each gives up all of it, as if it were alone."""

    def part_mw(rack: Rack, host: str, peers: Peers, *, rack_cap_mw: int, **_: Any) -> int:
        return max(0, _excess_mw(rack, host, peers, rack_cap_mw))

    patch.setattr(compensation, "part_mw", part_mw)


def trusts_the_last_worst_case(patch: Patch) -> None:
    """[R22] What a silent host may draw is what it said last."""

    def part_mw(
        rack: Rack, host: str, peers: Peers, *, rack_cap_mw: int, boot_s: float, silent_s: float, **_: Any
    ) -> int:
        silent = {name: s for name, s in peers.items() if boot_s - s.received_boot_s > silent_s}
        usable_mw = rack.usable_mw(rack_cap_mw)
        own_mw = rack.entitlements_mw(usable_mw)
        excess_mw = sum(s.worst_case_mw or 0 for s in silent.values()) - usable_mw
        excess_mw += sum(mw for name, mw in own_mw.items() if name not in silent)
        return max(0, excess_mw) // (len(rack.hosts) - len(silent))

    patch.setattr(compensation, "part_mw", part_mw)


def _excess_mw(rack: Rack, host: str, peers: Peers, rack_cap_mw: int) -> int:
    usable_mw = rack.usable_mw(rack_cap_mw)
    others_mw = sum(peer.worst_case_mw or 0 for peer in peers.values())
    return rack.entitlement_mw(host, usable_mw) + others_mw - usable_mw


def shares_without_floors(patch: Patch) -> None:
    """[R4] An entitlement is a share of all usable watts, whatever the floors are."""

    def entitlement_mw(self: Rack, name: str, usable_mw: int) -> int:
        return usable_mw * self.host(name).share_units // self.shares_units

    patch.setattr(Rack, "entitlement_mw", entitlement_mw)
