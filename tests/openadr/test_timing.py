"""When intervals are: the rules of OpenADR for starts, lengths, shifts and repetition."""

from typing import Any

import pytest

from powerd.errors import SignalRejectedError
from powerd.openadr.timing import MAX_SPANS, Span, place, shift_fraction, sweep
from powerd.signals import rfc3339
from tests.openadr.make import FIVE, START_S, at, interval, limits, payload, read

NO_START = "0001-01-01T00:00:00Z"
DAY = [payload("PRICE", 0.1)]


def times(seed: str = "vtn1", now_s: float = START_S, **fields: Any) -> list[tuple[str, str | None]]:
    """Return the starts and ends of an event, as times of day."""
    placed = place(read(**fields), seed, START_S, now_s)
    return [
        (rfc3339.utc(span.start_s)[11:19], None if span.end_s is None else rfc3339.utc(span.end_s)[11:19])
        for span in placed.spans
    ]


def test_intervals_follow_each_other_from_the_start_of_the_event() -> None:
    assert times() == [("17:00:00", "17:30:00"), ("17:30:00", "18:00:00")]


def test_an_interval_may_have_its_own_length_and_the_next_follows_it() -> None:
    ours = [interval(0, *DAY), interval(1, *DAY, duration="PT2H"), interval(2, *DAY)]
    assert times(intervals=ours) == [
        ("17:00:00", "17:30:00"),
        ("17:30:00", "19:30:00"),
        ("19:30:00", "20:00:00"),
    ]


def test_an_interval_may_have_its_own_start_and_leave_a_gap() -> None:
    ours = [interval(0, *DAY), interval(7, *DAY, start="2026-11-21T20:00:00+01:00")]
    assert times(intervals=ours) == [("17:00:00", "17:30:00"), ("19:00:00", "19:30:00")]


def test_without_a_period_of_the_event_each_interval_has_its_own() -> None:
    ours = [
        interval(0, *DAY, start=FIVE, duration="PT1H"),
        interval(1, *DAY, start=NO_START, duration="PT15M"),
    ]
    assert times(intervalPeriod=None, intervals=ours) == [("17:00:00", "18:00:00"), ("18:00:00", "18:15:00")]


@pytest.mark.parametrize(
    "start", ["0001-01-01", "0001-01-01T00:00:00", NO_START, "0001-01-01T00:00:00.000+00:00"]
)
def test_the_beginning_of_time_is_the_moment_the_event_was_first_seen(start: str) -> None:
    period = {"start": start, "duration": "PT30M"}
    assert times(intervalPeriod=period, now_s=at("17:10:00")) == [
        ("16:55:00", "17:25:00"),
        ("17:25:00", "17:55:00"),
    ]


def test_in_a_later_interval_it_is_the_end_of_the_one_before() -> None:
    ours = [interval(0, *DAY), interval(1, *DAY, start="0001-01-01", duration="PT5M")]
    assert times(intervals=ours) == [("17:00:00", "17:30:00"), ("17:30:00", "17:35:00")]


def test_an_endless_interval_has_no_end_and_nothing_follows_it() -> None:
    assert times(intervalPeriod={"start": FIVE, "duration": "P9999Y"}) == [("17:00:00", None)]


def test_an_interval_that_takes_no_time_is_left_out() -> None:
    assert times(intervalPeriod={"start": FIVE}) == []
    ours = [interval(0, *DAY, start="0001-01-01", duration="PT0S")]
    assert times(intervalPeriod=None, intervals=ours) == []


def test_the_default_of_a_duration_spelt_out_in_an_interval_says_nothing() -> None:
    """Servers write defaults out: taking them at their word would end limits that nobody lifted."""
    assert times(intervals=[interval(0, *DAY, duration="PT0S"), interval(1, *DAY)]) == times()


def test_a_time_of_nothing_cancels_whatever_the_intervals_say() -> None:
    ours = [interval(0, *DAY, start=FIVE, duration="PT1H")]
    assert times(intervalPeriod={"start": "0001-01-01", "duration": "PT0S"}, intervals=ours) == []


