"""The numbers of the report, each against a rack whose draw was made up so that it is known beforehand."""

from dataclasses import replace

import pytest

from powerd.core.events.grid_event import Baseline, EventRamp, GridEvent, Level
from powerd.core.events.turns import EventPhase
from powerd.core.model import Now
from powerd.core.proof.ledger_entry import Ended, EndReason, Entry, Lost, Samples
from powerd.core.proof.report import EventReport, IntervalReport, ReportRules
from powerd.core.proof.response import report
from tests.core.responses import KEY, WALL_S, Rack, W, event, limit, reduction, status

ASKED = event((600.0, 1800.0, limit(20_000)))
JOULES_PER_KWH = 3_600_000


def replayed(rack: Rack, rules: ReportRules | None = None) -> EventReport:
    rack.restart()
    return report(rack.entries, KEY, rules)


def obeyed(
    asked: GridEvent = ASKED, *, late_s: int = 2, target: float = 20_000, drawn: float = 19_500
) -> Rack:
    """Return a rack that drew 30 kW, came down so late after its event's start, and went back up."""
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(float(late_s), 30_000, status(asked, target))
    rack.run(1200.0 - late_s, drawn, status(asked, target))
    rack.run(1000.0, 30_000)
    return rack


def only(made: EventReport) -> IntervalReport:
    (interval,) = made.intervals
    return interval


def test_an_event_that_was_obeyed() -> None:
    made = replayed(obeyed())
    interval = only(made)
    assert made.is_compliant is True
    assert (made.reason, made.started_s, made.ended_s) == (EndReason.ENDED, WALL_S + 600, WALL_S + 1800)
    assert (made.before_mean_mw, made.before_peak_mw) == (30_000 * W, 30_000 * W)
    assert made.before_known_pct == pytest.approx(100.0, abs=0.2)
    assert (interval.target_mw, interval.source) == (20_000 * W, "hosts")
    assert interval.mean_mw == pytest.approx((2 * 30_000 + 1198 * 19_500) * W / 1200, abs=2)
    assert (interval.time_to_target_s, interval.late_s) == (2.0, 2.0)
    assert interval.overshoot_mj == 2 * 10_000 * W
    assert interval.missed_pct == pytest.approx(2 / 12)
    assert interval.missed_mw == pytest.approx(2 * 10_000 * W / 1200, abs=1)
    assert interval.known_pct == pytest.approx(100.0)
    assert made.shed_before_mj == 1198 * 10_500 * W
    assert (made.peak_after_mw, made.rebound_mw) == (30_000 * W, 0)


def test_a_limit_has_no_baseline_to_shed_against_and_a_reduction_has() -> None:
    asked = event((600.0, 1800.0, reduction(25.0)))
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(1200.0, 22_000, status(asked, 22_500))
    made = replayed(rack)
    assert only(made).baseline_mw == 30_000 * W
    assert made.shed_mj == only(made).shed_mj == pytest.approx(1199 * 8_000 * W, rel=1e-3)
    assert only(replayed(obeyed())).baseline_mw is None
    assert replayed(obeyed()).shed_mj is None


def test_drawing_more_than_the_baseline_is_a_negative_shed_not_a_zero_one() -> None:
    asked = event((600.0, 1800.0, reduction(10.0, Baseline.NAMEPLATE)))
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(1200.0, 31_000, status(asked, 27_000))
    made = replayed(rack)
    assert made.shed_mj is not None
    assert made.shed_mj < -1_000_000 * W
    assert made.is_compliant is False


@pytest.mark.parametrize(("late_s", "is_compliant"), [(0, True), (30, True), (59, True), (61, False)])
def test_compliance_forgives_one_part_in_twenty_of_the_time(late_s: int, is_compliant: bool) -> None:
    made = replayed(obeyed(late_s=late_s))
    assert made.is_compliant is is_compliant
    assert only(made).time_to_target_s == late_s


def test_seldom_and_high_is_not_compliant_either() -> None:
    """A mean above the cap is a mean above the cap, however short the peak was."""
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(40.0, 39_000, status(ASKED, 20_000))
    rack.run(1160.0, 20_000, status(ASKED, 20_000))
    made = replayed(rack)
    assert only(made).within_pct == pytest.approx(100 * 1159 / 1199, abs=0.1)
    assert made.is_compliant is False


@pytest.mark.parametrize(("drawn", "is_compliant"), [(20_399, True), (20_401, False)])
def test_the_tolerance_is_two_per_cent_unless_said_otherwise(drawn: int, is_compliant: bool) -> None:
    rack = obeyed(drawn=drawn, late_s=0)
    assert replayed(rack).is_compliant is is_compliant
    assert report(rack.entries, KEY, ReportRules(tolerance_pct=5.0)).is_compliant is True
    assert report(rack.entries, KEY, ReportRules(tolerance_pct=1.0)).is_compliant is False


def test_a_target_never_reached_has_no_time_to_target() -> None:
    made = replayed(obeyed(drawn=24_000))
    assert only(made).time_to_target_s is None
    assert only(made).late_s is None
    assert only(made).missed_mw == pytest.approx(4_000 * W, rel=0.01)
    assert only(made).missed_pct == 100.0
    assert made.is_compliant is False


