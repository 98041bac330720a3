"""The broker, or whoever publishes through it, has a bad day: what counts is the lease, and nothing else."""

import time
from typing import Any

from tests.daemon.facility import LEASE_S
from tests.daemon.observer import excesses
from tests.daemon.rig import FAILSAFE_WATTS, Rig
from tests.daemon.waiting import boot_s

# powerd steps down a little before the lease ends; its message may have taken a moment to arrive.
LEASE_MARGIN_S = 0.5


def in_failsafe(rig: Rig) -> bool:
    """Say whether the limits are down to the failsafe budget, and the daemon says that it is in failsafe."""
    return rig.obeyed(FAILSAFE_WATTS) and bool(rig.status()["failsafe_cause"])


def wait_for_failsafe(rig: Rig, lease_end_boot_s: float) -> None:
    """Wait until failsafe holds; fail if that is not about when the lease ends."""
    rig.wait_for(lambda: in_failsafe(rig), within_s=LEASE_S + 2, what="failsafe after the lease")
    assert abs(boot_s() - lease_end_boot_s) < LEASE_MARGIN_S


def test_without_a_broker_the_failsafe_holds_and_a_broker_that_appears_is_used(rig: Rig) -> None:
    rig.start_guard()
    rig.daemon.start()
    rig.wait_for(lambda: in_failsafe(rig), what="failsafe without a broker")
    rig.wait_for(lambda: rig.get("/readyz").status == 200, within_s=2, what="ready in verified failsafe")
    status = rig.status()
    assert (status["state"], status["failsafe_cause"]) == ("init", "no_controller")
    assert str(rig.broker.port) in status["bus"]["error"]
    rig.broker.start()
    rig.obey(3000)


def test_a_killed_broker_costs_nothing_before_the_lease_ends_and_its_return_raises_nothing(host: Rig) -> None:
    grant = host.obey(2800)
    before_mw = host.sum_mw()
    host.broker.kill()
    host.wait_for(lambda: not host.status()["bus"]["connected"], within_s=2, what="the loss noticed")
    assert (host.sum_mw(), host.status()["state"]) == (before_mw, "limited")
    wait_for_failsafe(host, grant.end_boot_s)

    failsafe_mw = host.sum_mw()
    host.broker.start()  # it keeps no store: the retained budget is gone, and that is not "no limit"
    host.wait_for(lambda: host.status()["bus"]["connected"], within_s=5, what="connected again")
    host.wait_iterations(5)
    assert (host.sum_mw(), host.status()["state"]) == (failsafe_mw, "failsafe")
    host.obey(3000)
    assert list(excesses(host, grant.published_boot_s)) == []


def test_a_broker_that_stalls_without_closing_is_failsafe_after_one_lease(host: Rig) -> None:
    grant = host.obey(2800)
    host.broker.stall()
    wait_for_failsafe(host, grant.end_boot_s)
    assert host.get("/healthz").status == 200
    host.broker.resume()
    host.obey(3000, within_s=10)
    assert list(excesses(host, grant.published_boot_s)) == []


def explanation(rig: Rig) -> str:
    code, out, _ = rig.powerctl("explain", "0")
    assert code == 0
    return " ".join(out.split())


def test_a_facility_that_falls_silent_is_failsafe_until_it_says_something_newer(host: Rig) -> None:
    """Also while the broker still has its last message, and when an older message turns up late."""
    grant = host.obey(2800)
    assert "facility-a" in explanation(host)
    issued_before_s = time.time() + LEASE_S / 2
    wait_for_failsafe(host, grant.end_boot_s)
    told = [line for line in host.daemon.log.splitlines() if "failsafe_entered" in line]
    assert len(told) == 1
    assert "no controller heard within its lease" in told[0]
    assert "rack.failsafe_watts" in explanation(host)

    failsafe_mw = host.sum_mw()
    late: dict[str, Any] = host.facility.budget(4000, 60, issued_s=issued_before_s)
    host.facility.publish(late)
    host.wait_for(lambda: host.problem("signal_lower_only"), within_s=2, what="the late message told of")
    host.wait_iterations(3)
    assert (host.sum_mw(), host.status()["state"]) == (failsafe_mw, "failsafe")

    host.obey(3000)
    assert host.status()["state"] == "limited"
    assert list(excesses(host, grant.published_boot_s)) == []


def test_budgets_renewed_in_time_never_let_the_failsafe_in(host: Rig) -> None:
    """Five renewals a second, each of the shortest lease: as many budgets, and not one write too many."""
    host.obey(2800)
    writes = len(host.write_log())
    end_s = boot_s() + LEASE_S + 1
    while boot_s() < end_s:
        host.publish_budget(2800)
        host.wait_iterations(1)
    assert "failsafe" not in host.daemon.log
    assert len(host.write_log()) == writes
