"""Plans: validated as a whole, cuts before raises, every outcome judged by read-back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from powerd.core.model import Plan, Result, Write
from powerd.guard.config import GuardConfig
from powerd.guard.driver import FORBID_WRITES_VARIABLE, Kind
from powerd.guard.plans import RefusedError
from tests.guard.rig import Rig, W


def test_cuts_and_raises_take_effect_and_are_read_back(rig: Rig) -> None:
    outcomes = rig.plan(cuts={0: 300}, raises={1: 500})
    assert rig.limits_w() == [300, 500]
    assert {outcome.result for outcome in outcomes.values()} == {Result.APPLIED}
    assert outcomes[0].enforced_mw == outcomes[0].worst_case_mw == 300 * W


def test_no_raise_is_started_before_every_cut_is_read_back(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 300}, raises={1: 500})
    rig.settle()
    assert rig.limits_w() == [400, 400]
    rig.runner.held = set()
    rig.settle()
    assert rig.limits_w() == [300, 500]


@pytest.mark.parametrize("fault", [Kind.UNKNOWN, Kind.NO_PERMISSION, Kind.INVALID, Kind.LOST])
def test_a_cut_that_fails_stops_the_raises(rig: Rig, fault: str) -> None:
    rig[0].set_error = fault
    outcomes = rig.plan(cuts={0: 300}, raises={1: 500})
    assert outcomes[0].result is Result.FAILED
    assert fault in outcomes[0].detail
    assert outcomes[1].result is Result.SKIPPED
    assert rig.limits_w() == [400, 400]


def test_a_cut_that_the_driver_accepts_and_ignores_is_a_failure(rig: Rig) -> None:
    rig[0].ignores_writes = True
    outcomes = rig.plan(cuts={0: 300}, raises={1: 500})
    assert outcomes[0].result is Result.FAILED
    assert outcomes[0].detail == "reads back 400 W"
    assert outcomes[1].result is Result.SKIPPED


def test_a_cut_that_cannot_be_read_back_counts_at_the_higher_of_old_and_new(rig: Rig) -> None:
    rig[0].read_error = Kind.UNKNOWN
    outcomes = rig.plan(cuts={0: 300}, raises={1: 500})
    assert outcomes[0].result is Result.FAILED
    assert outcomes[0].worst_case_mw == 400 * W
    assert outcomes[1].result is Result.SKIPPED


def test_a_raise_that_cannot_be_read_back_counts_at_its_target(rig: Rig) -> None:
    rig[0].read_error = Kind.UNKNOWN
    assert rig.plan(raises={0: 450})[0].worst_case_mw == 450 * W


def test_a_limit_that_the_driver_rounds_down_to_a_watt_is_applied(rig: Rig) -> None:
    rig[0].rounding_mw = W
    replies: list[dict[str, Any]] = []
    plan = Plan(cuts=(Write("GPU-0", 300_900),), end_boot_s=rig.now_s + 5)
    rig.keeper.plan(rig.token, 1, plan, replies.append)
    rig.settle()
    assert replies[0]["outcomes"][0].result is Result.APPLIED


def test_an_out_of_band_limiter_below_the_target_is_told_as_clamped(rig: Rig) -> None:
    rig[0].out_of_band_mw = 250 * W
    outcomes = rig.plan(cuts={0: 300}, raises={1: 500})
    assert outcomes[0].result is Result.CLAMPED
    assert (outcomes[0].requested_mw, outcomes[0].enforced_mw) == (300 * W, 250 * W)
    assert outcomes[1].result is Result.APPLIED, "a clamped cut is a confirmed cut"


def test_a_cut_that_would_raise_by_now_waits_with_the_raises(rig: Rig) -> None:
    """Another writer has lowered GPU 0 to 200 W; what the daemon calls a cut to 300 W is a raise."""
    rig[0].requested_mw = 200 * W
    rig.report()
    rig[1].set_error = Kind.UNKNOWN
    outcomes = rig.plan(cuts={0: 300, 1: 300})
    assert outcomes[0].result is Result.SKIPPED
    assert rig.limits_w() == [200, 400]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"cuts": {7: 300}}, "no GPU GPU-7"),
        ({"raises": {7: 300}}, "no GPU GPU-7"),
        ({"fallback": {7: 300}}, "no GPU GPU-7"),
        ({"cuts": {0: 99}}, "outside the constraints 100..500 W"),
        ({"raises": {0: 501}}, "outside the constraints 100..500 W"),
        ({"raises": {0: 460}}, "above guard.ceiling_watts = 450"),
        ({"fallback": {0: 460}}, "above guard.ceiling_watts = 450"),
        ({"cuts": {}, "raises": {0: 441, 1: 410}}, "851 W, above guard.host_ceiling_watts = 850"),
        ({"raises": {0: 450}, "cuts": {0: 300}}, "names a GPU twice"),
        ({"cuts": {0: 300}, "hold_s": 0.0}, "already ended"),
        ({"cuts": {0: 300}, "hold_s": -1.0}, "already ended"),
    ],
)
def test_a_plan_with_one_unacceptable_number_is_refused_whole(
    tmp_path: Path, plan: dict[str, Any], words: str
) -> None:
    config = GuardConfig(state_dir=str(tmp_path), ceiling_watts=450, host_ceiling_watts=850)
    rig = Rig(tmp_path, config=config)
    with pytest.raises(RefusedError, match=words):
        rig.send(**{"cuts": {1: 300}, **plan})
    rig.settle()
    assert rig.driver.writes == []


def test_before_the_driver_is_attached_a_plan_is_refused_with_the_reason(rig: Rig) -> None:
    rig.driver.attach_error = "not loaded"
    rig.start()
    with pytest.raises(RefusedError, match="no GPU is known yet: not loaded"):
        rig.send(cuts={0: 300})


def test_the_host_ceiling_counts_gpus_outside_the_plan_at_their_worst_case(tmp_path: Path) -> None:
    rig = Rig(tmp_path, config=GuardConfig(state_dir=str(tmp_path), host_ceiling_watts=850))
    with pytest.raises(RefusedError, match="host_ceiling"):
        rig.send(raises={0: 451})
    assert rig.plan(raises={0: 450})[0].result is Result.APPLIED


def test_only_the_newest_connection_may_plan(rig: Rig) -> None:
    old = rig.token
    rig.connect()
    rig.token, new = old, rig.token
    with pytest.raises(RefusedError, match="newer connection"):
        rig.send(cuts={0: 300})
    rig.token = new
    assert rig.plan(cuts={0: 300})[0].result is Result.APPLIED


def test_a_plan_number_is_good_once(rig: Rig) -> None:
    rig.plan(cuts={0: 300})
    rig.number -= 1
    with pytest.raises(RefusedError, match="not newer"):
        rig.send(cuts={0: 200})
    assert rig.limits_w()[0] == 300


def test_a_new_connection_voids_what_older_ones_have_queued(rig: Rig) -> None:
    rig.runner.held = {"GPU-0", "GPU-1"}
    rig.keeper.read(lambda _reply: None)
    replies = rig.send(cuts={0: 300}, raises={1: 500})
    rig.connect()
    assert [outcome.result for outcome in replies[0]["outcomes"]] == [Result.SKIPPED, Result.SKIPPED]
    rig.runner.held = set()
    rig.settle()
    assert rig.driver.writes == []


def test_a_write_goes_before_reads_that_wait(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    for _ in range(3):
        rig.keeper.read(lambda _reply: None)
    rig.send(cuts={0: 300})
    rig.runner.finish("GPU-0")  # the read that was under way
    rig.runner.finish("GPU-0")
    assert rig.limits_w()[0] == 300


def test_a_hung_write_fails_after_its_deadline_and_holds_up_nobody_else(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    replies = rig.send(cuts={0: 300, 1: 300})
    rig.settle()
    assert rig.limits_w()[1] == 300
    rig.advance(1.0)
    hung, other = replies[0]["outcomes"]
    assert (hung.result, other.result) == (Result.FAILED, Result.APPLIED)
    assert "did not return within 1 s" in hung.detail
    assert rig.reading(0).state == "hung"
    assert rig.reading(0).worst_case_mw == 400 * W


def test_a_hung_raise_counts_at_its_target(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    rig.send(raises={0: 500})
    rig.advance(1.0)
    reading = rig.reading(0)
    assert (reading.pending_mw, reading.worst_case_mw, reading.draw_mw) == (500 * W, 500 * W, None)


def test_a_hung_gpu_gets_no_more_work_until_its_call_returns(rig: Rig) -> None:
    rig.runner.held = {"GPU-0"}
    rig.send(cuts={0: 300})
    rig.advance(1.0)
    outcomes = rig.plan(cuts={0: 200, 1: 200})
    assert (outcomes[0].result, outcomes[1].result) == (Result.FAILED, Result.APPLIED)
    rig.runner.held = set()
    rig.settle()
    assert rig.reading(0).state == "ok"
    assert rig.plan(cuts={0: 200})[0].result is Result.APPLIED


def test_a_newer_plan_starts_at_once_on_the_other_gpus(rig: Rig) -> None:
    """The older plan waits for GPU 0; its raise is given up, the newer plan's cut is not held up."""
    rig.runner.held = {"GPU-0"}
    older = rig.send(cuts={0: 300}, raises={1: 500})
    rig.send(cuts={1: 200})
    rig.settle()
    assert rig.limits_w()[1] == 200
    rig.runner.held = set()
    rig.settle()
    assert [outcome.result for outcome in older[0]["outcomes"]] == [Result.APPLIED, Result.SKIPPED]
    assert rig.limits_w() == [300, 200]


