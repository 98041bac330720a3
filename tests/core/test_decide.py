"""The one door into the core: what a host decides, moment by moment."""

from dataclasses import replace

import pytest

from powerd.core.decide import Decision, decide
from powerd.core.hearing import STEP_DOWN_LEAD_S
from powerd.core.model import Capability, Step
from powerd.core.rack.failsafe import Phase
from powerd.core.rack.timeline import BudgetMessage, VerdictKind
from powerd.core.state import Inputs, initial_state
from tests.core.bench import Bench, BenchGpu
from tests.core.make import W, at, budget, config, gpu, rules, uuid


def events(decision: Decision) -> list[str]:
    return [notice.event for notice in decision.notices]


def at_work(watts: float | None = 4000, boot_s: float = 100.0, host: Bench | None = None) -> Bench:
    """Return a host that has a fresh budget, is past its first raise, and has had time to act on it."""
    host = host or Bench(config())
    host.tick(at(boot_s - 1))
    host.tick(at(boot_s), budget(watts, 1, at(boot_s)))
    host.tick(at(boot_s + 0.1))
    return host


# Phases


def test_a_start_goes_to_the_failsafe_before_anything_is_heard() -> None:
    """LPC-901, and it needs no message."""
    host = Bench(config())
    decision = host.tick(at(0.0))
    assert (decision.phase, decision.failsafe_cause) == (Phase.INIT, "no_controller")
    assert (decision.rack_cap_mw, decision.gpu_budget_mw) == (3000 * W, 1300 * W)
    assert host.limits == [325, 325, 325, 325]
    assert rules(decision.rack_steps)[:2] == ["hard_limit", "failsafe"]
    assert decision.rack_steps[1].note == "no controller heard yet"


def test_a_budget_is_obeyed_at_once() -> None:
    host = Bench(config())
    host.tick(at(0.0))
    decision = host.tick(at(1.0), budget(4000, 1, at(1.0)))
    assert (decision.phase, decision.failsafe_cause) == (Phase.LIMITED, "")
    assert host.limits == [450] * 4
    assert decision.statement is not None
    assert decision.rack_steps[1] == Step("budget", 4000 * W, "facility-a", until_boot_s=61.0)


def test_no_limit_from_the_controller_is_the_hard_limit() -> None:
    host = at_work(None)
    decision = host.tick(at(101.0))
    assert (decision.phase, decision.rack_cap_mw) == (Phase.UNLIMITED, 6000 * W)
    assert host.limits == [700] * 4


@pytest.mark.parametrize(("watts", "missing"), [(0, 2000), (500, 1500), (1999, 1), (2000, 0)])
def test_below_the_floors_everything_goes_to_the_floor_and_the_missing_watts_are_told(
    watts: float, missing: int
) -> None:
    host = at_work(watts)
    decision = host.tick(at(101.0))
    assert host.limits == [200] * 4
    assert decision.infeasible_mw == missing * W
    assert decision.compliant == (missing == 0)
    assert ("infeasible_budget" in events(decision)) == (missing > 0)


def test_above_the_hard_limit_is_the_hard_limit() -> None:
    host = Bench(config())
    decision = host.tick(at(100.0), budget(9000, 1, at(100.0)))
    assert decision.rack_cap_mw == 6000 * W
    assert "signal_clamped" in events(decision)


# The end of a lease


def test_the_daemon_steps_down_a_quarter_second_before_the_lease_ends() -> None:
    """So that the guard, which falls back at the end itself, need not."""
    host = at_work(5000)
    wake_s = host.tick(at(101.0)).wake_boot_s
    assert wake_s == 160.0 - STEP_DOWN_LEAD_S
    assert host.tick(at(wake_s - 0.001)).phase is Phase.LIMITED
    decision = host.tick(at(wake_s))
    assert (decision.phase, decision.failsafe_cause) == (Phase.FAILSAFE, "lease_over")
    assert "failsafe_entered" in events(decision)
    assert host.limits == [325] * 4
    assert decision.wake_boot_s is None


def test_no_plan_outlasts_the_lease_it_rests_on_nor_its_hold() -> None:
    host = at_work()
    assert host.tick(at(120.0)).plan.end_boot_s == 125.0
    assert host.tick(at(157.0)).plan.end_boot_s == 160.0
    assert host.tick(at(170.0)).plan.end_boot_s == 175.0


