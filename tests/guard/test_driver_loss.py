"""Reads, and what happens when GPUs or the whole driver go away and come back."""

from pathlib import Path
from typing import Any

import pytest

from powerd.core.model import Result
from powerd.guard.driver import Kind
from tests.guard.rig import DEFAULT_MW, Rig, W


def test_a_read_tells_limits_draw_and_constraints(rig: Rig) -> None:
    reading = rig.reading(1)
    assert (reading.uuid, reading.index, reading.state, reading.capability) == ("GPU-1", 1, "ok", "settable")
    assert (reading.requested_mw, reading.enforced_mw, reading.worst_case_mw) == (DEFAULT_MW,) * 3
    assert reading.draw_mw == 200 * W
    assert reading.constraints is not None
    assert (reading.constraints.min_mw, reading.constraints.max_mw) == (100 * W, 500 * W)
    assert (reading.written_mw, reading.pending_mw) == (None, None)


def test_what_was_written_and_what_is_requested_are_told_apart(rig: Rig) -> None:
    """So that the daemon can see a rival."""
    rig.plan(cuts={0: 300})
    rig[0].requested_mw = 350 * W
    reading = rig.reading(0)
    assert (reading.written_mw, reading.requested_mw, reading.worst_case_mw) == (300 * W, 350 * W, 350 * W)


def test_an_out_of_band_limit_is_the_worst_case_only_while_someone_sees_it(rig: Rig) -> None:
    rig[0].out_of_band_mw = 250 * W
    assert rig.reading(0).worst_case_mw == 250 * W
    rig[0].read_error = Kind.LOST
    assert rig.reading(0).worst_case_mw == 400 * W


