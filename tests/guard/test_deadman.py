"""The dead-man's switch: it fires in time, never raises, and what survives a restart of the guard."""

import json
from pathlib import Path
from typing import Any

import pytest

from powerd.core.model import Result
from powerd.guard.driver import FORBID_WRITES_VARIABLE, Kind
from tests.guard.rig import Rig, W

FALLBACK = {0: 200, 1: 200}


def test_a_plan_that_is_not_renewed_ends_in_its_fallback(rig: Rig) -> None:
    rig.plan(cuts={0: 300}, fallback=FALLBACK, hold_s=5.0)
    rig.advance(4.9)
    assert rig.limits_w() == [300, 400]
    rig.advance(0.2)
    assert rig.limits_w() == [200, 200]
    assert rig.report()["fallback_count"] == 1


def test_a_renewed_plan_holds(rig: Rig) -> None:
    rig.plan(cuts={0: 300}, fallback=FALLBACK, hold_s=5.0)
    for _ in range(10):
        rig.advance(1.0)
        rig.plan(fallback=FALLBACK, hold_s=5.0)
    assert rig.limits_w() == [300, 400]
    assert rig.report()["fallback_count"] == 0


def test_falling_back_never_raises(rig: Rig) -> None:
    rig.plan(cuts={0: 150}, fallback=FALLBACK)
    rig.advance(6.0)
    assert rig.limits_w() == [150, 200]


def test_a_rival_that_raised_since_the_last_reading_is_lowered_too(rig: Rig) -> None:
    rig.plan(cuts={0: 150}, fallback=FALLBACK)
    rig[0].requested_mw = 500 * W
    rig.advance(6.0)
    assert rig.limits_w() == [200, 200]


def test_a_failing_fallback_is_tried_until_it_is_confirmed(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK)
    rig[0].set_error = Kind.UNKNOWN
    rig.advance(60.0)
    assert rig.limits_w() == [400, 200]
    rig[0].set_error = ""
    rig.advance(5.1)
    assert rig.limits_w() == [200, 200]
    count = len(rig.driver.writes)
    rig.advance(60.0)
    assert len(rig.driver.writes) == count, "and then left alone"


def test_a_newer_plan_ends_the_fallback_writes(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK)
    rig[0].set_error = Kind.UNKNOWN
    rig.advance(6.0)
    rig.plan(fallback={0: 400, 1: 400}, hold_s=300.0)
    rig[0].set_error = ""
    rig.advance(30.0)
    assert rig.limits_w()[0] == 400


def test_a_gpu_that_hangs_falls_back_as_soon_as_its_call_returns(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    rig.send(raises={0: 500}, fallback=FALLBACK)
    rig.advance(20.0)
    assert rig.limits_w()[1] == 200
    rig.runner.held = set()
    rig.settle()
    assert rig.limits_w() == [200, 200]


def test_the_earlier_end_stays_armed_until_the_cuts_are_confirmed(rig: Rig) -> None:
    """Rule 18: the plan that was to lower hangs, so the older, earlier end still counts."""
    rig.plan(fallback=FALLBACK, hold_s=2.0)
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 300}, fallback={0: 300, 1: 400}, hold_s=100.0)
    rig.advance(3.0)
    assert rig.limits_w()[1] == 200
    assert rig.report()["fallback_count"] == 1


def test_the_earlier_end_is_forgotten_once_the_cuts_are_confirmed(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK, hold_s=2.0)
    rig.plan(cuts={0: 300}, fallback={0: 300, 1: 400}, hold_s=100.0)
    rig.advance(50.0)
    assert rig.limits_w() == [300, 400]


def test_an_earlier_end_of_the_newer_plan_counts_at_once(rig: Rig) -> None:
    rig.plan(fallback={0: 400, 1: 400}, hold_s=100.0)
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 300}, fallback=FALLBACK, hold_s=2.0)
    rig.advance(3.0)
    assert rig.limits_w()[1] == 200


def test_renewing_while_an_older_cut_is_on_its_way_does_not_confirm_it(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK, hold_s=0.5)
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 300}, fallback={0: 300, 1: 400}, hold_s=100.0)
    rig.plan(fallback={0: 300, 1: 400}, hold_s=100.0)
    rig.advance(0.9)
    assert rig.limits_w()[1] == 200, "the oldest end has passed with a cut unconfirmed"


def test_a_new_connection_does_not_disarm(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK)
    rig.advance(4.0)
    rig.connect()
    rig.advance(2.0)
    assert rig.limits_w() == [200, 200]


def test_a_refused_plan_does_not_disarm(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK)
    rig.number = 0
    with pytest.raises(Exception, match="not newer"):
        rig.send(fallback=FALLBACK, hold_s=100.0)
    rig.advance(6.0)
    assert rig.limits_w() == [200, 200]


def test_a_guard_that_restarts_keeps_the_plan_in_force(rig: Rig) -> None:
    rig.plan(cuts={0: 300}, fallback=FALLBACK, hold_s=5.0)
    rig.start()
    assert rig.limits_w() == [300, 400]
    rig.advance(5.1)
    assert rig.limits_w() == [200, 200]


