"""A rack with one host, or whatever hosts share, that is not as it should be: docs/leases.md, Bad days.

In every test the observer replays all limits ever written: the rack's budget holds at every instant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.facility import LEASE_S
from tests.daemon.host import Host
from tests.daemon.impostor import Impostor
from tests.daemon.rack import BUDGET_WATTS, FAILSAFE_WATTS, NAMES, PERIOD_S, Rack, entitlement_mw, usable_mw
from tests.daemon.rack_observer import history, judged
from tests.daemon.waiting import boot_s
from tests.daemon.wall_clock import WallClock

N1, N2, N3, N4 = NAMES
OWN_MW = entitlement_mw(BUDGET_WATTS)
FLOOR_MW = 1_200_000
HOUR_S = 3600.0
# Far more than a start takes, and within what budgets are believed at.
SKEW_S = 25.0
MEMORY = Path("state", "runtime.json")


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    """Return one rack for all tests: each leaves it as it found it."""
    with Rack(tmp_path_factory.mktemp("r"), library, tables=listening_to("facility-a")) as rack:
        yield rack


@pytest.fixture
def rack(shared: Rack) -> Iterator[Rack]:
    with judged(shared) as rack:
        yield rack


def listening_to(source: str) -> dict[str, Any]:
    return {"signals": {"native": {"sources": [source]}}}


@contextmanager
def another(rack: Rack, name: str, tables: dict[str, Any]) -> Iterator[Host]:
    """Have a host start again with another configuration, for a while."""
    host = rack.hosts[name]
    host.daemon.terminate()
    rack.configure(host, tables)
    host.start_daemon()
    try:
        yield host
    finally:
        host.daemon.close()
        rack.configure(host)


def told(rack: Rack, name: str, event: str) -> str:
    """Wait until a host tells of something, and return the text."""
    return rack.wait_for(lambda: rack.hosts[name].problem(event), what=f"{name} telling of {event}")


def partners(rack: Rack, name: str) -> set[str]:
    """Return whom a host says that it lends to or borrows from."""
    return {lease["host"] for lease in rack.hosts[name].status()["leases"]}


def rises(rack: Rack, name: str, partner: str) -> None:
    """Wait until a host may draw more than its own, thanks to another one."""
    rack.wait_for(
        lambda: rack.worst_mw(name) > OWN_MW and partner in partners(rack, name), what=f"{name} on leases"
    )


def test_a_host_with_another_roster_keeps_its_old_share_and_nobody_deals_with_it(rack: Rack) -> None:
    """Its own file gives it twice the share. Without memory it does not even claim what it had before."""
    shares = {name: {"share": 2.0 if name == N4 else 1.0, "floor_watts": 1200} for name in NAMES}
    with another(rack, N4, {"rack": {"hosts": shares}}) as odd:
        assert N4 in told(rack, N1, "roster_mismatch")
        assert N1 in told(rack, N4, "roster_mismatch")
        rack.busy(N1, N4)
        rises(rack, N1, N2)
        rack.wait_for(lambda: rack.is_at(N4, OWN_MW), what="the share that it had")
        rack.wait_for(lambda: partners(rack, N1) == {N2, N3}, what="the others dealing")
        assert partners(rack, N4) == set()

        odd.daemon.kill()
        (odd.directory / MEMORY).unlink()
        odd.start_daemon()
        assert N1 in told(rack, N4, "floor_held")
        assert rack.worst_mw(N4) == FLOOR_MW


def test_a_host_of_an_old_version_counts_as_silent(rack: Rack) -> None:
    """It said nothing of leases. What is its own stays its own."""
    rack.hosts[N4].daemon.terminate()
    old = Impostor(rack, N4)
    unknown_then = ("roster", "leasing", "rack_cap_watts", "spare_watts", "lent_watts", "lends", "holds")
    old.say(**dict.fromkeys(unknown_then, ...), epoch=old.epoch + 1, seq=1, demand_watts=2400)
    rack.busy(N1, N2)
    rises(rack, N1, N3)
    rack.wait_for(
        lambda: old.go_on() and not peer(rack, N1, N4)["live"], what="the old version counted as silent"
    )
    assert rack.hosts[N1].metric("powerd_signal_rejected_total", reason="missing") >= 1
    assert not any(N4 in partners(rack, name) for name in (N1, N2, N3))
    assert rack.worst_mw(N1) + rack.worst_mw(N2) + rack.worst_mw(N3) <= usable_mw(BUDGET_WATTS) - OWN_MW


def peer(rack: Rack, name: str, other: str) -> dict[str, Any]:
    """Return what a host shows of another one."""
    found: dict[str, Any] = next(each for each in rack.hosts[name].status()["peers"] if each["host"] == other)
    return found


def test_a_second_daemon_of_a_name_is_noticed_and_the_rack_goes_on_without_that_name(rack: Rack) -> None:
    """The first neither lends nor borrows; the second has no memory yet."""
    twin = rack.make_host(N4, "twin")
    twin.guard.start()
    rack.wait_for(twin.guard_listens, what="the second guard")
    twin.daemon.start()
    try:
        told(rack, N4, "name_in_use")
        rack.busy(N1, N4)
        rises(rack, N1, N2)
        assert N4 not in partners(rack, N1)
        assert partners(rack, N4) == set()
        assert rack.worst_mw(N4) <= OWN_MW
    finally:
        twin.end_processes()


def test_a_host_that_lies_about_its_want_wastes_spare_watts_and_never_an_entitlement(rack: Rack) -> None:
    rack.hosts[N4].daemon.terminate()
    liar = Impostor(rack, N4)
    liar.say(demand_watts=20_000, spare_watts=0, lends=[], holds=[], epoch=liar.epoch + 1, seq=1)
    rack.wait_for(lambda: liar.go_on() and rack.lent(N2, N4) > 0, what="watts for the liar")
    rack.busy(N1, N2, N3)
    honest = (N1, N2, N3)
    rack.wait_for(
        lambda: liar.go_on() and all(rack.worst_mw(name) >= OWN_MW - 20_000 for name in honest),
        what="what is their own, although the liar wants it",
    )


def test_when_half_of_the_daemons_die_the_others_go_on_with_what_is_theirs(rack: Rack) -> None:
    rack.busy(N1, N3)
    rises(rack, N1, N2)
    rises(rack, N3, N4)
    for name in (N3, N4):
        rack.hosts[name].daemon.kill()
    failsafe_mw = entitlement_mw(FAILSAFE_WATTS)
    rack.wait_for(lambda: max(map(rack.worst_mw, (N3, N4))) <= failsafe_mw, what="the guards' fallback")
    rack.wait_for(lambda: partners(rack, N1) == {N2}, what="an end to what the dead had lent")
    rises(rack, N1, N2)
    rack.start()
    rises(rack, N3, N4)


def test_without_a_broker_leases_end_then_budgets_and_all_comes_back_with_it(rack: Rack) -> None:
    """It keeps no store: nothing of what was said before outlives it."""
    rack.busy(N1)
    rises(rack, N1, N2)
    rack.obey(BUDGET_WATTS, LEASE_S)
    rack.broker.kill()
    rack.wait_for(lambda: all(rack.is_at(name, OWN_MW) for name in NAMES), what="everyone at what is its own")
    failsafe_mw = entitlement_mw(FAILSAFE_WATTS)
    rack.wait_for(lambda: all(rack.is_at(name, failsafe_mw) for name in NAMES), what="failsafe")
    rack.broker.start()
    rack.obey(BUDGET_WATTS)
    rises(rack, N1, N2)


def test_memory_that_is_lost_costs_the_host_its_watts_for_a_while_and_nobody_else(rack: Rack) -> None:
    """One file is damaged, one is gone; where a third should be nobody can make one, not even root.

    The third host keeps to what is its own: it could not remember what it has lent.
    """
    rack.busy(N1)
    rises(rack, N1, N2)
    for name in (N2, N4):
        rack.hosts[name].daemon.kill()
    (rack.hosts[N2].directory / MEMORY).write_text("{", encoding="utf-8")
    (rack.hosts[N4].directory / MEMORY).unlink()
    begun_boot_s = boot_s()
    rack.start()
    with another(rack, N3, {"host": {"state_dir": "/proc"}}):
        assert "runtime.json" in told(rack, N2, "runtime_file_unusable")
        assert "/proc" in told(rack, N3, "runtime_file_not_written")
        rack.wait_for(lambda: takes_part(rack, N2) and takes_part(rack, N4), what="the end of their wait")
        rack.wait_for(lambda: partners(rack, N1) == {N2, N4}, what="leases of those that can remember again")
        rack.busy(N3)
        rack.wait_for(lambda: rack.is_at(N3, OWN_MW), what="the third at what is its own")
        assert partners(rack, N3) == set()
        rack.idle(N1)
        rack.wait_for(lambda: rack.is_at(N2, OWN_MW) and rack.is_at(N4, OWN_MW), what="what is their own")
    waited_s = rack.times.max_ttl_s + rack.times.guard_bound_s
    for name in (N2, N4):
        assert first_raise_boot_s(rack, name, begun_boot_s) >= begun_boot_s + waited_s


def test_a_guard_that_cannot_write_down_its_plan_keeps_its_host_out_of_all_dealings(rack: Rack) -> None:
    """A guard that starts again would not know when borrowed watts end, nor that others were lent."""
    host = rack.hosts[N4]
    host.daemon.terminate()
    host.guard.terminate()
    rack.configure(host, {"guard": {"state_dir": "/proc"}})
    rack.start()
    rack.busy(N1, N4)
    rises(rack, N1, N2)
    rack.wait_for(lambda: rack.is_at(N4, OWN_MW), what="what is its own")
    assert not takes_part(rack, N4)
    assert "guard.state_dir" in told(rack, N4, "guard_cannot_remember")
    rack.wait_for(lambda: N4 not in partners(rack, N1), what="what was lent before it was noticed to be back")
    host.end_processes()
    rack.configure(host)


def takes_part(rack: Rack, name: str) -> bool:
    return bool(rack.hosts[name].status()["lending"]["taking_part"])


def first_raise_boot_s(rack: Rack, name: str, since_boot_s: float) -> float:
    """Return when a host rose again, once it had come down to its floor."""
    moments = iter(history(rack, since_boot_s))
    next(moment for moment in moments if moment.worst_mw[name] == FLOOR_MW)
    return next(moment.boot_s for moment in moments if moment.worst_mw[name] > FLOOR_MW)


def test_wall_clocks_that_jump_end_no_lease_and_a_start_with_an_older_epoch_is_made_good(
    rack: Rack, tmp_path: Path
) -> None:
    ahead, behind = WallClock(tmp_path / "ahead"), WallClock(tmp_path / "behind")
    borrower, donor = rack.hosts[N1], rack.hosts[N2]
    for host, clock in ((borrower, ahead), (donor, behind)):
        host.daemon.terminate()
        host.daemon.start(environment=clock.environment())
    rack.start()
    rack.busy(N1, N3, N4)
    rises(rack, N1, N2)
    fallbacks = borrower.status()["guard"]["fallbacks"]
    since_boot_s = boot_s()
    ahead.set_ahead(HOUR_S)
    behind.set_ahead(-HOUR_S)
    borrower.wait_iterations(round(rack.times.ttl_s / PERIOD_S))
    assert min(moment.worst_mw[N1] for moment in history(rack, since_boot_s)) > OWN_MW
    assert borrower.status()["guard"]["fallbacks"] == fallbacks

    donor.daemon.kill()
    (donor.directory / MEMORY).unlink()  # else it would know its last epoch
    behind.set_ahead(-SKEW_S)
    donor.daemon.start(environment=behind.environment())
    rack.wait_for(lambda: N2 not in partners(rack, N1), what="the end of what was lent before")
    rises(rack, N1, N2)
    for host in (borrower, donor):
        host.daemon.terminate()


def test_a_host_that_follows_another_source_deals_only_while_both_caps_are_equal(rack: Rack) -> None:
    with another(rack, N4, listening_to("facility-b")):
        # It remembers facility-a's last word: this one goes before.
        rack.facility.grant(BUDGET_WATTS, 60, source="facility-b", priority=1)
        assert "facility-b" in told(rack, N1, "peer_budget_source")
        rack.busy(N1, N2, N3)
        rises(rack, N1, N4)

        rack.facility.grant(BUDGET_WATTS - 400, 60, source="facility-b", priority=1)
        rack.wait_for(lambda: not partners(rack, N4) and not partners(rack, N1), what="no dealings")
        lower_mw = entitlement_mw(BUDGET_WATTS - 400)
        rack.wait_for(lambda: rack.worst_mw(N4) <= lower_mw, what="its part of what it follows")
        rack.wait_for(lambda: all(rack.is_at(name, OWN_MW) for name in (N1, N2, N3)), what="theirs")