def test_a_raise_that_is_queued_is_taken_back_by_a_newer_plan(rig: Rig) -> None:
    rig.runner.held = {"GPU-1"}
    rig.keeper.read(lambda _reply: None)
    older = rig.send(raises={1: 500})
    rig.send(cuts={0: 300})
    assert older[0]["outcomes"][0].result is Result.SKIPPED
    rig.runner.held = set()
    rig.settle()
    assert rig.limits_w() == [300, 400]


def test_a_raise_that_is_queued_is_taken_back_when_the_plan_ends(rig: Rig) -> None:
    rig.runner.held = {"GPU-1"}
    rig.keeper.read(lambda _reply: None)
    replies = rig.send(raises={1: 500}, hold_s=0.5)
    rig.advance(0.6)
    assert replies[0]["outcomes"][0].result is Result.SKIPPED


def test_raises_wait_for_nothing_once_the_plan_has_ended(rig: Rig) -> None:
    """The cut took so long that the plan's end has passed: the raise would use watts that are not ours."""
    rig.runner.held = {"GPU-0"}
    replies = rig.send(cuts={0: 300}, raises={1: 500}, hold_s=0.5)
    rig.now_s += 0.6
    rig.runner.finish("GPU-0")
    assert replies[0]["outcomes"][1].result is Result.SKIPPED


