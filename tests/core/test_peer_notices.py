"""What a person hears about the other hosts of the rack: who, what it costs, and what to do."""

from dataclasses import replace

import pytest

from powerd.core.decide import decide
from powerd.core.leases.host_state import HeardBudget, HostState, Key, Lend
from powerd.core.leases.leases import LeaseRules, Leases, Promise, hear
from powerd.core.leases.memory import recall, roster_digest
from powerd.core.leases.place import Place
from powerd.core.leases.standing import standing
from powerd.core.model import Notice, Severity
from powerd.core.notices import about_peers
from powerd.core.state import Inputs, initial_state
from powerd.core.topology import Host
from tests.core.make import W, at, config, gpu, rack

RULES = LeaseRules()
RACK = rack()
NOW_S = 1000.0


def budget(source: str = "facility-a", *, watts: int = 4000, lease_s: float = 60.0) -> HeardBudget:
    return HeardBudget(source, 1, 1, watts * W, lease_s)


PLACE = Place(
    rack=RACK,
    host="h1",
    roster=roster_digest(RACK, RULES),
    has_peers=True,
    is_leasing=True,
    budget=budget(),
    asked_mw=4000 * W,
    since_boot_s=0.0,
    cap_mw=4000 * W,
    least_mw=1000 * W,
    want_mw=2000 * W,
)
PEER = HostState(
    host="h2",
    key=Key(1, 1),
    roster=PLACE.roster,
    is_leasing=True,
    rack_cap_mw=4000 * W,
    entitlement_mw=2000 * W,
    want_mw=2000 * W,
    spare_mw=0,
    lent_mw=0,
    over_mw=0,
    worst_case_mw=2000 * W,
    budget=budget(),
    received_boot_s=NOW_S - 0.5,
)
OWN = Leases(epoch=7, seq=3, sent_boot_s={3: NOW_S - 1.0})


def told(
    *peers: HostState, leases: Leases = OWN, place: Place = PLACE, boot_s: float = NOW_S
) -> list[Notice]:
    """Return what is told when these messages have been heard."""
    heard = hear(leases, peers, place.host)
    return list(about_peers(place, standing(place, heard, RULES, boot_s), heard, RULES, boot_s))


def test_hosts_that_agree_are_not_worth_a_word() -> None:
    assert told(PEER) == []


def test_a_host_without_peers_hears_nothing_of_them() -> None:
    assert told(replace(PEER, roster="x"), place=PLACE._replace(has_peers=False)) == []


def test_another_roster_is_told_with_the_host_both_digests_and_what_to_do() -> None:
    [notice] = told(replace(PEER, roster="0123456789abcdef"))
    assert (notice.event, notice.severity) == ("roster_mismatch", Severity.WARNING)
    assert notice.text.startswith("h2 and this host neither lend nor borrow")
    for part in ("0123456789abcdef", PLACE.roster, "make it and its tables the same on all hosts"):
        assert part in notice.text


def test_another_budget_source_is_told_with_both_of_them() -> None:
    [notice] = told(replace(PEER, budget=budget("standby-b")))
    assert (notice.event, notice.severity, notice.subject) == ("peer_budget_source", Severity.WARNING, "h2")
    assert notice.text.startswith("h2 follows the budget of standby-b, this host that of facility-a")


@pytest.mark.parametrize("peer", [replace(PEER, budget=None), replace(PEER, received_boot_s=NOW_S - 60)])
def test_a_host_in_failsafe_or_silent_follows_no_other_source(peer: HostState) -> None:
    assert "peer_budget_source" not in {notice.event for notice in told(peer)}


def test_a_name_used_twice_is_critical_only_after_a_new_epoch_did_not_settle_it() -> None:
    """A clock that was set back looks the same for one round trip."""
    other = replace(PEER, host="h1", key=Key(9, 1))
    assert told(other) == []
    [notice] = told(other, leases=OWN._replace(renewed_boot_s=NOW_S - 5))
    assert (notice.event, notice.severity, notice.subject) == ("name_in_use", Severity.CRITICAL, "h1")
    assert 'second powerd with host.name "h1"' in notice.text
    assert told(other, leases=OWN._replace(renewed_boot_s=NOW_S - 3600)) == []


def test_lost_memory_tells_the_floor_and_how_long_it_holds() -> None:
    lost = recall(None, RACK, RULES, at(NOW_S))
    [notice] = told(leases=lost, boot_s=NOW_S + 3)
    assert (notice.event, notice.severity) == ("lease_memory_lost", Severity.INFO)
    assert notice.text.endswith("floor, 1000 W, for the 20 s after it")


