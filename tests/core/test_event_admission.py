"""Which grid events count: repeats, replays, clocks and memory."""

from dataclasses import replace

import pytest

from powerd.core.events.admission import DAY_S, MAX_CONTENTS
from powerd.core.events.grid_event import Baseline, EventRamp, GridEvent, Level
from powerd.core.events.schedule import EventRules
from tests.core.make import at
from tests.core.make_events import RELEASE, RULES, Desk, cut, event, flex, limit, part, wall

ACCEPTED = ("accepted", "")
DUPLICATE = ("duplicate", "duplicate")

LOW, HIGH = part(100, 200, limit(2500)), part(100, 200, limit(3500))


def test_a_newer_version_takes_the_place_of_the_older_one() -> None:
    desk = Desk()
    assert desk.hear_one(event(HIGH)) == ACCEPTED
    assert desk.hear_one(event(LOW, seq=2)) == ACCEPTED
    assert desk.cap(150) == 2500
    assert list(desk.schedule.held) == ["grid/e1"]


@pytest.mark.parametrize(
    ("again", "verdict"),
    [
        (event(LOW, epoch=2, seq=5), DUPLICATE),
        (event(HIGH, epoch=2, seq=5), ("rejected", "key_reused")),
        (event(HIGH, epoch=2, seq=4), ("rejected", "old_seq")),
        (event(HIGH, epoch=1, seq=9), ("rejected", "old_epoch")),
        (event(LOW, epoch=2, seq=4, cancelled=True), ("rejected", "old_seq")),
        (event(HIGH, epoch=3, seq=0, age_s=31), ("rejected", "backdated_epoch")),
        (event(HIGH, epoch=3, seq=0, age_s=29), ACCEPTED),
        (event(HIGH, epoch=2, seq=6), ACCEPTED),
    ],
)
def test_repeats_and_replays(again: GridEvent, verdict: tuple[str, str]) -> None:
    """A cancellation from before the newest version cancels nothing."""
    desk = Desk()
    desk.hear(event(LOW, epoch=2, seq=5))
    before = desk.schedule
    assert desk.hear_one(again) == verdict
    assert (desk.schedule is before) == (verdict != ACCEPTED)
    assert desk.cap(150) == (3500 if verdict == ACCEPTED else 2500)


def test_a_verdict_names_the_event_and_what_is_wrong() -> None:
    desk = Desk()
    desk.hear(event(seq=3))
    [verdict] = desk.hear(event(seq=2))
    assert (verdict.source, verdict.epoch, verdict.seq, verdict.about) == ("grid", 1, 2, "event e1")
    assert verdict.text == "epoch 1 seq 2 is older than 1 seq 3"


def test_keys_are_counted_by_source_and_event() -> None:
    desk = Desk()
    desk.hear(event(seq=9))
    assert desk.hear_one(event(name="e2", seq=1)) == ACCEPTED
    assert desk.hear_one(event(source="other", seq=1)) == ACCEPTED


# Cancellations


def test_a_cancellation_ends_an_event_whatever_it_repeats_of_it() -> None:
    """It goes back up by the ramp that was obeyed, from the interval that was."""
    desk = Desk()
    desk.hear(event(LOW, ramp=EventRamp(up_s=100)))
    assert desk.cap(150) == 2500
    assert desk.hear_one(event(HIGH, seq=2, received=at(150), cancelled=True)) == ACCEPTED
    assert desk.caps(150, 200, 250) == [2500, 3250, 4000]


def test_a_cancellation_that_names_another_scope_still_has_its_way_back_here() -> None:
    desk = Desk()
    desk.hear(event(LOW, ramp=EventRamp(up_s=100)))
    desk.cap(120)
    elsewhere = event(
        LOW, seq=2, received=at(150), cancelled=True, level=Level.HOST, targets=("x",), program="another"
    )
    assert desk.hear_one(elsewhere) == ACCEPTED
    assert desk.caps(150, 200, 250) == [2500, 3250, 4000]


