"""The baseline and its release: what was there before is put back, also after crashes."""

import json
from pathlib import Path
from typing import Any

import pytest

from powerd.core.model import Outcome, Result
from powerd.guard.driver import FORBID_WRITES_VARIABLE, Kind
from powerd.guard.plans import RefusedError
from tests.guard.rig import Rig, W


def release(rig: Rig) -> tuple[Outcome, ...]:
    replies: list[dict[str, Any]] = []
    rig.keeper.release(rig.token, replies.append)
    rig.settle()
    outcomes: tuple[Outcome, ...] = replies[0]["outcomes"]
    return outcomes


def test_release_puts_back_what_was_requested_before_not_the_default(rig: Rig) -> None:
    rig[0].requested_mw = 350 * W
    rig.report()
    rig.plan(cuts={0: 200, 1: 200})
    assert {outcome.result for outcome in release(rig)} == {Result.APPLIED}
    assert rig.limits_w() == [350, 400]


def test_release_disarms_and_leaves_no_file(rig: Rig, tmp_path: Path) -> None:
    rig.plan(cuts={0: 200}, fallback={0: 150, 1: 150})
    release(rig)
    rig.advance(60.0)
    assert rig.limits_w() == [400, 400]
    assert list(tmp_path.iterdir()) == []


def test_released_gpus_are_left_alone_after_a_driver_reload(rig: Rig) -> None:
    rig.plan(cuts={0: 200})
    release(rig)
    rig[0].requested_mw = 500 * W
    count = len(rig.driver.writes)
    rig[0].energy_mj = 0
    rig.report()
    rig.report()
    assert len(rig.driver.writes) == count


def test_the_baseline_of_a_guard_that_crashed_is_kept(rig: Rig) -> None:
    rig[0].requested_mw = 350 * W
    rig.report()
    rig.plan(cuts={0: 200})
    rig.start()
    rig.plan(cuts={0: 150})
    release(rig)
    assert rig.limits_w()[0] == 350


def test_a_baseline_of_another_boot_is_not_put_back(rig: Rig, tmp_path: Path) -> None:
    rig.plan(cuts={0: 200})
    stored = json.loads((tmp_path / "baseline.json").read_text())
    (tmp_path / "baseline.json").write_text(json.dumps({**stored, "boot_id": "another"}))
    rig.start()
    assert release(rig) == ()
    assert rig.limits_w()[0] == 200


@pytest.mark.parametrize("limits", ['{"GPU-0": Infinity}', '{"GPU-0": -1}', '{"GPU-0": 1e12}', '["GPU-0"]'])
def test_a_stored_baseline_that_makes_no_sense_is_not_put_back(rig: Rig, tmp_path: Path, limits: str) -> None:
    rig.plan(cuts={0: 200})
    boot_id = json.loads((tmp_path / "baseline.json").read_text())["boot_id"]
    (tmp_path / "baseline.json").write_text(f'{{"boot_id": "{boot_id}", "limits_mw": {limits}}}')
    rig.start()
    assert release(rig) == ()
    assert rig.limits_w()[0] == 200


def test_release_without_a_write_before_changes_nothing(rig: Rig) -> None:
    assert release(rig) == ()
    assert rig.driver.writes == []


def test_a_gpu_that_refuses_its_release_keeps_its_baseline(rig: Rig, tmp_path: Path) -> None:
    rig.plan(cuts={0: 200, 1: 200})
    rig[0].set_error = Kind.UNKNOWN
    assert [outcome.result for outcome in release(rig)] == [Result.FAILED, Result.APPLIED]
    assert list(json.loads((tmp_path / "baseline.json").read_text())["limits_mw"]) == ["GPU-0"]
    rig[0].set_error = ""
    release(rig)
    assert rig.limits_w() == [400, 400]


def test_a_limit_that_could_not_be_read_before_is_released_to_the_default(rig: Rig) -> None:
    rig[0].read_error = Kind.UNKNOWN
    rig.start()
    rig.plan(cuts={0: 200})
    rig[0].read_error = ""
    release(rig)
    assert rig.limits_w()[0] == 400


def test_only_the_newest_connection_may_release(rig: Rig) -> None:
    rig.plan(cuts={0: 200})
    old = rig.token
    rig.connect()
    with pytest.raises(RefusedError, match="newer connection"):
        rig.keeper.release(old, lambda _reply: None)


def test_a_forbidden_release_fails_and_says_why(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.plan(cuts={0: 200})
    monkeypatch.setenv(FORBID_WRITES_VARIABLE, "1")
    (outcome,) = release(rig)
    assert outcome.result is Result.FAILED
    assert FORBID_WRITES_VARIABLE in outcome.detail
