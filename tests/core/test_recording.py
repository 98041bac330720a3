"""What is written down around events, and that it can be told from what is not known."""

from dataclasses import replace
from itertools import pairwise

import pytest

from powerd.core.events.grid_event import EventRamp
from powerd.core.events.turns import EventPhase
from powerd.core.proof.ledger_entry import (
    Changed,
    ClockStepped,
    Ended,
    EndReason,
    IntervalBegan,
    Restored,
    Samples,
    Started,
)
from tests.core.responses import HARD_WATTS, Rack, W, event, limit, status

ASKED = event((600.0, 1800.0, limit(20_000)), (1800.0, 3000.0, limit(25_000)))
OPEN = event((0.0, None, limit(20_000)))


def kinds(rack: Rack) -> list[str]:
    return [type(entry.body).__name__ for entry in rack.entries if not isinstance(entry.body, Samples)]


def test_without_events_nothing_is_written_and_memory_is_bounded() -> None:
    rack = Rack()
    rack.run(5000.0, 30_000)
    assert rack.entries == []
    assert len(rack.recording.held) <= 601


def test_the_ten_minutes_before_an_event_are_written_first() -> None:
    rack = Rack()
    rack.run(1000.0, 30_000)
    rack.look(30_000, status(ASKED, 20_000))
    before, *others = rack.entries
    assert [type(each.body) for each in others] == [Started, IntervalBegan]
    assert isinstance(before.body, Samples)
    assert before.body.events == ()
    assert sum(row.span_s for row in before.body.rows) == pytest.approx(600.0, abs=1.0)
    assert {row.mean_mw for row in before.body.rows} == {30_000 * W}


def test_every_second_for_a_quarter_of_an_hour_then_every_minute_with_mean_and_maximum() -> None:
    rack = Rack()
    rack.run(3600.0, lambda at_s: 19_000 + 10 * (at_s % 60), status(OPEN, 20_000))
    spans = [span for _, span, _ in rack.rows]
    assert spans[:900] == [1.0] * 900
    minutes = [row for row in rack.samples if row.span_s > 1]
    assert {row.span_s for row in minutes} == {60.0}
    assert len(minutes) == (3600 - 900) // 60 - 1
    assert {row.mean_mw for row in minutes} == {19_295 * W}
    assert {row.max_mw for row in minutes} == {19_590 * W}


@pytest.mark.parametrize("period_s", [0.1, 0.2, 0.5, 1.0, 2.0])
def test_no_time_is_lost_or_counted_twice_whatever_the_period(period_s: float) -> None:
    rack = Rack(period_s=period_s)
    rack.run(30.0, 30_000)
    rack.run(60.0, 20_000, status(ASKED, 20_000))
    rack.run(30.0, 30_000)
    rack.restart()
    for (at_s, span_s, _), (next_s, *_) in pairwise(rack.rows):
        assert at_s + span_s == pytest.approx(next_s, abs=0.002)


def test_a_change_of_target_is_written_at_once_and_seconds_begin_again() -> None:
    rack = Rack()
    rack.at_s = 600.0
    rack.run(1200.0, 20_000, status(ASKED, 20_000))
    rack.run(20.0, 25_000, status(ASKED, 25_000))
    parts = rack.bodies(IntervalBegan)
    assert parts == [IntervalBegan(0, 20_000 * W, 30_000 * W), IntervalBegan(1, 25_000 * W, 30_000 * W)]
    assert [span for _, span, _ in rack.rows[-9:]] == [1.0] * 9


def test_while_an_event_ramps_every_second_is_written() -> None:
    rack = Rack()
    for second in range(3000):
        rack.look(30_000, status(ASKED, 20_000, cap_mw=(40_000 - second) * W))
    assert {span for _, span, _ in rack.rows} == {1.0}


def test_an_event_is_told_from_start_to_restored() -> None:
    rack = Rack()
    rack.at_s = 600.0
    rack.run(10.0, 20_000, status(ASKED, 20_000))
    rack.at_s = 3000.0
    rack.run(10.0, 25_000, status(ASKED, None, phase=EventPhase.RESTORING, cap_mw=26_000 * W))
    rack.run(10.0, 30_000)
    assert kinds(rack) == ["Started", "IntervalBegan", "Ended", "Restored"]
    started = rack.bodies(Started)[0]
    assert started == Started(ASKED, 30_000 * W, HARD_WATTS * W)
    assert rack.bodies(Ended) == [Ended(EndReason.ENDED)]