@pytest.mark.parametrize(
    ("peers", "until"),
    [
        ([], "until a budget is heard"),
        ([replace(PEER, roster="x")], "until h2 and this host have the same [rack]"),
    ],
)
def test_a_floor_that_holds_longer_than_the_wait_tells_what_it_waits_for(
    peers: list[HostState], until: str
) -> None:
    lost = recall(None, RACK, RULES, at(0.0))
    [notice] = [notice for notice in told(*peers, leases=lost) if notice.event == "floor_held"]
    assert notice.severity is Severity.WARNING
    assert notice.text.endswith(until)


def test_a_silent_host_is_told_with_the_watts_that_it_still_holds() -> None:
    quiet = replace(PEER, received_boot_s=NOW_S - 5)
    [notice] = told(quiet)
    assert notice == Notice("peer_silent", Severity.INFO, "h2 has not been heard for 5 s", "h2")
    promises = tuple(
        Promise("h2", watts * W, Key(7, seq), PEER.key, NOW_S + 8 + seq)
        for seq, watts in [(1, 300), (2, 120)]
    )
    [notice] = told(quiet, leases=OWN._replace(promises=promises))
    assert notice.text == "h2 has not been heard for 5 s: 300 W lent to it count for 9 s more"


def test_watts_given_up_for_a_silent_host_are_told_with_the_host_and_the_cap_it_may_follow() -> None:
    """It was last heard under 5000 W, of which its half is 500 W more than under 4000 W."""
    unreachable = replace(PEER, rack_cap_mw=5000 * W, budget=budget(watts=5000), received_boot_s=NOW_S - 12)
    notices = {notice.event: notice for notice in told(unreachable)}
    assert notices.keys() == {"peer_silent", "compensation"}
    notice = notices["compensation"]
    assert (notice.severity, notice.subject) == (Severity.WARNING, "h2")
    assert notice.text.startswith("500 W given up for h2, silent for 12 s")
    assert "a rack cap of 5000 W, where 4000 W hold" in notice.text


def test_a_silent_host_that_follows_the_same_budget_costs_nothing() -> None:
    of = rack(hosts=tuple(Host(name, 1.0, 1000 * W) for name in ("h1", "h2", "h3")))
    higher = replace(PEER, rack_cap_mw=5000 * W, budget=budget(watts=5000), received_boot_s=NOW_S - 12)
    same = replace(PEER, host="h3", received_boot_s=NOW_S - 12)
    notices = told(higher, same, place=PLACE._replace(rack=of))
    assert [notice.subject for notice in notices if notice.event == "compensation"] == ["h2"]


def test_watts_given_up_until_a_host_answers_a_cut_are_not_worth_a_word() -> None:
    assert told(replace(PEER, rack_cap_mw=5000 * W, budget=budget(watts=5000))) == []


@pytest.mark.parametrize(
    ("answers", "is_late"),
    [
        (Key(7, 3), False),  # sent a second ago
        (Key(7, 2), True),  # sent longer ago than a lease lasts, and forgotten
        (Key(7, 1), True),  # remembered, but over when it came
        (Key(6, 1), False),  # of a run before this one: answered anew in a moment
    ],
)
def test_a_lease_that_is_over_when_it_comes_tells_where_to_look(answers: Key, is_late: bool) -> None:
    leases = OWN._replace(sent_boot_s={1: NOW_S - 4.6, 3: NOW_S - 1.0})
    notices = told(replace(PEER, lends=(Lend("h1", 300 * W, answers),)), leases=leases)
    assert [notice.event for notice in notices] == ["lease_expired_on_arrival"] * is_late
    assert all("h2 arrive expired" in notice.text and "longer than 4 s" in notice.text for notice in notices)


def test_a_recall_is_never_too_late() -> None:
    assert told(replace(PEER, lends=(Lend("h1", 0, Key(7, 2)),))) == []


def test_they_are_part_of_every_decision() -> None:
    state = initial_state(at(NOW_S), leases=OWN)
    inputs = Inputs((gpu(sampled=NOW_S),), states=(replace(PEER, roster="x"),))
    for _ in range(2):
        decision, state = decide(inputs, state, at(NOW_S), config(leases=RULES))
        assert "roster_mismatch" in {notice.event for notice in decision.notices}
