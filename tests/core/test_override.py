"""An operator's word on one GPU: served before all others, never beyond the budget, and always at an end."""

import pytest

from powerd.core.decide import Decision
from powerd.core.gpus.targets import GpuTarget
from powerd.core.leases.leases import Leases
from powerd.core.model import GpuState
from powerd.core.orders.override import Override
from powerd.core.state import Config, initial_state
from powerd.core.topology import GpuPolicy
from tests.core.bench import Bench
from tests.core.make import W, at, budget, config, rules, uuid
from tests.core.make_leases import EPOCH, RACK, RULES, says
from tests.core.test_accounting import host as host_that_idles

END_S = 400.0


def override(index: int, watts: float, end_s: float = END_S) -> Override:
    """Return an operator's word on one GPU."""
    return Override(uuid(index), round(watts * W), end_s, "training run", "anna")


def host(watts: float = 4000, of: Config | None = None) -> Bench:
    """Return h1 at 100 s, whose four GPUs want all they can get; 4000 W are 450 W for each of them."""
    bench = Bench(of or config())
    bench.tick(at(99.0))
    bench.tick(at(100.0), budget(watts, 1, at(100.0), lease_s=300))
    bench.tick(at(100.1))
    return bench


def target(decision: Decision, index: int) -> GpuTarget:
    return next(each for each in decision.targets if each.uuid == uuid(index))


