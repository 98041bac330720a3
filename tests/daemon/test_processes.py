"""Guard and daemon die, hang and start again: limits fall in time, and never rise by any of it."""

import signal
import time
from pathlib import Path

import pytest

from tests.daemon.conftest import MakeRig
from tests.daemon.observer import excesses
from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s

HOLD_S = 1.0
# For the guard to notice, write and read back, on a machine that does other things too.
FALLBACK_MARGIN_S = 0.5


def at_or_below_failsafe(rig: Rig) -> bool:
    return rig.sum_mw() <= gpu_budget_mw(FAILSAFE_WATTS)


def wait_for_fallback(rig: Rig, since_boot_s: float) -> None:
    """Wait until the guard has lowered to the fallback; fail if it did so later than it promises."""
    rig.wait_for(lambda: at_or_below_failsafe(rig), within_s=HOLD_S + FALLBACK_MARGIN_S, what="the fallback")
    assert boot_s() - since_boot_s < HOLD_S + FALLBACK_MARGIN_S
    assert rig.sum_mw() > 0.97 * gpu_budget_mw(FAILSAFE_WATTS)


def test_a_daemon_that_is_killed_leaves_the_fallback_within_its_hold(host: Rig) -> None:
    host.daemon.kill()
    wait_for_fallback(host, boot_s())
    assert "the plan has ended and no newer one came" in host.guard.log
    host.start_daemon()
    host.wait_for(lambda: host.obeyed(3000), within_s=3, what="the lease that is not over")


def test_a_daemon_that_hangs_leaves_the_fallback_and_goes_on_when_it_wakes(host: Rig) -> None:
    host.daemon.freeze()
    wait_for_fallback(host, boot_s())
    host.daemon.thaw()
    host.wait_for(lambda: host.obeyed(3000), within_s=3, what="the lease that is not over")


def test_a_daemon_that_wakes_after_its_lease_raises_nothing(rig: Rig) -> None:
    rig.start()
    grant = rig.obey(3000)
    rig.daemon.freeze()
    wait_for_fallback(rig, boot_s())
    fallen_mw = rig.sum_mw()
    rig.wait_for(lambda: boot_s() > grant.end_boot_s, what="the end of the lease")
    rig.daemon.thaw()
    rig.wait_iterations(5)
    assert rig.status()["state"] == "failsafe"
    assert rig.sum_mw() == fallen_mw


def test_a_guard_that_is_killed_is_reported_and_its_successor_used(host: Rig) -> None:
    before_mw = host.limits_mw()
    host.guard.kill()
    host.wait_for(lambda: not host.status()["guard"]["usable"], within_s=2, what="the loss reported")
    assert host.get("/healthz").status == 200
    assert host.get("/readyz").status == 503
    assert "guard.sock" in host.problem("guard_unusable")
    assert host.status()["gpus"] == []  # what cannot be read is not shown
    assert host.limits_mw() == before_mw

    host.start_guard()
    host.wait_for(lambda: host.status()["guard"]["usable"], within_s=2, what="the new guard used")
    host.wait_for(lambda: host.get("/readyz").status == 200, within_s=2, what="ready again")
    assert host.metric("powerd_guard_restarts_total") == 1
    host.obey(2600, lease_s=60)


def test_a_cut_that_came_while_the_guard_was_away_is_made_when_it_is_back(host: Rig) -> None:
    host.guard.kill()
    host.publish_budget(2600, lease_s=60)
    host.wait_for(lambda: host.status()["budget"]["rack_watts"] == 2600, within_s=2, what="the cut decided")
    host.start_guard()
    host.wait_for(lambda: host.obeyed(2600), within_s=2, what="the cut made")


def test_when_both_are_killed_the_next_guard_keeps_the_promise_of_the_last_plan(host: Rig) -> None:
    host.daemon.kill()
    host.guard.kill()
    host.start_guard()
    wait_for_fallback(host, boot_s())


def test_a_guard_that_hangs_stops_neither_the_answers_nor_what_comes_after(make_rig: MakeRig) -> None:
    """Also `healthz`, which is about the loop alone, not for a moment."""
    rig = make_rig(control={"period_s": 0.5, "hold_s": 5.0})
    rig.start()
    rig.obey(3000, lease_s=60)
    rig.guard.freeze()
    healthy = set()

    def told() -> str:
        healthy.add(rig.get("/healthz").status)
        return rig.problem("guard_unusable")

    assert "did not answer within" in rig.wait_for(told, within_s=5, what="the hang told of")
    assert healthy == {200}
    assert rig.get("/readyz").status == 503
    rig.wait_iterations(3)
    assert rig.get("/healthz").status == 200
    rig.guard.thaw()
    rig.wait_for(lambda: rig.get("/readyz").status == 200, within_s=5, what="ready again")
    rig.wait_for(lambda: rig.obeyed(3000), within_s=3, what="the lease that is not over")