def test_coming_down_and_up_again_is_not_reaching_the_target() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    for _ in range(5):
        rack.run(9.0, 19_000, status(ASKED, 20_000))
        rack.run(1.0, 30_000, status(ASKED, 20_000))
    rack.run(1150.0, 19_000, status(ASKED, 20_000))
    assert only(replayed(rack)).time_to_target_s == 50.0


def test_a_draw_that_was_low_already_reaches_its_target_at_once() -> None:
    rack = Rack()
    rack.run(600.0, 12_000)
    rack.run(1200.0, 12_000, status(ASKED, 20_000))
    assert only(replayed(rack)).time_to_target_s == 0.0


def test_time_counts_from_the_receipt_if_that_was_after_the_start() -> None:
    asked = event((0.0, 1800.0, limit(20_000)), received=Now(600.0, WALL_S + 600))
    assert only(replayed(obeyed(asked, late_s=3))).time_to_target_s == 3.0


def test_a_ramp_is_allowed_for() -> None:
    asked = event((600.0, 1800.0, limit(20_000)), ramp=EventRamp(down_s=600.0))
    rack = Rack()
    rack.run(600.0, 30_000)
    for second in range(600):
        watts = 30_000 - second * 10_000 / 600
        rack.look(watts, status(asked, 20_000, cap_mw=round(watts * W)))
    rack.run(600.0, 20_000, status(asked, 20_000))
    rack.run(10.0, 30_000)
    made = replayed(rack)
    assert made.is_compliant is True
    assert only(made).within_pct == 100.0
    assert only(made).overshoot_mj == pytest.approx(0, abs=600)
    assert only(made).time_to_target_s == pytest.approx(600.0 - 24.0, abs=1.0)
    assert (only(made).late_s, only(made).missed_pct) == (0.0, 0.0)


def test_each_interval_is_judged_by_itself() -> None:
    asked = event((600.0, 1800.0, limit(20_000)), (1800.0, 3000.0, limit(15_000)))
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(1200.0, 19_900, status(asked, 20_000))
    rack.run(1200.0, 19_900, status(asked, 15_000))
    rack.run(10.0, 30_000)
    made = replayed(rack)
    first, second = made.intervals
    assert (first.index, second.index) == (0, 1)
    assert (first.is_compliant, second.is_compliant) == (True, False)
    assert (second.scheduled_start_s, second.scheduled_end_s) == (WALL_S + 1800, WALL_S + 3000)
    assert second.missed_mw == 4_900 * W
    assert made.is_compliant is False


def test_half_of_the_time_unknown_is_said_and_nothing_is_made_up() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(600.0, 19_000, status(ASKED, 20_000))
    rack.run(600.0, None, status(ASKED, 20_000))
    rack.run(10.0, 30_000)
    made = replayed(rack)
    assert only(made).known_pct == pytest.approx(50.0, abs=0.2)
    assert only(made).mean_mw == pytest.approx(19_000 * W, rel=0.002)
    assert made.shed_before_mj == pytest.approx(600 * 11_000 * W, rel=0.005)
    assert only(made).is_compliant is None
    assert made.is_compliant is None


def test_with_nothing_measured_every_number_is_unknown_and_none_is_zero() -> None:
    rack = Rack()
    rack.run(600.0, None)
    rack.run(1200.0, None, status(ASKED, 20_000))
    rack.run(10.0, None)
    made = replayed(rack)
    interval = only(made)
    assert (interval.source, interval.known_pct, made.known_pct) == ("unknown", 0.0, 0.0)
    numbers = (
        "mean_mw",
        "time_to_target_s",
        "late_s",
        "overshoot_mj",
        "missed_mw",
        "missed_pct",
        "within_pct",
    )
    assert {getattr(interval, name) for name in (*numbers, "is_compliant", "shed_mj")} == {None}
    others = ("before_mean_mw", "before_peak_mw", "shed_mj", "shed_before_mj", "peak_after_mw", "rebound_mw")
    assert {getattr(made, name) for name in (*others, "is_compliant")} == {None}


def test_a_gap_is_not_a_time_in_which_the_draw_stayed_down() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(5.0, 19_000, status(ASKED, 20_000))
    rack.run(100.0, None, status(ASKED, 20_000))
    rack.run(1095.0, 19_000, status(ASKED, 20_000))
    assert only(replayed(rack)).time_to_target_s == 105.0


def test_a_meter_that_took_over_is_named_beside_the_hosts() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(600.0, 19_000, status(ASKED, 20_000))
    rack.run(600.0, 19_000, status(ASKED, 20_000), source="meter")
    assert only(replayed(rack)).source == "meter+hosts"


def test_a_peak_after_the_end_is_a_rebound() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(1200.0, 19_000, status(ASKED, 20_000))
    restoring = status(ASKED, None, phase=EventPhase.RESTORING, cap_mw=25_000 * W)
    rack.run(600.0, 24_000, restoring)
    rack.run(30.0, 33_500)
    rack.run(2000.0, 30_000)
    made = replayed(rack)
    assert (made.ended_s, made.restored_s) == (WALL_S + 1800, WALL_S + 2400)
    assert (made.peak_after_mw, made.rebound_mw) == (33_500 * W, 3_500 * W)


