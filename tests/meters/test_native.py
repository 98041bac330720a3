"""The native meter reading: all of it exactly, or nothing (docs/meters.md, Native)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.metering.meter import MeterReading, Quality
from powerd.core.model import Now
from powerd.errors import SignalRejectedError
from powerd.meters.native import NativeMeter
from powerd.meters.options import NativePart
from powerd.meters.values import Heard, Plausible
from tests.meters.ears import HARD_LIMIT_MW, START, TOPICS
from tests.signals import payloads
from tests.signals.hostile import HOSTILE
from tests.signals.payloads import (
    ABSENT,
    SCALARS,
    SCHEMAS,
    VALIDATORS,
    accepted,
    check_agreement,
    encoded,
)

SCHEMA, VALIDATOR = SCHEMAS["meter"], VALIDATORS["meter"]
# What no schema can say: it needs the calendar, the topic or the rack.
BEYOND_THE_SCHEMA = {"time", "rack", "unit_error"}
GOOD: dict[str, object] = {
    "v": 1,
    "rack": "r12",
    "feed": "a",
    "watts": 14320.5,
    "ts": "2026-11-21T17:00:00.000Z",
    "window_ms": 1000,
    "quality": "good",
    "source": "pdu-r12-a",
}
METER = NativeMeter(NativePart("feed-a", "a"), TOPICS, Plausible(HARD_LIMIT_MW, HARD_LIMIT_MW // 1000))
RECEIVED = Now(START.boot_s, 1795280401.5)


def changed(**changes: object) -> dict[str, object]:
    return payloads.changed(GOOD, **changes)


def heard(payload: bytes, received: Now = RECEIVED, *, retained: bool = False) -> list[Heard]:
    return list(METER.read(TOPICS.meter("a"), payload, received, retained=retained))


def only(fields: dict[str, object]) -> MeterReading:
    (reading,) = heard(encoded(fields))
    assert isinstance(reading, MeterReading)
    return reading


def refusal(payload: bytes) -> SignalRejectedError:
    error = payloads.refusal(lambda: heard(payload))
    assert error.source == "feed-a"
    return error


def test_a_reading_is_as_old_as_its_stamp() -> None:
    assert only(GOOD) == MeterReading("feed-a", 14_320_500, Quality.GOOD, START.boot_s - 1.5)


def test_only_its_own_topic_is_listened_to() -> None:
    assert METER.filters == ("powerd/v1/hel1/rack/r12/meter/a",)
    named = NativeMeter(NativePart("total"), TOPICS, Plausible(HARD_LIMIT_MW, 0))
    assert named.filters == ("powerd/v1/hel1/rack/r12/meter/total",)


def test_the_window_may_be_missing_and_unknown_fields_are_ignored() -> None:
    assert only(changed(window_ms=ABSENT, colour="red")) == only(GOOD)


@pytest.mark.parametrize(
    ("changes", "quality"),
    [
        ({"quality": "uncertain"}, Quality.UNCERTAIN),
        ({"quality": "bad"}, Quality.BAD),
        ({"quality": "bad", "watts": None}, Quality.BAD),
        ({"watts": None}, Quality.BAD),
        ({"watts": -0.1}, Quality.BAD),
    ],
)
def test_what_is_not_good_is_no_number(changes: dict[str, object], quality: Quality) -> None:
    reading = only(changed(**changes))
    assert (reading.mw, reading.quality) == (None, quality)


def test_no_watts_are_watts() -> None:
    assert only(changed(watts=0)).mw == 0


def each(names: list[str], values: list[object], reason: str) -> list[tuple[str, object, str]]:
    return [(name, value, reason) for name in names for value in values]


REFUSED = [
    *each(SCHEMA["required"], [ABSENT], "missing"),
    *each(["v"], [0, 2, "1", True, None], "version"),
    *each(["rack", "feed", "ts", "quality", "source"], [1, True, None, ["a"]], "type"),
    *each(["rack", "feed"], ["x" * 129], "length"),
    *each(["source"], ["", "x" * 65], "length"),
    *each(["rack"], ["r13", ""], "rack"),
    *each(["feed"], ["b", "A"], "rack"),
    *each(["watts"], [True, "14320.5", "", [1]], "type"),
    *each(["watts"], [600_001, 10_000_001, 1e308, 14.32, 0.001], "unit_error"),
    *each(["ts"], ["2026-11-21T17:00:00", "2026-02-30T17:00:00Z", "now", ""], "time"),
    *each(["window_ms"], [None, "1000", 1.5], "type"),
    *each(["window_ms"], [-1, 2**63], "range"),
    *each(["quality"], ["GOOD", "", "fine"], "range"),
]


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED)
def test_a_field_out_of_form_is_refused_by_name(name: str, value: object, reason: str) -> None:
    error = refusal(json.dumps(changed(**{name: value})).encode())
    assert error.reason == reason
    if reason != "unit_error":
        assert ("power" if name == "watts" and reason == "type" else name) in str(error)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, value, reason in REFUSED if reason not in BEYOND_THE_SCHEMA]
)
def test_the_published_schema_refuses_the_same_fields(name: str, value: object) -> None:
    assert not VALIDATOR.is_valid(changed(**{name: value}))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"14320.5", "not_object"),
        (b'{"watts":NaN}', "not_finite"),
        (b'{"watts":1e999}', "not_finite"),
        (b'{"watts":1,"watts":2}', "duplicate_key"),
    ],
)
def test_what_is_no_strict_json_is_refused(payload: bytes, reason: str) -> None:
    assert refusal(payload).reason == reason


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_payload_is_refused(payload: bytes) -> None:
    refusal(payload)


def test_a_reading_from_the_store_is_none() -> None:
    assert heard(encoded(GOOD), retained=True) == []


FIELD_VALUES = st.one_of(
    SCALARS,
    st.floats(-10, 1e6),
    st.datetimes(timezones=st.just(None)).map(lambda t: t.isoformat() + "Z"),
    st.sampled_from(["r12", "a", "good", "bad", "", "2026-11-21T17:00:30+00:00", 1.0, 30000.0]),
    st.lists(st.integers(), max_size=2),
)


@given(
    st.dictionaries(st.sampled_from([*GOOD, "extra"]), FIELD_VALUES, max_size=3),
    st.sets(st.sampled_from(list(GOOD)), max_size=1),
)
def test_schema_and_parser_agree_on_every_reading(changes: dict[str, object], removed: set[str]) -> None:
    """Who validates with the schema sends nothing that the daemon refuses, but for what no schema can say."""
    fields = changed(**changes, **dict.fromkeys(removed - changes.keys(), ABSENT))
    check_agreement(VALIDATOR, fields, heard, BEYOND_THE_SCHEMA)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_payload_breaks_it(payload: bytes) -> None:
    accepted(lambda: heard(payload))
