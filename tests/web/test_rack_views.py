"""What the documents say of the watts that pass between hosts, and of the hosts themselves."""

from dataclasses import replace

import pytest

from powerd.snapshot import Snapshot
from powerd.web import views
from powerd.web.models import PeerView, Status, WattLease
from tests.web import host
from tests.web.host import CONFIG, moment


def shown(snapshot: Snapshot, after_s: float = 0.0) -> Status:
    return views.status(snapshot, moment(after_s))


def test_a_donor_shows_to_whom_it_lends_how_much_and_how_long_it_counts_that() -> None:
    """n1 was heard 1.5 s ago; the lease counts ttl + guard time from then: 5 + 10.05 s."""
    [lease] = shown(host.lending()).leases
    assert (lease.direction, lease.host, lease.watts) == ("lent", "r17-n1", 650)
    assert lease.remaining_s == pytest.approx(5 + CONFIG.leases.guard_time_s - 1.5)


def test_a_borrower_shows_from_whom_and_when_it_has_to_stop() -> None:
    """The lease answers the message that it sent a second ago."""
    assert shown(host.borrowing()).leases == [
        WattLease(direction="borrowed", host="r17-n1", watts=600, remaining_s=4.0)
    ]


@pytest.mark.parametrize("made", [host.lending(), host.borrowing()], ids=["lends", "borrows"])
def test_what_the_host_may_draw_is_its_share_with_what_it_borrows_and_without_what_it_lends(
    made: Snapshot,
) -> None:
    status = shown(made)
    assert status.lending is not None
    assert status.lending.taking_part
    assert status.lending.lent_watts + status.lending.borrowed_watts > 0
    assert status.budget.host_watts == (
        status.budget.entitlement_watts + status.lending.borrowed_watts - status.lending.lent_watts
    )


def test_a_lease_counts_down_and_not_below_zero() -> None:
    [lease] = shown(host.borrowing(), 1.5).leases
    assert lease.remaining_s == pytest.approx(2.5)
    [lease] = shown(host.borrowing(), 60).leases
    assert lease.remaining_s == 0


def test_the_limit_of_a_gpu_is_explained_by_the_watts_of_others() -> None:
    lent = views.explain(host.lending(), "0", moment(0))
    step = next(step for step in lent.steps if step.rule == "lent")
    assert (step.watts, step.source, step.note) == (6700, "r17-n1", "lends 650 W to r17-n1")
    assert "6,700 W after lent (r17-n1, until 2026-11-21T17:00:13.550Z), lends 650 W to r17-n1" in lent.text
    borrowed = views.explain(host.borrowing(), "0", moment(0)).text
    assert "borrowed (r17-n1, until 2026-11-21T17:00:04.000Z), borrows 600 W from r17-n1" in borrowed


def test_every_other_host_of_the_roster_is_listed_whether_heard_or_not() -> None:
    assert [peer.host for peer in shown(host.lending()).peers] == ["r17-n1", "r17-n2", "r17-n4"]
    never = shown(host.borrowing()).peers[2]
    unknown = set(PeerView.model_fields) - {"host", "live"}
    assert (never.host, never.live) == ("r17-n4", False)
    assert {getattr(never, field) for field in unknown} == {None}


def test_a_host_is_live_while_it_was_heard_of_late_also_when_the_document_is_old() -> None:
    assert [peer.live for peer in shown(host.lending()).peers] == [True, False, True]
    assert [peer.live for peer in shown(host.lending(), 3.0).peers] == [False, False, True]


def test_a_host_tells_what_it_can_and_what_it_goes_by() -> None:
    first, silent, other = shown(host.lending()).peers
    assert (first.age_s, first.roster_agrees, first.taking_part) == (1.5, True, True)
    assert (first.rack_cap_watts, first.share_watts, first.demand_watts) == (30000, 7350, 8000)
    assert first.budget is not None
    assert (first.budget.source, first.budget.watts) == ("facility-a", 30000)
    assert (silent.spare_watts, silent.worst_case_watts, silent.over_watts) == (900, 7350, 0)
    assert (other.roster_agrees, other.taking_part, other.budget) == (False, False, None)


def test_what_a_silent_host_draws_is_not_known_any_more() -> None:
    heard = [host.peer("r17-n1", -0.5, measured_mw=5_000_000)]
    made = host.snapshot(host.decided(heard))
    assert shown(made).peers[0].draw_watts == 5000
    assert shown(made, 60).peers[0].draw_watts is None


def test_lost_memory_shows_how_long_the_floor_holds_and_that_it_takes_no_part() -> None:
    """It started 15 s ago."""
    status = shown(host.snapshot(host.decided(memory=None)))
    assert status.lending is not None
    assert status.lending.memory_lost_s == pytest.approx(CONFIG.leases.forget_s - 15)
    assert (status.lending.taking_part, status.budget.host_watts) == (False, 2600)
    assert status.lending.obstacle == "what was lent before the start is not known"


def test_a_host_that_writes_no_limits_says_why_it_takes_no_part(snapshot: Snapshot) -> None:
    lending = shown(replace(snapshot, mode="dry-run")).lending
    assert lending is not None
    assert (lending.taking_part, lending.obstacle) == (False, "mode is dry-run: no limit is written")


def test_a_name_that_is_used_twice_is_an_obstacle(snapshot: Snapshot) -> None:
    leases = snapshot.decision.leases._replace(foreign_epoch=host.OWN_EPOCH + 1)
    lending = shown(replace(snapshot, decision=snapshot.decision._replace(leases=leases))).lending
    assert lending is not None
    assert lending.obstacle == "another daemon may speak under this host's name"


def test_a_host_that_may_not_lend_for_another_reason_does_not_claim_to(snapshot: Snapshot) -> None:
    place = snapshot.decision.place._replace(is_leasing=False)
    lending = shown(replace(snapshot, decision=snapshot.decision._replace(place=place))).lending
    assert lending is not None
    assert lending.obstacle


def test_watts_given_up_for_a_host_that_cannot_be_reached_are_shown() -> None:
    """n2 was last heard under 40 kW: its share of that is 2450 W above that of 30 kW."""
    unreachable = host.peer("r17-n2", -9.0, watts=40000)
    status = shown(host.snapshot(host.decided([unreachable])))
    assert status.lending is not None
    assert status.lending.given_up_watts == 2450
    assert status.budget.host_watts == 7350 - 2450


def test_where_hosts_do_not_lend_there_is_nothing_to_show(snapshot: Snapshot) -> None:
    alone = snapshot.decision.place._replace(has_peers=False)
    status = shown(replace(snapshot, decision=snapshot.decision._replace(place=alone)))
    assert (status.lending, status.leases, status.peers) == (None, [], [])
