"""Accounting `measured`: what idle GPUs do not draw is used by others of the host, and given back at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from powerd.core.confirm import confirm
from powerd.core.decide import Decision, fits
from powerd.core.gpus.charge import Accounting, AccountingRules
from powerd.core.gpus.plan import DeadBand
from powerd.core.leases.leases import Leases
from powerd.core.model import Capability, EventReason, GpuReading, GpuState, Now
from powerd.core.rack.failsafe import Phase
from powerd.core.state import Config, initial_state
from tests.core.bench import Bench, BenchGpu
from tests.core.make import W, at, budget, config, rules, uuid
from tests.core.make_leases import EPOCH, RACK, RULES

MEASURED = AccountingRules(Accounting.MEASURED, most_mw=1000 * W)
# An idle GPU that draws 70 W is charged 80.2 W of its 200 W.
PART_W = 119.8


@dataclass
class Board(BenchGpu):
    """A GPU with an energy counter, which goes on as it draws."""

    energy_mj: float = 0.0
    asleep: bool = False  # its counter does not move

    def read(self, now: Now) -> GpuReading:
        """Return a reading."""
        before = self.sampled
        reading = super().read(now)
        if before is not None and not self.asleep:
            self.energy_mj += (reading.draw_mw or 0) * (now.boot_s - before.boot_s)
        return replace(reading, energy_mj=round(self.energy_mj))


def measured(most: int = 1000, of: Config | None = None) -> Config:
    """Return the configuration of h1 of the example rack, at most so many watts above its budget."""
    rules = replace(MEASURED, most_mw=most * W)
    return replace(of or config(), accounting=rules)


def host(of: Config | None = None, *, watts: float = 3000) -> Bench:
    """Return h1 at 100 s: GPUs 0 and 1 have been idle for a minute, 2 and 3 want all they can get.

    A budget of 3000 W is 1300 W for its GPUs: 200 W for each that is idle, and 450 W for the others.
    """
    of = replace(of or measured(), dead_band=DeadBand(0, 0.0))
    bench = Bench(of, [Board(i, load_mw=(70 if i < 2 else 900) * W) for i in range(4)])
    bench.state = initial_state(at(0.0), leases=Leases(epoch=EPOCH))
    bench.tick(at(40.0))
    bench.tick(at(40.1), budget(watts, 1, at(40.1), lease_s=300))
    bench.until(at(100.0))
    return bench


def excess_w(decision: Decision) -> tuple[float, float]:
    """Return what is granted above the budget, and the worst case."""
    return decision.excess.granted_mw / W, decision.excess.worst_mw / W


def test_provable_charges_an_idle_gpu_with_its_limit() -> None:
    bench = host(config())
    decision = bench.tick(at(101.0))
    assert bench.limits == [200, 200, 450, 450]
    assert excess_w(decision) == (0, 0)
    assert "measured" not in rules(decision.host_steps)
    assert sum(target.counted_mw for target in decision.targets) == 1300 * W


def test_what_idle_gpus_do_not_draw_is_used_by_others() -> None:
    bench = host()
    decision = bench.tick(at(101.0))
    assert bench.limits == [200, 200, 569, 569]
    assert decision.gpu_budget_mw == 1300 * W
    assert excess_w(decision) == (2 * PART_W, 2 * PART_W)
    assert decision.compliant
    assert sum(target.counted_mw for target in decision.targets) <= 1300 * W
    step = decision.host_steps[-1]
    assert (step.rule, step.mw, step.source) == ("measured", 1300 * W + 239_600, "host.accounting")
    assert "239.6 W less than their limits" in step.note
    assert f"for {MEASURED.worst_s:g} s at the most" in step.note


@pytest.mark.parametrize(("most", "limit"), [(0, 450), (50, 475), (200, 550), (239.6, 569), (500, 569)])
def test_the_operator_bounds_how_far_limits_sum_up_above_the_budget(most: float, limit: int) -> None:
    of = replace(config(), accounting=replace(MEASURED, most_mw=round(most * W)))
    bench = host(of)
    decision = bench.tick(at(101.0))
    assert bench.limits == [200, 200, limit, limit]
    assert sum(bench.limits) <= 1300 + most
    assert decision.excess.worst_mw <= most * W


def test_nothing_is_granted_that_nobody_wants() -> None:
    bench = host(watts=4200)  # 1900 W for the GPUs, of which 1800 W are wanted
    decision = bench.tick(at(101.0))
    assert excess_w(decision) == (0, 0)
    assert sum(bench.limits) == 1900


def test_no_more_is_granted_than_is_wanted() -> None:
    bench = host(watts=3900)  # 1750 W for the GPUs: 50 W less than is wanted
    decision = bench.tick(at(101.0))
    assert bench.limits == [200, 200, 700, 700]
    assert excess_w(decision) == (50, 50)


def test_a_gpu_that_wakes_has_its_watts_back_in_the_iteration_that_sees_it() -> None:
    bench = host()
    bench.gpus[0].load_mw = 900 * W
    assert sum(bench.limits) > 1300
    decision = bench.tick(at(101.0))
    assert bench.limits == [406, 200, 406, 406]
    assert sum(bench.limits) <= 1300 + PART_W  # the other one is still idle
    assert excess_w(decision)[0] == PART_W
    bench.gpus[1].load_mw = 900 * W
    decision = bench.tick(at(102.0))
    assert bench.limits == [325, 325, 325, 325]
    assert excess_w(decision)[0] == 0


def test_a_claw_back_cuts_before_it_raises() -> None:
    bench = host()
    before_mw = sum(gpu.limit_mw for gpu in bench.gpus)
    bench.gpus[0].load_mw = bench.gpus[1].load_mw = 900 * W
    bench.tick(at(101.0))
    assert max(bench.sums_mw) == before_mw
    assert any(after < earlier for earlier, after in pairwise(bench.sums_mw))


def test_the_worst_case_holds_until_boards_have_followed_the_cuts() -> None:
    bench = host()
    bench.gpus[0].load_mw = bench.gpus[1].load_mw = 900 * W
    told = [excess_w(bench.tick(at(101.0 + s))) for s in range(6)]
    assert MEASURED.cut_s == 4.0
    assert told == [(0, 2 * PART_W)] * 4 + [(0, 0)] * 2


def test_a_lower_grant_that_ends_soon_after_a_higher_one_is_not_forgotten() -> None:
    bench = host()
    told = []
    for second, gpu in ((1, 0), (4, 1)):
        bench.gpus[gpu].load_mw = 900 * W
        told += [excess_w(bench.tick(at(100.0 + second + s)))[1] for s in range(3)]
    told += [excess_w(bench.tick(at(107.0 + s)))[1] for s in range(2)]
    assert told == [2 * PART_W] * 4 + [PART_W] * 3 + [0]


UNUSUAL = [
    ({"state": GpuState.HUNG}, "hung"),
    ({"state": GpuState.LOST}, "lost"),
    ({"capability": Capability.READABLE}, "its limit can only be read"),
    ({"out_of_band_mw": 150 * W}, "limited out of band"),
    ({"limit_mw": 180 * W}, "somebody else wrote a lower limit"),
    ({"limit_mw": 300 * W}, "somebody else wrote a higher limit"),
    ({"reasons": EventReason.SW_THERMAL}, "held back by heat"),
    ({"asleep": True}, "its energy counter does not move"),
]


@pytest.mark.parametrize(("change", "why"), UNUSUAL, ids=[why for _, why in UNUSUAL])
def test_a_gpu_that_is_not_simply_idle_costs_its_limit(change: dict[str, object], why: str) -> None:
    bench = host()
    for name, value in change.items():
        setattr(bench.gpus[0], name, value)
    decision = bench.tick(at(101.0))
    assert excess_w(decision)[0] == PART_W, why
    assert sum(bench.limits) <= 1300 + PART_W or bench.gpus[0].limit_mw > 200 * W


def test_a_gpu_that_refuses_a_cut_costs_what_it_has() -> None:
    bench = host()
    bench.gpus[2].refuses = True
    bench.gpus[0].load_mw = 900 * W
    decision = bench.tick(at(101.0))
    assert sum(bench.limits) <= 1300 + PART_W
    assert bench.limits[2] == 569
    assert decision.excess.granted_mw == PART_W * W


@pytest.mark.parametrize(("late_s", "granted"), [(1.4, 2 * PART_W), (1.6, 0)])
def test_an_old_reading_is_charged_no_more(late_s: float, granted: float) -> None:
    """The loop runs after one and a half periods also when the guard does not answer."""
    bench = host()
    readings = bench.read(at(101.0))
    bench.read = lambda now: readings  # type: ignore[method-assign]
    bench.tick(at(101.0))
    assert excess_w(bench.tick(at(101.0 + late_s)))[0] == granted


@pytest.mark.parametrize(
    "change",
    [
        lambda reading: replace(reading, energy_mj=None),
        lambda reading: replace(reading, draw_mw=None),
        lambda reading: replace(reading, pending_mw=200 * W),
    ],
    ids=["no counter", "no draw", "a write under way"],
)
def test_a_reading_that_leaves_doubt_is_charged_in_full(change: Callable[[GpuReading], GpuReading]) -> None:
    bench = host()
    first, *others = bench.read(at(101.0))
    readings = (change(first), *others)
    bench.read = lambda now: readings  # type: ignore[method-assign]
    assert excess_w(bench.tick(at(101.0)))[0] == PART_W


def test_an_idle_gpu_whose_draw_rises_a_little_is_charged_more_at_once() -> None:
    bench = host()
    bench.gpus[0].load_mw = 90 * W
    decision = bench.tick(at(101.0))
    assert decision.targets[0].demand == "idle"
    assert excess_w(decision)[0] == pytest.approx(PART_W + 200 - (90 * 1.06 + 6))


def test_what_hung_gpus_keep_of_a_grant_is_told_until_they_answer() -> None:
    bench = host(watts=2400)  # 1000 W for the GPUs
    assert bench.limits == [200, 200, 419, 419]
    for gpu in bench.gpus:
        gpu.load_mw = 900 * W
    bench.gpus[2].state = bench.gpus[3].state = GpuState.HUNG
    told = [bench.tick(at(101.0 + s)).excess for s in range(10)]
    assert [excess.granted_mw for excess in told] == [0] * 10
    assert told[-1].worst_mw == (sum(bench.limits) - 1000) * W == 238 * W
    assert told[-1].drawn_mj - told[-2].drawn_mj == 238 * W
    bench.gpus[2].state = bench.gpus[3].state = GpuState.OK
    bench.until(at(120.0))
    decision = bench.tick(at(121.0))
    assert (sum(bench.limits), decision.excess.worst_mw) == (1000, 0)


def test_without_the_guard_the_worst_case_holds_until_it_has_fallen_back() -> None:
    bench = host()
    bench.read = lambda now: ()  # type: ignore[method-assign]
    told = {s: excess_w(bench.tick(at(100.0 + s))) for s in range(1, 12)}
    assert {granted for granted, _ in told.values()} == {0}
    until_s = 1 + MEASURED.hold_s + MEASURED.cut_s
    assert [s for s, (_, worst) in told.items() if worst == 2 * PART_W] == list(range(1, int(until_s)))
    assert told[11] == (0, 0)


# When nothing is granted


def test_in_failsafe_every_gpu_costs_its_limit() -> None:
    bench = host()
    decision = bench.until(at(345.0))  # the lease of 300 s is over
    assert decision.phase is Phase.FAILSAFE
    assert sum(bench.limits) <= 1300
    assert excess_w(decision)[0] == 0


def test_before_a_controller_is_heard_every_gpu_costs_its_limit() -> None:
    bench = host()
    bench.restart(at(101.0))
    decision = bench.until(at(160.0))
    assert [target.demand for target in decision.targets] == ["idle", "idle", "capped", "capped"]
    assert excess_w(decision) == (0, 0)
    assert sum(bench.limits) <= 1300 + 2 * PART_W  # as they were found
    decision = bench.tick(at(161.0), budget(3000, 2, at(161.0), lease_s=300))
    assert excess_w(decision)[0] == 2 * PART_W


def test_a_hardware_brake_ends_it() -> None:
    bench = host()
    bench.gpus[3].reasons = EventReason.HW_POWER_BRAKE
    decision = bench.tick(at(101.0))
    assert excess_w(decision)[0] == 0
    assert sum(bench.limits) <= 1300


def test_a_budget_below_the_floors_leaves_every_gpu_at_its_floor() -> None:
    bench = host()
    decision = bench.tick(at(101.0), budget(1900, 2, at(101.0)))
    assert decision.infeasible_mw > 0
    assert excess_w(decision)[0] == 0
    assert bench.limits == [200] * 4


def test_a_cut_is_obeyed_at_once_down_to_what_is_charged() -> None:
    bench = host()
    decision = bench.tick(at(101.0), budget(2600, 2, at(101.0)))
    assert decision.gpu_budget_mw == 1100 * W
    assert sum(bench.limits) <= 1100 + 2 * PART_W
    assert bench.limits == [200, 200, 469, 469]
    assert bench.tick(at(102.0)).compliant


# What others count on


def test_the_fallback_is_provable() -> None:
    bench = host()
    decision = bench.tick(at(101.0))
    assert sum(bench.limits) > 1300
    assert sum(write.mw for write in decision.plan.fallback) <= 1300 * W
    assert {write.uuid for write in decision.plan.fallback} == {uuid(i) for i in range(4)}


def test_what_is_said_to_peers_is_as_with_provable_but_for_the_worst_case() -> None:
    said = {}
    for mode in (Accounting.PROVABLE, Accounting.MEASURED):
        of = replace(config(of=RACK, leases=RULES), accounting=replace(MEASURED, mode=mode))
        bench = host(of)
        bench.tick(at(101.0))
        said[mode] = bench.message
    provable, measured = said[Accounting.PROVABLE], said[Accounting.MEASURED]
    assert provable is not None
    assert measured is not None
    assert measured.worst_case_mw is not None
    assert measured.worst_case_mw == (200 + sum(bench.limits)) * W > (provable.worst_case_mw or 0)
    assert replace(measured, worst_case_mw=provable.worst_case_mw, want_mw=provable.want_mw) == provable
    assert measured.over_mw == 0


def test_what_is_above_the_grant_is_told_to_peers() -> None:
    of = replace(config(of=RACK, leases=RULES), accounting=MEASURED)
    bench = host(of)
    decision = bench.tick(at(101.0))
    may_draw_mw = sum(gpu.limit_mw for gpu in bench.gpus) + 200 * W
    bench.gpus[3].limit_mw += 100 * W
    later = at(110.0)
    message, _ = confirm(decision, bench.read(later), bench.state, later, of)
    assert message is not None
    room_mw = decision.standing.cap_mw + decision.excess.granted_mw - may_draw_mw
    assert message.over_mw == 100 * W - room_mw


def test_limits_above_the_grant_are_not_compliant() -> None:
    bench = host()
    decision = bench.tick(at(101.0))
    readings = bench.read(at(101.0))
    limits_mw = decision.gpu_budget_mw + decision.excess.granted_mw
    assert fits(readings, limits_mw)
    bench.gpus[3].limit_mw += 2 * W
    assert not fits(bench.read(at(101.0)), limits_mw)


def test_the_times_are_those_of_the_loop_the_guard_and_the_boards() -> None:
    rules = AccountingRules(period_s=2.0, hold_s=7.0, driver_s=0.5, settle_s=3.0)
    assert rules.claw_back_s == 2 * 2.0 + 0.5 + 3.0
    assert rules.worst_s == 2 * 2.0 + 7.0 + 0.5 + 3.0
