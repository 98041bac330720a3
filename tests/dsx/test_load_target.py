"""Load targets: what each becomes, and what is refused."""

import math
from typing import Any

import pytest

from powerd.core.events.grid_event import Action, ActionKind, EventClass, GridEvent, Interval, Level
from powerd.dsx.cloud_event import parse
from powerd.dsx.load_target import Feeds, Targets, load_targets
from powerd.errors import SignalRejectedError
from tests.dsx.keys import ISV, ISV_SOURCE
from tests.dsx.messages import CORRELATION_ID, FEED, FEEDS, MESSAGE_ID, NOW, TARGET, envelope, targets
from tests.dsx.schema import checked, is_valid
from tests.signals.payloads import ABSENT, changed, encoded

START_S, END_S = 1795280400.0, 1795284000.0
MW = 1_000_000_000


def read(data: dict[str, Any], feeds: Feeds = FEEDS, **changes: object) -> Targets:
    raw = encoded(envelope(data, **changes))
    message = parse(raw, kind="grid.loadtarget.set.v1", source=ISV_SOURCE)
    return load_targets(
        message,
        data,
        sender=ISV,
        label=f"dsx:{ISV}",
        feeds=feeds,
        received=NOW,
        retained=False,
        raw=raw,
    )


def events(*each: dict[str, Any]) -> tuple[GridEvent, ...]:
    return read(checked("SetLoadTargetData", targets(*each))).events


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(SignalRejectedError) as caught:
        read(data)
    assert caught.value.source == f"dsx:{ISV}"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    return caught.value.reason


def limit(value: float, unit: str = "watt") -> dict[str, Any]:
    return changed(TARGET, load_constraint={"value": value, "unit": unit})


def test_a_target_becomes_an_event_with_all_that_it_says() -> None:
    [event] = events(TARGET)
    assert event == GridEvent(
        source=f"dsx:{ISV}",
        event_id=f"{MESSAGE_ID}.0.{FEED}",
        epoch=1795280400000,
        seq=0,
        issued_at_s=1795280400.0,
        event_class=EventClass.MANDATORY,
        level=Level.FEED,
        targets=(FEED,),
        intervals=(Interval(START_S, END_S, Action(ActionKind.LIMIT, mw=3 * MW)),),
        received=NOW,
        program=FEED,
        is_best_effort=True,
        keeps_order=True,
        origin="dsx-flex loadtarget",
        correlation_id=CORRELATION_ID,
        digest=event.digest,
    )


def test_without_a_correlation_the_message_is_its_own() -> None:
    """A status must name one, and it must be a UUID."""
    [event] = read(targets(), correlationid=ABSENT).events
    assert event.correlation_id == MESSAGE_ID


@pytest.mark.parametrize(
    ("value", "unit", "mw"),
    [
        (0, "watt", 0),
        (-0.0, "watt", 0),
        (2_000_000, "watt", 2 * MW),
        (1.001, "watt", 1001),
        (14.7, "kilowatt", 14_700_000),
        (6.1, "megawatt", 6_100_000_000),
        (1e-9, "watt", 0),
    ],
)
def test_every_unit_becomes_milliwatts(value: float, unit: str, mw: int) -> None:
    [event] = events(limit(value, unit))
    assert event.intervals[0].action == Action(ActionKind.LIMIT, mw=mw)


def test_null_takes_back_what_was_asked_for_before() -> None:
    [event] = events(changed(TARGET, load_constraint=None))
    assert event.intervals == (Interval(START_S, END_S, Action(ActionKind.RELEASE)),)


def test_a_target_without_start_begins_when_it_is_heard_and_without_end_lasts_until_replaced() -> None:
    [event] = events(changed(TARGET, interval={}))
    assert (event.start_s, event.end_s) == (NOW.wall_s, None)


@pytest.mark.parametrize("tags", [ABSENT, []])
def test_a_target_without_feeds_is_for_all_feeds_of_the_rack(tags: object) -> None:
    found = events(changed(TARGET, feed_tags=tags))
    assert [(event.targets, event.program) for event in found] == [((f,), f) for f in ("main-a", "main-b")]


def test_a_target_for_several_feeds_is_one_event_for_each_so_that_one_can_be_replaced_alone() -> None:
    found = events(TARGET, changed(TARGET, feed_tags=["main-b", "main-a", "main-b"]))
    assert [(event.event_id, event.seq, event.targets) for event in found] == [
        (f"{MESSAGE_ID}.0.main-a", 0, ("main-a",)),
        (f"{MESSAGE_ID}.1.main-a", 1, ("main-a",)),
        (f"{MESSAGE_ID}.1.main-b", 1, ("main-b",)),
    ]


def test_a_feed_that_nobody_knows_is_named_and_the_others_count() -> None:
    found = read(targets(changed(TARGET, feed_tags=["main-z", "main-a", "main-y"])))
    assert [event.targets for event in found.events] == [("main-a",)]
    assert found.unknown == ("main-z", "main-y")