def test_a_cancellation_that_is_said_again_begins_no_new_way_back() -> None:
    desk = Desk()
    desk.hear(event(LOW, ramp=EventRamp(up_s=100)))
    desk.cap(120)
    desk.hear(event(LOW, seq=2, received=at(120), cancelled=True))
    desk.hear(event(LOW, seq=3, received=at(170), cancelled=True))
    assert desk.cap(170) == 3250


def test_a_cancellation_that_comes_before_its_event_holds_it_off() -> None:
    desk = Desk()
    assert desk.hear_one(event(LOW, seq=2, cancelled=True)) == ACCEPTED
    assert desk.hear_one(event(LOW, seq=1)) == ("rejected", "old_seq")
    assert desk.cap(150) == 4000


def test_a_cancelled_event_may_be_called_again() -> None:
    desk = Desk()
    desk.hear(event(LOW), event(LOW, seq=2, cancelled=True), event(LOW, seq=3))
    assert desk.cap(150) == 2500


def test_an_event_called_again_on_another_day_counts_from_the_budget_of_that_day() -> None:
    """A controller may use one name for every day's peak."""
    desk = Desk(base=6000, before=6000)
    desk.hear(event(part(100, 200, cut(25))))
    assert desk.cap(150) == 4500
    desk.base = 4000
    assert desk.cap(900) == 4000
    desk.hear(event(part(1000, 1100, cut(25)), seq=2, received=at(900)))
    assert desk.cap(1050) == 3000


def test_an_event_that_is_prolonged_just_after_its_end_does_not_ratchet_down() -> None:
    """Its own effect would be in the ten minutes that it counts from."""
    desk = Desk(measured=3600)
    desk.hear(event(part(100, 200, cut(25, Baseline.MEASURED))))
    assert desk.cap(150) == 2700
    desk.measured = 2700
    desk.cap(201)
    desk.hear(event(part(100, 300, cut(25, Baseline.MEASURED)), seq=2, received=at(210)))
    assert desk.cap(250) == 2700


# Clocks


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (event(LOW, received=at(0), age_s=30), ACCEPTED),
        (event(LOW, received=at(0), age_s=31), ("lower_only", "clock_skew")),
        (event(LOW, received=at(0), age_s=-30), ACCEPTED),
        (event(LOW, received=at(0), age_s=-31), ("lower_only", "clock_skew")),
        (event(LOW, received=at(0), age_s=86_000, retained=True), ACCEPTED),
        (event(LOW, received=at(0), age_s=-31, retained=True), ("lower_only", "clock_skew")),
        (event(LOW, received=at(0, synced=False), age_s=86_000), ACCEPTED),
        (event(LOW, received=at(0, synced=False), retained=True), ("lower_only", "unsynced_retained")),
        (event(LOW, received=at(0), age_s=31, cancelled=True), ("rejected", "clock_skew")),
        (event(part(0, None, RELEASE), received=at(0), age_s=31), ("rejected", "clock_skew")),
    ],
)
def test_what_a_message_may_do_by_its_clock(one: GridEvent, verdict: tuple[str, str]) -> None:
    """Schedules are made ahead, so a broker may have kept them long. What releases is sure, or refused."""
    assert Desk().hear_one(one) == verdict


def test_a_doubtful_version_lowers_and_takes_nobodys_place() -> None:
    desk = Desk()
    desk.hear(event(part(100, 200, limit(3000))))
    desk.hear(event(HIGH, seq=2, age_s=40))
    assert desk.cap(110) == 3000
    desk.hear(event(LOW, seq=3, age_s=40))
    assert desk.cap(120) == 2500
    assert desk.hear_one(event(LOW, seq=3, age_s=40)) == DUPLICATE


def test_a_sure_version_ends_older_doubtful_ones_and_no_newer_ones() -> None:
    desk = Desk()
    desk.hear(event(LOW, seq=3, age_s=40), event(part(100, 200, limit(2800)), seq=7, age_s=40))
    desk.hear(event(HIGH, seq=5))
    assert desk.cap(150) == 2800
    desk.hear(event(HIGH, seq=8))
    assert desk.cap(151) == 3500


