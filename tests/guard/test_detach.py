"""The driver is given up on order: nothing of it is held, nobody looks for it, and its GPUs still count."""

from pathlib import Path
from typing import Any

import pytest

from powerd.core.model import GpuState, Result
from powerd.guard.client import GuardClient
from powerd.guard.driver import Kind
from powerd.guard.plans import RefusedError
from tests.guard.live import live_guard
from tests.guard.rig import DEFAULT_MW, Rig, W

WHY = "detached by anna (uid 1000): driver upgrade"


def detach(rig: Rig) -> None:
    replies: list[dict[str, Any]] = []
    rig.keeper.detach(rig.token, WHY, replies.append)
    assert replies == [{}]
    rig.settle()


def attach(rig: Rig) -> None:
    replies: list[dict[str, Any]] = []
    rig.keeper.attach(rig.token, replies.append)
    assert replies == [{}]
    rig.settle()


def test_the_driver_is_let_go_and_not_looked_for_again(rig: Rig) -> None:
    detach(rig)
    assert not rig.driver.is_open
    attaches, writes = rig.driver.attaches, len(rig.driver.writes)
    rig.advance(600.0)
    assert (rig.driver.attaches, len(rig.driver.writes), rig.driver.is_open) == (attaches, writes, False)
    report = rig.report()
    assert report["attachment"] == "detached"
    assert report["driver_error"] == f"{WHY}; `powerctl attach` ends it"


def test_gpus_count_at_the_most_they_may_have_when_the_driver_is_back(rig: Rig) -> None:
    """Their default, which a reload brings, or what was asked for last, if that is higher."""
    rig.plan(cuts={0: 200}, raises={1: 450})
    detach(rig)
    rig.advance(0.1)
    found = [(r.state, r.worst_case_mw, r.draw_mw) for r in rig.report()["readings"]]
    assert found == [(GpuState.LOST, DEFAULT_MW, None), (GpuState.LOST, 450 * W, None)]


def test_a_gpu_that_tells_no_default_counts_at_its_maximum(rig: Rig) -> None:
    rig.driver.default_mw = None
    rig.start()
    rig.plan(cuts={0: 200})
    detach(rig)
    assert rig.reading(0).worst_case_mw == 500 * W


def test_after_attach_limits_are_put_back_before_anything_is_read(rig: Rig) -> None:
    rig.plan(cuts={0: 200, 1: 250})
    detach(rig)
    rig.driver.reload()
    writes = len(rig.driver.writes)
    attach(rig)
    assert rig.driver.is_open
    assert rig.limits_w() == [200, 250]
    assert sorted(write.mw // W for write in rig.driver.writes[writes:]) == [200, 250]
    report = rig.report()
    assert (report["attachment"], report["driver_error"]) == ("attached", "")
    assert [(r.state, r.worst_case_mw) for r in report["readings"]] == [("ok", 200 * W), ("ok", 250 * W)]


def test_a_driver_that_is_not_back_yet_is_looked_for_as_ever(rig: Rig) -> None:
    detach(rig)
    rig.driver.attach_error = "not loaded"
    attach(rig)
    assert rig.report()["attachment"] == "away"
    rig.driver.attach_error = ""
    rig.advance(10.0)
    assert rig.report()["attachment"] == "attached"


def test_attach_without_detach_changes_nothing(rig: Rig) -> None:
    before = rig.driver.attaches
    attach(rig)
    assert (rig.driver.attaches, rig.report()["generation"]) == (before, 1)


async def test_the_client_can_order_both(tmp_path: Path) -> None:
    with live_guard(tmp_path) as guard:
        client = GuardClient(guard.path)
        await client.connect()
        await client.detach(WHY)
        while (report := await client.read()).attachment != "detached":
            pass
        assert (report.driver_error, guard.driver.is_open) == (f"{WHY}; `powerctl attach` ends it", False)
        await client.attach()
        assert (await client.read()).attachment == "attached"
        assert guard.driver.is_open
        await client.close()


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 513, 7, None])
def test_the_reason_is_one_line(tmp_path: Path, reason: object) -> None:
    with live_guard(tmp_path) as guard, guard.peer() as peer:
        token = peer.receive()["token"]
        refused = peer.ask(id=1, op="detach", token=token, reason=reason)
        assert refused == {"id": 1, "ok": False, "error": "reason must be one line of 1 to 512 characters"}
        assert peer.ask(id=2, op="read")["attachment"] == "attached"


