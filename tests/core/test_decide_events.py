"""Grid events at the one door: what they make of a host's limits, with and without a controller."""

from dataclasses import replace
from itertools import pairwise

import pytest

from powerd.core.decide import Decision, decide
from powerd.core.events.grid_event import Action, Baseline, EventRamp, GridEvent, Level
from powerd.core.events.schedule import EventRules
from powerd.core.leases.leases import LeaseRules
from powerd.core.metering.meter import MeterReading, MeterRules, Quality
from powerd.core.model import Now
from powerd.core.rack.failsafe import Phase
from powerd.core.state import Config, Inputs
from tests.core.bench import Bench
from tests.core.make import W, at, budget, config, rack, rules, uuid
from tests.core.make_events import cut, event, limit, part, wall
from tests.core.test_decide import at_work


def names(decision: Decision) -> list[str]:
    return [notice.event for notice in decision.notices]


def heard(host: Bench, *events: GridEvent, boot_s: float = 101.0) -> Decision:
    """Let the host hear events now."""
    return host.tick(
        at(boot_s),
        events=tuple(replace(one, received=at(boot_s), issued_at_s=wall(boot_s)) for one in events),
    )


def governed(host: Bench, until_s: float, *, since_s: float = 101.0, every_s: float = 1.0) -> list[float]:
    """Go on with a controller that renews its budget of 4000 W; return the rack cap of each tick."""
    caps, boot_s = [], since_s
    while boot_s < until_s:
        boot_s += every_s
        messages = (budget(4000, round(boot_s), at(boot_s)),) if boot_s % 20 == 0 else ()
        caps.append(host.tick(at(boot_s), *messages).rack_cap_mw / W)
    return caps


def mw(watts: float) -> int:
    return round(watts * W)


# Cuts


def test_an_event_that_has_begun_is_obeyed_at_once_and_shown_in_the_chain() -> None:
    host = at_work(4000)
    decision = heard(host, event(part(50, 150, limit(3200))))
    assert host.limits == [350] * 4
    assert rules(decision.rack_steps)[:3] == ["hard_limit", "budget", "event"]
    step = decision.rack_steps[2]
    assert (step.mw, step.source, step.note, step.until_boot_s) == (
        3200 * W,
        "grid",
        "e1, mandatory, active",
        150.0,
    )
    assert "event_started" in names(decision)
    assert [status.key for status in decision.events] == ["grid/e1"]
    assert list(decision.schedule.held) == ["grid/e1"]


def test_the_host_wakes_exactly_at_the_next_boundary() -> None:
    host = at_work(4000)
    decision = heard(host, event(part(110.125, 120.25, limit(3200)), ramp=EventRamp(up_s=10)))
    wakes = []
    for _ in range(3):
        assert decision.wake_boot_s is not None
        wakes.append(decision.wake_boot_s)
        decision = host.tick(at(wakes[-1] + 1e-6))
    assert wakes == pytest.approx([110.125, 120.25, 130.25])
    assert decision.wake_boot_s == pytest.approx(160 - 0.25)  # the end of the lease
    assert host.limits == [350] * 4  # and then the rack's own ramp


def test_what_is_below_the_floors_goes_to_the_floors_and_says_so() -> None:
    host = at_work(4000)
    decision = heard(host, event(part(50, 150, limit(30))))
    assert host.limits == [200] * 4
    assert (decision.infeasible_mw, decision.compliant) == (1970 * W, False)
    assert {"infeasible_budget", "suspect_unit"} <= set(names(decision))


def test_a_budget_in_kilowatts_is_obeyed_and_suspected() -> None:
    host = at_work(4000)
    assert "suspect_unit" not in names(host.tick(at(101.0)))
    assert "suspect_unit" in names(host.tick(at(102.0), budget(4, 2, at(102.0))))
    assert host.limits == [200] * 4


# The way back


def test_a_long_event_is_followed_down_held_and_restored_without_a_rebound() -> None:
    """Fifteen minutes down by a quarter, three hours, ten minutes back; the rack's own ramp is steeper."""
    host = at_work(4000)
    ramp = EventRamp(down_s=900, up_s=600)
    heard(host, event(part(200, 200 + 900 + 10_800, cut(25)), ramp=ramp))
    before = governed(host, 200)
    down = governed(host, 1100, since_s=200)
    held = governed(host, 11_900, since_s=1100, every_s=20)
    back = governed(host, 12_600, since_s=11_900)
    assert set(before) == {4000}
    assert down == pytest.approx([4000 - n * 1000 / 900 for n in range(1, 901)], abs=0.01)
    assert set(held) == {3000}
    assert max(back) == 4000 == back[-1]
    steepest = max(b - a for a, b in pairwise(back))
    # After the jitter of the rack's own ramp (5 s) it catches up with the event's.
    assert steepest <= 10
    assert back[620:] == [4000] * 80
    assert all(now <= 3000 + n * 1000 / 600 + 0.01 for n, now in enumerate(back, start=1))