def test_a_guard_that_starts_after_the_end_falls_back_at_once(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK, hold_s=5.0)
    rig.now_s += 100.0
    rig.start()
    rig.advance(0.5)
    assert rig.limits_w() == [200, 200]


def test_the_plan_is_on_disk_before_its_first_raise(rig: Rig, tmp_path: Path) -> None:
    rig.plan(fallback=FALLBACK, hold_s=5.0)
    rig.runner.held = {"GPU-0"}
    rig.send(raises={0: 500}, fallback={0: 150, 1: 150}, hold_s=7.0)
    stored = json.loads((tmp_path / "plan.json").read_text())
    assert stored["armed"][-1] == {
        "end_boot_s": rig.now_s + 7.0,
        "fallback_mw": {"GPU-0": 150 * W, "GPU-1": 150 * W},
    }
    assert rig.limits_w()[0] == 400


def test_a_plan_of_another_boot_is_not_armed(rig: Rig, tmp_path: Path) -> None:
    rig.plan(fallback=FALLBACK, hold_s=5.0)
    stored = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**stored, "boot_id": "another"}))
    rig.start()
    rig.advance(60.0)
    assert rig.limits_w() == [400, 400]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "[" * 10_000, "\udcff", '{"armed": 7}', '{"armed": [{}]}'),
        '{"armed": [{"end_boot_s": NaN, "fallback_mw": {"GPU-0": 200000}}]}',
        '{"armed": [{"end_boot_s": 1001, "fallback_mw": {"GPU-0": Infinity}}]}',
        '{"armed": [{"end_boot_s": 1001, "fallback_mw": ["GPU-0"]}]}',
        f'{{"armed": [{{"end_boot_s": {"9" * 400}, "fallback_mw": {{}}}}]}}',
    ],
)
def test_a_stored_plan_that_makes_no_sense_costs_one_warning(
    rig: Rig, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.plan(fallback=FALLBACK)
    boot_id = json.loads((tmp_path / "plan.json").read_text())["boot_id"]
    content = content.replace('{"armed"', f'{{"boot_id": "{boot_id}", "armed"')
    (tmp_path / "plan.json").write_bytes(content.encode(errors="surrogateescape"))
    capsys.readouterr()
    rig.start()
    rig.advance(10.0)
    assert rig.plan(cuts={0: 300})[0].result is Result.APPLIED
    assert capsys.readouterr().err.count("<4>") == 1


def test_without_a_state_directory_the_guard_works_and_warns_once_per_file(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.json.new").mkdir()
    for _ in range(5):
        assert rig.plan(cuts={0: 300}, fallback=FALLBACK)[0].result is Result.APPLIED
    assert capsys.readouterr().err.count("cannot write") == 1
    rig.advance(6.0)
    assert rig.limits_w() == [200, 200]


def test_forbidden_writes_do_not_make_the_fallback_loop(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.plan(fallback=FALLBACK)
    monkeypatch.setenv(FORBID_WRITES_VARIABLE, "1")
    rig.advance(60.0)
    assert rig.driver.writes == []
    assert capsys.readouterr().err.count(FORBID_WRITES_VARIABLE) == 1


def test_falling_back_is_one_line_in_the_journal(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.plan(fallback=FALLBACK)
    capsys.readouterr()
    rig.advance(60.0)
    assert capsys.readouterr().err.splitlines() == [
        "<4>powerd-guard: the plan has ended and no newer one came: lowering 2 GPUs to their fallback"
    ]


def test_asking_for_the_fallback_is_answered_when_all_gpus_are_down(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK, hold_s=300.0)
    rig.runner.held = {"GPU-0"}
    replies: list[dict[str, Any]] = []
    rig.keeper.fall_back("test", replies.append)
    rig.settle()
    assert not replies
    rig.runner.held = set()
    rig.settle()
    assert replies == [{"lowered": True}]
    assert rig.limits_w() == [200, 200]


def test_asking_for_the_fallback_is_answered_even_if_a_gpu_stays_up(rig: Rig) -> None:
    rig.plan(fallback=FALLBACK, hold_s=300.0)
    rig[0].set_error = Kind.UNKNOWN
    replies: list[dict[str, Any]] = []
    rig.keeper.fall_back("test", replies.append)
    rig.advance(5.0)
    assert replies == [{"lowered": False}]
    assert rig.limits_w() == [400, 200]


def test_asking_for_the_fallback_with_nothing_armed_changes_nothing(rig: Rig) -> None:
    replies: list[dict[str, Any]] = []
    rig.keeper.fall_back("test", replies.append)
    assert replies == [{"lowered": True}]
    assert rig.limits_w() == [400, 400]


def test_falling_back_does_not_wait_for_a_lost_gpu_but_lowers_it_when_it_comes_back(rig: Rig) -> None:
    rig.plan(cuts={0: 300, 1: 300}, fallback={0: 150, 1: 100})
    rig[1].read_error = Kind.LOST
    rig.report()
    replies: list[dict[str, Any]] = []
    rig.keeper.fall_back("test", replies.append)
    rig.settle()
    assert replies == [{"lowered": True}]
    assert rig.limits_w() == [150, 300]
    rig[1].read_error = ""
    rig.report()
    rig.settle()
    assert rig.limits_w() == [150, 100]
