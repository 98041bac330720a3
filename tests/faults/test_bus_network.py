"""Networks that lose packets without a word: in both directions or one, of one host, for a moment, by chance.

In every test the observer replays all limits ever written: the rack's budget holds at every instant.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.facility import LEASE_S, Grant
from tests.daemon.rack import BUDGET_WATTS, FAILSAFE_WATTS, NAMES, LeaseTimes, entitlement_mw, usable_mw
from tests.daemon.rack_observer import violations
from tests.daemon.waiting import boot_s
from tests.faults.cabled import CabledRack

N1, N2, N3, N4 = NAMES
OWN_MW = entitlement_mw(BUDGET_WATTS)
FAILSAFE_MW = entitlement_mw(FAILSAFE_WATTS)


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CabledRack]:
    """Return one rack for all tests: the first host is beside the broker, each other one on its own cable."""
    with CabledRack(tmp_path_factory.mktemp("r"), library, (N2, N3, N4), LeaseTimes()) as rack:
        yield rack


@pytest.fixture
def rack(shared: CabledRack) -> Iterator[CabledRack]:
    """Return the rack at rest: everyone idle, at its entitlement, ready to deal."""
    shared.network.heal()
    shared.calm()
    begun_boot_s = boot_s()
    yield shared
    assert list(violations(shared, begun_boot_s)) == []


def is_connected(rack: CabledRack, name: str) -> bool:
    return bool(rack.hosts[name].status()["bus"]["connected"])


def is_at_failsafe(rack: CabledRack, name: str) -> bool:
    return rack.hosts[name].status()["state"] == "failsafe" and rack.is_at(name, FAILSAFE_MW)


def partners(rack: CabledRack, name: str) -> set[str]:
    return {lease["host"] for lease in rack.hosts[name].status()["leases"]}


def borrows(rack: CabledRack, name: str, *donors: str) -> bool:
    return rack.worst_mw(name) > OWN_MW and set(donors) <= partners(rack, name)


def heard(rack: CabledRack, name: str, other: str, watts: float) -> bool:
    """Say whether a host has heard of another one that it goes by a budget of so many watts."""
    peers = {peer["host"]: peer for peer in rack.hosts[name].status()["peers"]}
    return bool(peers[other]["rack_cap_watts"] == watts)


def test_lost_packets_are_a_lost_controller_whichever_way_they_went(rack: CabledRack) -> None:
    """No socket is closed and no process ends: half-open, deaf, and unheard."""
    rack.busy(N1)
    rack.wait_for(lambda: borrows(rack, N1, N2, N3, N4), what="watts of those that idle")
    rack.obey(BUDGET_WATTS, LEASE_S)
    rack.cables[N2].cut(to_host=True)
    rack.cables[N3].cut(to_room=True)
    rack.cables[N4].cut(to_host=True, to_room=True)
    rack.wait_for(lambda: not any(is_connected(rack, name) for name in (N2, N3, N4)), what="the loss noticed")
    # Whoever is beside the broker goes on, and takes nothing of what the others may still draw.
    rack.facility.grant(BUDGET_WATTS, 120)
    rack.wait_for(lambda: all(is_at_failsafe(rack, name) for name in (N2, N3, N4)), what="failsafe")
    rack.wait_for(lambda: rack.is_at(N1, OWN_MW) and not partners(rack, N1), what="what is its own")
    assert rack.follows(rack.hosts[N1])

    rack.network.heal()
    rack.obey(BUDGET_WATTS)
    rack.wait_for(lambda: borrows(rack, N1, N2, N3, N4), what="watts of those that are back")


def test_what_a_host_that_is_cut_off_may_draw_is_kept_for_it_while_the_budget_falls(rack: CabledRack) -> None:
    lower = 6400
    rack.busy(N1)
    rack.wait_for(lambda: borrows(rack, N1, N4), what="watts of the host that will be gone")
    others = (N1, N2, N3)
    rack.obey(BUDGET_WATTS - 10, LEASE_S)
    rack.wait_for(
        lambda: all(heard(rack, name, N4, BUDGET_WATTS - 10) for name in others), what="its last words"
    )
    rack.cables[N4].cut(to_host=True, to_room=True)
    rack.facility.grant(lower, 120)
    rack.wait_for(lambda: all(rack.follows(rack.hosts[name]) for name in others), what="the others lower")
    # It may still be where it was: the others make up for it.
    rack.wait_for(lambda: sum(map(rack.worst_mw, NAMES)) <= usable_mw(lower), what="the rack lower")

    rack.wait_for(lambda: is_at_failsafe(rack, N4), what="its failsafe")
    rack.wait_for(lambda: N4 not in partners(rack, N1), what="an end of what it had lent")
    rack.busy(N2, N3)
    own_mw = entitlement_mw(lower)
    rack.wait_for(lambda: all(rack.is_at(name, own_mw) for name in others), what="theirs, and none of its")

    rack.network.heal()
    rack.obey(lower + 400)
    rack.idle(N2, N3)
    rack.wait_for(lambda: N4 in partners(rack, N1), what="watts of the host that is back")


def test_a_budget_that_the_network_held_up_until_it_was_over_raises_nothing(rack: CabledRack) -> None:
    """It waits in the broker's send buffer, and arrives when packets get through again."""
    host = rack.hosts[N4]
    rejected = host.metric("powerd_signal_rejected_total", reason="expired")
    rack.cables[N4].cut(to_host=True)
    higher, issued_s = BUDGET_WATTS + 800, time.time() - LEASE_S + 1  # on its way for a while already
    rack.grants.append(Grant(boot_s(), higher, boot_s() + LEASE_S))
    rack.facility.publish(rack.facility.budget(higher, LEASE_S, issued_s=issued_s))
    rack.wait_for(lambda: time.time() > issued_s + LEASE_S, what="the end of what was said")
    rack.network.heal()
    rack.wait_for(
        lambda: host.metric("powerd_signal_rejected_total", reason="expired") > rejected, what="its arrival"
    )
    host.wait_iterations(2)
    assert rack.worst_mw(N4) <= OWN_MW  # less while it makes up for peers that go by the other one
    rack.obey(higher)
    rack.wait_for(lambda: rack.is_at(N4, entitlement_mw(higher)), what="the same, said in time")


def test_a_network_that_loses_every_tenth_packet_delays_budgets_and_leases_and_nothing_else(
    rack: CabledRack,
) -> None:
    for cable in rack.cables.values():
        cable.fray()
    rack.busy(N1, N2)
    for watts in (6800, 7600, 6400, BUDGET_WATTS):
        rack.obey(watts)
    rack.wait_for(lambda: rack.worst_mw(N2) > OWN_MW and partners(rack, N2), what="watts of others")