def test_a_read_is_answered_at_its_deadline_without_the_gpu_that_hangs(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    replies: list[dict[str, Any]] = []
    rig.keeper.read(replies.append)
    rig.advance(0.99)
    assert not replies
    rig.advance(0.02)
    hung, other = replies[0]["readings"]
    assert (hung.state, hung.draw_mw, hung.worst_case_mw) == ("hung", None, 400 * W)
    assert "has not returned for 1.0 s" in hung.detail
    assert (other.state, other.draw_mw) == ("ok", 200 * W)


def test_once_a_gpu_is_known_to_hang_reads_do_not_wait_for_it(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    rig.keeper.read(lambda _reply: None)
    rig.advance(1.0)
    replies: list[dict[str, Any]] = []
    rig.keeper.read(replies.append)
    rig.settle()
    assert [reading.state for reading in replies[0]["readings"]] == ["hung", "ok"]


def test_reads_that_come_faster_than_a_slow_gpu_do_not_pile_up(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    for _ in range(50):
        rig.keeper.read(lambda _reply: None)
        rig.advance(0.1)
    rig.runner.held = set()
    reads = 0
    while "GPU-0" in rig.runner.jobs:
        rig.runner.finish("GPU-0")
        reads += 1
    assert reads == 1


def test_a_lost_gpu_stays_in_the_list_at_its_last_limit(rig: Rig) -> None:
    rig.plan(cuts={0: 300})
    rig[0].read_error = Kind.LOST
    for _ in range(3):
        reading = rig.reading(0)
        assert (reading.state, reading.capability, reading.worst_case_mw) == ("lost", "lost", 300 * W)
        assert reading.draw_mw is None
    assert rig.reading(1).state == "ok"


def test_a_gpu_that_comes_back_with_a_higher_limit_is_lowered_before_anything_else(rig: Rig) -> None:
    rig.plan(cuts={0: 300})
    rig[0].read_error = Kind.LOST
    rig.report()
    rig[0].read_error = ""
    rig[0].requested_mw = DEFAULT_MW
    rig.report()
    assert rig.limits_w()[0] == 300


def test_a_reading_that_fails_once_is_not_served_from_before(rig: Rig) -> None:
    assert rig.reading(0).draw_mw is not None
    rig[0].read_error = Kind.UNKNOWN
    reading = rig.reading(0)
    assert (reading.state, reading.draw_mw, reading.energy_mj) == ("ok", None, None)
    assert reading.worst_case_mw == 400 * W
    assert "unknown on read" in reading.detail


def test_a_driver_that_is_gone_is_looked_for_until_it_is_back(rig: Rig) -> None:
    rig.plan(cuts={0: 200}, raises={1: 450})
    for gpu in rig.driver.gpus.values():
        gpu.read_error = Kind.DRIVER_GONE
    rig.driver.attach_error = "not loaded"
    rig.report()
    report = rig.report()
    assert report["driver_error"] == "not loaded"
    assert [(r.state, r.worst_case_mw) for r in report["readings"]] == [
        ("lost", DEFAULT_MW),  # what a reload would bring
        ("lost", 450 * W),
    ]
    before = rig.driver.attaches
    rig.advance(60.0)
    assert 5 <= rig.driver.attaches - before <= 10, "every one to ten seconds"
    rig.driver.attach_error = ""
    rig.driver.reload()
    for gpu in rig.driver.gpus.values():
        gpu.read_error = ""
    rig.advance(10.0)
    assert rig.limits_w() == [200, 400], "the lower limit is put back, nothing is raised"
    assert rig.report()["generation"] == 2
    assert rig.reading(0).state == "ok"


def test_writes_fail_at_once_while_the_driver_is_gone(rig: Rig) -> None:
    rig[0].read_error = Kind.DRIVER_GONE
    rig.driver.attach_error = "not loaded"
    rig.report()
    outcomes = rig.plan(cuts={0: 300, 1: 300})
    assert {outcome.result for outcome in outcomes.values()} == {Result.FAILED}


def test_a_guard_whose_driver_was_upgraded_is_of_no_use_any_more(rig: Rig) -> None:
    """The library that a process has loaded cannot be exchanged: only a new process can attach."""
    rig[0].read_error = Kind.DRIVER_REPLACED
    rig.driver.attach_error, rig.driver.attach_error_kind = "version mismatch", Kind.DRIVER_REPLACED
    assert not rig.keeper.is_obsolete
    rig.report()
    assert rig.keeper.is_obsolete


def test_a_guard_that_never_attached_waits_for_the_upgrade_to_end(tmp_path: Path) -> None:
    """A new process would find the same, so ending would only fill the log."""
    rig = Rig(tmp_path)
    rig.driver.attach_error, rig.driver.attach_error_kind = "version mismatch", Kind.DRIVER_REPLACED
    rig.start()
    assert not rig.keeper.is_obsolete


def test_a_silent_reload_shows_in_the_energy_counter_and_limits_are_put_back(rig: Rig) -> None:
    rig.plan(cuts={0: 200, 1: 250})
    rig.report()
    rig.driver.reload()
    rig.report()
    assert rig.limits_w() == [200, 250]
    assert rig.report()["generation"] == 2


def test_a_plan_that_waits_when_the_driver_goes_fails_and_is_answered(rig: Rig) -> None:
    rig.runner.held = {"GPU-0", "GPU-1"}
    rig.keeper.read(lambda _reply: None)
    rig[0].read_error = Kind.DRIVER_GONE
    replies = rig.send(cuts={1: 300}, raises={0: 500})
    rig.runner.finish("GPU-0")
    assert [outcome.result for outcome in replies[0]["outcomes"]] == [Result.FAILED, Result.SKIPPED]


def test_the_driver_is_not_attached_while_a_worker_is_in_it_unless_it_hangs(rig: Rig) -> None:
    rig.runner.held = {"GPU-1"}
    rig.keeper.read(lambda _reply: None)
    rig[0].read_error = Kind.DRIVER_GONE
    rig.settle()
    assert rig.driver.attaches == 1
    rig[0].read_error = ""
    rig.advance(1.0)
    assert rig.driver.attaches == 2
    readings = rig.report()["readings"]
    assert [reading.state for reading in readings] == ["ok", "hung"]


def test_a_gpu_that_the_driver_no_longer_lists_is_lost_not_forgotten(rig: Rig) -> None:
    rig.driver.absent = {"GPU-1"}
    rig[0].read_error = Kind.DRIVER_GONE
    rig.keeper.read(lambda _reply: None)
    rig.runner.finish("GPU-0")
    rig[0].read_error = ""
    rig.settle()
    report = rig.report()
    assert [(r.uuid, r.state) for r in report["readings"]] == [("GPU-0", "ok"), ("GPU-1", "lost")]
    assert report["readings"][1].worst_case_mw == DEFAULT_MW


def test_a_driver_that_is_away_fills_no_journal(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig[0].read_error = Kind.DRIVER_GONE
    rig.driver.attach_error = "not loaded"
    rig.report()
    rig.advance(600.0)
    assert len(capsys.readouterr().err.splitlines()) <= 3


def test_the_dead_mans_switch_fires_when_the_driver_is_back(rig: Rig) -> None:
    rig.plan(fallback={0: 200, 1: 200}, hold_s=5.0)
    rig[0].read_error = Kind.DRIVER_GONE
    rig.driver.attach_error = "not loaded"
    rig.report()
    rig.advance(30.0)
    assert rig.limits_w() == [400, 400]
    rig[0].read_error = rig.driver.attach_error = ""
    rig.advance(10.5)
    assert rig.limits_w() == [200, 200]


def test_driver_calls_are_counted_with_their_durations(rig: Rig) -> None:
    rig.plan(cuts={0: 300})
    calls = rig.report()["calls"]
    assert sum(calls["set_limit"]["counts"]) == sum(calls["read_limits"]["counts"]) == 1
    assert sum(calls["read"]["counts"]) == 4
    assert len(calls["read"]["counts"]) == len(calls["read"]["bounds_s"]) + 1
    assert calls["read"]["sum_s"] > 0