def test_an_event_that_still_runs_is_reported_as_far_as_it_is_known() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(300.0, 19_000, status(ASKED, 20_000))
    made = replayed(rack)
    assert (made.reason, made.ended_s, only(made).is_over) == (None, None, False)
    assert only(made).end_s == pytest.approx(WALL_S + 899, abs=1)
    assert made.is_compliant is True
    assert made.rebound_mw is None


def test_a_restart_of_the_daemon_is_a_gap_in_one_event_not_two_events() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(300.0, 19_000, status(ASKED, 20_000))
    rack.restart()
    rack.at_s += 60.0
    rack.run(840.0, 19_000, status(ASKED, 20_000))
    rack.run(10.0, 30_000)
    made = replayed(rack)
    assert (only(made).start_s, only(made).end_s) == (WALL_S + 600, WALL_S + 1800)
    assert only(made).known_pct == pytest.approx(100 * (1200 - 61) / 1200, abs=0.2)
    assert made.before_mean_mw == 30_000 * W


def test_an_event_that_is_set_aside_for_a_while_has_two_parts() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(300.0, 19_000, status(ASKED, 20_000))
    rack.run(300.0, 15_000, status(replace(ASKED, event_id="e2"), 16_000))
    rack.run(600.0, 19_000, status(ASKED, 20_000))
    rack.run(10.0, 30_000)
    made = replayed(rack)
    assert [part.end_s - part.start_s for part in made.intervals] == [300.0, 600.0]
    assert made.reason is EndReason.ENDED


def test_an_event_of_one_host_is_not_judged_by_what_the_rack_draws() -> None:
    made = replayed(obeyed(replace(ASKED, level=Level.HOST)))
    assert only(made).target_mw == 20_000 * W
    assert (only(made).mean_mw, made.is_compliant, made.shed_before_mj) == (None, None, None)


def test_a_release_asks_for_nothing_that_could_be_missed() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(600.0, 30_000, status(ASKED, None))
    made = replayed(rack)
    assert (only(made).target_mw, only(made).is_compliant, made.is_compliant) == (None, None, None)
    assert only(made).mean_mw == 30_000 * W


def test_lost_entries_and_set_clocks_are_in_the_report() -> None:
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(600.0, 19_000, status(ASKED, 20_000))
    rack.stepped_s = 120.0
    rack.run(600.0, 19_000, status(ASKED, 20_000))
    rack.entries.append(Entry(WALL_S, "", Lost(7)))
    made = replayed(rack)
    assert (made.clock_steps, made.lost_entries) == (1, 7)


def test_an_event_whose_start_was_lost_is_told_from_where_it_is_known_again() -> None:
    rack = obeyed()
    late = Entry(WALL_S, KEY, Ended(EndReason.SET_ASIDE))
    made = report([late, *rack.entries], KEY)
    assert made.reason is EndReason.ENDED


def test_a_draw_without_a_cap_beside_it_is_shown_and_not_judged() -> None:
    """As after a loss of entries: as far as the samples tell, the event had no say."""
    rack = obeyed()
    rack.restart()
    blind = [
        Entry(entry.wall_s, entry.event, replace(entry.body, events=()))
        if isinstance(entry.body, Samples)
        else entry
        for entry in rack.entries
    ]
    made = report(blind, KEY)
    assert only(made).mean_mw is not None
    assert (only(made).overshoot_mj, only(made).within_pct, made.is_compliant) == (None, None, None)


def test_an_event_that_nothing_is_known_of_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing tells of the start of grid/e9"):
        report(obeyed().entries, "grid/e9")


def test_phoenix_a_quarter_less_for_three_hours() -> None:
    """Ramp down 15 min, 25 % less for 3 h, restored in 10 min: 7.5 kW for 3 h less what the ramp takes."""
    ramp = EventRamp(down_s=900.0, up_s=600.0)
    asked = event((600.0, 600.0 + 10_800.0, reduction(25.0)), ramp=ramp)
    rack = Rack()
    rack.run(600.0, 30_000)
    for second in range(10_800):
        watts = 30_000 - 7_500 * min(1.0, second / 900)
        rack.look(watts * 0.99, status(asked, 22_500, cap_mw=round(watts * W)))
    for second in range(600):
        watts = 22_500 + 7_500 * second / 600
        rack.look(watts, status(asked, None, phase=EventPhase.RESTORING, cap_mw=round(watts * W)))
    rack.run(1000.0, 29_900)
    made = replayed(rack)
    assert made.is_compliant is True
    assert (made.rebound_mw, only(made).missed_pct) == (0, 0.0)
    assert made.shed_mj is not None
    ramped_j = 7_500 * (10_800 - 450) + 0.01 * (22_500 * 9_900 + 26_250 * 900)
    assert made.shed_mj / W / JOULES_PER_KWH == pytest.approx(ramped_j / JOULES_PER_KWH, rel=1e-3)