def test_feeds_of_other_racks_are_none_of_our_business_and_no_news() -> None:
    assert read(targets(changed(TARGET, feed_tags=["main-c"]))) == Targets(())


def test_strategy_and_best_effort_may_be_left_out() -> None:
    assert [event.is_best_effort for event in events(changed(TARGET, strategy=ABSENT))] == [False]
    assert [event.is_best_effort for event in events(changed(TARGET, strategy={}))] == [False]


def test_data_in_another_envelope_has_the_same_digest_if_it_was_signed() -> None:
    """The envelope is not signed: anybody could send an old message again under a new name and time."""

    def digest(data: object, **changes: object) -> str:
        raw = encoded(envelope(data, **changes))
        message = parse(raw, kind="grid.loadtarget.set.v1", source=ISV_SOURCE)
        found = load_targets(
            message,
            targets(),
            sender=ISV,
            label=ISV,
            feeds=FEEDS,
            received=NOW,
            retained=False,
            raw=raw,
        )
        [event] = found.events
        return event.digest

    later = {"id": CORRELATION_ID, "time": "2026-11-21T18:00:00Z"}
    assert digest("a.b.c", **later) == digest("a.b.c")
    assert digest("a.b.d") != digest("a.b.c")
    assert digest(targets()) == digest(targets())
    assert digest(targets(), **later) != digest(targets())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "missing"),
        ({"targets": {}}, "type"),
        ({"targets": []}, "length"),
        ({"targets": [7]}, "type"),
        (targets(changed(TARGET, interval=ABSENT)), "missing"),
        (targets(changed(TARGET, interval=None)), "type"),
        (targets(changed(TARGET, interval={"start_time": "2026-11-21T17:00:00"})), "time"),
        (targets(changed(TARGET, interval={"end_time": None})), "type"),
        (targets(changed(TARGET, load_constraint=ABSENT)), "missing"),
        (targets(changed(TARGET, load_constraint=6)), "type"),
        (targets(changed(TARGET, load_constraint={"unit": "watt"})), "missing"),
        (targets(changed(TARGET, load_constraint={"value": 6})), "missing"),
        (targets(changed(TARGET, load_constraint={"value": True, "unit": "watt"})), "type"),
        (targets(changed(TARGET, load_constraint={"value": "6", "unit": "watt"})), "type"),
        (targets(limit(-1)), "negative"),
        (targets(limit(6, "W")), "unit"),
        (targets(limit(6, "KILOWATT")), "unit"),
        (targets(changed(TARGET, feed_tags="main-a")), "type"),
        (targets(changed(TARGET, feed_tags=[7])), "type"),
        (targets(changed(TARGET, feed_tags=None)), "type"),
        (targets(changed(TARGET, strategy=True)), "type"),
        (targets(changed(TARGET, strategy={"best_effort": "yes"})), "type"),
    ],
)
def test_what_the_schema_forbids_powerd_refuses(data: dict[str, Any], reason: str) -> None:
    assert not is_valid("SetLoadTargetData", data)
    assert refusal(data) == reason


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (
            changed(
                TARGET, interval={"start_time": "2026-11-21T17:00:00Z", "end_time": "2026-11-21T17:00:00Z"}
            ),
            "order",
        ),
        (changed(TARGET, interval={"end_time": "2026-11-21T17:00:00Z"}), "order"),
        (changed(TARGET, interval={"start_time": "2026-11-31T17:00:00Z"}), "time"),
        (changed(TARGET, feed_tags=["x" * 65]), "length"),
        (changed(TARGET, feed_tags=[""]), "length"),
        (limit(1e300, "megawatt"), "unit_error"),
        (limit(1e12), "unit_error"),
    ],
)
def test_what_the_schema_cannot_forbid_powerd_refuses_too(target: dict[str, Any], reason: str) -> None:
    assert is_valid("SetLoadTargetData", targets(target))
    assert refusal(targets(target)) == reason


def test_kilowatts_that_were_sent_as_megawatts_are_a_wrong_unit() -> None:
    """A feed of which 40 kW are a hundredth carries 4 MW; above ten times of that nothing is believed."""
    assert events(limit(40, "megawatt"))
    assert refusal(targets(limit(40.1, "megawatt"))) == "unit_error"
    assert refusal(targets(limit(3000, "megawatt"))) == "unit_error"
    assert events(changed(limit(40.1, "megawatt"), feed_tags=["main-c"])) == ()


def test_one_bad_target_makes_the_whole_message_void() -> None:
    """Half of what a sender meant may be the opposite of what it meant."""
    assert refusal(targets(TARGET, limit(-1))) == "negative"


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    target = changed(TARGET, interval={"start_time": "2026-11-21T18:00:00.000+01:00"})
    [event] = events(target)
    assert math.isclose(event.start_s, START_S)
