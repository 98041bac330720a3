"""Another configuration while the daemon runs: what it takes goes at once, what it gives is climbed to."""

from dataclasses import replace

import pytest

from powerd.core.gpus.overhead import OverheadSample
from powerd.core.leases.leases import Leases, counted_mw
from powerd.core.leases.memory import roster_digest
from powerd.core.rack.ramp import RampRules
from powerd.core.reconfigure import reconfigured
from powerd.core.state import Config, initial_state
from powerd.core.topology import GpuPolicy, Host, Rack
from tests.core.bench import Bench
from tests.core.make import W, at, budget, config, rack, rules, uuid
from tests.core.make_leases import EPOCH, RACK, RULES, lent_to_us, promise, says

# h1 has three times the share of h2: half as much again above its floor as in the example.
LARGER_SHARE = (Host("h1", 3.0, 1000 * W), Host("h2", 1.0, 1000 * W))


def host(of: Config | None = None, *, watts: int = 4000) -> Bench:
    """Return h1 under a budget, which nothing holds back any more; a raise takes 10 W/s after 5 s."""
    bench = Bench(of or config())
    bench.tick(at(99.0))
    bench.tick(at(99.5), budget(watts, 1, at(99.5), lease_s=300))
    bench.until(at(100.0))
    return bench


def given(bench: Bench, new: Config, boot_s: float = 100.0) -> None:
    """Have the host go by another configuration from its next decision on."""
    bench.state = reconfigured(bench.state, bench.config, new, at(boot_s))
    bench.config = new


def watts_of_gpus(bench: Bench) -> int:
    return sum(bench.limits)


# Cuts


def test_a_lower_hard_limit_is_a_cut_at_once() -> None:
    bench = host(watts=6000)
    assert bench.limits == [700] * 4
    given(bench, config(of=rack(hard_limit=4000)))
    decision = bench.tick(at(100.2))
    assert bench.limits == [450] * 4
    assert rules(decision.rack_steps)[0] == "hard_limit"


