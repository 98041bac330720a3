"""The scenarios of the demo: each fits its duration, and tells the story that its name promises."""

import pytest

from powerd.core.events.grid_event import EventClass
from powerd.demo.rack import DemoRack
from powerd.demo.scenario import LEASE_S, SCENARIOS, Scenario
from powerd.errors import ConfigError

GRID = [each for each in SCENARIOS.values() if each.calls]


def test_all_scenarios_are_offered() -> None:
    assert [*SCENARIOS] == ["default", "phoenix", "london", "caiso-two-peaks", "lost-controller"]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda each: each.name)
def test_what_the_facility_says_takes_exactly_as_long_as_asked_for(scenario: Scenario) -> None:
    for duration_s in (40.0, 60.0, 90.0):
        phases = scenario.phases(duration_s)
        assert sum(phase.duration_s for phase in phases) == pytest.approx(duration_s)
        assert all(phase.duration_s > 0 for phase in phases)


@pytest.mark.parametrize("scenario", GRID, ids=lambda each: each.name)
def test_every_event_is_restored_before_the_end_and_can_be_reached(scenario: Scenario) -> None:
    rack = DemoRack("demo-1", 4, 8, 9780, 0, "mqtt://127.0.0.1", "auto", 0.0, scenario.pace(60))
    for call in scenario.calls:
        assert call.asks[-1].end_s + call.ramp.up_s + call.ramp.up_jitter_s < scenario.length_s
        for ask in call.asks:
            assert rack.nominal_watts * (1 - ask.pct / 100) > rack.nominal_watts * 0.44
            assert ask.start_s + call.ramp.down_s < ask.end_s


def test_hours_become_seconds_and_raises_become_as_much_faster() -> None:
    phoenix = SCENARIOS["phoenix"]
    assert phoenix.factor(60) == 270
    assert phoenix.factor(0) == 270
    assert phoenix.pace(60).ramp_pct_per_min == pytest.approx(16.67 * 270)
    assert phoenix.pace(60).raise_dwell_s == pytest.approx(30 / 270, abs=0.001)
    assert SCENARIOS["default"].factor(60) == 1


def test_london_comes_without_notice_and_all_others_are_announced() -> None:
    assert [each.name for each in GRID if not each.has_notice] == ["london"]


def test_two_peaks_are_two_intervals_of_one_event_with_a_gap_and_a_mandatory_one_within_the_second() -> None:
    peaks, height = SCENARIOS["caiso-two-peaks"].calls
    morning, evening = peaks.asks
    assert morning.end_s < evening.start_s
    assert evening.start_s < height.asks[0].start_s < height.asks[0].end_s < evening.end_s
    assert (peaks.event_class, height.event_class) == (EventClass.VOLUNTARY, EventClass.MANDATORY)
    assert (morning.pct, height.asks[0].pct) == (10, 25)


@pytest.mark.parametrize("duration_s", [30.0, 60.0])
def test_the_lost_controller_is_missed_during_the_event_and_comes_back_after_it(duration_s: float) -> None:
    scenario = SCENARIOS["lost-controller"]
    factor = scenario.factor(duration_s)
    said, silent, again = scenario.phases(duration_s)
    assert (said.pct, silent.pct, again.pct) == (100, None, 100)
    [ask] = scenario.calls[0].asks
    lost_s = said.duration_s + LEASE_S
    assert ask.start_s / factor < said.duration_s
    assert lost_s < ask.end_s / factor
    # Failsafe lets go of the cap that it found while nobody has come back yet, so that it is seen.
    assert ask.end_s / factor < lost_s + scenario.pace(duration_s).failsafe_hold_s + 1
    assert lost_s + scenario.pace(duration_s).failsafe_hold_s < said.duration_s + silent.duration_s


@pytest.mark.parametrize("duration_s", [5.0, float("inf"), float("nan")])
def test_a_duration_that_does_not_hold_the_story_is_refused(duration_s: float) -> None:
    with pytest.raises(ConfigError, match="takes at least 20"):
        SCENARIOS["phoenix"].phases(duration_s)
