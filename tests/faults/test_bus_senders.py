"""Senders that do not agree, cannot decide, speak another version, or go by a clock that is wrong."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.facility import LEASE_S, Facility, Grant
from tests.daemon.host import RACK, SITE
from tests.daemon.observer import excesses, history, unearned_raises
from tests.daemon.processes import Process
from tests.daemon.rig import FAILSAFE_WATTS, HARD_LIMIT_WATTS, Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s
from tests.daemon.wall_clock import WallClock
from tests.powerctl import POWERCTL

HOUR_S = 3600.0
# Between two iterations, on a machine that has other things to do.
PAUSE_S = 1.0


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    """Return the wall clock that the host goes by."""
    return WallClock(tmp_path_factory.mktemp("c") / "host")


@pytest.fixture(scope="module")
def shared(library: Path, clock: WallClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("h"), library) as rig:
        rig.broker.start()
        rig.start_guard()
        rig.daemon.environment.update(clock.environment())
        rig.start_daemon()
        yield rig
        assert list(unearned_raises(rig)) == []


@pytest.fixture
def host(shared: Rig) -> Rig:
    """Return a host under a budget of 3000 W for a minute; it raises limits at once."""
    shared.obey(3000, lease_s=60)
    return shared


def wait_for_failsafe(host: Rig) -> None:
    host.wait_for(lambda: host.status()["state"] == "failsafe", what="failsafe after the lease")
    host.wait_for(lambda: host.obeyed(FAILSAFE_WATTS), what="limits of the failsafe")


def rejected(host: Rig, reason: str) -> float:
    return host.metric("powerd_signal_rejected_total", reason=reason)


def test_a_budget_that_flaps_is_followed_down_at_once_and_up_at_the_pace_of_the_ramp(host: Rig) -> None:
    low, high, ramp_pct_per_min = 2600, 3600, 480.0
    ramp_mw_per_s = HARD_LIMIT_WATTS * ramp_pct_per_min / 100 / 60 * 1000
    reload(host, raise_ramp_pct_per_min=ramp_pct_per_min)
    host.obey(low, lease_s=60)
    begun_boot_s = boot_s()
    for _ in range(6):
        host.publish_budget(high, 60)
        host.wait_iterations(1)
        host.publish_budget(low, 60)
        host.wait_for(lambda: host.sum_mw() <= gpu_budget_mw(low), what="the low budget")
    flapped_boot_s = boot_s()
    host.obey(high, lease_s=60, within_s=30)
    climb = [moment for moment in history(host) if moment.boot_s > flapped_boot_s]
    reload(host)
    for moment in climb:
        # A raise may count from the iteration before.
        allowed_mw = ramp_mw_per_s * (moment.boot_s - flapped_boot_s + PAUSE_S)
        assert moment.sum_mw - gpu_budget_mw(low) <= allowed_mw
    assert len(climb) >= 3
    assert list(excesses(host, begun_boot_s)) == []


def reload(host: Rig, **control: float) -> None:
    done = host.daemon.log.count("config_reloaded")
    host.configure({"control": control})
    host.daemon.signal(signal.SIGHUP)
    host.wait_for(lambda: host.daemon.log.count("config_reloaded") > done, what="the reload")
    host.wait_iterations(1)


def test_a_budget_of_a_later_version_counts_for_nothing_and_a_field_more_does_no_harm(host: Rig) -> None:
    host.obey(2800, lease_s=60)
    seq, refused = host.facility.seq, rejected(host, "version")
    host.facility.publish(host.facility.budget(3600, 60, v=2))
    host.wait_for(lambda: rejected(host, "version") == refused + 1, what="the refusal")
    host.wait_iterations(1)
    assert host.status()["budget"]["lease"]["seq"] == seq
    assert host.obeyed(2800)
    # A minor version: the same fields, and some that nobody here knows.
    host.publish_budget(3000, 60, granularity={"step_watts": 10}, scopes=["rack"])
    host.wait_for(lambda: host.obeyed(3000), what="the budget with fields of a later minor version")


def test_of_two_controllers_the_lower_budget_holds_and_limits_do_not_swing_between_them(host: Rig) -> None:
    """Both are of equal priority, and neither knows of the other."""
    rival = Facility(host.broker.port)
    rival.grant(2700, 60, source="facility-b")
    host.wait_for(lambda: host.obeyed(2700), what="the lower budget")
    host.wait_for(lambda: "facility-b" in host.problem("budget_conflict"), what="the alarm")
    host.wait_iterations(1)
    writes = len(host.write_log())
    for watts in (3400, 2900, 3600):
        host.publish_budget(watts, 60)
        host.wait_iterations(2)
        rival.grant(2700, 60, source="facility-b")
        host.wait_iterations(2)
    assert len(host.write_log()) == writes
    # They agree: until the rival's lease is over it is one of two, but no matter.
    rival.grant(3000, LEASE_S, source="facility-b")
    rival.close()
    host.obey(3000, lease_s=60)


def test_a_host_whose_clock_jumps_keeps_its_lease_to_the_second_and_lowers_only(
    host: Rig, clock: WallClock
) -> None:
    grant = host.obey(2800, LEASE_S)
    for ahead_s, lower, reason in ((HOUR_S, 2700, "expired"), (-HOUR_S, 2600, "clock_skew")):
        clock.set_ahead(ahead_s)
        refused = rejected(host, reason)
        host.facility.publish(host.facility.budget(3600, 60))
        host.wait_for(lambda: rejected(host, reason) > refused, what="a refusal")  # noqa: B023
        host.facility.publish(host.facility.budget(lower, 60))
        host.wait_for(lambda: host.sum_mw() <= gpu_budget_mw(lower), what="the lower budget")  # noqa: B023
    wait_for_failsafe(host)
    assert boot_s() > grant.end_boot_s - 1
    clock.set_ahead(0)
    host.obey(3000)
    assert list(excesses(host, grant.published_boot_s)) == []


def test_a_controller_whose_clock_jumps_is_a_lost_one_until_it_is_right_again(
    host: Rig, tmp_path: Path
) -> None:
    """It says its budget every half second, with the stamps of its own clock. Stays the last test here."""
    clock = WallClock(tmp_path / "controller")
    where = ("--site", SITE, "--rack", RACK, "--broker", f"mqtt://127.0.0.1:{host.broker.port}")
    what = ("--watts", "2900", "--lease", "5s", "--every", "500ms", "--source", "facility-c")
    command = (POWERCTL, "publish", "budget", *where, *what)
    controller = Process(command, tmp_path / "controller.log", {**host.environment, **clock.environment()})
    host.obey(3000, LEASE_S)
    host.grants.append(Grant(boot_s(), 2900, boot_s() + 600))
    controller.start()
    try:
        host.wait_for(lambda: host.obeyed(2900), what="its budget")
        refused = rejected(host, "clock_skew")
        clock.set_ahead(HOUR_S)
        host.wait_for(lambda: rejected(host, "clock_skew") > refused, what="a refusal")
        wait_for_failsafe(host)
        clock.set_ahead(0)
        host.wait_for(lambda: host.obeyed(2900), what="its budget again")
    finally:
        controller.close()
