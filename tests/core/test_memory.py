"""What a host knows of its own past, and when what it does not know cannot matter any more."""

from dataclasses import replace

import pytest

from powerd.core.leases.leases import LARGEST_EPOCH, LeaseRules, Leases, hear
from powerd.core.leases.memory import LeaseMemory, has_peers, keep, recall, roster_digest, tend
from powerd.core.leases.place import entitlement_mw
from powerd.core.topology import Host, Rack
from tests.core.make import W, at, rack
from tests.core.make_leases import EPOCH, HOSTS, RACK, ROSTER, RULES, leases, place, promise, says

ALONE = rack(hosts=(Host("h1", 1.0, 1000 * W),))
# h1 has less in one and more in the other than in the example rack; 4500 W and 1500 W of 9000 W.
SMALLER = replace(RACK, hosts=(Host("h1", 1.0, 1000 * W), *(Host(name, 5.5, 1000 * W) for name in HOSTS[1:])))
LARGER = replace(RACK, hosts=(Host("h1", 2.8, 1000 * W), *(Host(name, 1.0, 1000 * W) for name in HOSTS[1:])))
MEMORY = LeaseMemory(EPOCH, (promise("h2", 500, 7),), is_lost=False, wait_until_boot_s=0.0, rack=RACK)


def started(memory: LeaseMemory | None, of: Rack = RACK, boot_s: float = 200.0, **options: bool) -> Leases:
    """Return what is known after a start under a roster."""
    return recall(memory, of, RULES, at(boot_s), **options)


def tended(
    known: Leases, boot_s: float, *, of: Rack = RACK, roster: str = ROSTER, knows_budget: bool = True
) -> Leases:
    return tend(known, of, boot_s, roster=roster, knows_budget=knows_budget)


# Epochs


@pytest.mark.parametrize("wall_offset_s", [0.0, -1e9, 1e6])
def test_an_epoch_is_never_used_twice_whatever_the_wall_clock_does(wall_offset_s: float) -> None:
    before = recall(None, RACK, RULES, at(10.0)).epoch
    memory = keep(leases(), RACK)
    again = recall(replace(memory, epoch=before), RACK, RULES, at(20.0, wall_offset_s=wall_offset_s))
    assert again.epoch > before


def test_an_epoch_is_larger_than_those_of_before_also_where_the_file_was_lost() -> None:
    assert recall(None, RACK, RULES, at(20.0)).epoch == recall(None, RACK, RULES, at(10.0)).epoch + 10_000
    behind = replace(MEMORY, epoch=1)
    assert recall(behind, RACK, RULES, at(20.0)).epoch == recall(None, RACK, RULES, at(20.0)).epoch


def test_an_epoch_that_others_spoke_of_is_not_used_again() -> None:
    """The clock was set back before the start, and the file of the time before was lost."""
    assert keep(leases(foreign_epoch=EPOCH + 40), RACK).epoch == EPOCH + 40


# A start with memory


def test_what_was_lent_still_counts_after_a_restart() -> None:
    known = started(keep(leases(promises=MEMORY.promises), RACK))
    assert known.promises == MEMORY.promises
    assert not known.is_lost


def test_the_memory_of_a_start_tells_the_same_at_the_next_one() -> None:
    lost = started(None, boot_s=200.0)
    again = started(keep(lost, RACK), boot_s=205.0)
    assert (again.is_lost, again.wait_until_boot_s) == (True, lost.wait_until_boot_s)


def test_leases_that_are_switched_off_do_not_undo_those_that_were_made() -> None:
    """The borrower may go on using them until they end; it cannot know of the change."""
    off = replace(RULES, enabled=False)
    known = recall(MEMORY, RACK, off, at(110.0))
    assert known.promises == MEMORY.promises
    lost = recall(replace(MEMORY, is_lost=True, wait_until_boot_s=120.0), RACK, off, at(110.0))
    assert (lost.is_lost, lost.wait_until_boot_s) == (True, 120.0)


