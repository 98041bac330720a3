"""What each payload of an event comes to: the table of docs/openadr.md."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from powerd.core.events.grid_event import (
    Action,
    ActionKind,
    Baseline,
    EventClass,
    EventRamp,
    GridEvent,
    Level,
)
from powerd.core.model import Now
from powerd.core.rack.advisory import SignalKind
from powerd.errors import SignalRejectedError
from powerd.openadr.event import read_event
from powerd.openadr.mapping import Mapped, safe_id
from powerd.openadr.options import ACTIONS, Program, Rule
from powerd.signals.grid_event import encode_event, parse_event
from tests.openadr.contract import check, payload_types
from tests.openadr.make import EURO, FIVE, KW, NOW, START_S, at, event, interval, limits, mapped, payload

ROOT = Path(__file__).parents[2]
ENDLESS = {"start": "0001-01-01T00:00:00Z", "duration": "P9999Y"}


def of(kind: str, *values: object, rules: Program | None = None, units: str = "", **fields: Any) -> Mapped:
    """Return what an event of one interval comes to."""
    described = [{"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": kind, "units": units or None}]
    content: dict[str, Any] = {
        "payloadDescriptors": described,
        "intervals": [interval(0, payload(kind, *values))],
    } | fields
    check("event", event(**content))
    return mapped(rules, **content)


def only(found: Mapped) -> GridEvent:
    [native] = found.events
    return native


def refusal(kind: str, *values: object, **options: Any) -> str:
    with pytest.raises(SignalRejectedError) as caught:
        of(kind, *values, **options)
    return str(caught.value)


def test_a_capacity_limit_of_two_intervals_becomes_a_mandatory_event_of_the_site() -> None:
    native = only(mapped(priority=0))
    assert (native.event_class, native.level, native.targets) == (EventClass.MANDATORY, Level.SITE, ("hel1",))
    assert (native.event_id, native.program, native.priority) == ("vtn1-8842-limit", "44-limit", 0)
    assert native.origin == "openadr3.1 8842 IMPORT_CAPACITY_LIMIT"
    assert [tuple(each) for each in native.intervals] == [
        (at("17:00:00"), at("17:30:00"), Action(ActionKind.LIMIT, mw=800_000_000)),
        (at("17:30:00"), at("18:00:00"), Action(ActionKind.LIMIT, mw=650_000_000)),
    ]


def test_what_is_published_is_read_by_the_racks_as_it_was_meant() -> None:
    native = only(
        mapped(
            intervalPeriod=ENDLESS, priority=7, targets=["vpp"], rules=Program(ramp=EventRamp(30, 600, 60))
        )
    )
    read = parse_event(
        encode_event(native), event_id=native.event_id, hard_limit_mw=40_000_000, retained=False, received=NOW
    )
    assert read.intervals == native.intervals
    assert read.end_s is None
    assert (read.ramp, read.priority, read.origin) == (native.ramp, 7, native.origin)


def test_a_setpoint_is_a_limit_too() -> None:
    native = only(of("DISPATCH_SETPOINT", 0, units="KW"))
    assert native.event_id == "vtn1-8842-setpoint"
    assert native.intervals[0].action == Action(ActionKind.LIMIT, mw=0), "0 kW is zero watts, not no limit"


@pytest.mark.parametrize(
    "kind", ["IMPORT_CAPACITY_LIMIT", "DISPATCH_SETPOINT", "IMPORT_CAPACITY_SUBSCRIPTION"]
)
@pytest.mark.parametrize("units", ["", "KWH", "KVA", "PERCENT", "MW", "kW"])
def test_power_in_another_unit_or_without_one_is_refused(kind: str, units: str) -> None:
    assert "only KW is obeyed" in refusal(kind, 800.0, units=units)


def test_the_unit_may_stand_in_the_program() -> None:
    assert "only KW is obeyed" in refusal("IMPORT_CAPACITY_LIMIT", 1.0)
    assert only(mapped(payloadDescriptors=[KW])).intervals


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (-1.0, "is negative"),
        (True, "is not a number"),
        ("800", "is not a number"),
        ({"x": 1.0, "y": 2.0}, "is not a number"),
        (1e9, "more than any site draws"),
        (float("inf"), "beyond the range"),
        (10**400, "beyond the range"),
    ],
)
def test_a_value_that_is_no_power_refuses_the_event(value: object, problem: str) -> None:
    with pytest.raises(SignalRejectedError, match=problem):
        mapped(intervals=[interval(0, payload("IMPORT_CAPACITY_LIMIT", value))])


def test_one_wrong_interval_refuses_all_of_them() -> None:
    """A limit with a hole in it would be worse than the limit that was known before."""
    with pytest.raises(SignalRejectedError, match="is negative"):
        mapped(intervals=limits(800.0, -650.0))


@pytest.mark.parametrize(
    ("level", "event_class"), [(0, "voluntary"), (1, "voluntary"), (2, "voluntary"), (3, "emergency")]
)
def test_simple_is_a_shed_level_and_its_highest_an_emergency(level: int, event_class: str) -> None:
    native = only(of("SIMPLE", level))
    assert native.event_class == event_class
    assert native.intervals[0].action == Action(ActionKind.SHED_LEVEL, level=level)


def test_an_emergency_in_a_simple_event_is_one_of_its_own_that_cannot_be_opted_out_of() -> None:
    ours = [interval(i, payload("SIMPLE", level)) for i, level in enumerate((1, 3, 2))]
    natives = {each.event_id: each for each in mapped(intervals=ours).events}
    assert {name: len(each.intervals) for name, each in natives.items()} == {
        "vtn1-8842-simple": 2,
        "vtn1-8842-emergency": 1,
    }


@pytest.mark.parametrize("level", [4, -1, 1.5, "2", True])
def test_a_level_that_does_not_exist_is_refused(level: object) -> None:
    assert refusal("SIMPLE", level)


@pytest.mark.parametrize("kind", ["ALERT_GRID_EMERGENCY", "ALERT_BLACK_START"])
def test_an_alert_of_the_grid_is_an_emergency_only_where_the_site_opts_in(kind: str) -> None:
    advisory = only(of(kind, "grid is failing", intervalPeriod=ENDLESS))
    assert (advisory.event_class, advisory.end_s) == (EventClass.ADVISORY, None)
    floor = only(of(kind, "grid is failing", rules=Program(alerts_floor=True), intervalPeriod=ENDLESS))
    assert (floor.event_class, floor.start_s, floor.end_s) == (EventClass.EMERGENCY, START_S, None)
    assert floor.intervals[0].action == Action(ActionKind.FLOOR)


@pytest.mark.parametrize("kind", [kind for kind in payload_types() if kind.startswith("ALERT_")])
def test_other_alerts_are_shown_and_ask_for_nothing(kind: str) -> None:
    if kind not in ("ALERT_GRID_EMERGENCY", "ALERT_BLACK_START"):
        native = only(of(kind, "wind", rules=Program(alerts_floor=True)))
        assert native.event_class is EventClass.ADVISORY
        assert native.intervals[0].action.level == 0


def test_prices_are_quotes_and_several_in_an_interval_share_its_time() -> None:
    ours = [
        interval(0, payload("PRICE", 0.1, 0.2, -0.05), duration="PT3H"),
        interval(1, payload("PRICE", 0.4)),
    ]
    found = mapped(payloadDescriptors=[EURO], intervals=ours)
    assert not found.events, "a price is never a limit by itself"
    assert [(span.start_s - at("17:00:00"), span.item.value) for span in found.quotes] == [
        (0, 0.1),
        (3600, 0.2),
        (7200, -0.05),
        (10800, 0.4),
    ]
    assert found.quotes[0].item.kind is SignalKind.PRICE_TARIFF
    assert found.quotes[0].item.currency == "EUR"


def test_emissions_are_marginal() -> None:
    [span] = of("GHG", 320.5).quotes
    assert (span.item.kind, span.item.value, span.item.zone) == (SignalKind.GHG_MARGINAL, 320.5, "hel1")


def test_a_price_without_currency_or_of_something_else_is_refused() -> None:
    assert "no currency per KWH" in refusal("PRICE", 0.1, units="KWH")
    therms = {**EURO, "units": "THERMS"}
    with pytest.raises(SignalRejectedError, match="EUR per THERMS"):
        mapped(payloadDescriptors=[therms], intervals=[interval(0, payload("PRICE", 1.0))])


def test_several_prices_cannot_share_an_interval_without_end() -> None:
    with pytest.raises(SignalRejectedError, match="several values in an interval without end"):
        mapped(
            payloadDescriptors=[EURO], intervalPeriod=ENDLESS, intervals=[interval(0, payload("PRICE", 1, 2))]
        )


def test_a_subscription_and_what_is_reserved_on_top_are_capacity_not_events() -> None:
    found = of("IMPORT_CAPACITY_SUBSCRIPTION", 500.0, units="KW", intervalPeriod=ENDLESS)
    assert not found.events
    assert [(span.item, span.end_s) for span in found.subscribed] == [(500_000_000, None)]
    assert of("IMPORT_CAPACITY_RESERVATION", 50.0, units="KW").reserved[0].item == 50_000_000


UNDEFINED = [
    "DISPATCH_SETPOINT_RELATIVE",
    "CONTROL_LEVEL_OFFSET",
    "CONTROL_SETPOINT",
    "DISPATCH_INSTRUCTION",
    "X-ACME",
]


@pytest.mark.parametrize("kind", UNDEFINED)
def test_what_openadr_leaves_open_is_ignored_and_said(kind: str) -> None:
    both = [interval(0, payload(kind, 5), payload("IMPORT_CAPACITY_LIMIT", 800.0))]
    found = mapped(intervals=both)
    assert found.ignored == (kind,)
    assert only(found).event_id == "vtn1-8842-limit", "the rest of the event is obeyed"


@pytest.mark.parametrize(
    ("rule", "value", "action"),
    [
        (
            Rule("reduce_watts", -1000.0, "KW", Baseline.MEASURED),
            -150.0,
            Action(ActionKind.REDUCE, mw=150_000_000, baseline=Baseline.MEASURED),
        ),
        (Rule("reduce_pct", -100.0), -0.15, Action(ActionKind.REDUCE_PCT, pct=15.0)),
        (Rule("limit_watts", 1e6), 0.8, Action(ActionKind.LIMIT, mw=800_000_000)),
        (Rule("level", 0.3), 10, Action(ActionKind.SHED_LEVEL, level=3)),
        (Rule("reduce_watts", -1000.0), 150.0, None),
    ],
)
def test_a_rule_of_the_program_says_what_it_means(rule: Rule, value: float, action: Action | None) -> None:
    found = of("CONTROL_SETPOINT", value, units="KW", rules=Program(rules={"CONTROL_SETPOINT": rule}))
    assert rule.action in ACTIONS
    assert [each.intervals[0].action for each in found.events] == ([action] if action else [])
    assert all(each.event_class is EventClass.MANDATORY for each in found.events)


def test_a_rule_refuses_another_unit_and_more_than_all() -> None:
    rules = Program(rules={"X": Rule("reduce_pct", 100.0, "PERCENT")})
    assert "the rule for it is about PERCENT" in refusal("X", 0.5, units="KW", rules=rules)
    assert "comes to 1500 %" in refusal("X", 15, units="PERCENT", rules=rules)


def test_the_class_and_priority_of_a_program_take_the_place_of_those_of_its_events() -> None:
    native = only(of("SIMPLE", 1, rules=Program(event_class=EventClass.MANDATORY, priority=3), priority=9))
    assert (native.event_class, native.priority) == (EventClass.MANDATORY, 3)


def test_targets_of_the_vtn_are_feeds_or_racks_of_ours_and_unknown_ones_the_whole_site() -> None:
    rules = Program(level=Level.FEED, targets={"feed-a": ("main-a",), "both": ("main-a", "main-b")})
    assert only(mapped(rules, targets=["ven-1", "feed-a", "both"])).targets == ("main-a", "main-b")
    for unknown in (["ven-1"], [], None):
        native = only(mapped(rules, targets=unknown))
        assert (native.level, native.targets) == (Level.SITE, ("hel1",))


def test_where_limits_of_one_event_overlap_the_lower_one_holds() -> None:
    ours = [
        interval(0, payload("IMPORT_CAPACITY_LIMIT", 800.0), start=FIVE, duration="PT1H"),
        interval(1, payload("IMPORT_CAPACITY_LIMIT", 600.0), start="2026-11-21T17:15:00Z", duration="PT15M"),
    ]
    kilowatts = [each.action.mw / 1e6 for each in only(mapped(intervals=ours)).intervals]
    assert kilowatts == [800, 600, 800]


def test_the_same_limit_repeated_for_ever_is_one_without_end() -> None:
    native = only(mapped(intervals=limits(800.0), duration="P9999Y"))
    assert (native.start_s, native.end_s) == (at("17:00:00"), None)


def test_more_intervals_than_an_event_has_room_for_move_on_with_time() -> None:
    ours = [interval(i, payload("IMPORT_CAPACITY_LIMIT", i)) for i in range(600)]
    first = only(mapped(intervals=ours)).intervals
    assert (len(first), first[0].action.mw) == (512, 0)
    later = Now(0.0, at("17:00:00") + 50 * 1800)
    assert only(mapped(intervals=ours, now=later)).intervals[0].action.mw == 50_000_000


@pytest.mark.parametrize("event_id", ["8842", "a_b-c", "EVENT-1", "event-1", "x" * 128, "X" * 128, "__"])
def test_every_id_of_the_vtn_makes_a_level_of_a_topic_that_no_other_one_makes(event_id: str) -> None:
    name = safe_id("vtn1", event_id, "limit")
    assert re.fullmatch(r"[a-z0-9_-]{1,64}", name)
    assert name != safe_id(
        "vtn1", event_id.swapcase() if event_id.lower() != event_id.upper() else "1", "limit"
    )


def test_every_payload_type_of_openadr_is_in_the_table_of_the_document() -> None:
    text = (ROOT / "docs/openadr.md").read_text(encoding="utf-8")
    named = {name.removesuffix("*") for name in re.findall(r"`([A-Z0-9_]+\*?)`", text)}
    assert not [kind for kind in payload_types() if not any(kind.startswith(name) for name in named)]


def test_hostile_events_are_refused_by_one_kind_of_error() -> None:
    hostile: list[dict[str, Any]] = [
        {"intervals": {}},
        {"intervals": [3]},
        {"intervals": [{"id": 0}]},
        {"intervals": [{"id": 0, "payloads": [{"type": "SIMPLE"}]}]},
        {"intervals": [{"id": 0, "payloads": [{"type": "SIMPLE", "values": []}]}]},
        {"intervals": [{"id": 0, "payloads": [{"type": 3, "values": [1]}]}]},
        {"priority": -1},
        {"priority": True},
        {"targets": "feed-a"},
        {"intervalPeriod": {"start": "17:00"}},
        {"intervalPeriod": {"start": "2026-11-21T17:00:00"}},
        {"intervalPeriod": {"start": FIVE, "duration": "-PT1H"}},
        {"intervalPeriod": {"start": FIVE, "duration": "PT1H", "randomizeStart": "P9999Y"}},
        {"duration": "1 hour"},
        {"payloadDescriptors": [{}]},
        {"modificationDateTime": "yesterday"},
        {"id": "../../x"},
        {"programID": None},
    ]
    for fields in hostile:
        with pytest.raises(SignalRejectedError):
            mapped(**fields)
        assert json.dumps(fields)


@pytest.mark.parametrize("field", ["id", "intervalPeriod.start", "duration"])
def test_what_is_refused_is_not_repeated_at_length(field: str) -> None:
    smiles = "\N{GRINNING FACE}" * 128
    content = event()
    content |= {"intervalPeriod": {"start": smiles}} if "." in field else {field: smiles}
    with pytest.raises(SignalRejectedError) as caught:
        read_event(content)
    assert len(str(caught.value)) < 250