@pytest.mark.parametrize(
    ("at_s", "cancelled", "reason"),
    [
        (3000.0, (), EndReason.ENDED),
        (900.0, ("grid/e1",), EndReason.CANCELLED),
        (900.0, (), EndReason.SET_ASIDE),
    ],
)
def test_an_event_that_is_gone_says_why(at_s: float, cancelled: tuple[str, ...], reason: EndReason) -> None:
    rack = Rack()
    rack.look(20_000, status(ASKED, 20_000))
    rack.at_s = at_s
    rack.look(30_000, cancelled=cancelled)
    assert rack.bodies(Ended) == [Ended(reason)]
    assert rack.bodies(Restored) == [Restored()]


def test_a_cancellation_on_the_way_back_up_is_told_as_one() -> None:
    rack = Rack()
    rack.look(20_000, status(ASKED, 20_000))
    gone = event((600.0, 1800.0, limit(20_000)), is_cancelled=True, ramp=EventRamp(up_s=600.0))
    rack.look(20_000, status(gone, None, phase=EventPhase.RESTORING))
    assert kinds(rack) == ["Started", "IntervalBegan", "Changed", "Ended"]
    assert rack.bodies(Ended) == [Ended(EndReason.CANCELLED)]


def test_an_event_said_again_is_not_written_again_and_a_changed_one_is() -> None:
    rack = Rack()
    rack.look(20_000, status(ASKED, 20_000))
    for seq in range(2, 60):
        again = replace(ASKED, seq=seq, digest=str(seq), issued_at_s=float(seq))
        rack.look(20_000, status(again, 20_000))
    assert kinds(rack) == ["Started", "IntervalBegan"]
    changed = event((600.0, 1800.0, limit(18_000)), seq=60)
    rack.look(18_000, status(changed, 18_000))
    assert kinds(rack) == ["Started", "IntervalBegan", "Changed", "IntervalBegan"]
    assert rack.bodies(Changed) == [Changed(changed)]


def test_time_that_nobody_watched_is_a_gap_and_is_not_filled() -> None:
    rack = Rack()
    rack.run(20.0, 20_000, status(ASKED, 20_000))
    rack.at_s += 100.0
    rack.run(20.0, 20_000, status(ASKED, 20_000))
    gaps = [(at_s, span_s) for at_s, span_s, mean in rack.rows if mean is None]
    # What was read last stands for three periods.
    assert gaps == [(22.0, 98.0)]


def test_a_draw_that_is_not_known_is_a_gap_too() -> None:
    rack = Rack()
    rack.run(20.0, 20_000, status(ASKED, 20_000))
    rack.run(20.0, None, status(ASKED, 20_000))
    rack.run(20.0, 20_000, status(ASKED, 20_000), source="meter")
    rack.restart()
    assert sum(span for _, span, mean in rack.rows if mean is None) == 20.0
    sources = [row.source for row in rack.samples]
    assert [sources.count(source) for source in ("hosts", "", "meter")] == [20, 20, 19]


def test_a_clock_that_is_set_is_written_between_the_times_that_do_not_compare() -> None:
    rack = Rack()
    rack.run(20.0, 20_000, status(ASKED, 20_000))
    rack.stepped_s = -3600.0
    rack.run(20.0, 20_000, status(ASKED, 20_000))
    assert rack.bodies(ClockStepped) == [ClockStepped(-3600.0)]
    at = next(i for i, entry in enumerate(rack.entries) if isinstance(entry.body, ClockStepped))
    times = [[row.wall_s for row in e.body.rows] for e in rack.entries[:at] if isinstance(e.body, Samples)]
    assert min(map(min, times)) > rack.entries[at].wall_s


def test_what_was_held_before_the_clock_was_set_is_not_taken_for_the_time_before_an_event() -> None:
    rack = Rack()
    rack.run(100.0, 30_000)
    rack.stepped_s = -3600.0
    rack.run(50.0, 30_000)
    rack.look(30_000, status(ASKED, 20_000))
    assert sum(span for _, span, _ in rack.rows) == pytest.approx(50.0)
    assert rack.bodies(ClockStepped) == []


def test_energy_above_a_cap_is_exact_in_minutes_too() -> None:
    rack = Rack()
    rack.run(3600.0, lambda at_s: 21_000 if at_s % 60 < 6 else 19_000, status(OPEN, 20_000))
    minutes = [row for row in rack.samples if row.span_s > 1]
    assert {row.over_mj[1] for row in minutes} == {6 * 1000 * W}
    assert {row.caps_mw for row in minutes} == {(HARD_WATTS * W, 20_000 * W)}


def test_after_the_last_event_a_quarter_of_an_hour_is_written_and_no_more() -> None:
    rack = Rack()
    rack.run(10.0, 20_000, status(ASKED, 20_000))
    rack.run(2000.0, 30_000)
    last_s, span_s, _ = rack.rows[-1]
    assert 10.0 + 900.0 - 15.0 <= last_s + span_s <= 10.0 + 901.0