def chain(decision: Decision, index: int) -> list[tuple[str, int, str]]:
    return [(step.rule, step.mw // W, step.source) for step in target(decision, index).steps]


@pytest.mark.parametrize(
    ("watts", "limits"),
    [(600, [600, 400, 400, 400]), (300, [300, 500, 500, 500]), (450, [450] * 4), (447, [447, 450, 450, 450])],
)
def test_the_gpu_has_exactly_these_watts_and_the_others_share_the_rest(watts: int, limits: list[int]) -> None:
    """To the watt: the dead-band is for the others."""
    bench = host()
    bench.tick(at(101.0), overrides=(override(0, watts),))
    assert bench.limits == limits


def test_the_chain_names_who_asked_why_and_until_when() -> None:
    step = target(host().tick(at(101.0), overrides=(override(0, 600),)), 0).steps[-1]
    assert (step.rule, step.mw, step.source) == ("override", 600 * W, "anna")
    assert (step.note, step.until_boot_s) == ("training run", END_S)


def test_it_is_what_the_gpu_wants_whatever_its_work() -> None:
    bench = host()
    bench.gpus[0].load_mw = 60 * W
    bench.until(at(180.0))
    assert target(bench.tick(at(181.0), overrides=(override(0, 600),)), 0).want_mw == 600 * W
    assert bench.limits[0] == 600


def test_it_is_served_before_every_priority_class() -> None:
    bench = host(3400, config(by_uuid={uuid(1): GpuPolicy(priority=-1000)}))
    bench.tick(at(101.0), overrides=(override(0, 700),))
    assert bench.limits == [700, 400, 200, 200]


def test_the_budget_wins_and_the_floors_of_the_others_are_kept() -> None:
    bench = host(2600)
    decision = bench.tick(at(101.0), overrides=(override(0, 700),))
    assert bench.limits == [500, 200, 200, 200]
    assert chain(decision, 0) == [("override", 700, "anna"), ("fair_share", 500, "powerd")]


def test_a_cut_of_the_budget_beats_it_at_once() -> None:
    bench = host()
    orders = (override(0, 700),)
    bench.tick(at(101.0), overrides=orders)
    assert bench.limits[0] == 700
    bench.tick(at(102.0), budget(2200, 2, at(102.0)), overrides=orders)
    assert bench.limits == [300, 200, 200, 200]


def test_failsafe_beats_it() -> None:
    bench = host()
    orders = (override(0, 700, 900.0),)
    bench.tick(at(101.0), overrides=orders)
    bench.tick(at(401.0), overrides=orders)
    assert bench.limits == [700, 200, 200, 200]
    assert sum(bench.limits) == 1300


def test_two_of_them_share_what_does_not_suffice_for_both() -> None:
    bench = host(3400)
    bench.tick(at(101.0), overrides=(override(0, 600), override(1, 600)))
    assert bench.limits == [550, 550, 200, 200]


def test_the_later_one_for_a_gpu_counts() -> None:
    bench = host()
    bench.tick(at(101.0), overrides=(override(0, 600), override(0, 300)))
    assert bench.limits[0] == 300


def test_it_ends_to_the_second_and_the_loop_is_woken_for_it() -> None:
    bench = host()
    orders = (override(0, 600, 110.0),)
    decision = bench.tick(at(101.0), overrides=orders)
    assert decision.wake_boot_s == 110.0
    bench.tick(at(109.99), overrides=orders)
    assert bench.limits[0] == 600
    decision = bench.tick(at(110.0), overrides=orders)
    assert bench.limits == [450] * 4
    assert rules(target(decision, 0).steps) == ["fair_share"]
    assert decision.wake_boot_s != 110.0


@pytest.mark.parametrize(
    ("watts", "policy", "limit", "expected"),
    [
        (900, GpuPolicy(), 700, [("override", 900, "anna"), ("ceiling", 700, "gpu")]),
        (700, GpuPolicy(), 700, [("override", 700, "anna")]),
        (
            600,
            GpuPolicy(ceiling_mw=500 * W),
            500,
            [("override", 600, "anna"), ("ceiling", 500, "gpu.ceiling_watts")],
        ),
        (100, GpuPolicy(), 200, [("override", 100, "anna"), ("floor", 200, "gpu")]),
        (300.7, GpuPolicy(), 300, [("override", 300, "anna")]),
    ],
)
def test_it_cannot_leave_the_range_of_the_gpu(
    watts: float, policy: GpuPolicy, limit: int, expected: list[tuple[str, int, str]]
) -> None:
    bench = host(6000, config(by_uuid={uuid(0): policy}))
    bench.until(at(200.0))
    decision = bench.tick(at(201.0), overrides=(override(0, watts),))
    assert bench.limits[0] == limit
    assert chain(decision, 0) == expected


def test_a_gpu_that_cannot_be_limited_has_no_use_for_it() -> None:
    bench = host()
    bench.gpus[0].state = GpuState.LOST
    decision = bench.tick(at(101.0), overrides=(override(0, 300), override(9, 300)))
    assert rules(target(decision, 0).steps) == ["not_controllable"]


def test_the_gpu_leaves_its_job_and_comes_back_to_it() -> None:
    """The others of the job stay alike."""
    bench = host(of=config(by_uuid={uuid(i): GpuPolicy(job="llm") for i in range(3)}))
    assert bench.limits == [450] * 4
    orders = (override(0, 300, 110.0),)
    bench.tick(at(101.0), overrides=orders)
    assert bench.limits == [300, 500, 500, 500]
    bench.tick(at(110.0), overrides=orders)
    assert bench.limits == [450] * 4


def test_measured_accounting_grants_no_more_for_it() -> None:
    plain, ordered = host_that_idles(), host_that_idles()
    without = plain.tick(at(101.0))
    decision = ordered.tick(at(101.0), overrides=(override(2, 700),))
    assert decision.excess.granted_mw == without.excess.granted_mw > 0
    assert ordered.limits[2] == 700
    assert sum(ordered.limits) * W <= decision.gpu_budget_mw + decision.excess.granted_mw


def test_an_idle_gpu_with_one_is_charged_as_without_at_its_floor() -> None:
    """Its limit is higher, and what it does not draw of its floor can still be used by others."""
    bench = host_that_idles()
    decision = bench.tick(at(101.0), overrides=(override(0, 300),))
    assert bench.limits[0] == 300
    assert sum(bench.limits) * W <= decision.gpu_budget_mw + decision.excess.granted_mw
    assert target(decision, 0).counted_mw < 300 * W


def test_the_host_borrows_for_it() -> None:
    """What it asks of its peers is what its GPUs want, this one included."""
    of = config(of=RACK, leases=RULES)
    bench = Bench(of, state=initial_state(at(0.0), leases=Leases(epoch=EPOCH)))
    for each in bench.gpus:
        each.load_mw = 60 * W
    bench.tick(at(20.0))
    bench.tick(at(20.5), budget(6000, 1, at(20.5), lease_s=300))
    bench.until(at(100.0))
    before_mw = bench.tick(at(100.1)).standing.want_mw
    peer = says("h2", 1000, at=100.5, cap=6000, entitlement=2000, want=2000, roster=of.roster)
    decision = bench.tick(at(100.6), states=(peer,), overrides=(override(0, 700),))
    assert decision.standing.want_mw == before_mw + 500 * W


def test_without_any_nothing_is_different() -> None:
    one, other = host(), host()
    ended = (override(0, 600, 50.0),)
    assert one.tick(at(101.0)) == other.tick(at(101.0), overrides=ended)
    assert one.state == other.state
