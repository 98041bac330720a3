"""A disk that is full, read-only, or gives back something else: each file is named, nothing is raised."""

import json
import random
import resource
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from powerd.guard.statefile import StateFile
from tests.daemon.conftest import MakeRig
from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw
from tests.daemon.test_publish_event import publish
from tests.daemon.waiting import boot_s
from tests.faults.host_tools import WITHIN_S, Disk, Mounts

# What is told of each file that the daemon cannot write, and of each that it cannot use.
NOT_WRITTEN = {
    "runtime.json": "runtime_file_not_written",
    "events.json": "events_file_not_written",
    "orders.json": "orders_file_not_written",
    "ledger.sqlite3": "ledger_not_written",
}
UNUSABLE = {
    "runtime.json": "runtime_file_unusable",
    "events.json": "events_file_unusable",
    "orders.json": "orders_file_unusable",
    "ledger.sqlite3": "ledger_set_aside",
}
OF_THE_GUARD = ("plan.json", "baseline.json", "detached.json")
SEED = 20261121


def fill(disk: Disk) -> None:
    disk.fill()


def make_read_only(disk: Disk) -> None:
    disk.allow_writing(allowed=False)


def heal(disk: Disk) -> None:
    disk.allow_writing(allowed=True)
    disk.free()


def give_it_something_to_write(rig: Rig) -> None:
    """Give an order, and ask for an event: there is a file for each."""
    assert rig.order("override", gpu="0", watts=150, ttl_s=600).status == 200
    publish(rig, "--limit-watts", "3200")
    rig.wait_for(lambda: rig.status()["events"], what="the event heard")


def is_at_fallback(rig: Rig) -> bool:
    return rig.sum_mw() <= gpu_budget_mw(FAILSAFE_WATTS)


def times_told(log: str, event: str) -> int:
    return sum(event in line for line in log.splitlines())


@pytest.mark.parametrize("break_it", [fill, make_read_only])
def test_a_disk_that_takes_nothing_stops_no_cut_and_a_start_with_what_is_on_it_raises_nothing(
    make_rig: MakeRig, tmp_path: Path, break_it: Callable[[Disk], None]
) -> None:
    """Of daemon and guard both: neither remembers the lower budget, and the broker does not tell it again."""
    kept = tmp_path / "0" / "kept"
    rig = make_rig(guard={"state_dir": str(kept)})
    with Mounts() as mounts:
        disks = [mounts.disk(path, 1 << 20) for path in (rig.directory / "state", kept)]
        mounts.put_inside(rig.guard, rig.daemon)
        rig.start()
        rig.obey(3000, lease_s=60, within_s=WITHIN_S)
        for disk in disks:
            break_it(disk)
        give_it_something_to_write(rig)
        rig.obey(2600, lease_s=60, within_s=WITHIN_S)
        for file, event in NOT_WRITTEN.items():
            assert f"{rig.directory}/state/{file}" in rig.wait_for(lambda: rig.problem(event), what=event)  # noqa: B023
            assert times_told(rig.daemon.log, event) == 1
        assert times_told(rig.guard.log, f"cannot write {kept}/plan.json") == 1

        for process in (rig.broker, rig.daemon, rig.guard):
            process.kill()
        rig.guard.start()
        rig.daemon.start()
        rig.wait_for(lambda: rig.status()["guard"]["usable"], what="both running")
        rig.wait_for(lambda: is_at_fallback(rig), what="the fallback of the last plan on the disk")
        rig.wait_iterations(5)
        assert is_at_fallback(rig)

        for disk in disks:
            heal(disk)
        rig.broker.start()
        rig.obey(2800, lease_s=60, within_s=WITHIN_S)
        remembered = mounts.seen(rig.directory / "state/runtime.json")
        rig.wait_for(lambda: '"cap_mw":2800000' in remembered.read_text(), what="the budget on the disk")
        armed = mounts.seen(kept / "plan.json")
        rig.wait_for(lambda: end_boot_s(armed) > boot_s(), what="the plan on the disk")


def end_boot_s(plan: Path) -> float:
    """Return when the last plan in a guard's file ends."""
    return float(json.loads(plan.read_text())["armed"][-1]["end_boot_s"])


def test_files_that_are_damaged_are_named_once_each_and_a_start_without_them_raises_nothing(rig: Rig) -> None:
    """All of them at once, and the broker has nothing to tell either."""
    state, run = rig.directory / "state", rig.directory / "g"
    rig.start()
    rig.obey(3000, lease_s=60, within_s=WITHIN_S)
    give_it_something_to_write(rig)
    rig.wait_for(lambda: all((state / file).exists() for file in UNUSABLE), what="all of its files")
    rig.wait_for(lambda: "a game day" in (state / "orders.json").read_text(), what="the order kept")
    rig.facility.publish(b"")
    for process in (rig.daemon, rig.guard):
        process.kill()
    damage_database(state / "ledger.sqlite3")
    files = [
        *(state / file for file in UNUSABLE if file.endswith("json")),
        *(run / file for file in OF_THE_GUARD),
    ]
    for path, damaged in zip(files, cycle((zeroed, cut_short, noise)), strict=False):
        damage(path, damaged)
    before_mw = rig.sum_mw()
    rig.start()
    rig.wait_for(lambda: is_at_fallback(rig), what="failsafe")
    assert rig.status()["state"] in ("init", "failsafe")
    assert rig.sum_mw() <= before_mw
    publish(rig, "--limit-watts", "3300")  # the ledger is opened when there is something to be written
    for file, event in UNUSABLE.items():
        told = rig.wait_for(lambda: rig.problem(event), what=event)  # noqa: B023
        assert str(state / file) in told
        assert times_told(rig.daemon.log_of_run, event) == 1
    for file in OF_THE_GUARD:
        assert times_told(rig.guard.log_of_run, f"cannot read {run / file}") == 1
    assert "Traceback" not in rig.daemon.log_of_run + rig.guard.log_of_run
    rig.obey(3000, lease_s=60, within_s=WITHIN_S)


def zeroed(content: bytes) -> bytes:
    return bytes(len(content))


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def noise(content: bytes) -> bytes:
    return random.Random(SEED).randbytes(len(content))


def damage(path: Path, changed: Callable[[bytes], bytes]) -> None:
    """Put something else in the place of a file's content."""
    path.write_bytes(changed(path.read_bytes() if path.exists() else b'{"boot_id": "and so on"}'))


def damage_database(path: Path) -> None:
    """Make noise of a database, and take away the journal that would repair it."""
    path.write_bytes(noise(bytes(4096)))
    for journal in path.parent.glob(f"{path.name}-*"):
        journal.unlink()


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let files grow to half a page and no further, which is not an error until there is no byte left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_half_a_plan_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    """The kernel writes what there is room for, and says how much that was."""
    file = StateFile(tmp_path / "plan.json")
    file.save({"armed": []})
    file.save({"armed": ["x" * 4096]})
    assert not file.is_written
    assert StateFile(tmp_path / "plan.json").load()["armed"] == []