def test_a_sender_with_a_wrong_clock_that_repeats_itself_does_not_fill_the_memory() -> None:
    """Else a true event of the same sender would be refused in the end."""
    desk = Desk(rules=EventRules(max_events=4))
    for seq in range(20):
        assert desk.hear_one(event(LOW, seq=seq, age_s=40)) == ("lower_only", "clock_skew")
    assert len(desk.schedule.held) == 1
    desk.hear(event(HIGH, seq=19))
    assert desk.cap(150) == 3500


# Memory


def test_events_and_sources_are_limited_and_what_is_known_still_counts() -> None:
    desk = Desk(rules=EventRules(max_events=2, max_sources=2))
    desk.hear(event(), event(name="e2"))
    assert desk.hear_one(event(name="e3")) == ("rejected", "too_many_events")
    assert desk.hear_one(event(source="b")) == ACCEPTED
    assert desk.hear_one(event(source="c")) == ("rejected", "too_many_events")
    assert desk.hear_one(event(LOW, seq=2)) == ACCEPTED


def test_what_is_over_makes_room_for_what_is_not() -> None:
    """A dispatcher with a name for every minute may not be refused in the afternoon."""
    desk = Desk(rules=EventRules(max_events=2))
    desk.hear(event(), event(part(100, 900, limit(3000)), name="e2"))
    assert desk.hear_one(event(name="e3", received=at(199))) == ("rejected", "too_many_events")
    assert desk.hear_one(event(part(0, 900, limit(3100)), name="e3", received=at(201))) == ACCEPTED
    assert list(desk.schedule.held) == ["grid/e2", "grid/e3"]


def test_what_was_cancelled_within_its_time_is_remembered_until_that_is_over() -> None:
    desk = Desk(rules=EventRules(max_events=1))
    desk.hear(event(), event(seq=2, received=at(110), cancelled=True))
    assert desk.hear_one(event(name="e2", received=at(150))) == ("rejected", "too_many_events")
    assert desk.hear_one(event(seq=1, received=at(150))) == ("rejected", "old_seq")
    assert desk.hear_one(event(name="e2", received=at(200))) == ACCEPTED


def test_events_that_are_over_for_a_day_are_forgotten() -> None:
    desk = Desk()
    desk.hear(event(ramp=EventRamp(up_s=50, up_jitter_s=10)), event(part(100, None, limit(1)), name="open"))
    desk.hear(event(name="e2", received=at(DAY_S + 259)))
    assert len(desk.schedule.held) == 3
    desk.hear(event(name="e2", seq=2, received=at(DAY_S + 260)))
    assert list(desk.schedule.held) == ["grid/open", "grid/e2"]


def test_a_clock_that_runs_wild_forgets_nothing() -> None:
    """Years ahead, without a time service, every window seems to be over."""
    desk = Desk()
    desk.hear(event(LOW))
    desk.hear(event(name="e2", program="other", received=at(50, synced=False, wall_offset_s=1e9)))
    assert desk.cap(150) == 2500


# Sources that keep order


def target(name: str, start: float, end: float | None, watts: float, time_s: float) -> GridEvent:
    """Return a load target of the whole feed, of which the rack has half."""
    return flex(name, part(start, end, limit(2 * watts)), time_s=time_s)


def test_what_a_later_target_covers_is_forgotten() -> None:
    desk = Desk()
    desk.hear(target("a", 10, None, 3000, 0), target("b", 20, None, 2500, 5))
    assert list(desk.schedule.held) == ["dsx/a", "dsx/b"]
    desk.hear(target("c", 15, None, 2700, 21))
    assert list(desk.schedule.held) == ["dsx/c"]
    assert desk.cap(30) == 2700


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [(10, 100, False), (9, 101, False), (11, 100, True), (10, 99, True), (10, None, False)],
)
def test_what_it_covers_in_part_is_kept(start: float, end: float | None, kept: bool) -> None:
    desk = Desk()
    desk.hear(target("a", 10, 100, 3000, 0), target("b", start, end, 2500, 5))
    assert ("dsx/a" in desk.schedule.held) is kept


def test_an_open_target_is_covered_by_an_open_one_alone() -> None:
    desk = Desk()
    desk.hear(target("a", 10, None, 3000, 0), target("b", 10, 1e6, 2500, 5))
    assert "dsx/a" in desk.schedule.held


