"""Watts between the hosts of a running rack: they reach who needs them, and come back whatever dies.

In every test the observer replays all limits ever written: the rack's budget holds at every instant.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.facility import Grant
from tests.daemon.host import GPU_MAX_WATTS
from tests.daemon.rack import BUDGET_WATTS, GPUS, NAMES, Rack, entitlement_mw, usable_mw
from tests.daemon.rack_observer import history, judged, violations
from tests.daemon.waiting import boot_s

N1, N2, N3, N4 = NAMES
OWN_MW = entitlement_mw(BUDGET_WATTS)
FULL_MW = 800_000 + GPUS * GPU_MAX_WATTS * 1000


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    """Return one rack for all tests: each leaves it as it found it."""
    with Rack(tmp_path_factory.mktemp("r"), library) as rack:
        yield rack


@pytest.fixture
def rack(shared: Rack) -> Iterator[Rack]:
    with judged(shared) as rack:
        yield rack


def borrow(rack: Rack, *names: str) -> None:
    """Wake hosts and wait until each may draw more than what is its own."""
    rack.busy(*names)
    rack.wait_for(
        lambda: all(rack.worst_mw(name) > OWN_MW + 100_000 for name in names), what="watts of idle hosts"
    )


def test_watts_of_idle_hosts_reach_a_busy_one_and_go_back_when_their_owners_wake(rack: Rack) -> None:
    rack.busy(N1)
    rack.wait_for(lambda: rack.worst_mw(N1) == FULL_MW, what="all that its GPUs can use")

    def borrowed() -> list[dict[str, Any]]:
        return [lease for lease in rack.hosts[N1].status()["leases"] if lease["direction"] == "borrowed"]

    def shows_all() -> bool:
        watts: float = sum(lease["watts"] for lease in borrowed())
        return watts >= (FULL_MW - OWN_MW) / 1000

    # A lease that is renewed with other watts may show between the limits and the status.
    rack.wait_for(shows_all, what="all of it told as borrowed")
    for lease in borrowed():
        assert rack.lent(lease["host"], N1) >= lease["watts"]

    rack.busy(N2)
    rack.wait_for(lambda: rack.worst_mw(N2) >= OWN_MW - GPUS * 5_000, what="what is its own")
    rack.wait_for(lambda: sum(map(rack.worst_mw, NAMES)) > 0.99 * usable_mw(BUDGET_WATTS))

    rack.busy(N3, N4)
    rack.wait_for(lambda: all(rack.is_at(name, OWN_MW) for name in NAMES), what="everyone at what is its own")
    rack.wait_for(lambda: not any(host.status()["leases"] for host in rack.hosts.values()))


def test_a_lower_budget_recalls_what_is_lent_and_is_kept_by_all_from_then_on(rack: Rack) -> None:
    borrow(rack, N1)
    lower = BUDGET_WATTS - 1000
    grant = rack.obey(lower)
    rack.wait_for(lambda: rack.worst_mw(N1) > entitlement_mw(lower) + 100_000, what="leases made again")

    moments = history(rack, grant.published_boot_s)
    own_mw = entitlement_mw(lower)
    kept = next(i for i, moment in enumerate(moments) if max(moment.worst_mw.values()) <= own_mw)
    assert all(moment.sum_mw <= usable_mw(lower) for moment in moments[kept:])


def test_what_a_killed_borrower_had_comes_back_to_its_owners(rack: Rack) -> None:
    borrow(rack, N1)
    rack.hosts[N1].daemon.kill()
    rack.wait_for(lambda: rack.worst_mw(N1) < OWN_MW, what="the borrower's fallback")
    others = (N2, N3, N4)
    rack.wait_for(lambda: all(rack.is_at(name, OWN_MW) for name in others), what="their own watts")
    assert not rack.hosts[N2].status()["leases"]


def test_a_borrower_that_stands_still_is_brought_down_by_its_guard_and_borrows_again(rack: Rack) -> None:
    borrow(rack, N1)
    rack.hosts[N1].daemon.freeze()
    rack.wait_for(lambda: rack.worst_mw(N1) <= OWN_MW, what="the guard's fallback")
    rack.hosts[N1].daemon.thaw()
    borrow(rack, N1)


def test_when_a_donor_is_killed_the_borrower_steps_down_by_itself(rack: Rack) -> None:
    donor, borrower = rack.hosts[N2], rack.hosts[N1]
    rack.busy(N3, N4)
    borrow(rack, N1)
    fallbacks = borrower.status()["guard"]["fallbacks"]
    donor.daemon.kill()
    rack.wait_for(lambda: not borrower.status()["leases"], what="the end of the lease")
    assert rack.worst_mw(N1) <= OWN_MW
    assert borrower.status()["guard"]["fallbacks"] == fallbacks
    donor.start_daemon()
    borrow(rack, N1)


def test_a_donor_that_starts_again_knows_from_its_file_what_it_has_lent(rack: Rack) -> None:
    donor = rack.hosts[N2]
    borrow(rack, N1)
    lent = rack.wait_for(lambda: rack.lent(N2, N1), what="the donor saying so")
    rack.broker.kill()  # now nobody else can tell it
    donor.daemon.kill()
    donor.daemon.start()
    assert rack.wait_for(lambda: rack.lent(N2, N1), what="what was lent") >= lent
    donor.wait_iterations(3)
    assert rack.worst_mw(N2) <= OWN_MW - lent * 1000


def test_the_observer_sees_watts_that_are_used_twice(library: Path, tmp_path: Path) -> None:
    with Rack(tmp_path, library) as rack:
        for name in NAMES:
            for index in range(GPUS):
                rack.hosts[name].gpus.write_as_rival(index, 240)
        begun_boot_s = boot_s()
        rack.grants.append(Grant(begun_boot_s, BUDGET_WATTS, begun_boot_s + 60))
        rack.hosts[N1].gpus.write_as_rival(0, 256)
        assert list(violations(rack, begun_boot_s)) == []
        rack.hosts[N2].gpus.write_as_rival(3, 400)
        assert "7216 W of 7056 W" in next(violations(rack, begun_boot_s))