def test_a_sudden_event_is_followed_within_its_thirty_seconds() -> None:
    host = at_work(4000)
    heard(host, event(part(101, 1000, cut(30)), ramp=EventRamp(down_s=30)))
    assert governed(host, 131)[-1] == 2800
    assert host.limits == [300] * 4


def test_without_a_ramp_of_its_own_the_racks_ramp_bounds_the_way_back() -> None:
    host = at_work(4000)
    heard(host, event(part(101, 200, limit(3000))))
    governed(host, 199)
    back = governed(host, 320, since_s=199)
    assert back[:6] == [3000] * 6
    assert max(b - a for a, b in pairwise(back)) <= 10
    assert back[-1] == 4000


# Without a controller


def test_an_event_runs_to_its_end_when_the_controller_falls_silent_and_the_failsafe_holds_then() -> None:
    host = at_work(4000)
    heard(host, event(part(120, 400, limit(2600)), ramp=EventRamp(up_s=60)))
    assert host.until(at(150.0)).rack_cap_mw == 2600 * W
    silent = host.until(at(200.0))
    assert (silent.phase, silent.rack_cap_mw) == (Phase.FAILSAFE, 2600 * W)
    after = host.until(at(500.0))
    # Silence does not raise what held when it began.
    assert (after.phase, after.rack_cap_mw, after.events) == (Phase.FAILSAFE, 2600 * W, ())


@pytest.mark.parametrize("watts", [2400, 2900])
def test_an_event_that_begins_in_failsafe_holds(watts: float) -> None:
    host = at_work(4000)
    heard(host, event(part(300, 400, limit(watts)), ramp=EventRamp(up_s=60)))
    assert host.until(at(200.0)).rack_cap_mw == 3000 * W
    assert host.until(at(300.5)).rack_cap_mw == mw(watts)
    assert host.until(at(600.0)).rack_cap_mw == 3000 * W


def test_an_open_event_outlasts_the_controller_until_it_is_cancelled() -> None:
    host = at_work(4000)
    heard(host, event(part(101, None, limit(2500))))
    assert host.until(at(9000.0), every_s=50).rack_cap_mw == 2500 * W
    heard(host, event(part(101, None, limit(2500)), seq=2, cancelled=True), boot_s=9001.0)
    assert host.until(at(9200.0)).rack_cap_mw == 3000 * W


def test_an_event_at_the_second_at_which_the_lease_ends() -> None:
    """Both lower; neither hides the other."""
    for watts, cap in ((2600, 2600), (3500, 3000)):
        host = at_work(4000)
        heard(host, event(part(160, 300, limit(watts))))
        decision = host.until(at(160.0))
        assert (decision.phase, decision.rack_cap_mw) == (Phase.FAILSAFE, mw(cap))
        assert [status.key for status in decision.events] == ["grid/e1"]


def test_an_event_that_ends_at_the_second_at_which_the_lease_ends_raises_nothing() -> None:
    host = at_work(4000)
    heard(host, event(part(101, 160, limit(2500))))
    assert host.until(at(300.0)).rack_cap_mw == 2500 * W


def test_events_hold_before_any_controller_is_heard() -> None:
    host = Bench(config())
    host.tick(at(0.0), events=(event(part(-10, 100, limit(2400))),))
    assert host.limits == [250] * 4
    assert host.tick(at(1.0)).phase is Phase.INIT


def test_without_a_controller_events_are_counted_from_the_operators_own_budget() -> None:
    host = Bench(replace(config(), standing_mw=5000 * W))
    assert host.tick(at(0.0)).rack_cap_mw == 5000 * W
    decision = heard(host, event(part(101, 200, cut(20))))
    assert (decision.phase, decision.rack_cap_mw) == (Phase.LIMITED, 4000 * W)
    assert host.until(at(400.0)).rack_cap_mw == 5000 * W


