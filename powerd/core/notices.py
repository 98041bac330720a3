"""What a person should hear about a decision.

Facts that hold are told every time; the controller counts repeats.
"""

from collections.abc import Iterable, Iterator, Mapping

from powerd.core.leases.compensation import followed_mw
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import LeaseRules, Leases, counting, lease_end_boot_s
from powerd.core.leases.place import Place
from powerd.core.leases.standing import Standing
from powerd.core.model import Capability, GpuReading, GpuState, Notice, Severity, Step
from powerd.core.rack.failsafe import Phase
from powerd.core.rack.timeline import Verdict, VerdictKind
from powerd.core.units import MilliWatts, watts


def about_phase(before: Phase, after: Phase, cap_mw: MilliWatts) -> Iterator[Notice]:
    """Tell when control was lost, and when it is back."""
    if before is after:
        return
    cap = f"the rack cap is {watts(cap_mw):g} W"
    if after is Phase.FAILSAFE:
        text = f"no controller heard within its lease: failsafe, {cap}"
        yield Notice("failsafe_entered", Severity.CRITICAL, text)
    elif before is Phase.FAILSAFE:
        yield Notice(
            "failsafe_left", Severity.INFO, f"a controller is back: {after}, {cap}, raises follow slowly"
        )
    else:
        yield Notice("phase_changed", Severity.INFO, f"{before} -> {after}: {cap}")


def about_messages(verdicts: Iterable[Verdict], conflict: tuple[str, ...]) -> Iterator[Notice]:
    """Tell what became of messages that were not simply accepted."""
    for verdict in verdicts:
        said = f"{verdict.about} from {verdict.source}: {verdict.text}"
        if verdict.kind is VerdictKind.REJECTED:
            yield Notice("signal_rejected", Severity.WARNING, said, f"{verdict.source}:{verdict.reason}")
        elif verdict.kind is VerdictKind.LOWER_ONLY:
            yield Notice("signal_lower_only", Severity.WARNING, said, f"{verdict.source}:{verdict.reason}")
        elif verdict.text:
            yield Notice("signal_clamped", Severity.WARNING, said, verdict.source)
    if conflict:
        names = ", ".join(conflict)
        text = f"{names} send budgets of equal priority: the lowest holds; give one a higher priority number"
        yield Notice("budget_conflict", Severity.WARNING, text, names)


def about_gpus(readings: Iterable[GpuReading], fixed: Mapping[str, Step]) -> Iterator[Notice]:
    """Tell which GPUs cannot be limited now, and what they count."""
    for reading in readings:
        step = fixed.get(reading.uuid)
        if step is None:
            continue
        text = f"GPU {reading.index} {step.note}; counted at {watts(step.mw):g} W"
        if reading.state is not GpuState.OK:
            yield Notice(f"gpu_{reading.state}", Severity.CRITICAL, text, reading.uuid)
        elif reading.capability is not Capability.SETTABLE:
            yield Notice("gpu_not_settable", Severity.WARNING, text, reading.uuid)
        else:
            yield Notice("gpu_refuses_limit", Severity.CRITICAL, text, reading.uuid)


def about_budget(infeasible_mw: MilliWatts, *, braking: bool) -> Iterator[Notice]:
    """Tell when limiting cannot reach what was asked for, and when the hardware pulled the brake."""
    if infeasible_mw > 0:
        text = (
            f"the budget is {watts(infeasible_mw):g} W below what limiting can reach: all GPUs at their floor"
        )
        yield Notice("infeasible_budget", Severity.CRITICAL, text)
    if braking:
        yield Notice("power_brake", Severity.CRITICAL, "a GPU reports HW power brake: failsafe on this host")


def about_peers(
    place: Place, standing: Standing, leases: Leases, rules: LeaseRules, boot_s: float
) -> Iterator[Notice]:
    """Tell what keeps this host and its peers from lending each other watts, and what that costs."""
    if not place.has_peers:
        return
    peers = [leases.peers[name] for name in sorted(leases.peers)]
    live: list[HostState] = []
    silent: list[HostState] = []
    for peer in peers:
        (live if boot_s - peer.received_boot_s <= rules.silent_s else silent).append(peer)
    if leases.is_lost:
        yield _about_memory(place, leases, boot_s)
    renewed_boot_s = leases.renewed_boot_s
    if leases.foreign_epoch and renewed_boot_s and boot_s < renewed_boot_s + rules.forget_s:
        text = (
            f"another daemon speaks as {place.host}, so this one neither lends nor borrows: find the second "
            f'powerd with host.name "{place.host}"'
        )
        yield Notice("name_in_use", Severity.CRITICAL, text, place.host)
    yield from _about_rosters(place, peers)
    yield from _about_sources(place, live)
    yield from _about_silence(silent, leases, boot_s)
    if standing.part_mw:
        yield from _about_compensation(place, standing.part_mw, silent, boot_s)
    yield from _about_late_leases(place, leases, live, rules, boot_s)


