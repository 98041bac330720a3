"""What somebody who has taken over the daemon can have the guard do: set limits within its ceilings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from powerd.core.model import Plan, Result, Write
from powerd.guard.config import GuardConfig
from powerd.guard.keeper import MAX_HOLD_S, Keeper
from powerd.guard.pace import RAISES_PER_S
from powerd.guard.plans import RefusedError
from powerd.guard.protocol import plan_from
from powerd.settings.tables import ControlSettings
from tests.guard.rig import DEFAULT_MW, MAX_MW, ManualRunner, Rig, W

BURST = int(RAISES_PER_S)


def limited(directory: Path, **settings: Any) -> Rig:
    return Rig(directory, config=GuardConfig(state_dir=str(directory), **settings))


def released(rig: Rig) -> list[Result]:
    replies: list[dict[str, Any]] = []
    rig.keeper.release(rig.token, replies.append)
    rig.settle()
    return [outcome.result for outcome in replies[0]["outcomes"]]


def raise_once(rig: Rig) -> Result:
    """Lower the first GPU and raise it again; return how the raise ended."""
    rig.plan(cuts={0: 200})
    assert rig.limits_w()[0] == 200, "lowering is never held up"
    return rig.plan(raises={0: 400})[0].result


def test_no_plan_holds_for_longer_than_a_lease_may(rig: Rig) -> None:
    with pytest.raises(RefusedError, match="hold for more than 300 s"):
        rig.send(cuts={0: 300}, fallback={0: 200}, hold_s=MAX_HOLD_S + 1)
    rig.plan(cuts={0: 300}, fallback={0: 200}, hold_s=MAX_HOLD_S)
    rig.advance(MAX_HOLD_S + 1)
    assert rig.limits_w() == [200, 400]


def test_no_configuration_asks_for_longer_than_the_guard_allows() -> None:
    with pytest.raises(ValueError, match="hold_s"):
        ControlSettings(hold_s=MAX_HOLD_S + 1)
    assert ControlSettings(hold_s=MAX_HOLD_S).hold_s == MAX_HOLD_S


def test_a_gpu_is_raised_so_many_times_a_second_and_lowered_as_often_as_asked(rig: Rig) -> None:
    results = [raise_once(rig) for _ in range(10 * BURST)]
    assert results == [Result.APPLIED] * BURST + [Result.SKIPPED] * 9 * BURST
    assert rig.limits_w()[0] == 200
    rig.now_s += 1.0
    assert raise_once(rig) is Result.APPLIED


def test_who_raises_one_gpu_too_often_holds_up_no_other(rig: Rig) -> None:
    for _ in range(2 * BURST):
        raise_once(rig)
    rig.plan(cuts={0: 150, 1: 150})
    outcomes = rig.plan(raises={0: 400, 1: 400})
    assert (outcomes[0].result, outcomes[1].result) == (Result.SKIPPED, Result.APPLIED)
    assert "more than 20 times within a second" in outcomes[0].detail


def test_the_fastest_control_loop_is_never_held_up(rig: Rig) -> None:
    """It may climb by a watt in every iteration, for ever."""
    for step in range(200):
        rig.now_s += 0.05
        watts = 201 + step
        assert rig.plan(cuts={0: 200} if step == 0 else {}, raises={} if step == 0 else {0: watts})
        assert rig.limits_w()[0] == (200 if step == 0 else watts)


def test_an_order_to_release_does_not_pass_the_ceiling_of_a_gpu(tmp_path: Path) -> None:
    rig = limited(tmp_path, ceiling_watts=350)
    rig.plan(cuts={0: 300})
    assert released(rig) == [Result.APPLIED]
    assert rig.limits_w() == [350, 400], "what it never wrote to is as it was"


def test_an_order_to_release_does_not_pass_the_ceiling_of_the_host(tmp_path: Path) -> None:
    rig = limited(tmp_path, host_ceiling_watts=700)
    rig.plan(cuts={0: 300, 1: 300}, fallback={0: 200, 1: 200})
    with pytest.raises(RefusedError, match=r"800 W, above .* 700; .* as root: powerd guard --release"):
        rig.keeper.release(rig.token, lambda _reply: None)
    assert rig.limits_w() == [300, 300]
    rig.advance(10.0)
    assert rig.limits_w() == [200, 200], "and what was armed stays armed"


def test_roots_own_release_puts_back_what_there_was(tmp_path: Path) -> None:
    rig = limited(tmp_path, ceiling_watts=350, host_ceiling_watts=700)
    rig.plan(cuts={0: 300, 1: 300})
    rig.keeper.release(rig.token, lambda _reply: None, within_ceilings=False)
    rig.settle()
    assert rig.limits_w() == [400, 400]


def test_a_gpu_that_was_never_read_counts_at_its_maximum(tmp_path: Path) -> None:
    """Or a plan that comes before the first reading would find room under the host's ceiling."""
    rig = limited(tmp_path, host_ceiling_watts=850)
    rig.runner = ManualRunner(rig.driver, lambda: rig.now_s)
    rig.keeper = Keeper(rig.config, rig.runner, lambda: rig.now_s)
    rig.connect()
    rig.keeper.tick(rig.now_s)
    rig.runner.finish_attach()
    with pytest.raises(RefusedError, match=r"1000 W, above guard\.host_ceiling_watts"):
        rig.send(raises={0: MAX_MW // W})


def test_above_the_ceiling_of_the_host_a_plan_may_still_lower(tmp_path: Path) -> None:
    """Somebody else has raised them: refusing every plan that is not enough would refuse the cuts."""
    rig = limited(tmp_path, host_ceiling_watts=700)
    assert sum(rig.limits_w()) * W == 2 * DEFAULT_MW
    assert rig.plan(cuts={0: 350})[0].result is Result.APPLIED
    with pytest.raises(RefusedError, match="host_ceiling_watts"):
        rig.send(cuts={0: 349}, raises={1: 401})


def test_a_gpu_that_tells_only_its_enforced_limit_is_raised_after_the_cuts_too(rig: Rig) -> None:
    rig.driver.tells_requested = False
    rig.report()
    rig.plan(cuts={0: 200})
    rig[1].set_error = "unknown"
    outcomes = rig.plan(cuts={0: 300, 1: 300})
    assert outcomes[0].result is Result.SKIPPED
    assert rig.limits_w() == [200, 400]


HUGE = 10**400


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plan: plan | {"end_boot_s": HUGE},
        lambda plan: plan | {"end_boot_s": -HUGE},
        lambda plan: plan | {"end_boot_s": float("nan")},
        lambda plan: plan | {"end_boot_s": "soon"},
        lambda plan: plan | {"end_boot_s": True},
        lambda plan: plan | {"cuts": {"GPU-0": HUGE}},
        lambda plan: plan | {"cuts": {"GPU-0": -HUGE}},
        lambda plan: plan | {"raises": {"GPU-0": -1}},
        lambda plan: plan | {"raises": {"GPU-0": 10**12}},
        lambda plan: plan | {"raises": {"GPU-0": True}},
        lambda plan: plan | {"raises": {"GPU-0": "400000"}},
        lambda plan: plan | {"raises": {"GPU-0": 400_000.0}},
        lambda plan: plan | {"raises": {"GPU-0": None}},
        lambda plan: plan | {"raises": {"GPU-0": {"mw": 1}}},
        lambda plan: plan | {"fallback": {"GPU-0": float("inf")}},
        lambda plan: plan | {"fallback": ["GPU-0"]},
    ],
)
def test_no_number_that_is_none_gets_into_a_plan(spoil: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    good = {"cuts": {"GPU-0": 200_000}, "raises": {}, "fallback": {}, "end_boot_s": 5}
    assert plan_from(good) == Plan(cuts=(Write("GPU-0", 200_000),), end_boot_s=5.0)
    with pytest.raises(ValueError, match="must be"):
        plan_from(spoil(good))
