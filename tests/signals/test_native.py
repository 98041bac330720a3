"""Every verdict of docs/signals.md that the form of a budget alone decides."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from powerd.core.rack.timeline import BudgetMessage
from powerd.errors import SignalRejectedError
from powerd.signals import rfc3339
from powerd.signals.native import parse_budget
from tests.signals import payloads
from tests.signals.budgets import GOOD, HARD_LIMIT_MW, NOW, RACK, changed
from tests.signals.payloads import (
    ABSENT,
    SCALARS,
    SCHEMAS,
    VALIDATORS,
    accepted,
    check_agreement,
    damaged,
    encoded,
)

SCHEMA, VALIDATOR = SCHEMAS["budget"], VALIDATORS["budget"]

# What no schema can say: it needs the calendar, another field, the topic or the rack.
BEYOND_THE_SCHEMA = {"time", "order", "rack", "unit_error"}


def parse(payload: bytes, *, retained: bool = False) -> BudgetMessage:
    return parse_budget(payload, rack=RACK, hard_limit_mw=HARD_LIMIT_MW, retained=retained, received=NOW)


def refusal(payload: bytes) -> SignalRejectedError:
    return payloads.refusal(lambda: parse(payload))


def test_every_field_of_a_budget_arrives_in_milliwatts_and_unix_seconds() -> None:
    message = parse(encoded(GOOD), retained=True)
    assert message == BudgetMessage(
        source="facility-a",
        epoch=1763690000000,
        seq=1842,
        issued_at_s=1795280400.0,
        valid_until_s=1795280460.0,
        mw=30_000_000,
        received=NOW,
        retained=True,
        priority=90,
        default_mw=34_000_000,
        failsafe_mw=20_000_500,
        reason="normal",
        correlation_id="9a1e",
        digest=message.digest,
    )


def test_the_fields_that_may_be_missing_have_the_documented_defaults() -> None:
    optional = ("priority", "default_watts", "failsafe_watts", "reason", "correlation_id")
    message = parse(encoded(changed(**dict.fromkeys(optional, ABSENT))))
    assert message.priority == 100
    assert message.default_mw is None
    assert message.failsafe_mw is None
    assert message.reason == message.correlation_id == ""


def test_null_watts_is_no_limit_and_zero_is_zero_watts() -> None:
    assert parse(encoded(changed(watts=None))).mw is None
    assert parse(encoded(changed(watts=0))).mw == 0
    assert parse(encoded(changed(watts=-0.0))).mw == 0


def test_watts_are_rounded_down_so_that_rounding_adds_nothing() -> None:
    assert parse(encoded(changed(watts=1234.5678))).mw == 1_234_567


def test_watts_up_to_ten_times_the_hard_limit_are_left_for_the_core_to_clamp() -> None:
    assert parse(encoded(changed(watts=HARD_LIMIT_MW // 100))).mw == 10 * HARD_LIMIT_MW


def test_unknown_fields_are_ignored() -> None:
    assert parse(encoded(changed(colour="red", nested={"a": [1]}))).mw == 30_000_000


def test_the_same_payload_has_the_same_digest_and_another_one_has_not() -> None:
    digest = parse(encoded(GOOD)).digest
    assert parse(encoded(GOOD)).digest == digest
    assert parse(encoded(changed(watts=30001))).digest != digest


def test_what_a_terminal_would_act_on_is_replaced_before_anyone_prints_it() -> None:
    message = parse(encoded(changed(source="a\x1b[2Jb", reason="one\ntwo", correlation_id="\u202e9a1e")))
    assert message.source == "a\ufffd[2Jb"
    assert message.reason == "one\ufffdtwo"
    assert message.correlation_id == "\ufffd9a1e"


@pytest.mark.parametrize(
    ("stamp", "unix_s"),
    [
        ("2026-11-21T17:00:00Z", 1795280400.0),
        ("2026-11-21T19:00:00+02:00", 1795280400.0),
        ("2026-11-21T11:30:00.25-05:30", 1795280400.25),
        ("2026-11-21T17:00:00.123456789Z", 1795280400.123456),
        ("0001-01-01T00:00:00+14:00", -62135647200.0),
        ("9999-12-31T23:59:59-14:00", 253402351199.0),
    ],
)
def test_time_stamps_with_any_offset_are_the_same_moment(stamp: str, unix_s: float) -> None:
    far = {"issued_at": "0001-01-01T00:00:00Z", "valid_until": "9999-12-31T23:59:59-23:59"}
    assert parse(encoded(changed(**far | {"issued_at": stamp}))).issued_at_s == pytest.approx(
        unix_s, abs=1e-6
    )


COUNTERS = ("epoch", "seq", "priority")
POWERS = ("watts", "default_watts", "failsafe_watts")
TIMES = ("issued_at", "valid_until")
LABELS = ("reason", "correlation_id")
NOT_NUMBERS: Sequence[object] = (True, False, "30000", "", [30000], {"watts": 1})
NOT_STRINGS: Sequence[object] = (1, 1.5, True, None, ["a"], {})
NOT_RFC_3339 = (
    "2026-11-21T17:00:00",  # naive: another moment on every host
    "2026-11-21",
    "2026-11-21 17:00:00Z",
    "2026-11-21T17:00Z",
    "2026-11-21T17:00:00.Z",
    "20261121T170000Z",
    "2026-W47-6T17:00:00Z",
    "2026-11-21T17:00:00+0200",
    "2026-11-21T17:00:00+24:00",
    "2026-11-21T17:00:00+02:60",
    "2026-11-21T24:00:00Z",
    "2026-11-21T17:00:60Z",
    "2026-02-30T17:00:00Z",
    "0000-01-01T00:00:00Z",
    "\u0662026-11-21T17:00:00Z",
    "now",
    "",
)


def each(names: Sequence[str], values: Sequence[object], reason: str) -> list[tuple[str, object, str]]:
    return [(name, value, reason) for name in names for value in values]


REFUSED = [
    *each(SCHEMA["required"], [ABSENT], "missing"),
    *each(["v"], [0, 2, 1.5, "1", True, None, [1]], "version"),
    *each(["source", "rack", *TIMES, *LABELS], NOT_STRINGS, "type"),
    *each(["source"], ["", "x" * 65], "length"),
    *each(["rack", *LABELS], ["x" * 129], "length"),
    *each(COUNTERS, [*NOT_NUMBERS, None, 1.5], "type"),
    *each(COUNTERS, [-1, 2**63, 1e300], "range"),
    *each(POWERS, NOT_NUMBERS, "type"),
    *each(["default_watts", "failsafe_watts"], [None], "type"),
    *each(POWERS, [-1, -0.001, -1e308], "negative"),
    *each(POWERS, [400_001, 30_000_000, 1e7 + 1, 1e308, 10**200], "unit_error"),
    *each(TIMES, NOT_RFC_3339, "time"),
    *each(["valid_until"], ["2026-11-21T17:00:00Z", "2026-11-21T16:59:59Z"], "order"),
    *each(["valid_until"], ["2026-11-21T17:01:00+01:00"], "order"),
    *each(["rack"], ["r13", "R12", "r12 ", ""], "rack"),
]


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED)
def test_a_field_out_of_form_is_refused_by_name(name: str, value: object, reason: str) -> None:
    payload = encoded(changed(**{name: value}))
    error = refusal(payload)
    assert error.reason == reason
    assert name in str(error)
    assert error.source == ("unknown" if name == "source" else "facility-a")


def test_an_empty_payload_is_no_statement() -> None:
    """A cleared retained message is neither 0 W nor "no limit": the lease just runs out."""
    assert refusal(b"").reason == "empty"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"30000", "not_object"),
        (b'{"watts":1e999}', "not_finite"),
        (b'{"watts":1,"watts":2}', "duplicate_key"),
        (encoded(GOOD).decode().encode("utf-16"), "encoding"),
        (encoded(changed(reason="\ud800")), "surrogate"),
        (encoded(GOOD) + b" " * 65536, "too_large"),
    ],
)
def test_what_is_no_strict_json_is_refused_before_any_field_is_read(payload: bytes, reason: str) -> None:
    assert refusal(payload).reason == reason


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, value, reason in REFUSED if reason not in BEYOND_THE_SCHEMA]
)
def test_the_published_schema_refuses_the_same_fields(name: str, value: object) -> None:
    assert not VALIDATOR.is_valid(changed(**{name: value}))


FIELD_VALUES = st.one_of(
    SCALARS,
    st.floats(0, 1e6),
    st.datetimes(timezones=st.just(None)).map(lambda t: t.isoformat() + "Z"),
    st.sampled_from(["r12", "", "2026-11-21T17:00:30+00:00", "2026-13-21T17:00:00Z", 1.0, 30000.0]),
    st.lists(st.integers(), max_size=2),
)
CHANGES = st.dictionaries(st.sampled_from([*GOOD, "extra"]), FIELD_VALUES, max_size=3)
REMOVED = st.sets(st.sampled_from(list(GOOD)), max_size=1)


@given(changes=CHANGES, removed=REMOVED)
def test_schema_and_parser_agree_on_every_budget(changes: dict[str, object], removed: set[str]) -> None:
    """Who validates with the schema sends nothing that the daemon refuses, but for what no schema can say."""
    fields = changed(**changes, **dict.fromkeys(removed - changes.keys(), ABSENT))
    check_agreement(VALIDATOR, fields, parse, BEYOND_THE_SCHEMA)


@given(payload=st.binary(max_size=400))
def test_no_bytes_whatever_become_anything_but_a_budget_or_a_refusal(payload: bytes) -> None:
    message = accepted(lambda: parse(payload))
    assert message is None or isinstance(message, BudgetMessage)


@given(payload=damaged(encoded(GOOD)))
def test_no_damage_to_a_good_payload_is_more_than_refused_or_a_budget_within_bounds(payload: bytes) -> None:
    """Flipped, cut and repeated bytes end as a budget within bounds or a refusal, never another exception."""
    message = accepted(lambda: parse(payload))
    assert message is None or message.mw is None or 0 <= message.mw <= 10 * HARD_LIMIT_MW


def test_all_schemas_are_valid_schemas() -> None:
    assert SCHEMAS.keys() >= {"budget", "online", "state", "telemetry", "notice", "summary", "event", "meter"}
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_the_schema_and_the_parser_know_time_stamps_by_the_same_expression() -> None:
    assert SCHEMA["$defs"]["time"]["pattern"] == f"^{rfc3339.PATTERN}$"
