"""What the form of a grid event decides (docs/grid-events.md): all of it arrives, or nothing does."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from powerd.core.events.grid_event import (
    Action,
    ActionKind,
    Baseline,
    EventClass,
    EventRamp,
    GridEvent,
    Interval,
    Level,
)
from powerd.errors import SignalRejectedError
from powerd.signals import rfc3339
from powerd.signals.grid_event import ACTIONS, MAX_INTERVALS, MAX_TARGETS, encode_event, parse_event
from tests.signals import payloads
from tests.signals.grid_events import EVENT_ID, GOOD, HARD_LIMIT_MW, NOW, changed
from tests.signals.hostile import HOSTILE
from tests.signals.payloads import ABSENT, SCHEMAS, VALIDATORS, encoded

SCHEMA, VALIDATOR = SCHEMAS["event"], VALIDATORS["event"]

# What no schema can say: it needs the calendar, another field, the topic or the rack.
BEYOND_THE_SCHEMA = {"time", "order", "event", "unit_error"}


def parse(payload: bytes, *, event_id: str = EVENT_ID, retained: bool = False) -> GridEvent:
    return parse_event(
        payload, event_id=event_id, hard_limit_mw=HARD_LIMIT_MW, retained=retained, received=NOW
    )


def refusal(payload: bytes) -> SignalRejectedError:
    return payloads.refusal(lambda: parse(payload))


def action(**fields: object) -> Action:
    return parse(encoded(changed("intervals.action", fields))).intervals[0].action


def test_every_field_of_an_event_arrives_in_milliwatts_and_unix_seconds() -> None:
    event = parse(encoded(GOOD), retained=True)
    assert event == GridEvent(
        source="openadr-vtn1",
        event_id=EVENT_ID,
        epoch=1763690000000,
        seq=7,
        issued_at_s=1795280100.0,
        event_class=EventClass.MANDATORY,
        level=Level.RACK,
        targets=("r12", "r13"),
        intervals=(
            Interval(1795280400.0, 1795282200.0, Action(ActionKind.LIMIT, mw=24_000_500)),
            Interval(1795282200.0, None, Action(ActionKind.REDUCE_PCT, pct=12.5, baseline=Baseline.MEASURED)),
        ),
        received=NOW,
        ramp=EventRamp(30.0, 600.0, 60.5),
        priority=2,
        program="capacity",
        origin="openadr3.1 8842 IMPORT_CAPACITY_LIMIT",
        correlation_id="9a1e",
        retained=True,
        digest=event.digest,
    )


def test_the_fields_that_may_be_missing_have_the_documented_defaults() -> None:
    optional = {"ramp", "priority", "program", "raw", "reason", "correlation_id"}
    event = parse(encoded({name: value for name, value in GOOD.items() if name not in optional}))
    assert event.ramp == EventRamp(0.0, 0.0, 0.0)
    assert event.priority is None
    assert event.program == event.origin == event.correlation_id == ""
    assert parse(encoded(changed("ramp", {}))).ramp == EventRamp()
    assert parse(encoded(changed("priority", None))).priority is None


def test_a_cancelled_event_is_one_that_says_so() -> None:
    assert parse(encoded(GOOD | {"status": "cancelled"})).is_cancelled
    assert not parse(encoded(GOOD)).is_cancelled


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"limit_watts": 0}, Action(ActionKind.LIMIT, mw=0)),
        ({"limit_watts": 1.001}, Action(ActionKind.LIMIT, mw=1001)),
        ({"reduce_watts": 500}, Action(ActionKind.REDUCE, mw=500_000)),
        ({"reduce_pct": 100}, Action(ActionKind.REDUCE_PCT, pct=100.0)),
        ({"level": 3}, Action(ActionKind.SHED_LEVEL, level=3)),
        (
            {"level": 1.0, "baseline": "nameplate"},
            Action(ActionKind.SHED_LEVEL, level=1, baseline=Baseline.NAMEPLATE),
        ),
        ({"floor": True}, Action(ActionKind.FLOOR)),
    ],
)
def test_each_action_is_read_and_reductions_count_from_the_budget_unless_told(
    fields: dict[str, object], read: Action
) -> None:
    assert action(**fields) == read


@pytest.mark.parametrize("level", ["site", "feed"])
def test_watts_of_a_whole_site_may_be_far_beyond_one_rack(level: str) -> None:
    """Else a grid that limits 8 GW of load would be taken for one that mixes up its units."""
    megawatts = changed("intervals.action", {"limit_watts": 8e9})
    assert parse(encoded(megawatts | {"scope": {"level": level, "targets": ["hel1"]}})).level == level
    assert refusal(encoded(megawatts)).reason == "unit_error"
    beyond = changed("intervals.action", {"limit_watts": 1.1e10})
    assert refusal(encoded(beyond | {"scope": {"level": level, "targets": ["hel1"]}})).reason == "unit_error"


def test_the_unit_is_judged_where_the_event_is_about_this_rack() -> None:
    """The limits of other racks are not known here; a rack ten times as large must not cause an alarm."""
    payload = encoded(changed("intervals.action", {"limit_watts": 500_000}))
    known: dict[str, Any] = {
        "event_id": EVENT_ID,
        "hard_limit_mw": HARD_LIMIT_MW,
        "retained": False,
        "received": NOW,
    }
    assert parse_event(payload, **known, own=("r99", "r99-n1")).intervals[0].action.mw == 500_000_000
    with pytest.raises(SignalRejectedError) as caught:
        parse_event(payload, **known, own=("r13", "r13-n1"))
    assert caught.value.reason == "unit_error"


def test_a_target_named_twice_counts_once() -> None:
    """A rack's part of a scope may be a sum over its targets."""
    assert parse(encoded(changed("scope.targets", ["a", "b", "a"]))).targets == ("a", "b")