# A start without


@pytest.mark.parametrize(("memory", "of_this_boot"), [(None, True), (MEMORY, False)])
def test_without_memory_the_floor_holds_as_long_as_any_lease_could_be_in_use(
    memory: LeaseMemory | None, of_this_boot: bool
) -> None:
    known = started(memory, of_this_boot=of_this_boot)
    assert known.is_lost
    assert known.promises == ()
    assert known.wait_until_boot_s == 200.0 + RULES.max_ttl_s + RULES.guard_time_s
    assert tended(known, known.wait_until_boot_s).is_lost, "a lease may count at that very moment"
    assert not tended(known, known.wait_until_boot_s + 0.001).is_lost


def test_the_wait_does_not_depend_on_the_ttl_that_is_configured_now() -> None:
    """Leases of before may have been made under a longer one."""
    short = replace(RULES, ttl_s=2.0)
    assert recall(None, RACK, short, at(200.0)).wait_until_boot_s == started(None).wait_until_boot_s


def test_without_a_budget_lost_memory_is_waited_for_longer() -> None:
    """The failsafe may be above the last budget; that one's entitlement is not known either."""
    known = started(None)
    assert tended(known, 1e6, knows_budget=False).is_lost


@pytest.mark.parametrize("heard", [ROSTER, "another"])
def test_without_memory_a_peer_with_another_roster_is_taken_to_be_right(heard: str) -> None:
    known = started(None)._replace(peers={"h2": says("h2", roster=heard)})
    assert tended(known, 1e6).is_lost == (heard != ROSTER)


@pytest.mark.parametrize("memory", [None, MEMORY])
def test_a_host_with_nobody_to_lend_to_has_nothing_to_wait_for(memory: LeaseMemory | None) -> None:
    for of, rules in ((ALONE, RULES), (RACK, LeaseRules(enabled=False))):
        assert not has_peers(of, rules)
        known = recall(memory, of, rules, at(200.0), of_this_boot=False)
        assert (known.is_lost, known.promises, known.formers) == (False, (), ())


def test_two_hosts_are_enough_to_lend_each_other_watts() -> None:
    assert has_peers(rack(), RULES)


# What is over


def test_a_promise_counts_up_to_and_including_its_end() -> None:
    """The borrower's guard may need the whole of its bound."""
    known = leases(promises=(promise("h2", 500, 1, end=115.0), promise("h3", 100, 1, end=116.0)))
    assert tended(known, 115.0) is known
    assert [p.to for p in tended(known, 115.001).promises] == ["h3"]


# A changed roster


def worth(known: Leases, of: Rack) -> int:
    """Return the entitlement of h1 at a budget of 9000 W."""
    return entitlement_mw(place(of=of), known, 9000 * W) // W


def test_between_two_rosters_the_lesser_entitlement_holds() -> None:
    assert worth(started(MEMORY, of=RACK), RACK) == 3000
    assert worth(started(MEMORY, of=SMALLER), SMALLER) == 1500
    assert worth(started(MEMORY, of=LARGER), LARGER) == 3000


def test_the_new_roster_counts_alone_once_all_hosts_have_it_and_nothing_is_lent() -> None:
    digest = roster_digest(LARGER, RULES)
    known = started(MEMORY, of=LARGER, boot_s=110.0)
    peers = {"h2": says("h2", roster=digest), "h3": says("h3", roster=ROSTER)}
    known = known._replace(peers=peers)
    assert worth(tended(known, 116.0, of=LARGER, roster=digest), LARGER) == 3000
    del peers["h3"]
    assert worth(tended(known, 116.0, of=LARGER, roster=digest), LARGER) == 3000, "one was never heard"
    peers["h3"] = says("h3", roster=digest)
    assert worth(tended(known, 115.0, of=LARGER, roster=digest), LARGER) == 3000, "a lease counts"
    assert worth(tended(known, 116.0, of=LARGER, roster=digest), LARGER) == 4500