def test_a_lower_failsafe_lowers_the_fallback_of_the_next_plan() -> None:
    bench = host()
    given(bench, config(of=rack(failsafe=2400)))
    decision = bench.tick(at(100.2))
    assert bench.limits == [450] * 4
    assert [write.mw // W for write in decision.plan.fallback] == [250] * 4


def test_a_smaller_share_and_a_lower_ceiling_are_cuts_at_once() -> None:
    bench = host()
    given(bench, config(of=rack(hosts=(Host("h1", 1.0, 1000 * W), Host("h2", 3.0, 1000 * W)))))
    bench.tick(at(100.2))
    assert bench.limits == [325] * 4
    given(bench, config(of=bench.config.rack, by_uuid={uuid(2): GpuPolicy(ceiling_mw=300 * W)}))
    bench.tick(at(100.4))
    assert bench.limits[2] == 300
    assert watts_of_gpus(bench) <= 1300


# Raises


def test_a_higher_hard_limit_is_climbed_to() -> None:
    bench = host(config(of=rack(hard_limit=4000)), watts=6000)
    assert bench.limits == [450] * 4
    given(bench, config())
    bench.tick(at(101.0), budget(6000, 2, at(101.0), lease_s=300))
    assert bench.limits == [450] * 4
    bench.until(at(116.0))
    assert 1800 < watts_of_gpus(bench) <= 1800 + 10 * 10 / 2
    bench.until(at(330.0))
    assert bench.limits == [700] * 4


MORE = {
    "a smaller guard band": (config(of=rack(guard_band_pct=10)), config()),
    "less overhead of the rack": (config(of=rack(overhead=400)), config()),
    "less overhead of the host": (config(overhead=400), config()),
    "a larger share": (config(), config(of=rack(hosts=LARGER_SHARE))),
}


@pytest.mark.parametrize(("before", "after"), MORE.values(), ids=MORE)
def test_whatever_gives_the_host_more_gives_it_along_the_ramp(before: Config, after: Config) -> None:
    bench, fresh = host(before), host(after)
    was = watts_of_gpus(bench)
    given(bench, after)
    bench.tick(at(100.2))
    bench.until(at(104.0))
    assert was - 2 <= watts_of_gpus(bench) <= was
    bench.until(at(230.0))
    # A raise smaller than the dead-band is not written.
    assert watts_of_gpus(fresh) - 4 * 5 <= watts_of_gpus(bench) <= watts_of_gpus(fresh)
    assert was < watts_of_gpus(fresh) - 100


def test_a_host_that_already_has_what_it_may_have_climbs_nowhere() -> None:
    bench = host()
    given(bench, config(overhead=200, watts_per_s=1.0))
    assert bench.state.ramp.cap_mw == 4000 * W
    assert bench.tick(at(100.2)).rack_cap_mw == 4000 * W


def test_a_measured_overhead_is_not_forgotten_where_none_is_configured_any_more() -> None:
    bench = host(config(overhead=400))
    bench.tick(at(100.0), overhead=OverheadSample(400 * W, 100.0, "hwmon"))
    given(bench, config(overhead=None))
    decision = bench.tick(at(100.2))
    assert decision.overhead_mw == 400 * W
    assert bench.state.ramp.cap_mw == 4000 * W


def test_a_steeper_ramp_counts_from_now_on() -> None:
    bench = host()
    bench.tick(at(101.0), budget(6000, 2, at(101.0), lease_s=300))
    bench.until(at(116.0))
    before_mw = bench.state.ramp.cap_mw or 0
    assert before_mw == pytest.approx(4100 * W, abs=5 * W)
    given(bench, replace(config(), ramp=RampRules(100 * W)), boot_s=116.0)
    bench.tick(at(116.0))
    assert bench.state.ramp.cap_mw == before_mw
    bench.tick(at(117.0))
    assert bench.state.ramp.cap_mw == before_mw + 100 * W


def test_what_a_restart_may_take_at_once_is_worth_no_more_after_a_reload() -> None:
    """Nobody was heard since the start: the cap of before it may come back at once, with its own worth."""
    bench = Bench(config(of=rack(guard_band_pct=10)), state=initial_state(at(0.0), cap_mw=4000 * W))
    bench.tick(at(1.0))
    was = bench.state.ramp.free_mw
    given(bench, config(), boot_s=1.0)
    free_mw = bench.state.ramp.free_mw
    assert was == 4000 * W
    assert free_mw == pytest.approx(3600 * W, abs=10)


def test_a_reload_before_the_first_decision_finds_nothing_to_keep() -> None:
    state = initial_state(at(0.0))
    assert reconfigured(state, config(), config(of=rack(guard_band_pct=1)), at(0.0)).ramp == state.ramp


def test_no_cap_comes_out_below_what_the_floors_need() -> None:
    bench = host(watts=2000)
    given(bench, config(of=rack(hosts=(Host("h1", 1.0, 1200 * W), Host("h2", 1.0, 1200 * W)))))
    assert bench.state.ramp.cap_mw == 2000 * W
    bench.tick(at(100.2))
    bench.until(at(160.0))
    assert bench.limits == [250] * 4


# Leases


def lending(of: Rack = RACK) -> Config:
    return config(of=of, leases=RULES)


def borrower() -> Bench:
    """Return h1 of the rack of three, which uses 400 W of h2's."""
    bench = Bench(lending(), state=initial_state(at(0.0), leases=Leases(epoch=EPOCH)))
    bench.tick(at(60.0))
    bench.tick(at(60.5), budget(6000, 1, at(60.5), lease_s=300))
    bench.until(at(100.0))
    leases = bench.state.leases
    lent = (lent_to_us(400, leases.seq, epoch=leases.epoch),)
    peer = says("h2", 1, at=100.2, cap=6000, entitlement=2000, want=1600, roster=lending().roster, lends=lent)
    bench.tick(at(100.2), states=(peer,))
    assert bench.limits == [550] * 4
    return bench


def test_a_roster_that_hosts_must_agree_on_ends_what_is_borrowed_and_is_dealt_with_as_after_a_start() -> None:
    bench = borrower()
    before = bench.state.leases
    lower = replace(RACK, failsafe_mw=4200 * W)
    given(bench, lending(lower), boot_s=100.3)
    bench.tick(at(100.4))
    after = bench.state.leases
    assert bench.limits == [450] * 4
    assert (after.peers, after.formers) == ({}, (RACK,))
    assert after.epoch > before.epoch
    assert bench.message is not None
    assert bench.message.roster == roster_digest(lower, RULES)


def test_what_is_lent_counts_on_under_another_roster() -> None:
    bench = Bench(lending(), state=initial_state(at(0.0), leases=Leases(promises=(promise("h2", 500, 7),))))
    given(bench, lending(replace(RACK, failsafe_mw=4200 * W)), boot_s=1.0)
    assert counted_mw(bench.state.leases) == {"h2": 500 * W}


def test_the_least_of_both_rosters_holds_until_all_hosts_have_the_new_one() -> None:
    bench = borrower()
    larger = replace(RACK, hosts=(Host("h1", 2.0, 1000 * W), *RACK.hosts[1:]))
    given(bench, lending(larger), boot_s=100.3)
    bench.tick(at(100.4))
    bench.until(at(160.0))
    assert bench.limits == [450] * 4
    roster = lending(larger).roster
    said = [says(name, 9, at=161.0, cap=6000, roster=roster, want=1000) for name in ("h2", "h3")]
    bench.tick(at(161.0), states=tuple(said))
    assert bench.state.leases.formers == ()
    was = watts_of_gpus(bench)
    bench.tick(at(161.2))
    bench.until(at(165.0))
    assert was - 2 <= watts_of_gpus(bench) <= was
    bench.until(at(176.0))
    assert was < watts_of_gpus(bench) <= was + 10 * 10 / 2 + 1


def test_what_hosts_need_not_agree_on_costs_no_lease() -> None:
    bench = borrower()
    given(bench, replace(lending(), hold_s=4.0))
    bench.tick(at(100.4))
    assert bench.limits == [550] * 4