def _about_memory(place: Place, leases: Leases, boot_s: float) -> Notice:
    """Tell that the floor holds, and for what; longer than the wait only if somebody has to act."""
    held = f"what was lent before the start is not known: floor, {watts(place.floor_mw):g} W,"
    if boot_s < leases.wait_until_boot_s:
        wait_s = leases.wait_until_boot_s - leases.started_boot_s
        return Notice("lease_memory_lost", Severity.INFO, f"{held} for the {wait_s:.0f} s after it")
    others = _names(peer for peer in leases.peers.values() if peer.roster != place.roster)
    until = f"{others} and this host have the same [rack]" if others else "a budget is heard"
    return Notice("floor_held", Severity.WARNING, f"{held} until {until}")


def _about_rosters(place: Place, peers: Iterable[HostState]) -> Iterator[Notice]:
    others = [peer for peer in peers if peer.roster != place.roster]
    if others:
        digests = ", ".join(sorted({peer.roster for peer in others}))
        text = (
            f"{_names(others)} and this host neither lend nor borrow: [rack] is not the same there "
            f"({digests}) and here ({place.roster}); make it and its tables the same on all hosts"
        )
        yield Notice("roster_mismatch", Severity.WARNING, text)


def _about_sources(place: Place, live: Iterable[HostState]) -> Iterator[Notice]:
    own = place.budget
    for peer in live:
        if own is not None and peer.budget is not None and peer.budget.source != own.source:
            text = (
                f"{peer.host} follows the budget of {peer.budget.source}, this host that of {own.source}: "
                "one of them does not hear both; they deal with each other only while the watts are equal"
            )
            yield Notice("peer_budget_source", Severity.WARNING, text, peer.host)


def _about_silence(silent: Iterable[HostState], leases: Leases, boot_s: float) -> Iterator[Notice]:
    lent = {promise.to: promise for promise in counting(leases)}
    for peer in silent:
        text = f"{peer.host} has not been heard for {_age_s(peer, boot_s):.0f} s"
        if promise := lent.get(peer.host):
            left_s = promise.end_boot_s - boot_s
            text += f": {watts(promise.mw):g} W lent to it count for {left_s:.0f} s more"
        yield Notice("peer_silent", Severity.INFO, text, peer.host)


def _about_compensation(
    place: Place, part_mw: MilliWatts, silent: Iterable[HostState], boot_s: float
) -> Iterator[Notice]:
    """Tell for whom watts are given up; for hosts that answer it is over in a moment."""
    for peer in silent:
        follows_mw = followed_mw(peer, place.rack, boot_s)
        if follows_mw > place.asked_mw or peer.over_mw:
            text = (
                f"{watts(part_mw):g} W given up for {peer.host}, silent for {_age_s(peer, boot_s):.0f} s: it "
                f"may still go by a rack cap of {watts(follows_mw):g} W, where {watts(place.asked_mw):g} W "
                "hold; find out why it is silent"
            )
            yield Notice("compensation", Severity.WARNING, text, peer.host)


def _about_late_leases(
    place: Place, leases: Leases, live: Iterable[HostState], rules: LeaseRules, boot_s: float
) -> Iterator[Notice]:
    for peer in live:
        if peer.lends and _is_late(place.host, leases, peer, rules, boot_s):
            text = (
                f"leases of {peer.host} arrive expired: the way there and back takes longer than "
                f"{rules.ttl_s - rules.lead_s:g} s; look at the broker, and at the load of both hosts"
            )
            yield Notice("lease_expired_on_arrival", Severity.WARNING, text, peer.host)


def _is_late(host: str, leases: Leases, donor: HostState, rules: LeaseRules, boot_s: float) -> bool:
    """Say whether a lease could not be used any more when it came."""
    lend = donor.lent_to(host)
    if lend is None or not lend.mw or lend.answers.epoch != leases.epoch:
        return False
    end_boot_s = lease_end_boot_s(leases, lend, rules)
    if end_boot_s is None:  # forgotten, so it was sent longer ago than a lease lasts
        return _age_s(donor, boot_s) <= rules.lead_s
    return end_boot_s - rules.lead_s <= donor.received_boot_s


def _age_s(peer: HostState, boot_s: float) -> float:
    return boot_s - peer.received_boot_s


def _names(peers: Iterable[HostState]) -> str:
    return ", ".join(sorted(peer.host for peer in peers))