def test_intervals_may_touch_and_leave_gaps() -> None:
    first, second = GOOD["intervals"]
    later = second | {"start": "2026-11-21T19:00:00Z"}
    assert parse(encoded(GOOD | {"intervals": [first, later]})).intervals[1].start_s == 1795287600.0


@pytest.mark.parametrize("offset", ["Z", "+23:59", "-23:59"])
def test_events_at_the_ends_of_time_are_read_and_written(offset: str) -> None:
    """OpenADR says "now" with the year 1, and "for ever" with 9999 years."""
    ends = {"start": f"0001-01-01T00:00:00{offset}", "end": f"9999-12-31T23:59:59{offset}"}
    event = parse(encoded(GOOD | {"intervals": [{**ends, "action": {"floor": True}}]}))
    again = parse(encode_event(event))
    assert again.start_s == pytest.approx(event.start_s, abs=86400)
    assert again.start_s < 0
    assert again.end_s
    assert again.end_s > 2e11


NOT_NUMBERS: tuple[object, ...] = (True, False, "30000", "", [30000], {"watts": 1})
NOT_STRINGS: tuple[object, ...] = (1, 1.5, True, None, ["a"], {})
NOT_RFC_3339 = ("2026-11-21T17:00:00", "2026-11-21", "20261121T170000Z", "2026-02-30T17:00:00Z", "now", "")
LABELS = ("correlation_id", "reason", "raw.standard", "raw.event", "raw.type")
RAMPS = ("ramp.down_s", "ramp.up_s", "ramp.up_jitter_s")
LATER = {"start": "2026-11-21T18:00:00Z", "end": "2026-11-21T19:00:00Z", "action": {"floor": True}}
FIRST = GOOD["intervals"][0]


def each(paths: tuple[str, ...], values: tuple[object, ...], reason: str) -> list[tuple[str, object, str]]:
    return [(path, value, reason) for path in paths for value in values]