def test_a_restart_in_the_middle_goes_on_from_the_same_baseline() -> None:
    host = at_work(4000)
    heard(host, event(part(101, 1000, cut(25)), ramp=EventRamp(up_s=100)))
    assert host.until(at(110.0)).rack_cap_mw == 3000 * W
    host.restart(at(120.0))
    assert host.tick(at(120.0)).rack_cap_mw == 3000 * W
    assert set(governed(host, 900, since_s=120, every_s=20)) == {3000}


def test_the_guard_falls_back_to_no_more_than_the_events_in_force() -> None:
    """Also to where an event leads that is still on its way down."""
    for level in (Level.RACK, Level.HOST):
        host = at_work(4000)
        watts = 2400 if level is Level.RACK else 1200
        decision = heard(host, event(part(101, 900, limit(watts)), level=level, ramp=EventRamp(down_s=600)))
        assert decision.rack_cap_mw > 3900 * W
        assert [write.mw // W for write in decision.plan.fallback] == [250] * 4


# Clocks


def test_a_wall_clock_that_is_set_moves_events_and_no_lease() -> None:
    host = at_work(4000)
    heard(host, event(part(1000, 2000, limit(3000))))
    ahead = host.tick(at(110.0, wall_offset_s=1000))
    assert (ahead.rack_cap_mw, ahead.phase) == (3000 * W, Phase.LIMITED)
    assert ahead.statement is not None
    assert ahead.statement.end_boot_s == 160.0
    back = host.tick(at(111.0))
    assert back.events == ()
    assert back.wake_boot_s == pytest.approx(160 - 0.25)
    assert host.tick(at(160.0, wall_offset_s=-1000)).phase is Phase.FAILSAFE


# One host


def of_two(**changes: object) -> Config:
    """Return h1 of the example rack, which lends and borrows."""
    return replace(config(leases=LeaseRules()), **changes)  # type: ignore[arg-type]


def test_an_event_for_this_host_lowers_it_alone_and_ends_its_dealings() -> None:
    """What the rack is asked for stays the same for the others; their watts may not make up for it."""
    host = at_work(4000, host=Bench(of_two()))
    assert host.tick(at(100.5)).place.is_leasing
    decision = heard(host, event(part(101, 200, limit(1500)), level=Level.HOST, targets=("h1",)))
    assert (decision.cap_mw, decision.entitlement_mw) == (1500 * W, 1500 * W)
    assert decision.place.asked_mw == 4000 * W
    assert not decision.place.is_leasing
    assert [step.rule for step in decision.rack_steps].count("event") == 1


def test_an_event_for_this_host_that_lowers_nothing_ends_its_dealings_too() -> None:
    """It may draw 2500 W and has a share of 2000 W: with what it borrowed it could draw more."""
    host = at_work(4000, host=Bench(of_two()))
    decision = heard(host, event(part(101, 200, limit(2500)), level=Level.HOST))
    assert decision.cap_mw == 2000 * W
    assert not decision.place.is_leasing


def test_an_event_for_another_host_is_nothing_to_this_one() -> None:
    host = at_work(4000, host=Bench(of_two()))
    decision = heard(host, event(part(101, 200, limit(1500)), level=Level.HOST, targets=("h2",)))
    assert (decision.cap_mw, decision.events) == (2000 * W, ())


def test_hosts_agree_on_where_an_event_leads_while_they_are_on_the_way() -> None:
    host = at_work(4000, host=Bench(of_two()))
    decision = heard(host, event(part(101, 900, limit(3000)), ramp=EventRamp(down_s=600)))
    assert decision.place.asked_mw == 3000 * W
    assert decision.place.cap_mw > 3900 * W
    assert decision.place.is_leasing


# What is not known


def test_a_feed_that_is_not_configured_leaves_the_failsafe_budget() -> None:
    host = at_work(4000)
    decision = heard(host, event(part(101, 200, limit(800_000)), level=Level.FEED, targets=("main-a",)))
    assert decision.rack_cap_mw == 3000 * W
    assert "event_unsplit" in names(decision)


def test_a_measured_baseline_is_the_mean_draw_of_the_ten_minutes_before() -> None:
    of = rack(hosts=rack().hosts[:1], failsafe=2000)
    host = Bench(config(of=of))
    for gpu in host.gpus:
        gpu.load_mw = 400 * W
    host.tick(at(0.0))
    for boot_s in range(0, 700, 20):
        host.tick(at(boot_s), budget(4000, boot_s, at(boot_s)))
    measured = Action(cut(50).kind, pct=50, baseline=Baseline.MEASURED)
    decision = heard(host, event(part(701, 900, measured)), boot_s=701.0)
    assert decision.draw.mw == 1800 * W
    assert decision.events[0].baseline_mw == pytest.approx(1800 * W, rel=0.01)
    assert decision.events[0].target_mw == pytest.approx(900 * W, rel=0.01)


def test_a_measured_baseline_that_is_not_known_is_the_budget() -> None:
    host = at_work(4000)
    decision = heard(host, event(part(101, 200, cut(25, Baseline.MEASURED))))
    assert decision.rack_cap_mw == 3000 * W
    assert "event_baseline_unknown" in names(decision)


# Meters


METERED = replace(
    config(of=rack(hosts=rack().hosts[:1], failsafe=2000)),
    meter=MeterRules(parts=("total",)),
    events=EventRules(),
)


def reading(watts: float, boot_s: float) -> MeterReading:
    return MeterReading("total", mw(watts), Quality.GOOD, boot_s)


def test_while_the_meter_is_not_known_nothing_is_raised_and_cuts_go_on() -> None:
    host = Bench(METERED)
    host.tick(at(0.0), meters=(reading(2000, 0.0),))
    host.tick(at(1.0), budget(3000, 1, at(1.0), lease_s=300), meters=(reading(2000, 1.0),))
    assert host.tick(at(2.0)).rack_cap_mw == 3000 * W
    host.tick(at(3.0), budget(4000, 2, at(3.0), lease_s=300))
    stuck = host.until(at(60.0))
    assert stuck.rack_cap_mw == 3000 * W
    assert [step.note for step in stuck.rack_steps if step.rule == "meter_unknown"] == [
        "no raise while nothing usable is heard of total"
    ]
    assert host.tick(at(61.0), budget(2500, 3, at(61.0))).rack_cap_mw == 2500 * W


def test_a_rack_that_starts_without_its_meter_stays_at_the_failsafe() -> None:
    host = Bench(METERED)
    host.tick(at(0.0))
    assert host.tick(at(1.0), budget(4000, 1, at(1.0))).rack_cap_mw == 2000 * W


def test_what_the_meter_shows_beyond_the_hosts_is_taken_off_the_budget() -> None:
    host = Bench(METERED)
    for boot_s in range(200):
        drawn = sum(min(gpu.load_mw, gpu.enforced_mw) for gpu in host.gpus) / W + 200
        host.tick(
            at(boot_s), budget(3000, boot_s + 1, at(boot_s)), meters=(reading(drawn + 100, float(boot_s)),)
        )
    decision = host.tick(at(200.0), meters=(reading(2900, 200.0),))
    assert 90 * W <= decision.meter.trim_mw <= 100 * W
    assert decision.entitlement_mw == 3000 * W - decision.meter.trim_mw
    assert decision.rack_steps[-1].rule == "meter_trim"


# Repeats


def test_the_same_moment_again_decides_the_same() -> None:
    host = at_work(4000)
    one = replace(event(part(101, 200, cut(25)), ramp=EventRamp(down_s=60)), received=at(120.0))
    inputs = Inputs(host.read(at(120.0)), events=(replace(one, issued_at_s=wall(120)),))
    first, state = decide(inputs, host.state, at(120.0), host.config)
    again, after = decide(replace(inputs, events=()), state, at(120.0), host.config)
    assert after == state
    assert again == first._replace(verdicts=(), notices=again.notices)


def test_an_agenda_of_events_that_are_all_forgotten_is_forgotten_too() -> None:
    """A host that slept for two days wakes to an event that it refuses; nothing falls due any more."""
    host = at_work(4000)
    heard(host, event(part(101, 200, limit(3000))))
    host.tick(at(110.0))
    slept = 2 * 86_400.0
    crowded = replace(host.config, events=EventRules(max_sources=0))
    late = replace(event(name="e2"), received=at(slept), issued_at_s=wall(slept))
    decision, state = decide(Inputs(host.read(at(slept)), events=(late,)), host.state, at(slept), crowded)
    assert (state.schedule.held, state.agenda, decision.wake_boot_s) == ({}, None, None)
    again, _ = decide(Inputs(host.read(at(slept))), state, Now(slept + 1, wall(slept + 1)), crowded)
    assert "event_ended" not in names(again)


def test_the_fallback_names_every_gpu() -> None:
    host = at_work(4000)
    decision = heard(host, event(part(101, 200, limit(2400))))
    assert [write.uuid for write in decision.plan.fallback] == [uuid(i) for i in range(4)]