def test_a_restart_between_two_rosters_forgets_neither() -> None:
    once = started(MEMORY, of=LARGER)
    again = started(keep(once, LARGER), of=LARGER)
    assert worth(again, LARGER) == 3000


def test_a_roster_that_is_put_back_counts_beside_the_one_that_others_may_follow_by_now() -> None:
    """The others have seen this host with the smaller share, and use what it gave up."""
    changed = started(MEMORY, of=SMALLER)
    back = started(keep(changed, SMALLER), of=RACK)
    assert worth(back, RACK) == 1500
    assert worth(started(keep(back, RACK), of=RACK), RACK) == 1500


def test_a_host_that_is_new_in_the_rack_stays_at_its_floor_until_the_others_know_it() -> None:
    before = replace(RACK, hosts=RACK.hosts[1:])
    assert worth(started(replace(MEMORY, rack=before)), RACK) == 1000


# The digest


def test_hosts_that_differ_in_anything_that_entitlements_or_leases_rest_on_have_another_digest() -> None:
    others = [
        replace(RACK, site="elsewhere"),
        replace(RACK, name="r2"),
        SMALLER,
        replace(RACK, hosts=(Host("h1", 1.0, 999 * W), *RACK.hosts[1:])),
        replace(RACK, hard_limit_mw=9001 * W),
        replace(RACK, failsafe_mw=4501 * W),
        replace(RACK, overhead_mw=1),
        replace(RACK, guard_band_pct=0.1),
    ]
    digests = {roster_digest(of, RULES) for of in [RACK, *others]}
    digests |= {
        roster_digest(RACK, replace(RULES, **{name: value}))  # type: ignore[arg-type] # names of the class
        for name, value in [
            ("enabled", False),
            ("ttl_s", 4.0),
            ("max_ttl_s", 9.0),
            ("guard_bound_s", 9.0),
            ("publish_s", 0.5),
            ("lead_s", 0.5),
        ]
    }
    assert len(digests) == 1 + len(others) + 6


def test_the_order_in_which_hosts_are_listed_makes_no_difference() -> None:
    assert roster_digest(replace(RACK, hosts=RACK.hosts[::-1]), RULES) == ROSTER


# What was heard before the start


def test_what_a_host_said_before_the_start_is_no_news_after_it_whoever_says_it_again() -> None:
    before = hear(leases(), [says("h2", seq=7), says("h3", seq=4)], "h1")
    again = hear(started(keep(before, RACK)), [says("h2", seq=6), says("h3", seq=5)], "h1")
    assert set(again.peers) == {"h3"}
    third = hear(started(keep(again, RACK), boot_s=300.0), [says("h2", seq=6), says("h3", seq=4)], "h1")
    assert not third.peers
    # What it said last the broker has kept, and that is no older than what is known.
    assert set(hear(third, [says("h2", seq=7)], "h1").peers) == {"h2"}


def test_a_peer_that_starts_again_is_heard_at_once() -> None:
    known = started(keep(hear(leases(), [says("h2", seq=7)], "h1"), RACK))
    assert set(hear(known, [says("h2", seq=1, epoch=EPOCH + 1)], "h1").peers) == {"h2"}


def test_a_number_that_somebody_made_up_keeps_a_host_out_until_the_next_start_at_most() -> None:
    made_up = hear(leases(), [says("h2", seq=1, epoch=LARGEST_EPOCH + 1)], "h1")
    assert set(hear(started(keep(made_up, RACK)), [says("h2", seq=7)], "h1").peers) == {"h2"}


def test_what_is_heard_is_by_itself_no_reason_to_write() -> None:
    """It changes every second; what it is for changes seldom, and brings it along."""
    before = hear(leases(), [says("h2", seq=7)], "h1")
    assert keep(before, RACK) == keep(hear(before, [says("h2", seq=8)], "h1"), RACK)
