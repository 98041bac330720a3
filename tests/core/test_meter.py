"""The rack's own meters: a sum that is never too small for lack of news, and a trim that only takes away."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.metering.meter import (
    Meter,
    MeterAlive,
    MeterReading,
    MeterRules,
    Quality,
    hear,
    stale,
    total_mw,
    trim,
)
from tests.core.make import W

RULES = MeterRules(parts=("feed-a", "feed-b"))
HARD_LIMIT_MW = 40_000 * W
MOST_MW = 8_000 * W  # 20 %


def read(part: str, watts: float | None, boot_s: float, quality: Quality = Quality.GOOD) -> MeterReading:
    return MeterReading(part, None if watts is None else round(watts * W), quality, boot_s)


def alive(boot_s: float, *parts: str) -> MeterAlive:
    return MeterAlive(parts or RULES.parts, boot_s)


def heard(*each: MeterReading | MeterAlive) -> Meter:
    return hear(Meter(), each, RULES)


BOTH = (read("feed-a", 28_700, 100.0), read("feed-b", 19_100, 100.0))


# The sum.


def test_the_feeds_of_a_rack_add_up() -> None:
    assert total_mw(heard(*BOTH), RULES, 101.0) == 47_800 * W


def test_a_rack_without_meters_is_not_known_and_misses_nothing() -> None:
    assert total_mw(Meter(), MeterRules(), 100.0) is None
    assert stale(Meter(), MeterRules(), 100.0) == ()


def test_a_missing_feed_makes_the_sum_unknown_and_is_named() -> None:
    meter = heard(BOTH[0])
    assert total_mw(meter, RULES, 100.0) is None
    assert stale(meter, RULES, 100.0) == ("feed-b",)


@pytest.mark.parametrize(
    "bad",
    [
        read("feed-b", 19_100, 101.0, Quality.BAD),
        read("feed-b", 19_100, 101.0, Quality.UNCERTAIN),
        read("feed-b", None, 101.0),
        read("feed-b", -0.001, 101.0),
    ],
    ids=["bad", "uncertain", "null", "negative"],
)
def test_a_reading_that_cannot_be_trusted_makes_the_sum_unknown_until_the_next_good_one(
    bad: MeterReading,
) -> None:
    meter = heard(*BOTH, bad)
    assert total_mw(meter, RULES, 101.0) is None
    assert total_mw(hear(meter, (read("feed-b", 19_000, 102.0),), RULES), RULES, 102.0) == 47_700 * W


def test_zero_is_a_reading() -> None:
    """The other feed carries the whole rack."""
    assert total_mw(heard(BOTH[0], read("feed-b", 0, 100.0)), RULES, 100.0) == 28_700 * W


def test_what_is_no_part_of_the_rack_is_not_added() -> None:
    meter = heard(*BOTH, read("feed-c", 10_000, 100.0), alive(100.0, "feed-c"))
    assert total_mw(meter, RULES, 100.0) == 47_800 * W
    assert meter == heard(*BOTH)


@pytest.mark.parametrize(("age_s", "known"), [(0.0, True), (5.0, True), (5.001, False), (-0.5, True)])
def test_a_reading_counts_five_seconds_by_itself(age_s: float, known: bool) -> None:
    """Also one that came while the decision was being made, a moment after its "now"."""
    assert (total_mw(heard(*BOTH), RULES, 100.0 + age_s) is not None) == known


@pytest.mark.parametrize(
    ("age_s", "alive_age_s", "known"),
    [
        (99.0, 0.0, True),
        (130.0, 0.0, True),
        (130.001, 0.0, False),
        (99.0, 30.0, True),
        (99.0, 30.001, False),
        (5.0, 1000.0, True),
    ],
)
def test_what_is_said_on_change_only_counts_while_its_publisher_lives(
    age_s: float, alive_age_s: float, known: bool
) -> None:
    beats = [alive(100.0 + second) for second in range(0, int(age_s - alive_age_s), 10)]
    meter = heard(*BOTH, *beats, alive(100.0 + age_s - alive_age_s))
    assert (total_mw(meter, RULES, 100.0 + age_s) is not None) == known


def test_each_publisher_speaks_for_its_own_parts() -> None:
    meter = heard(*BOTH, alive(110.0, "feed-a"))
    assert stale(meter, RULES, 111.0) == ("feed-b",)


def test_a_publisher_that_was_away_has_to_say_its_values_again() -> None:
    """It speaks on change only: a change of the time that it was not heard would never be known."""
    meter = heard(*BOTH, alive(110.0), alive(120.0))
    assert total_mw(meter, RULES, 150.0) is not None
    meter = hear(meter, (alive(155.0),), RULES)
    assert stale(meter, RULES, 155.0) == RULES.parts
    meter = hear(meter, (replace(BOTH[0], taken_boot_s=156.0), replace(BOTH[1], taken_boot_s=157.0)), RULES)
    meter = hear(meter, (alive(165.0), alive(175.0)), RULES)
    assert total_mw(meter, RULES, 180.0) == 47_800 * W


def test_a_value_that_came_before_the_first_sign_of_life_counts() -> None:
    """After a start the values that change come first, and the heartbeat within its ten seconds."""
    meter = heard(*BOTH, alive(110.0))
    assert total_mw(meter, RULES, 111.0) == 47_800 * W


QUALITIES = st.sampled_from(Quality)
PARTS = st.sampled_from(["feed-a", "feed-b", "feed-c"])
TIMES_S = st.floats(0.0, 300.0)
HEARD = st.lists(
    st.builds(MeterReading, PARTS, st.none() | st.integers(-10, 10**8), QUALITIES, TIMES_S)
    | st.builds(MeterAlive, st.lists(PARTS, max_size=3).map(tuple), TIMES_S),
    max_size=30,
)


@given(HEARD, TIMES_S)
def test_the_sum_is_that_of_all_parts_or_unknown(
    each: list[MeterReading | MeterAlive], boot_s: float
) -> None:
    """Never that of some of them, whatever was heard in whatever order."""
    meter = heard(*each)
    total = total_mw(meter, RULES, boot_s)
    last = {one.part: one for one in each if isinstance(one, MeterReading)}
    if total is None:
        assert stale(meter, RULES, boot_s)
        return
    assert all(last[part].quality is Quality.GOOD for part in RULES.parts)
    assert total == sum(last[part].mw or 0 for part in RULES.parts)
    assert all(boot_s - last[part].taken_boot_s <= RULES.value_s for part in RULES.parts)


# The trim.


Course = Sequence[float | None]


def followed(metered_watts: Course, accounted_watts: Course, *, every_s: float = 1.0) -> list[float]:
    """Return the trim in watts after each step."""
    meter, course = Meter(), []
    for step, (metered, accounted) in enumerate(zip(metered_watts, accounted_watts, strict=True)):
        meter = trim(
            meter,
            RULES,
            None if metered is None else round(metered * W),
            None if accounted is None else round(accounted * W),
            HARD_LIMIT_MW,
            1000.0 + step * every_s,
        )
        course.append(meter.trim_mw / W)
    return course


def steady(metered: float | None, accounted: float | None, seconds: int, every_s: float = 1.0) -> list[float]:
    count = round(seconds / every_s) + 1
    return followed([metered] * count, [accounted] * count, every_s=every_s)


def test_what_the_meter_shows_beyond_the_hosts_is_taken_off_within_a_minute_or_two() -> None:
    course = steady(32_000, 30_000, 300)
    assert course[0] == 0
    assert course[30] == pytest.approx(2000 * (1 - 1 / math.e), abs=1)
    assert course[120] > 1900
    assert course == sorted(course)
    assert course[-1] == pytest.approx(2000, abs=1)


def test_a_meter_that_shows_less_than_the_hosts_gives_nothing_back() -> None:
    assert set(steady(20_000, 30_000, 300)) == {0}


def test_the_trim_is_limited_to_a_share_of_the_hard_limit() -> None:
    """A meter that also feeds the neighbour must not take the whole rack down."""
    assert max(steady(60_000, 10_000, 1000)) == pytest.approx(8000, abs=1)


def test_a_trim_goes_away_slowly() -> None:
    course = followed([32_000] * 300 + [30_000] * 600, [30_000] * 900)
    at_its_most = max(course)
    assert course[300 + 120] > 0.4 * at_its_most
    assert course[-1] < 0.02 * at_its_most
    below = followed([32_000] * 300 + [10_000] * 60, [30_000] * 360)
    assert below[-1] > 0.6 * at_its_most


@pytest.mark.parametrize("unknown", [(None, 30_000), (32_000, None), (None, None)])
def test_while_something_is_not_known_the_trim_stays(unknown: tuple[float | None, float | None]) -> None:
    course = followed([*[32_000] * 60, *[unknown[0]] * 600], [*[30_000] * 60, *[unknown[1]] * 600])
    assert set(course[60:]) == {course[59]}
    assert course[59] > 0


def test_the_time_in_which_nothing_was_known_does_not_count_afterwards() -> None:
    course = followed([*[32_000] * 60, *[None] * 600, 30_000], [30_000] * 661)
    assert course[-1] == pytest.approx(course[59], rel=0.02)


def test_a_load_that_swings_under_a_meter_that_lags_is_not_taken_for_an_excess() -> None:
    """Training steps swing half of the rack; hosts know it at once and the meter two seconds later."""
    load = [38_000.0 if second // 5 % 2 else 22_000.0 for second in range(1200)]
    course = followed([load[0], load[0], *load[:-2]], load)
    assert max(course) <= 0.02 * 40_000


def test_a_load_that_falls_at_once_is_hardly_taken_for_an_excess_either() -> None:
    load = [38_000.0] * 60 + [8_000.0] * 60
    course = followed([load[0]] * 5 + load[:-5], load)
    assert max(course) <= 0.04 * 40_000


@pytest.mark.parametrize("every_s", [0.01, 0.1, 2.5])
def test_how_often_decisions_are_made_does_not_matter(every_s: float) -> None:
    """Messages wake the controller hundreds of times a second on a bad day."""
    up = [32_000.0] * round(60 / every_s)
    down = [30_000.0] * round(60 / every_s)
    course = followed([*up, *down], [30_000.0] * (len(up) + len(down)), every_s=every_s)
    by_the_second = followed([32_000.0] * 60 + [30_000.0] * 60, [30_000.0] * 120)
    assert course[-1] == pytest.approx(by_the_second[-1], rel=0.03)


DRAWS = st.none() | st.integers(0, 10**8)


@given(
    st.lists(st.tuples(DRAWS, DRAWS, st.floats(-1.0, 200.0)), min_size=1, max_size=40),
)
def test_the_trim_is_never_negative_and_never_beyond_its_limit(
    steps: list[tuple[int | None, int | None, float]],
) -> None:
    """Whatever meters and hosts say, and if the clock stood still."""
    meter, boot_s = Meter(), 1000.0
    for metered_mw, accounted_mw, elapsed_s in steps:
        boot_s += elapsed_s
        before = meter
        meter = trim(meter, RULES, metered_mw, accounted_mw, HARD_LIMIT_MW, boot_s)
        assert 0 <= meter.trim_mw <= MOST_MW
        assert isinstance(meter.trim_mw, int)
        if metered_mw is None or accounted_mw is None:
            assert meter.trim_mw == before.trim_mw
