"""An upgrade starts daemon and guard again in place: no limit changes, and no service manager sees a stop."""

import re
from pathlib import Path

from powerd import renewal
from tests.daemon.conftest import MakeRig
from tests.daemon.rig import Rig


def started(rig: Rig) -> int:
    return len(re.findall(r"\bstarted\b", rig.daemon.log))


def serves_again(rig: Rig) -> bool:
    return started(rig) == 2 and rig.get("/v1/status").status == 200


def renew(rig: Rig) -> None:
    """Do what the package does when it is upgraded, in its order."""
    for process in (rig.guard, rig.daemon):
        process.signal(renewal.SIGNAL)


def test_an_upgrade_changes_no_limit(make_rig: MakeRig) -> None:
    rig = make_rig(control={"hold_s": 10.0})
    rig.start()
    rig.obey(3000, lease_s=60)
    rig.wait_iterations(2)  # by then it has written down what it will remember
    writes, before_mw = len(rig.write_log()), rig.limits_mw()
    guard_log, daemon_pid = rig.guard.log, rig.daemon.pid
    renew(rig)
    rig.wait_for(lambda: "stopped" in rig.daemon.log, within_s=5, what="the end of the old code")
    rig.wait_for(lambda: rig.get("/readyz").status == 200, within_s=10, what="the new code")
    rig.wait_iterations(3)
    assert rig.guard.running
    assert rig.daemon.running
    assert rig.guard.log.count("listening on") == guard_log.count("listening on") + 1
    assert (rig.daemon.pid, started(rig)) == (daemon_pid, 2)
    assert (len(rig.write_log()), rig.limits_mw()) == (writes, before_mw)
    assert rig.status()["state"] == "limited"


def test_new_code_that_does_not_come_up_leaves_the_fallback_to_the_end_of_the_plan(host: Rig) -> None:
    """The configuration has become unusable meanwhile: the daemon ends like any other that cannot start."""
    host.config.write_text("not TOML", encoding="utf-8")
    host.daemon.signal(renewal.SIGNAL)
    assert host.daemon.wait() == 2
    host.wait_for(
        lambda: "the plan has ended and no newer one came" in host.guard.log, within_s=5, what="the fallback"
    )


def test_gpus_that_an_operator_has_released_stay_released(library: Path, tmp_path: Path) -> None:
    with Rig(tmp_path, library) as host:  # no observer judges it: a release is a raise that nobody has earned
        host.start()
        host.obey(3000, lease_s=60)
        assert host.order("release").status == 200
        writes, before_mw = len(host.write_log()), host.limits_mw()
        renew(host)
        host.wait_for(lambda: serves_again(host), within_s=10, what="the new code")
        host.wait_iterations(3)
        assert (len(host.write_log()), host.limits_mw()) == (writes, before_mw)
        status = host.status()
        assert (status["mode"], status["orders"]["configured_mode"]) == ("dry-run", "enforce")


def test_a_mode_that_is_configured_anew_takes_the_place_of_the_ordered_one(host: Rig) -> None:
    assert host.order("mode", mode="dry-run").status == 200
    text = host.config.read_text(encoding="utf-8")
    host.config.write_text(text.replace('mode = "enforce"', 'mode = "monitor"'), encoding="utf-8")
    assert host.config.read_text(encoding="utf-8") != text
    host.daemon.signal(renewal.SIGNAL)
    host.wait_for(lambda: serves_again(host), within_s=10, what="the new code")
    assert host.status()["mode"] == "monitor"