def test_both_need_the_newest_token(rig: Rig) -> None:
    with pytest.raises(RefusedError, match="newer connection"):
        rig.keeper.detach("old", WHY, print)
    with pytest.raises(RefusedError, match="newer connection"):
        rig.keeper.attach("old", print)
    assert rig.report()["attachment"] == "attached"


def test_it_waits_for_workers_that_are_in_the_driver(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    replies = rig.send(cuts={0: 200})
    detach(rig)
    assert (rig.driver.is_open, rig.report()["attachment"]) == (True, "letting go")
    rig.runner.held = set()
    rig.settle()
    assert not rig.driver.is_open
    assert replies[0]["outcomes"][0].result in (Result.APPLIED, Result.FAILED)
    assert rig.reading(0).worst_case_mw == DEFAULT_MW


def test_one_that_hangs_is_not_waited_for(rig: Rig) -> None:
    """Its call may never return; that its GPU hangs is told with the readings."""
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 200})
    rig.advance(1.1)
    detach(rig)
    assert not rig.driver.is_open
    assert rig.report()["readings"][0].state is GpuState.HUNG


def test_an_attempt_under_way_is_undone(rig: Rig) -> None:
    for gpu in rig.driver.gpus.values():
        gpu.read_error = Kind.DRIVER_GONE
    replies: list[dict[str, Any]] = []
    rig.keeper.read(replies.append)
    while rig.runner.jobs:
        rig.runner.finish(next(iter(rig.runner.jobs)))
    rig.keeper.tick(rig.now_s)
    assert rig.runner.attaching
    rig.keeper.read(replies.append)
    rig.keeper.detach(rig.token, WHY, replies.append)
    assert len(replies) == 3, "a read that waited for the attempt is answered"
    rig.settle()
    assert (rig.driver.is_open, rig.report()["attachment"]) == (False, "detached")


def test_attach_while_the_driver_is_being_let_go(rig: Rig) -> None:
    rig.keeper.detach(rig.token, WHY, lambda _reply: None)
    rig.keeper.tick(rig.now_s)
    assert rig.runner.detaching
    attach(rig)
    assert (rig.driver.is_open, rig.report()["attachment"]) == (True, "attached")
    rig.advance(30.0)
    assert rig.report()["generation"] == 2


def test_a_guard_that_starts_meanwhile_stays_away_until_it_is_told(rig: Rig, tmp_path: Path) -> None:
    """A driver upgrade can well start services again; so a guard that hangs can be ended and started."""
    detach(rig)
    attaches = rig.driver.attaches
    rig.start()
    rig.advance(60.0)
    assert (rig.driver.attaches, rig.report()["attachment"]) == (attaches, "detached")
    assert WHY in rig.report()["driver_error"]
    attach(rig)
    assert rig.report()["attachment"] == "attached"
    assert not (tmp_path / "detached.json").exists()


def test_the_dead_mans_switch_says_so_once_and_lowers_when_the_driver_is_back(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.plan(cuts={0: 300, 1: 300}, fallback={0: 150, 1: 150}, hold_s=5.0)
    detach(rig)
    capfd.readouterr()
    rig.advance(3600.0)
    assert capfd.readouterr().err.count("\n") == 1
    rig.driver.reload()
    attach(rig)
    rig.advance(2.0)
    assert rig.limits_w() == [150, 150]


def test_what_stops_the_guard_does_not_wait_for_a_driver_that_is_away_on_order(rig: Rig) -> None:
    rig.plan(cuts={0: 300}, fallback={0: 150})
    detach(rig)
    replies: list[dict[str, Any]] = []
    rig.keeper.fall_back("the guard was stopped", replies.append)
    assert replies == [{"lowered": True}]
    rig.driver.reload()
    attach(rig)
    rig.advance(2.0)
    assert rig.limits_w()[0] == 150


def test_plans_are_taken_and_hold(rig: Rig) -> None:
    """The daemon goes on, so that its fallback stays armed."""
    rig.plan(cuts={0: 300})
    detach(rig)
    assert rig.plan(fallback={0: 150, 1: 150}, hold_s=5.0) == {}
    assert rig.report()["fallback_count"] == 0


def test_a_new_driver_with_a_lower_limit_is_not_taken_for_another_writer(rig: Rig) -> None:
    """What was written went with the old one. The daemon compares what is there with what was written."""
    rig.plan(raises={1: 450})
    detach(rig)
    rig.driver.reload()
    attach(rig)
    reading = rig.reading(1)
    assert (reading.requested_mw, reading.written_mw) == (DEFAULT_MW, None)
    rig.plan(raises={1: 430})
    assert rig.reading(1).written_mw == 430 * W
