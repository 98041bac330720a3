"""What a host decides when GPUs fail, when others limit them too, and as their work comes and goes."""

import pytest

from powerd.core.decide import Decision, decide, fits
from powerd.core.gpus.overhead import OverheadSample
from powerd.core.gpus.value import Objective
from powerd.core.model import EventReason, GpuState
from powerd.core.rack.failsafe import Phase
from powerd.core.state import Inputs
from powerd.core.topology import GpuPolicy
from tests.core.bench import Bench
from tests.core.make import W, at, budget, config, gpu, rules, uuid


def events(decision: Decision) -> list[str]:
    return [notice.event for notice in decision.notices]


def at_work(watts: float = 4000) -> Bench:
    """Return a host that has a fresh budget and has had time to act on it."""
    host = Bench(config())
    host.tick(at(99.0))
    host.tick(at(100.0), budget(watts, 1, at(100.0)))
    host.tick(at(100.1))
    return host


# GPUs that fail


def test_the_watts_a_gpu_will_not_give_up_are_taken_from_the_others_at_the_same_moment() -> None:
    host = at_work()
    host.gpus[0].refuses = True
    host.tick(at(110.0), budget(3400, 2, at(110.0)))
    assert host.limits == [450, 350, 350, 350]
    assert sum(host.limits) == 1500


def test_who_resists_is_not_left_out_when_the_guard_falls_back() -> None:
    """It is counted in full, so its floor is what there is to try."""
    host = at_work()
    host.gpus[0].refuses = True
    host.tick(at(110.0), budget(3400, 2, at(110.0)))
    decision = host.tick(at(110.5))
    assert decision.targets[0].limit_mw is None
    assert {write.uuid: write.mw for write in decision.plan.fallback}[uuid(0)] == 200 * W


def test_a_gpu_that_refused_is_tried_again_and_its_watts_come_back() -> None:
    host = at_work()
    host.gpus[0].refuses = True
    host.tick(at(110.0), budget(3400, 2, at(110.0)))
    assert "gpu_refuses_limit" in events(host.tick(at(110.5)))
    host.gpus[0].refuses = False
    host.until(at(115.0))
    assert host.limits == [375] * 4


@pytest.mark.parametrize(("state", "event"), [(GpuState.LOST, "gpu_lost"), (GpuState.HUNG, "gpu_hung")])
def test_a_lost_or_hung_gpu_counts_and_the_others_go_on(state: GpuState, event: str) -> None:
    host = at_work()
    host.gpus[0].state = state
    assert event in events(host.tick(at(110.0), budget(3400, 2, at(110.0))))
    assert host.limits == [450, 350, 350, 350]


def test_no_guard_means_no_targets_and_no_claim_of_compliance() -> None:
    host = at_work()
    decision, _ = decide(Inputs(()), host.state, at(110.0), host.config)
    assert (decision.targets, decision.plan.cuts, decision.compliant) == ((), (), False)
    assert decision.gpu_budget_mw == 1800 * W


def test_compliance_needs_every_worst_case() -> None:
    assert fits([gpu(0, limit=400), gpu(1, limit=400)], 800 * W)
    assert not fits([gpu(0, limit=400), gpu(1, limit=401)], 800 * W)
    assert not fits([gpu(0, limit=400), gpu(1, limit=None)], 8000 * W)
    assert not fits([], 8000 * W)


def test_a_hardware_power_brake_is_failsafe_for_five_minutes_on_this_host() -> None:
    host = at_work(5000)
    host.tick(at(105.0), budget(5000, 2, at(105.0), lease_s=300))
    host.gpus[2].reasons = EventReason.HW_POWER_BRAKE
    decision = host.tick(at(110.0))
    assert (decision.phase, decision.failsafe_cause) == (Phase.LIMITED, "power_brake")
    assert "power_brake" in events(decision)
    assert "power_brake" in rules(decision.rack_steps)
    assert sum(host.limits) <= 1300
    host.gpus[2].reasons = 0
    host.tick(at(350.0), budget(5000, 3, at(350.0), lease_s=300))
    assert host.tick(at(409.9)).rack_cap_mw == 3000 * W
    assert host.tick(at(410.0)).failsafe_cause == ""
    assert host.until(at(425.0)).rack_cap_mw == 3100 * W


