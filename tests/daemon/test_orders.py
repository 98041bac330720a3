"""Orders of operators on a running host: what they do to the limits, and what they can never do."""

import getpass
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.host import GPU_MAX_WATTS, Answer, Host
from tests.daemon.observer import unearned_raises
from tests.daemon.rack import BUDGET_WATTS, NAMES, Rack, entitlement_mw
from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s
from tests.fake_nvml import BY_NVML

GPU = 3
# All GPUs at their maximum and the overhead fit below it.
AMPLE_WATTS = 4200


@pytest.fixture(scope="module")
def started(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Return a host for all tests of this file that leave it as it was; in the end the observer judges it."""
    with Rig(tmp_path_factory.mktemp("orders"), library) as rig:
        rig.start()
        yield rig
        assert list(unearned_raises(rig)) == []


@pytest.fixture
def host(started: Rig) -> Rig:
    """Return a host that obeys a budget of 3000 W."""
    started.obey(3000, lease_s=240)
    return started


def done(answer: Answer) -> dict[str, Any]:
    """Return what a carried-out order says."""
    assert answer.status == 200, answer.body
    document: dict[str, Any] = json.loads(answer.body)
    return document


def refused(answer: Answer) -> str:
    """Return why an order was refused."""
    assert answer.status == 409, answer.body
    return str(json.loads(answer.body)["error"])


def orders(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.status()["orders"]
    return found


def uuid(host: Host, index: int) -> str:
    return next(str(gpu["uuid"]) for gpu in host.status()["gpus"] if gpu["index"] == index)


def open_by_guard(host: Host) -> set[str]:
    """Return the files that the guard has open."""
    links = Path(f"/proc/{host.guard.pid}/fd").iterdir()
    return {str(link.readlink()) for link in links if link.is_symlink()}


def holds_driver(host: Host) -> bool:
    """Say whether the guard has the driver's device open: here, the file of its GPUs."""
    return any(name.startswith(str(host.directory / "gpus")) for name in open_by_guard(host))


def override(host: Host, watts: float | None, gpu: int = GPU) -> Answer:
    return host.order("override", gpu=str(gpu), watts=watts, ttl_s=None if watts is None else 60.0)


def end_soon(host: Host, within_s: float) -> None:
    """Let what the daemon, which is stopped, remembers of an override end soon."""
    file = host.directory / "state" / "orders.json"
    content = json.loads(file.read_text())
    [[uuid, mw, _end_boot_s, reason, by]] = content["overrides"]
    content["overrides"] = [[uuid, mw, boot_s() + within_s, reason, by]]
    file.write_text(json.dumps(content))


def test_an_override_is_on_the_gpu_is_explained_and_never_beats_the_budget(host: Rig) -> None:
    answer = done(override(host, 390))
    assert "its limit is 390 W" in answer["done"]
    assert host.limits_mw()[GPU] == 390_000
    assert host.sum_mw() <= gpu_budget_mw(3000)
    explained = host.get(f"/v1/explain?gpu={GPU}").body
    assert "override" in explained
    assert "a game day" in explained
    [held] = orders(host)["overrides"]
    assert (held["index"], held["watts"], held["by"]) == (GPU, 390.0, getpass.getuser())

    host.obey(1700, lease_s=240)  # 865 W for 8 GPUs of at least 100 W
    assert 160_000 < host.limits_mw()[GPU] < 170_000
    assert "fair_share" in host.get(f"/v1/explain?gpu={GPU}").body
    host.obey(3000, lease_s=240)
    host.wait_for(lambda: host.limits_mw()[GPU] == 390_000, what="the override again")

    assert "has no override" in done(override(host, None))["done"]
    host.wait_for(lambda: len(set(host.limits_mw())) == 1, what="all alike")


def test_an_override_outlives_a_restart_and_ends_by_itself(host: Rig) -> None:
    done(override(host, 390))
    host.wait_for(lambda: "a game day" in (host.directory / "state/orders.json").read_text())
    host.daemon.terminate()
    end_soon(host, 4.0)
    host.start_daemon()
    host.wait_for(lambda: host.limits_mw()[GPU] == 390_000, what="the override, remembered")
    host.wait_for(lambda: len(set(host.limits_mw())) == 1, within_s=8, what="its end")
    assert "has ended" in host.problem("override_ended")


def test_an_order_leaves_one_line_and_a_happening_also_when_it_is_refused(host: Rig) -> None:
    done(host.order("override", gpu="0", watts=250, ttl_s=60, reason="for the record"))
    assert "100 to 400 W" in refused(
        host.order("override", gpu="0", watts=401, ttl_s=60, reason="for the record")
    )
    lines = [line for line in host.daemon.log.splitlines() if 'reason="for the record"' in line]
    subject = f"order=override subject={uuid(host, 0)} by={getpass.getuser()}"
    assert [subject in line for line in lines] == [True, True]
    assert [f"pid={os.getpid()}" in line for line in lines] == [True, True]
    assert [" refused outcome=" in line for line in lines] == [False, True]
    told = [
        each
        for each in json.loads(host.get("/v1/history").body)["happenings"]
        if "for the record" in each["text"]
    ]
    assert [(each["event"], each["by"]) for each in told] == [("order", getpass.getuser())] * 2
    assert ["refused" in each["text"] for each in told] == [False, True]
    done(override(host, None, gpu=0))


def test_a_driver_is_exchanged_while_it_is_given_up(host: Rig) -> None:
    """The new one has other defaults: limits are right before anything else happens."""
    assert "lacks" in refused(host.order("detach", reason="driver upgrade"))
    assert holds_driver(host)
    host.obey(AMPLE_WATTS, lease_s=240)
    assert "3,200 W" in done(host.order("detach", reason="driver upgrade"))["done"]
    assert not holds_driver(host)
    assert not any(name.startswith("/dev/nvidia") for name in open_by_guard(host))
    assert orders(host)["detached"]["reason"] == "driver upgrade"
    assert "driver upgrade" in host.problem("driver_detached")
    host.publish_budget(3000, lease_s=240)
    host.gpus.unload_driver()
    for gpu in host.gpus.gpus:
        gpu.default_mw = 380_000
    host.gpus.reload_driver()
    host.wait_iterations(5)
    assert host.limits_mw() == [380_000] * 8, "nobody touches them"
    assert host.status()["compliant"] is False, "and nobody claims to control them"

    host.daemon.terminate()  # the order outlives it
    host.daemon.start()
    host.wait_for(lambda: orders(host)["detached"], what="the order, remembered")
    host.wait_for(lambda: host.status()["budget"]["rack_watts"] == 3000, what="the budget of now")
    assert not holds_driver(host)

    begun = len(host.write_log())
    assert "attached" in done(host.order("attach"))["done"]
    host.wait_for(lambda: host.obeyed(3000), what="the budget of now")
    first = next(write for write in host.write_log()[begun:] if write.source == BY_NVML)
    assert first.enforced_mw < 380_000
    assert "other_writer" not in host.daemon.log_of_run
    assert orders(host)["detached"] is None
    for gpu in host.gpus.gpus:
        gpu.default_mw = 400_000


def test_a_guard_that_has_forgotten_is_told_again(host: Rig) -> None:
    done(host.order("detach", force=True))
    host.guard.kill()
    for file in host.directory.rglob("detached.json"):
        file.unlink()
    host.start_guard()
    host.wait_for(lambda: "let go of the driver" in host.guard.log_of_run, what="told again")
    assert not holds_driver(host)
    done(host.order("attach"))
    host.wait_for(lambda: host.obeyed(3000), what="the budget")


def test_dry_run_writes_nothing_and_enforce_goes_on(host: Rig) -> None:
    told = done(host.order("mode", mode="dry-run"))["done"]
    assert "within 1 s" in told
    assert "host.mode is enforce" in told
    assert host.status()["mode"] == "dry-run"
    host.wait_for(lambda: host.sum_mw() <= gpu_budget_mw(FAILSAFE_WATTS), what="the guard's fallback")
    writes = len(host.write_log())
    host.publish_budget(2000, lease_s=240)
    host.wait_for(lambda: host.status()["budget"]["rack_watts"] == 2000, what="the budget heard")
    host.wait_iterations(3)
    assert len(host.write_log()) == writes
    done(host.order("mode", mode="enforce"))
    host.wait_for(lambda: host.obeyed(2000), what="the budget obeyed")


def test_release_puts_back_what_was_found_and_stops_writing(library: Path, tmp_path: Path) -> None:
    """Not what the driver's default is. The one order that raises, so no observer looks on."""
    with Rig(tmp_path, library) as rig:
        for gpu in range(8):
            rig.gpus.write_as_rival(gpu, 330)
        rig.start()
        rig.obey(2600, lease_s=60)
        assert "2,640 W for all GPUs" in done(rig.order("release"))["done"]
        assert rig.limits_mw() == [330_000] * 8
        assert (rig.status()["mode"], orders(rig)["released"]) == ("dry-run", True)
        assert rig.status()["compliant"] is False
        rig.wait_iterations(8)  # longer than the guard would hold a plan
        assert rig.limits_mw() == [330_000] * 8
        done(rig.order("mode", mode="enforce"))
        rig.wait_for(lambda: rig.obeyed(2600), what="the budget obeyed again")
        assert not orders(rig)["released"]


def test_a_drill_loses_the_controller_and_finds_it_again(rig: Rig) -> None:
    rig.start()
    rig.obey(3000, lease_s=5)
    assert (
        "then the failsafe budget holds"
        in done(rig.order("drill", drill="lost-controller", duration_s=60))["done"]
    )
    rig.publish_budget(2600, lease_s=60)
    rig.wait_for(lambda: rig.status()["state"] == "failsafe", what="failsafe")
    rig.wait_for(lambda: rig.obeyed(FAILSAFE_WATTS), what="the failsafe budget")
    assert "budgets are not heard for practice" in rig.problem("drill")
    done(rig.order("drill", drill="lost-controller", duration_s=0))
    rig.obey(3000, lease_s=60)
    assert orders(rig)["drill"] is None


def says_worst_watts(rack: Rack, name: str) -> set[float]:
    """Return what the others have heard of the most that a host may draw."""
    others = [host.status()["peers"] for host in rack.hosts.values() if host.name != name]
    return {peer["worst_case_watts"] for peers in others for peer in peers if peer["host"] == name}


def test_a_host_gives_back_what_it_borrows_and_tells_its_peers_the_truth(
    library: Path, tmp_path: Path
) -> None:
    with Rack(tmp_path, library) as rack:
        rack.calm()
        name = NAMES[0]
        host, own_mw = rack.hosts[name], entitlement_mw(BUDGET_WATTS)
        rack.busy(name)
        rack.wait_for(lambda: rack.worst_mw(name) > own_mw + 100_000, what="watts of others")
        # Should the driver come back, all its GPUs are at their defaults.
        full_watts = host.status()["budget"]["overhead_watts"] + 4 * GPU_MAX_WATTS
        assert "lacks" in refused(host.order("detach"))
        done(host.order("detach", force=True))
        assert host.status()["leases"] == []
        assert host.status()["lending"]["obstacle"] == "the driver is given up"
        rack.wait_for(lambda: not any(each.status()["leases"] for each in rack.hosts.values()))
        rack.wait_for(lambda: says_worst_watts(rack, name) == {full_watts}, what="the worst case told")

        done(host.order("attach"))
        rack.wait_for(lambda: rack.worst_mw(name) > own_mw + 100_000, what="watts of others again")
        done(host.order("release"))
        assert host.limits_mw() == [GPU_MAX_WATTS * 1000] * 4
        assert host.status()["leases"] == []
        rack.wait_for(lambda: says_worst_watts(rack, name) == {full_watts}, what="the worst case told")