REQUIRED = (*SCHEMA["required"], "scope.level", "scope.targets")
REFUSED = [
    *each(
        (*REQUIRED, "intervals.start", "intervals.end", "intervals.action"),
        (ABSENT,),
        "missing",
    ),
    *each(("v",), (0, 2, 1.5, "1", True, None, [1]), "version"),
    *each(("source", "event_id", "class", "status", "scope.level", "program", *LABELS), NOT_STRINGS, "type"),
    *each(("source", "event_id"), ("", "x" * 65), "length"),
    *each((*LABELS,), ("x" * 129,), "length"),
    *each(("program",), ("x" * 65,), "length"),
    *each(("event_id",), ("vtn1-8843", "VTN1-8842", "vtn1-8842 "), "event"),
    *each(("class",), ("", "Mandatory", "urgent"), "class"),
    *each(("status",), ("", "canceled", "completed"), "status"),
    *each(("scope.level",), ("", "Rack", "zone"), "level"),
    *each(("scope", "ramp", "raw"), (None, 1, "rack", []), "type"),
    *each(("scope.targets",), (None, "r12", {}, [1], [None], ["r12", 5]), "type"),
    *each(("scope.targets",), ([], [""], ["x" * 129], ["r"] * (MAX_TARGETS + 1)), "length"),
    *each(("epoch", "seq"), (*NOT_NUMBERS, None, 1.5), "type"),
    *each(("priority",), (*NOT_NUMBERS, 1.5), "type"),
    *each(("epoch", "seq", "priority"), (-1, 2**63, 1e300), "range"),
    *each(RAMPS, (*NOT_NUMBERS, None), "type"),
    *each(RAMPS, (-0.001, 86400.001, 1e308), "range"),
    *each(("issued_at", "intervals.start"), NOT_STRINGS, "type"),
    *each(("intervals.end",), (1, True, ["a"], {}), "type"),
    *each(("issued_at", "intervals.start", "intervals.end"), NOT_RFC_3339, "time"),
    *each(("intervals",), (None, {}, "now", [1], [None]), "type"),
    *each(("intervals",), ([], [{}] * (MAX_INTERVALS + 1)), "length"),
    *each(("intervals.end",), ("2026-11-21T17:00:00Z", "2026-11-21T16:59:59Z", None), "order"),
    *each(("intervals",), ([LATER, FIRST], [FIRST, FIRST]), "order"),
    *each(("intervals.start",), ("2026-11-21T17:30:00Z",), "order"),
    *each(("intervals.action",), (None, 1, "floor", []), "type"),
    *each(("intervals.action",), ({}, {"raise_watts": 1}, {"baseline": "budget"}), "action"),
    *each(("intervals.action",), ({"floor": True, "level": 3}, {"floor": False}), "action"),
    *each(("intervals.action.baseline",), ("", "Budget", "contract"), "baseline"),
    *each(("intervals.action.baseline",), NOT_STRINGS, "type"),
    *each(("intervals.action.limit_watts",), (*NOT_NUMBERS, None), "type"),
    *each(("intervals.action.limit_watts",), (-1, -0.001, -1e308), "negative"),
    *each(("intervals.action.limit_watts",), (400_001, 30_000_000, 1e308, 10**200), "unit_error"),
]
REFUSED_ACTIONS = [
    *each(("reduce_watts", "reduce_pct", "level"), (*NOT_NUMBERS, None), "type"),
    *each(("reduce_watts",), (-1,), "negative"),
    *each(("reduce_watts",), (400_001,), "unit_error"),
    *each(("reduce_pct",), (-0.1, 100.1, 1e308), "range"),
    *each(("level",), (1.5,), "type"),
    *each(("level",), (-1, 4, 2**63), "range"),
    *each(("floor",), (1, 0, "true", None), "type"),
]


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED)
def test_a_field_out_of_form_is_refused_by_name(path: str, value: object, reason: str) -> None:
    error = refusal(encoded(changed(path, value)))
    assert error.reason == reason
    assert path.rpartition(".")[2] in str(error)
    assert error.source == ("unknown" if path == "source" else "openadr-vtn1")


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED_ACTIONS)
def test_an_action_out_of_form_is_refused_by_name(name: str, value: object, reason: str) -> None:
    error = refusal(encoded(changed("intervals.action", {name: value})))
    assert error.reason == reason
    assert f"intervals.action.{name}" in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        *(changed(path, value) for path, value, reason in REFUSED if reason not in BEYOND_THE_SCHEMA),
        *(
            changed("intervals.action", {name: value})
            for name, value, reason in REFUSED_ACTIONS
            if reason not in BEYOND_THE_SCHEMA
        ),
    ],
)
def test_the_published_schema_refuses_the_same_fields(fields: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(fields)


def test_unknown_fields_are_ignored() -> None:
    for path in ("colour", "scope.colour", "ramp.colour", "intervals.colour", "intervals.action.colour"):
        assert parse(encoded(changed(path, "red"))).intervals == parse(encoded(GOOD)).intervals


def test_an_empty_payload_is_cleanup_and_no_cancellation() -> None:
    assert refusal(b"").reason == "empty"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"30000", "not_object"),
        (b'{"epoch":1e999}', "not_finite"),
        (b'{"v":1,"v":1}', "duplicate_key"),
        (encoded(GOOD).decode().encode("utf-16"), "encoding"),
        (encoded(changed("reason", "\ud800")), "surrogate"),
        (encoded(GOOD) + b" " * 65536, "too_large"),
    ],
)
def test_what_is_no_strict_json_is_refused_before_any_field_is_read(payload: bytes, reason: str) -> None:
    assert refusal(payload).reason == reason


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_no_payload_within_the_size_is_more_than_refused(raw: bytes) -> None:
    refusal(raw)


def test_what_a_terminal_would_act_on_is_replaced_before_anyone_prints_it() -> None:
    event = parse(encoded(changed("scope.targets", ["a\x1b[2Jb"]) | {"program": "one\ntwo"}))
    assert event.targets == ("a\ufffd[2Jb",)
    assert event.program == "one\ufffdtwo"


def test_the_documented_example_is_a_good_event() -> None:
    document = (Path(__file__).parents[2] / "docs" / "grid-events.md").read_text("utf-8")
    example = json.loads(document.split("```json\n")[1].split("```")[0])
    VALIDATOR.validate(example)
    assert len(parse(encoded(example)).intervals) == 2


def test_the_schema_is_one_and_knows_time_stamps_and_actions_as_the_parser_does() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$defs"]["time"]["pattern"] == f"^{rfc3339.PATTERN}$"
    assert [name for one in SCHEMA["$defs"]["action"]["oneOf"] for name in one["required"]] == list(ACTIONS)
