"""What leases rest on: no limit outlives the plan that it belongs to (docs/leases.md, R16 to R20)."""

import json
import os
import select
import threading
from pathlib import Path
from typing import Any

import pytest

from powerd.clock import boot_s
from powerd.core.model import Result
from powerd.guard.driver import Kind
from powerd.guard.jobs import Done, Job, Op, too_late
from powerd.guard.workers import Completions, Workers
from tests.guard.rig import Rig, W

FALLBACK = {0: 200, 1: 200}


def late_raise(rig: Rig) -> list[dict[str, Any]]:
    """Raise GPU 0 on watts that end in two seconds; the call hangs, and its plan ends."""
    rig.runner.held = {"GPU-0"}
    replies = rig.send(raises={0: 500}, fallback=FALLBACK, hold_s=2.0)
    rig.advance(30.0)
    assert rig.limits_w() == [400, 200]
    return replies


def land(rig: Rig) -> None:
    """Let what GPU 0 hangs in take effect and return, and all that follows from it before any time passes."""
    rig.runner.finish("GPU-0")
    rig.runner.held = set()
    rig.settle()


def test_a_new_connection_voids_raises_that_wait_for_a_cut(rig: Rig) -> None:
    """R16: the plan of a dead daemon must not raise when its cut is done at last."""
    rig.runner.held = {"GPU-0"}
    replies = rig.send(cuts={0: 300}, raises={1: 500})
    rig.connect()
    land(rig)
    assert rig.limits_w() == [300, 400]
    assert replies[0]["outcomes"][1].result is Result.SKIPPED


def test_what_a_dead_daemon_has_queued_lasts_until_the_end_of_its_plan(rig: Rig) -> None:
    """Its raise rests on leases that hold until then; nobody else has connected."""
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 300}, raises={1: 500}, fallback=FALLBACK, hold_s=2.0)
    rig.advance(0.9)
    land(rig)
    assert rig.limits_w() == [300, 500]
    rig.advance(1.2)
    assert rig.limits_w() == [200, 200]


def test_a_raise_that_waits_for_a_read_does_not_start_after_the_end(rig: Rig) -> None:
    """R19: the guard stood still meanwhile, so nothing has told the raise that its plan is over."""
    rig.runner.held = {"GPU-0"}
    rig.keeper.read(lambda _reply: None)
    replies = rig.send(raises={0: 500}, hold_s=0.5)
    rig.now_s += 0.6
    rig.runner.finish("GPU-0")
    assert "GPU-0" not in rig.runner.jobs
    assert rig.driver.writes == []
    assert replies[0]["outcomes"][0].result is Result.SKIPPED
    assert rig.reading(0).worst_case_mw == 400 * W


def test_a_raise_that_its_worker_comes_to_too_late_is_left(rig: Rig) -> None:
    """The whole process was stopped after the job had been handed over."""
    completions = Completions()
    ended: list[Done] = []
    job = Job(Op.WRITE, ended.append, 500 * W, end_boot_s=boot_s() - 1)
    workers = Workers(rig.driver, completions)
    workers.start("GPU-0", job, lambda _uuid, _job, done: ended.append(done))
    assert select.select([completions.readable], [], [], 20)[0]
    completions.drain()
    idle = threading.Event()
    workers._by_uuid["GPU-0"].do(idle.set)
    assert idle.wait(20)
    os.close(completions.readable)
    os.close(completions.writable)
    assert ended[0].skipped == "the plan has ended"
    assert rig.driver.writes == []


