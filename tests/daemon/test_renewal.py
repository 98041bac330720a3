"""An upgrade starts daemon and guard again in place: no limit changes, and no service manager sees a stop."""

import re

from powerd import renewal
from tests.daemon.conftest import MakeRig
from tests.daemon.rig import Rig


def started(rig: Rig) -> int:
    return len(re.findall(r"\bstarted\b", rig.daemon.log))


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