def test_the_reply_tells_when_the_last_cut_was_confirmed(rig: Rig) -> None:
    renewal = rig.send()
    cut = rig.send(cuts={0: 300})
    rig.settle()
    assert renewal[0]["last_cut_boot_s"] is None
    assert isinstance(cut[0]["last_cut_boot_s"], float)


@pytest.mark.parametrize("fault", [Kind.NO_PERMISSION, Kind.NOT_SUPPORTED])
def test_a_gpu_that_refuses_writes_is_readable_until_the_driver_is_attached_again(
    rig: Rig, fault: str
) -> None:
    rig[0].set_error = fault
    rig.plan(cuts={0: 300})
    assert rig.reading(0).capability == "readable"
    assert rig.reading(0).state == "ok"
    rig[0].set_error = ""
    assert rig.plan(cuts={0: 300})[0].result is Result.FAILED, "not tried again in vain"
    rig.driver.reload()
    rig.report()
    assert rig.reading(0).capability == "settable"
    assert rig.plan(cuts={0: 300})[0].result is Result.APPLIED


def test_forbidden_writes_are_told_and_nothing_is_kept(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORBID_WRITES_VARIABLE, "1")
    outcomes = rig.plan(cuts={0: 300}, raises={1: 500}, fallback={0: 200})
    assert outcomes[0].result is Result.FAILED
    assert FORBID_WRITES_VARIABLE in outcomes[0].detail
    rig.advance(20.0)
    assert rig.driver.writes == []
    assert rig.report()["writes_forbidden"] is True
    assert not (tmp_path / "baseline.json").exists()


def test_a_plan_may_name_a_gpu_that_is_lost_and_hears_so(rig: Rig) -> None:
    rig[0].read_error = rig[0].set_error = Kind.LOST
    rig.report()
    outcomes = rig.plan(cuts={0: 300, 1: 300})
    assert (outcomes[0].result, outcomes[1].result) == (Result.FAILED, Result.APPLIED)
    assert outcomes[0].worst_case_mw == 400 * W
    assert replace(outcomes[0], detail="").enforced_mw is None