def test_an_event_that_nowhere_says_when_it_starts_is_refused() -> None:
    for period in ({"duration": "PT1H"}, None):
        with pytest.raises(SignalRejectedError, match=r"intervalPeriod\.start is missing"):
            times(intervalPeriod=period)


@pytest.mark.parametrize("duration", ["PT1H", "PT0S"])
def test_a_duration_as_long_as_the_intervals_or_the_default_changes_nothing(duration: str) -> None:
    assert times(duration=duration) == times()


def test_a_shorter_duration_cuts_the_list() -> None:
    assert times(duration="PT45M") == [("17:00:00", "17:30:00"), ("17:30:00", "17:45:00")]
    assert times(duration="PT10M", intervalPeriod={"start": FIVE, "duration": "P9999Y"}) == [
        ("17:00:00", "17:10:00")
    ]


def test_a_longer_duration_repeats_the_list() -> None:
    assert times(duration="PT2H15M") == [
        ("17:00:00", "17:30:00"),
        ("17:30:00", "18:00:00"),
        ("18:00:00", "18:30:00"),
        ("18:30:00", "19:00:00"),
        ("19:00:00", "19:15:00"),
    ]


def test_a_list_that_repeats_for_ever_is_shown_from_its_present_cycle_on_as_far_as_there_is_room() -> None:
    years_on_s = START_S + 3 * 365 * 86400
    placed = place(read(duration="P9999Y"), "vtn1", START_S, years_on_s)
    assert placed.is_endless
    assert len(placed.spans) == MAX_SPANS
    assert placed.spans[0].start_s <= years_on_s < placed.spans[2].start_s


def test_a_shift_goes_either_way_within_its_bounds_and_moves_all_that_follows() -> None:
    period = {"start": FIVE, "duration": "PT30M", "randomizeStart": "PT10M"}
    starts_s = [
        place(read(intervalPeriod=period), f"vtn{i}", START_S, START_S).spans[0].start_s for i in range(200)
    ]
    assert at("16:50:00") <= min(starts_s) < at("16:52:00")
    assert at("17:08:00") < max(starts_s) <= at("17:10:00")
    one, two = place(read(intervalPeriod=period), "vtn1", START_S, START_S).spans
    assert one.end_s == two.start_s == one.start_s + 1800


def test_a_shift_is_the_same_after_a_restart_and_another_at_every_site_and_event() -> None:
    shifts = {(seed, name): shift_fraction(seed, name, 0) for seed in ("a", "b") for name in ("1", "2")}
    assert len(set(shifts.values())) == 4
    assert shifts[("a", "1")] == shift_fraction("a", "1", 0)


def test_an_own_start_is_shifted_like_the_first_unless_it_has_its_own_shift() -> None:
    period = {"start": FIVE, "duration": "PT30M", "randomizeStart": "-PT10M"}
    late = "2026-11-21T19:00:00Z"
    ours = [
        interval(0, *DAY),
        interval(1, *DAY, start=late),
        interval(2, *DAY, start=late, randomizeStart="PT1H"),
    ]
    one, two, three = place(read(intervalPeriod=period, intervals=ours), "vtn1", START_S, START_S).spans
    shift_s = one.start_s - at("17:00:00")
    assert 0 < abs(shift_s) <= 600
    assert two.start_s == at("19:00:00") + shift_s
    assert three.start_s == at("19:00:00") + 3600 * shift_fraction("vtn1", "8842", 2)


def test_where_stretches_overlap_the_better_one_holds_and_equal_neighbours_become_one() -> None:
    spans = [Span(0.0, 10.0, 5), Span(4.0, 6.0, 3), Span(8.0, None, 7), Span(20.0, 30.0, 9)]
    assert sweep(spans, min, lambda a, b: a == b) == (
        Span(0.0, 4.0, 5),
        Span(4.0, 6.0, 3),
        Span(6.0, 10.0, 5),
        Span(10.0, None, 7),
    )


def test_the_intervals_of_an_event_are_bounded() -> None:
    with pytest.raises(SignalRejectedError, match="has 1025 items, more than 1024"):
        read(intervals=limits(*range(1025)))