def test_what_a_worker_has_left_counts_for_nothing(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    replies = rig.send(raises={0: 500}, hold_s=0.5)
    job, finished = rig.runner.jobs.pop("GPU-0")
    rig.now_s += 0.6
    late = too_late(job, rig.now_s)
    assert late is not None
    finished("GPU-0", job, late)
    assert replies[0]["outcomes"][0].result is Result.SKIPPED
    rig.runner.held = set()
    reading = rig.reading(0)
    assert (reading.worst_case_mw, reading.written_mw, reading.detail) == (400 * W, None, "")


def test_a_cut_that_waits_for_a_read_is_done_after_the_end_too(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    rig.keeper.read(lambda _reply: None)
    rig.send(cuts={0: 150}, hold_s=0.5)
    rig.now_s += 0.6
    land(rig)
    assert rig.limits_w()[0] == 150


def test_until_a_late_raise_returns_it_counts_at_its_target(rig: Rig) -> None:
    replies = late_raise(rig)
    assert replies[0]["outcomes"][0].worst_case_mw == 500 * W
    assert rig.reading(0).worst_case_mw == rig.reading(0).pending_mw == 500 * W


def test_a_raise_that_lands_after_the_end_is_undone_at_once(rig: Rig) -> None:
    late_raise(rig)
    land(rig)
    assert rig.limits_w() == [200, 200]


def test_so_is_one_whose_call_returns_with_an_error(rig: Rig) -> None:
    """A call that failed may still have had an effect."""
    late_raise(rig)
    rig[0].requested_mw = 500 * W
    rig[0].set_error = Kind.UNKNOWN
    rig.runner.finish("GPU-0")
    rig[0].set_error = ""
    rig.runner.held = set()
    rig.settle()
    assert rig.limits_w() == [200, 200]


def test_so_is_one_that_a_newer_plan_has_been_made_around(rig: Rig) -> None:
    """R19: the newer plan ended the fallback writes, and says nothing of a GPU that hangs."""
    late_raise(rig)
    rig.plan(raises={1: 300}, fallback={1: 200}, hold_s=100.0)
    land(rig)
    assert rig.limits_w() == [200, 300]


def test_the_lower_fallback_counts_when_two_plans_name_one(rig: Rig) -> None:
    late_raise(rig)
    rig.plan(fallback={0: 120, 1: 200}, hold_s=100.0)
    land(rig)
    assert rig.limits_w()[0] == 120


def test_a_slow_raise_that_returns_before_its_deadline_but_after_the_end_is_undone(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    rig.send(raises={0: 500}, fallback=FALLBACK, hold_s=0.5)
    rig.advance(0.9)
    land(rig)
    assert rig.limits_w() == [200, 200]


def test_a_slow_raise_that_returns_before_the_end_stays(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    rig.send(raises={0: 500}, fallback=FALLBACK, hold_s=5.0)
    rig.advance(3.0)
    land(rig)
    assert rig.limits_w() == [500, 400]


def test_a_hang_that_ends_in_an_error_is_over_without_waiting_for_a_timer(rig: Rig) -> None:
    rig.plan(raises={0: 500}, fallback=FALLBACK, hold_s=2.0)
    rig.runner.held = {"GPU-0"}
    rig.keeper.read(lambda _reply: None)
    rig.advance(60.0)
    rig[0].read_error = Kind.UNKNOWN
    rig.runner.finish("GPU-0")
    rig[0].read_error = ""
    rig.runner.held = set()
    rig.settle()
    assert rig.limits_w() == [200, 200]


def test_a_lost_gpu_is_not_asked_without_pause(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK, hold_s=2.0)
    rig[0].read_error = Kind.LOST
    rig.report()
    rig.advance(60.0)
    asked = rig.driver.asked
    rig.advance(10.0)
    assert rig.driver.asked - asked <= 20


def test_once_a_gpu_takes_limits_again_it_is_down_within_a_second(rig: Rig) -> None:
    """R20 has no room for long pauses between attempts."""
    rig.plan(fallback=FALLBACK, hold_s=2.0)
    rig[0].set_error = Kind.UNKNOWN
    rig.advance(600.0)
    rig[0].set_error = ""
    rig.advance(1.0)
    assert rig.limits_w() == [200, 200]


def test_an_older_cut_that_fails_keeps_the_earlier_end_armed(rig: Rig) -> None:
    """R18: the newer plan was made before anyone knew that the cut would fail."""
    rig.plan(raises={0: 500}, fallback=FALLBACK, hold_s=2.0)
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 300}, fallback={0: 300, 1: 400}, hold_s=100.0)
    rig.plan(fallback={0: 300, 1: 400}, hold_s=100.0)
    rig[0].ignores_writes = True
    land(rig)
    rig[0].ignores_writes = False
    rig.advance(2.1)
    assert rig.limits_w() == [200, 400], "and for that GPU alone"


def test_the_plan_that_knows_of_the_failure_ends_that(rig: Rig) -> None:
    rig.plan(raises={0: 500}, fallback=FALLBACK, hold_s=2.0)
    rig[0].ignores_writes = True
    rig.plan(cuts={0: 300}, fallback={0: 300, 1: 400}, hold_s=100.0)
    rig[0].ignores_writes = False
    rig.plan(cuts={0: 250}, fallback={0: 250, 1: 400}, hold_s=100.0)
    rig.advance(50.0)
    assert rig.limits_w() == [250, 400]


@pytest.mark.parametrize("died_after_s", [0.5, 1.5], ids=["cut under way", "cut given up"])
def test_the_earlier_end_holds_over_a_restart_of_the_guard(rig: Rig, died_after_s: float) -> None:
    """R18: whether the plan that lowers had been written down by then or not."""
    rig.plan(raises={0: 500}, fallback=FALLBACK, hold_s=2.0)
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 300}, fallback={0: 300, 1: 400}, hold_s=100.0)
    rig.advance(died_after_s)
    rig.start()
    assert rig.limits_w() == [500, 400]
    rig.advance(2.1 - died_after_s)
    assert rig.limits_w() == [200, 200]


def test_a_confirmed_cut_is_on_disk_with_its_own_end_alone(rig: Rig, tmp_path: Path) -> None:
    rig.plan(raises={0: 500}, fallback=FALLBACK, hold_s=2.0)
    rig.plan(cuts={0: 300}, fallback={0: 300, 1: 400}, hold_s=100.0)
    assert len(json.loads((tmp_path / "plan.json").read_text())["armed"]) == 1
    rig.start()
    rig.advance(50.0)
    assert rig.limits_w() == [300, 400]


def test_the_daemon_hears_whether_a_restart_would_know_the_plan(rig: Rig, tmp_path: Path) -> None:
    """It lends nothing on a fallback that dies with the guard."""
    rig.plan(fallback=FALLBACK)
    assert rig.report()["keeps_plans"] is True
    (tmp_path / "plan.json.new").mkdir()
    rig.plan(fallback=FALLBACK)
    assert rig.report()["keeps_plans"] is False
    (tmp_path / "plan.json.new").rmdir()
    rig.plan(fallback=FALLBACK)
    assert rig.report()["keeps_plans"] is True