def test_another_writer_that_lowers_is_respected_and_the_watts_go_to_the_others() -> None:
    host = at_work()
    host.gpus[0].limit_mw = 300 * W
    decision = host.tick(at(110.0))
    assert host.limits == [300, 500, 500, 500]
    assert decision.targets[0].steps[-1].rule == "other_writer"
    assert "other_writer" in events(decision)


def test_another_writer_that_raises_is_set_back() -> None:
    host = at_work()
    host.gpus[0].limit_mw = 700 * W
    host.tick(at(110.0))
    assert host.limits == [450] * 4


def test_an_out_of_band_limit_gives_its_watts_away_after_half_a_minute() -> None:
    """Only with its own request lowered: should the other limiter let go, the sum still fits."""
    host = at_work()
    host.tick(at(101.0), budget(4000, 2, at(101.0), lease_s=300))
    host.gpus[0].out_of_band_mw = 300 * W
    decision = host.until(at(131.0))
    assert host.limits == [450] * 4
    assert decision.plan.raises == ()
    decision = host.until(at(133.0))
    assert host.limits == [300, 500, 500, 500]
    assert decision.targets[0].steps[-1].rule == "out_of_band"


# Demand


def test_watts_of_idle_gpus_reach_busy_ones_within_a_period() -> None:
    host = Bench(config())
    host.tick(at(0.0))
    host.tick(at(1.0), budget(4000, 1, at(1.0), lease_s=300))
    host.gpus[0].load_mw = host.gpus[1].load_mw = 60 * W
    host.until(at(60.0))
    assert host.limits == [200, 200, 700, 700]
    host.gpus[0].load_mw = 650 * W
    host.tick(at(61.0))
    assert host.limits == [533, 200, 533, 533]


def test_a_donor_keeps_a_reserve_above_its_draw() -> None:
    host = Bench(config(objective=Objective.FAIR))
    host.tick(at(0.0), budget(4000, 1, at(0.0), lease_s=300))
    host.gpus[0].load_mw = 240 * W
    host.until(at(60.0))
    assert host.limits == [260, 513, 513, 513]


def test_for_throughput_the_reserve_is_small_once_the_draw_is_known_and_others_are_short() -> None:
    """Watts above what a GPU draws do no work there; where nobody is short, it keeps them."""
    host = Bench(config())
    host.tick(at(0.0), budget(4000, 1, at(0.0), lease_s=300))
    host.gpus[0].load_mw = 240 * W
    host.until(at(60.0))
    assert host.limits == [256, 514, 514, 514]
    for other in host.gpus[1:]:
        other.load_mw = 300 * W
    host.until(at(120.0))
    assert host.limits[0] >= 260


def test_gpus_of_one_job_share_one_limit() -> None:
    job = {uuid(i): GpuPolicy(job="train") for i in (0, 1)}
    host = Bench(config(by_uuid=job))
    host.tick(at(0.0), budget(4000, 1, at(0.0), lease_s=300))
    host.gpus[1].load_mw = 100 * W
    host.gpus[3].load_mw = 60 * W
    host.until(at(60.0))
    assert host.limits == [533, 533, 533, 200]


def test_a_higher_overhead_leaves_less_for_the_gpus() -> None:
    host = at_work()
    decision = host.tick(at(110.0), overhead=OverheadSample(600 * W, 110.0, "rapl"))
    assert (decision.overhead_mw, decision.gpu_budget_mw) == (600 * W, 1400 * W)
    assert host.limits == [350] * 4


def test_only_as_many_small_cuts_are_made_as_the_budget_needs() -> None:
    """1995 W less 200 W are 448 W each; three cuts of 2 W are enough, and the fourth GPU stays."""
    host = at_work()
    decision = host.tick(at(110.0), operator_mw=3990 * W)
    assert host.limits == [448, 448, 448, 450]
    assert [target.steps[-1].rule for target in decision.targets] == ["fair_share"] * 3 + ["dead_band"]
    assert [target.limit_mw for target in decision.targets] == [watts * W for watts in host.limits]