def test_the_fallback_is_what_failsafe_would_decide() -> None:
    host = at_work(5000)
    plan = host.tick(at(101.0)).plan
    assert [(write.uuid, write.mw // W) for write in plan.fallback] == [(uuid(i), 325) for i in range(4)]
    host.until(at(160.0))
    assert host.limits == [write.mw // W for write in plan.fallback]


def test_a_budget_below_the_failsafe_stays_when_its_lease_ends() -> None:
    host = at_work(2400)
    assert [write.mw // W for write in host.tick(at(101.0)).plan.fallback] == [250] * 4
    host.until(at(170.0))
    assert host.limits == [250] * 4


def test_a_renewal_keeps_the_lease() -> None:
    host = at_work()
    host.tick(at(159.0), budget(4000, 2, at(159.0)))
    assert host.until(at(200.0)).phase is Phase.LIMITED


@pytest.mark.parametrize(
    "again",
    [
        budget(4000, 1, at(150.0), age_s=50.0),  # the same message again
        budget(5000, 0, at(150.0)),  # an older one
        budget(5000, 2, at(150.0), age_s=61.0),  # one that came too late
        budget(5000, 2, at(150.0), age_s=-31.0),  # one from a wrong clock
        budget(None, 2, at(150.0), age_s=-31.0),
    ],
)
def test_nothing_but_a_fresh_message_prolongs_a_lease_or_raises(again: BudgetMessage) -> None:
    host = at_work()
    host.tick(at(150.0), replace(again, digest=budget(4000, 1, at(100.0)).digest))
    assert host.limits == [450] * 4
    assert host.until(at(160.0)).phase is Phase.FAILSAFE


# The way back


def test_the_way_back_needs_a_following_budget_then_a_dwell_then_jitter_then_the_ramp() -> None:
    host = at_work(5000)
    host.until(at(170.0))
    late = host.tick(at(171.0), budget(5000, 2, at(171.0), age_s=15.0))  # issued before failsafe
    assert (late.phase, late.verdicts[0].reason) == (Phase.FAILSAFE, "before_failsafe")
    back = host.tick(at(172.0), budget(5000, 3, at(172.0), lease_s=300))
    assert (back.phase, back.rack_cap_mw) == (Phase.LIMITED, 3000 * W)
    assert rules(back.rack_steps)[:3] == ["hard_limit", "budget", "ramp"]
    assert host.until(at(172.0 + 30 + 5)).rack_cap_mw == 3000 * W
    assert host.until(at(172.0 + 30 + 5 + 60)).rack_cap_mw == 3600 * W
    assert host.until(at(172.0 + 30 + 5 + 200)).rack_cap_mw == 5000 * W


def test_a_loop_that_was_away_past_the_lease_finds_itself_in_failsafe_whatever_it_hears_first() -> None:
    """Its guard has fallen back meanwhile: the way back is the same as after any failsafe."""
    host = at_work(4000)
    awake = host.tick(at(170.0), budget(4000, 2, at(170.0)))
    assert awake.phase is Phase.LIMITED
    assert host.state.failsafe.dwell_until_boot_s == 200.0


def test_what_was_issued_before_the_lease_ended_does_not_wake_a_loop_that_was_away() -> None:
    host = at_work(4000)
    awake = host.tick(at(170.0), budget(4000, 2, at(159.0)))
    assert awake.phase is Phase.FAILSAFE


def test_a_cut_never_waits_for_a_dwell() -> None:
    host = at_work(5000)
    host.until(at(170.0))
    host.tick(at(172.0), budget(2400, 2, at(172.0)))
    assert host.limits == [250] * 4


def test_a_raise_of_the_budget_climbs() -> None:
    host = at_work(4000)
    host.tick(at(110.0), budget(5000, 2, at(110.0), lease_s=300))
    assert host.until(at(115.0)).rack_cap_mw == 4000 * W
    assert host.until(at(125.0)).rack_cap_mw == 4100 * W


# Several voices


@pytest.mark.parametrize(
    ("a", "b", "watts", "conflict"),
    [((4000, 100), (3000, 100), 3000, True), ((4000, 50), (3000, 100), 4000, False)],
)
def test_two_controllers(a: tuple[int, int], b: tuple[int, int], watts: int, conflict: bool) -> None:
    """Equal priority: the lower budget and an alarm; otherwise the lower number governs."""
    host = Bench(config())
    decision = host.tick(
        at(100.0),
        budget(a[0], 1, at(100.0), source="a", priority=a[1]),
        budget(b[0], 1, at(100.0), source="b", priority=b[1]),
    )
    assert decision.rack_cap_mw == watts * W
    assert ("budget_conflict" in events(decision)) == conflict


def test_an_operator_may_lower_and_not_raise() -> None:
    host = at_work(4000)
    assert host.tick(at(101.0), operator_mw=3000 * W).rack_cap_mw == 3000 * W
    decision = host.tick(at(102.0), operator_mw=5500 * W)
    assert rules(decision.rack_steps)[:3] == ["hard_limit", "budget", "operator"]
    assert decision.rack_cap_mw <= 4000 * W


def test_a_doubtful_message_lowers_and_shows_in_the_chain() -> None:
    host = at_work(4000)
    decision = host.tick(at(110.0), budget(3400, 2, at(110.0), age_s=100.0))
    assert host.limits == [375] * 4
    assert decision.rack_steps[2] == decision.rack_steps[2]._replace(
        rule="lower_only", mw=3400 * W, source="facility-a", note="expired"
    )
    assert "signal_lower_only" in events(decision)


@pytest.mark.parametrize(("watts", "cap"), [(2500, 2500), (3500, 3000), (0, 2000)])
def test_a_controller_may_lower_the_failsafe_never_raise_it(watts: float, cap: int) -> None:
    """Zero is zero watts, here too."""
    host = Bench(config())
    host.tick(at(100.0), budget(5000, 1, at(100.0), failsafe_watts=watts))
    fallback = host.tick(at(101.0)).plan.fallback
    assert host.until(at(170.0)).rack_cap_mw == cap * W
    assert host.limits == [write.mw // W for write in fallback] == [(cap // 2 - 200) // 4] * 4


# Restart


def test_a_restart_within_the_lease_goes_on_where_it_was() -> None:
    host = at_work(4000)
    host.restart(at(120.0))
    assert host.tick(at(120.0)).phase is Phase.LIMITED
    assert host.limits == [450] * 4
    assert host.until(at(160.0)).phase is Phase.FAILSAFE


def test_a_restart_after_the_lease_does_not_raise_to_the_failsafe() -> None:
    host = at_work(2400)
    host.restart(at(170.0))
    decision = host.tick(at(170.0))
    assert (decision.phase, decision.rack_cap_mw) == (Phase.INIT, 2400 * W)


def test_a_restart_forgets_no_replay() -> None:
    host = at_work(4000)
    host.restart(at(170.0))
    decision = host.tick(at(170.0), budget(4000, 1, at(170.0)))
    assert decision.verdicts[0].kind is VerdictKind.DUPLICATE
    assert decision.phase is Phase.INIT


def test_a_restart_without_memory_does_not_raise_above_the_limits_it_finds() -> None:
    """A budget below the failsafe may have held; it cannot any more after the longest possible lease."""
    host = at_work(2400)
    host.restart(at(110.0), forget=True)
    decision = host.tick(at(110.0))
    assert decision.host_steps[-1].rule == "found"
    assert decision.gpu_budget_mw == 1000 * W
    host.until(at(409.0), every_s=50.0)
    assert host.limits == [250] * 4
    host.tick(at(410.0))
    assert host.limits == [325] * 4


def test_limits_found_above_the_failsafe_are_cut_to_it() -> None:
    host = Bench(config())
    assert "found" not in rules(host.tick(at(0.0)).host_steps)
    assert host.limits == [325] * 4


def test_what_an_unreadable_gpu_may_draw_is_not_taken_from_the_limits_found() -> None:
    """It counts on both sides: the limits of the others need no cut."""
    host = Bench(config())
    host.gpus = [BenchGpu(i, limit_mw=250 * W) for i in range(3)]
    opaque = gpu(9, capability=Capability.OPAQUE, limit=None)
    readings = (*host.read(at(0.0)), opaque)
    decision, _ = decide(Inputs(readings), host.state, at(0.0), host.config)
    limits = [target.limit_mw for target in decision.targets if target.limit_mw is not None]
    assert limits == [200 * W] * 3  # 1300 W less the 700 W that the opaque one may draw
    roomy = replace(host.config, overhead_mw=0, rack=replace(host.config.rack, failsafe_mw=4000 * W))
    decision, _ = decide(Inputs(readings), host.state, at(0.0), roomy)
    limits = [target.limit_mw for target in decision.targets if target.limit_mw is not None]
    assert limits == [250 * W] * 3
    assert decision.plan.cuts == ()


def test_the_first_budget_frees_from_the_limits_found() -> None:
    host = at_work(2400)
    host.restart(at(110.0), forget=True)
    host.tick(at(110.0))
    host.tick(at(111.0), budget(4000, 2, at(111.0)))
    assert host.limits == [450] * 4


# Repeats


def test_the_same_moment_again_decides_the_same() -> None:
    host = at_work(4000)
    host.gpus[0].load_mw = 100 * W
    inputs = Inputs(host.read(at(110.0)), (budget(3400, 2, at(110.0)),))
    first, state = decide(inputs, host.state, at(110.0), host.config)
    again, after = decide(replace(inputs, messages=()), state, at(110.0), host.config)
    assert after == state
    assert again == first._replace(verdicts=(), notices=again.notices)


def test_nothing_new_is_an_empty_plan() -> None:
    plan = at_work(4000).tick(at(101.0)).plan
    assert (plan.cuts, plan.raises) == ((), ())


def test_memory_of_another_boot_keeps_keys_and_the_cap() -> None:
    """Leases of another boot were counted on a clock that is gone."""
    host = at_work(2400)
    kept = replace(host.state.timeline, statements={}, ceilings={})
    host.state = initial_state(at(5.0), kept, 2400 * W)
    assert host.tick(at(5.0)).rack_cap_mw == 2400 * W
    assert host.tick(at(6.0), budget(9000, 1, at(6.0))).phase is Phase.INIT
