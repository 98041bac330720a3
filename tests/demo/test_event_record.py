"""How well an event was followed, against numbers worked out by hand."""

import math

import pytest

from powerd.core.events.grid_event import Action, ActionKind, EventClass, EventRamp
from powerd.demo.event_record import EventRecord, EventScore
from powerd.demo.scenario import Ask, Call

BASE_WATTS = 1000.0
STEP_S = 0.5


def ask(start_s: float, end_s: float, pct: float) -> Ask:
    return Ask(start_s, end_s, Action(ActionKind.REDUCE_PCT, pct=pct))


def record(*asks: Ask, down_s: float = 0.0, up_s: float = 0.0, factor: float = 1.0) -> EventRecord:
    """Return an event that was published at 100 s, from which its times count."""
    call = Call("event", EventClass.MANDATORY, asks, EventRamp(down_s, up_s))
    return EventRecord(call, 100.0, 100.0, factor, BASE_WATTS)


def follow(score: EventScore, *moments: tuple[float, float], others_watts: float = BASE_WATTS) -> EventScore:
    for boot_s, watts in moments:
        score.weigh(boot_s, watts, others_watts)
    return score


def test_the_target_follows_the_ramps_and_there_is_none_once_they_are_done() -> None:
    made = record(ask(10, 20, 20), ask(30, 40, 40), down_s=4, up_s=8)
    first = [made.level_watts(100 + at_s) for at_s in (9, 10, 12, 14, 19, 20, 24, 28)]
    assert first == [math.inf, 1000, 900, 800, 800, 800, 900, math.inf]
    second = [made.level_watts(100 + at_s) for at_s in (30, 32, 39, 40, 44, 48)]
    assert second == [1000, 800, 600, 600, 800, math.inf]


def test_event_time_is_compressed_by_the_factor() -> None:
    made = record(ask(3600, 7200, 20), down_s=360, up_s=360, factor=3600)
    assert (made.start_boot_s, made.end_boot_s) == (101, 102)
    assert made.level_watts(101.05) == pytest.approx(900)
    assert made.level_watts(102.05) == pytest.approx(900)


def test_time_to_target_counts_from_the_start_and_includes_the_ramp() -> None:
    score = EventScore(record(ask(10, 60, 20), down_s=4), STEP_S)
    follow(score, (109.5, 1000), (112, 900), (114, 801), (114.5, 799), (115, 700))
    assert score.time_to_target_s == 4.5
    assert EventScore(record(ask(10, 60, 20)), STEP_S).time_to_target_s is None


def test_draw_above_the_ramped_target_is_overshoot() -> None:
    """20 W too much at 112 s and 30 W at 113 s, for half a second each; nothing before the start."""
    score = EventScore(record(ask(10, 60, 20), down_s=4), STEP_S)
    follow(score, (109, 1500), (112, 920), (113, 880), (114, 700))
    assert score.overshoot_watt_s == pytest.approx(25)


def test_tracking_counts_while_the_target_is_held_and_nothing_asks_for_less() -> None:
    """Settled half a second after the ramp: 784 W and 808 W are 2 and 1 per cent of 800 W away."""
    score = EventScore(record(ask(10, 60, 20), down_s=4), STEP_S)
    follow(score, (114, 900), (114.5, 784), (115, 808), (160, 1000))
    follow(score, (116, 500), others_watts=500)
    assert score.errors_pct == pytest.approx([2, 1])


def test_rebound_is_draw_after_the_event_above_the_level_of_the_second_before() -> None:
    score = EventScore(record(ask(10, 60, 20)), STEP_S)
    follow(score, (105, 1200), (109, 950), (109.5, 940), (120, 1100), (160, 800), (170, 990))
    assert score.rebound_watts == 40


def test_the_level_before_an_event_without_notice_is_that_of_the_moments_before_it_was_heard_of() -> None:
    score = EventScore(record(ask(0, 60, 20)), STEP_S, [(99.0, 900), (99.5, 950)])
    assert follow(score, (160, 800), (165, 940)).rebound_watts == 0


def test_the_way_back_ends_where_something_else_changes() -> None:
    score = EventScore(record(ask(10, 60, 20)), STEP_S)
    follow(score, (109.5, 800), (160, 700), (161, 790), others_watts=800)
    follow(score, (170, 1000), others_watts=1000)
    assert score.rebound_watts == 0


def test_the_slope_of_the_way_back_is_that_of_its_middle() -> None:
    """From 600 to 1000 W in 4 s: a tenth of it is passed at 160.5 s, nine tenths at 164 s."""
    score = EventScore(record(ask(10, 60, 40), up_s=4), STEP_S)
    assert score.restore_watts_per_s is None
    follow(score, (109, 1000), *((160 + i / 2, 600 + 50 * i) for i in range(9)), (170, 1000))
    assert score.restore_watts_per_s == pytest.approx(0.8 * 400 / 3.5)
