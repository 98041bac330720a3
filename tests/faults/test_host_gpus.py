"""GPUs and their driver fail, the whole host is paused: what is not in `tests/daemon/test_bad_gpus.py`."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from powerd import renewal
from tests.daemon.conftest import MakeRig
from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s
from tests.fake_nvml import BY_NVML
from tests.faults.host_tools import WITHIN_S, Unit

BAD = 3
GPUS = 8


def states(rig: Rig) -> list[str]:
    return [str(gpu["state"]) for gpu in rig.status()["gpus"]]


def fits(rig: Rig, watts: float) -> bool:
    return rig.sum_mw() <= gpu_budget_mw(watts)


@contextmanager
def managed_guard(rig: Rig) -> Iterator[Unit]:
    """Run a rig whose guard a service manager looks after; it obeys 3000 W."""
    rig.broker.start()
    with Unit(rig, rig.guard, name="guard") as unit:
        unit.until(rig.guard_listens, what="the guard")
        rig.start_daemon()
        rig.obey(3000, lease_s=60, within_s=WITHIN_S)
        yield unit


def test_a_host_that_was_suspended_raises_nothing_until_it_has_heard_a_budget_again(rig: Rig) -> None:
    """Daemon and guard stand still beyond lease and hold, and the GPUs lose their limits meanwhile."""
    rig.start()
    grant = rig.obey(3000, lease_s=8, within_s=WITHIN_S)
    for process in (rig.daemon, rig.guard):
        process.freeze()
    for index in range(GPUS):
        rig.gpus.write_as_rival(index, 400)
    rig.wait_for(lambda: boot_s() > grant.end_boot_s, what="the end of the lease")
    woken_boot_s = boot_s()
    for process in (rig.daemon, rig.guard):
        process.thaw()
    rig.wait_for(lambda: fits(rig, FAILSAFE_WATTS), what="the fallback")
    rig.wait_for(lambda: rig.status()["state"] == "failsafe", what="failsafe")
    rig.wait_iterations(3)
    written_mw = [
        write.requested_mw
        for write in rig.write_log()
        if write.source == BY_NVML and write.boot_ns / 1e9 > woken_boot_s
    ]
    assert max(written_mw) <= gpu_budget_mw(FAILSAFE_WATTS) // GPUS
    assert rig.sum_mw() <= gpu_budget_mw(FAILSAFE_WATTS)
    rig.obey(2600, lease_s=60, within_s=WITHIN_S)


def test_when_every_call_of_every_gpu_hangs_both_processes_live_and_go_on_when_they_return(rig: Rig) -> None:
    with managed_guard(rig) as unit:
        for gpu in rig.gpus.gpus:
            gpu.get_hangs = gpu.set_hangs = 1
        unit.until(lambda: states(rig) == ["hung"] * GPUS, what="all hung")
        threads = threads_of(rig.guard.pid)
        rig.publish_budget(2600, lease_s=60)
        feeds, last = unit.feeds, rig.status()["iteration"] + 10
        unit.until(lambda: rig.status()["iteration"] > last, what="iterations without any GPU")
        unit.until(lambda: unit.feeds > feeds + 2, what="the guard's main loop alive")
        assert (unit.codes, threads_of(rig.guard.pid)) == ([], threads)
        assert rig.get("/healthz").status == http.client.OK
        assert rig.metric("powerd_compliant") == 0
        assert rig.metric("powerd_problems", event="gpu_hung") == GPUS
        for gpu in rig.gpus.gpus:
            gpu.get_hangs = gpu.set_hangs = 0
        unit.until(lambda: rig.obeyed(2600), what="the cut that came meanwhile")
        rig.obey(2800, lease_s=60, within_s=WITHIN_S)


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_a_gpu_that_falls_off_while_gpus_are_listed_is_counted_and_controlled_once_it_is_back(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(control={"hold_s": 20.0})  # longer than a guard takes to start on any machine
    rig.gpus.lose(BAD)
    rig.broker.start()
    rig.start_guard()
    rig.daemon.start()
    rig.wait_for(lambda: "lost" in states(rig), what="the loss noticed")
    rig.publish_budget(3000, lease_s=60)
    rig.wait_for(lambda: fits(rig, 3000), what="the others making room for what it may have")
    assert rig.limits_mw()[BAD] == 400_000
    assert "unidentified-3: the driver does not list this GPU; counted at 400 W" in rig.problem("gpu_lost")
    before_mw, writes = rig.limits_mw(), len(rig.write_log())

    rig.gpus.lose(BAD, is_lost=False)
    rig.guard.signal(renewal.SIGNAL)  # systemctl reload powerd-guard
    rig.wait_for(lambda: rig.limits_mw()[BAD] < 300_000, what="its part")
    others = (write for write in rig.write_log()[writes:] if write.gpu != BAD)
    assert all(write.enforced_mw >= before_mw[write.gpu] for write in others)
    rig.obey(2600, lease_s=60, within_s=WITHIN_S)


def test_when_all_gpus_are_off_at_the_start_powerd_waits_and_takes_them_when_they_come(rig: Rig) -> None:
    for index in range(GPUS):
        rig.gpus.lose(index)
    rig.broker.start()
    rig.start_guard()
    rig.daemon.start()
    rig.wait_for(lambda: rig.get("/healthz").status == http.client.OK, what="the loop")
    assert rig.get("/readyz").status == http.client.SERVICE_UNAVAILABLE
    assert "none of 8 GPUs tells its UUID" in rig.problem("guard_unusable")
    for index in range(GPUS):
        rig.gpus.lose(index, is_lost=False)
    rig.wait_for(rig.is_ready, what="readiness")
    rig.obey(2600, lease_s=60, within_s=WITHIN_S)


def test_a_gpu_that_was_reset_is_back_at_its_limit_before_its_watts_are_shared_out(rig: Rig) -> None:
    """While powerd saw it gone, and so fast that it did not: both times it comes back at its default."""
    rig.start()
    rig.obey(3000, lease_s=60, within_s=WITHIN_S)
    rig.gpus.lose(BAD)
    rig.wait_for(lambda: states(rig)[BAD] == "lost", what="the loss noticed")
    rig.gpus.reset(BAD)
    rig.gpus.lose(BAD, is_lost=False)
    rig.wait_for(lambda: rig.limits_mw()[BAD] == 267_000, what="its limit put back")
    rig.wait_for(lambda: states(rig)[BAD] == "ok", what="its return noticed")

    rig.gpus.reset(BAD)
    rig.wait_for(lambda: rig.limits_mw()[BAD] == 267_000, what="its limit put back again")
    rig.obey(2600, lease_s=60, within_s=WITHIN_S)
    assert "other_writer" not in rig.daemon.log


def test_a_driver_that_was_upgraded_under_the_guard_costs_one_restart_of_it(rig: Rig) -> None:
    """The new driver starts at 400 W each, and talks to no process that has the old library."""
    with managed_guard(rig) as unit:
        rig.gpus.reload_driver(is_newer=True)
        unit.until(lambda: unit.codes, what="the end of the old guard")
        assert "the driver was upgraded" in rig.guard.log
        unit.until(lambda: fits(rig, 3000), what="no more than the budget")
        unit.until(rig.is_ready, what="readiness")
        rig.obey(2600, lease_s=60, within_s=WITHIN_S)
        assert unit.codes == [1]