def test_sigterm_ends_both_soon_and_well_and_touches_no_limit(host: Rig) -> None:
    writes = len(host.write_log())
    assert host.daemon.terminate(within_s=2) == 0
    assert len(host.write_log()) == writes
    assert "stopped" in host.daemon.log.splitlines()[-1]
    assert host.guard.terminate(within_s=2) == 0


def test_sigterm_ends_a_daemon_whose_guard_and_broker_hang(host: Rig) -> None:
    host.guard.freeze()
    host.broker.stall()
    assert host.daemon.terminate(within_s=2) == 0


def test_a_restart_within_a_lease_takes_the_budget_up_again_without_a_dip(make_rig: MakeRig) -> None:
    """From its own file: the broker has forgotten the message, and says nothing."""
    rig = make_rig(control={"hold_s": 10.0})
    rig.start()
    rig.obey(3000, lease_s=60)
    rig.wait_iterations(2)  # by then it has written down what it will remember
    rig.facility.publish(b"")
    rig.wait_for(lambda: rig.metric("powerd_signal_rejected_total", reason="empty"), within_s=2)
    writes = len(rig.write_log())
    rig.daemon.terminate()
    rig.start_daemon()
    rig.wait_iterations(3)
    assert rig.status()["state"] == "limited"
    assert len(rig.write_log()) == writes


def test_a_restart_raises_nothing_on_a_budget_that_it_only_remembers(host: Rig) -> None:
    """It may have been lowered while the daemon was dead, and the broker that would say so is away."""
    host.wait_iterations(2)  # by then it has written down what it will remember
    host.daemon.kill()
    wait_for_fallback(host, boot_s())
    host.broker.kill()
    fallen_mw = host.sum_mw()
    host.daemon.start()
    host.wait_for(lambda: host.status()["state"] == "limited", what="the lease that is not over")
    host.wait_iterations(5)
    assert host.sum_mw() == fallen_mw
    assert "no raise above the limits found" in host.get("/v1/explain?gpu=0").body
    host.broker.start()
    host.obey(2600, lease_s=60)


def test_a_restart_after_the_lease_starts_in_failsafe(rig: Rig) -> None:
    """Although the broker delivers the last budget again: it was kept, and is over."""
    rig.start()
    grant = rig.obey(3000)
    rig.daemon.kill()
    rig.wait_for(lambda: boot_s() > grant.end_boot_s, what="the end of the lease")
    rig.start_daemon()
    rig.wait_iterations(3)
    assert rig.status()["failsafe_cause"] == "no_controller"
    assert at_or_below_failsafe(rig)


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', "\x00\x01"])
def test_a_damaged_runtime_file_means_a_start_in_failsafe_and_says_so(host: Rig, content: str) -> None:
    host.facility.publish(b"")
    host.daemon.kill()
    runtime = host.directory / "state" / "runtime.json"
    runtime.write_text(content, encoding="utf-8")
    host.start_daemon()
    host.wait_iterations(3)
    assert at_or_below_failsafe(host)
    assert str(runtime) in host.problem("runtime_file_unusable")
    assert "Traceback" not in host.daemon.log
    host.obey(2800)


def test_a_state_directory_that_cannot_be_written_is_said_and_stops_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(host={"state_dir": "/proc"})  # where nobody can make a file, not even root
    rig.start()
    rig.obey(3000)
    assert "/proc" in rig.wait_for(lambda: rig.problem("runtime_file_not_written"), within_s=2)
    assert len([line for line in rig.daemon.log.splitlines() if "runtime_file_not_written" in line]) == 1


def guards_of(rig: Rig) -> list[int]:
    """Return the process ids of the guards that were started with this rig's configuration."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if b"powerd.guard" in command and str(rig.config).encode() in command:
            found.append(int(directory.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_guard_that_the_daemon_started_never_outlives_it(make_rig: MakeRig, number: signal.Signals) -> None:
    """And it lowers to the fallback before it goes, since nobody will be there to do it later."""
    rig = make_rig(guard={"spawn": True})
    rig.broker.start()
    rig.start_daemon()
    rig.obey(3000, lease_s=60)
    assert len(guards_of(rig)) == 1
    begun_s = time.monotonic()
    rig.daemon.signal(number)
    code = rig.daemon.wait(2)
    rig.wait_for(lambda: not guards_of(rig), within_s=2, what="the end of its guard")
    assert time.monotonic() - begun_s < 2
    assert code == (-number if number is signal.SIGKILL else 0)
    assert at_or_below_failsafe(rig)


def test_killing_everything_again_and_again_never_raises_a_limit(host: Rig) -> None:
    """Ten kills in turn under leases that change, each at another moment of an iteration."""
    begun_boot_s = boot_s()
    for turn in range(10):
        host.publish_budget(2500 + 100 * (turn % 4), lease_s=60)
        time.sleep(0.037 * turn)  # not a wait: the moment of the kill is what is tried
        victim = (host.daemon, host.guard)[turn % 2]
        victim.kill()
        victim.start()
    host.wait_for(lambda: host.get("/readyz").status == 200, what="ready again")
    host.obey(2600, lease_s=60)
    assert list(excesses(host, begun_boot_s)) == []