def test_another_program_and_another_source_are_not_covered() -> None:
    desk = Desk()
    other = replace(target("a", 10, None, 3000, 0), program="b")
    desk.hear(other, event(part(10, None, limit(3000))), target("c", 5, None, 2500, 5))
    assert len(desk.schedule.held) == 3


def test_what_was_issued_before_the_newest_message_is_a_replay_though_nothing_is_held_of_it() -> None:
    desk = Desk()
    first = target("a", 10, None, 3900, 0)
    desk.hear(first, target("b", 10, None, 2500, 5))
    assert desk.hear_one(replace(first, received=at(9))) == ("rejected", "replayed")
    assert desk.cap(20) == 2500


def test_of_two_messages_of_one_second_the_first_is_a_replay_once_the_second_was_heard() -> None:
    """A broker may deliver again; stamps of some senders are whole seconds."""
    desk = Desk()
    first, second = target("a", 10, None, 3900, 0), target("b", 10, None, 2500, 0)
    assert [desk.hear_one(each) for each in (first, second)] == [ACCEPTED, ACCEPTED]
    assert desk.hear_one(first) == ("rejected", "replayed")
    assert desk.cap(20) == 2500


def test_all_targets_of_one_message_count() -> None:
    desk = Desk()
    parts = [part(100 * n, 100 * n + 50, limit(5000)) for n in range(1, 4)]
    events = [flex(f"m.{n}", each, time_s=0, digest="m", index=n) for n, each in enumerate(parts)]
    assert [desk.hear_one(each) for each in events] == [ACCEPTED] * 3


def test_the_same_content_in_a_new_message_may_only_lower() -> None:
    """The signature covers the content alone: whoever heard it can wrap it anew."""
    desk = Desk()
    low, high = target("a", 10, None, 2500, 0), target("b", 10, None, 3500, 5)
    desk.hear(low, high)
    again = replace(target("c", 10, None, 2500, 9), digest="a")
    assert desk.hear_one(again) == ("lower_only", "replayed")
    assert desk.cap(20) == 2500
    higher = replace(target("d", 10, None, 3500, 10), digest="b")
    assert desk.hear_one(higher) == ("lower_only", "replayed")
    assert desk.cap(21) == 2500
    released = replace(flex("e", part(10, None, RELEASE), time_s=11), digest="a")
    assert desk.hear_one(released) == ("rejected", "replayed")


@pytest.mark.parametrize("after", [limit(7000), RELEASE])
def test_a_replay_is_over_with_the_next_word_of_its_source(after: object) -> None:
    """Else anybody who has heard one low target could hold the rack down for ever."""
    desk = Desk()
    desk.hear(target("a", 10, None, 2500, 0), target("b", 10, None, 3500, 5))
    desk.hear(replace(target("c", 10, None, 2500, 9), digest="a"))
    assert desk.cap(20) == 2500
    action = RELEASE if after is RELEASE else limit(7000)
    desk.hear(flex("d", part(30, None, action), time_s=25))
    assert desk.cap(26) == 2500
    assert desk.cap(30) == (4000 if after is RELEASE else 3500)
    desk.hear(flex("f", part(30, None, action), time_s=31))
    assert list(desk.schedule.held) == ["dsx/f"]


def test_contents_of_a_source_are_remembered_up_to_a_number() -> None:
    desk = Desk()
    for n in range(MAX_CONTENTS + 5):
        desk.hear(target(f"t{n}", 10, None, 3000, n / 100))
    contents = desk.schedule.contents["dsx"]
    assert len(contents) == MAX_CONTENTS
    assert next(iter(contents)) == "t5"
    assert desk.schedule.latest_s["dsx"] == wall((MAX_CONTENTS + 4) / 100)


def test_other_sources_need_no_order() -> None:
    desk = Desk()
    desk.hear(event(name="late", received=at(10)))
    assert desk.hear_one(event(name="early", received=at(10), age_s=20)) == ACCEPTED
    assert desk.schedule.latest_s == {}
    assert desk.rules is RULES
