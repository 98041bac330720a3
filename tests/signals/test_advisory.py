"""Prices and emissions: read to the letter of their schema, and never one taken for another."""

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from powerd.core.rack.advisory import AdvisorySignal, SignalKind
from powerd.errors import SignalRejectedError
from powerd.signals import rfc3339
from powerd.signals.advisory import encode_signal, parse_signal, signal_of
from tests.signals import payloads
from tests.signals.payloads import ABSENT, SCALARS, SCHEMAS, check_agreement, encoded

SCHEMA = SCHEMAS["signal"]
VALIDATORS = {
    signal: Draft202012Validator({"$ref": f"#/$defs/{signal}", "$defs": SCHEMA["$defs"]})
    for signal in ("ghg", "price")
}
BEYOND_THE_SCHEMA = {"time", "order", "zone"}

COMMON: dict[str, Any] = {
    "v": 1,
    "source": "market",
    "epoch": 1763690000000,
    "seq": 3,
    "issued_at": "2026-11-21T16:55:00.000Z",
    "zone": "de-lu",
    "valid_from": "2026-11-21T17:00:00.000Z",
    "valid_until": "2026-11-21T17:15:00.000Z",
    "correlation_id": "9a1e",
}
GOOD = {
    "ghg": COMMON | {"kind": "marginal", "value": 612.5, "unit": "g_per_kwh"},
    "price": COMMON | {"kind": "spot", "value": -0.04, "unit": "per_kwh", "currency": "EUR"},
}


def changed(signal: str, **changes: object) -> dict[str, object]:
    return payloads.changed(GOOD[signal], **changes)


def parse(signal: str, fields: object) -> AdvisorySignal:
    return parse_signal(encoded(fields), signal=signal, zone="de-lu")


def refusal(signal: str, fields: object) -> SignalRejectedError:
    with pytest.raises(SignalRejectedError) as caught:
        parse(signal, fields)
    return caught.value


def test_a_price_arrives_with_its_currency_and_may_be_negative() -> None:
    assert parse("price", GOOD["price"]) == AdvisorySignal(
        kind=SignalKind.PRICE_SPOT,
        zone="de-lu",
        value=-0.04,
        currency="EUR",
        valid_from_s=1795280400.0,
        valid_until_s=1795281300.0,
        source="market",
        epoch=1763690000000,
        seq=3,
        issued_at_s=1795280100.0,
        correlation_id="9a1e",
    )


def test_marginal_and_average_emissions_are_two_things() -> None:
    marginal = parse("ghg", GOOD["ghg"])
    average = parse("ghg", changed("ghg", kind="average"))
    assert (marginal.kind, average.kind) == (SignalKind.GHG_MARGINAL, SignalKind.GHG_AVERAGE)
    assert (marginal.value, marginal.currency) == (612.5, "")


NOT_NUMBERS: tuple[object, ...] = (True, "1", None, [1], {})
REFUSED = [
    *(("price", name, ABSENT, "missing") for name in GOOD["price"] if name != "correlation_id"),
    *(("ghg", name, ABSENT, "missing") for name in GOOD["ghg"] if name != "correlation_id"),
    *(("ghg", "value", value, "type") for value in NOT_NUMBERS),
    *(("price", "value", value, "type") for value in NOT_NUMBERS),
    *(("ghg", "value", value, "range") for value in (-0.1, 10_000.1, 1e308)),
    *(("price", "value", value, "range") for value in (-1_000_001, 1_000_001)),
    *(("ghg", "unit", unit, "unit") for unit in ("kg_per_mwh", "per_kwh", "")),
    *(("price", "unit", unit, "unit") for unit in ("per_mwh", "g_per_kwh")),
    *(("price", "currency", currency, "unit") for currency in ("eur", "E1R", "ÄÖÜ", "EU\n")),
    *(("price", "currency", currency, "length") for currency in ("", "EURO")),
    *(("ghg", "kind", kind, "kind") for kind in ("", "spot", "Marginal")),
    *(("price", "kind", kind, "kind") for kind in ("marginal", "")),
    *(("ghg", "v", version, "version") for version in (2, True)),
    *(("price", "zone", zone, "zone") for zone in ("de-at", "DE-LU")),
    *(("price", "zone", zone, "length") for zone in ("", "x" * 65)),
    *(("price", "valid_until", stamp, "order") for stamp in ("2026-11-21T17:00:00Z", "0001-01-01T00:00:00Z")),
    *(("ghg", "valid_from", stamp, "time") for stamp in ("", "2026-11-21T17:00:00")),
    ("ghg", "source", "", "length"),
    ("ghg", "correlation_id", "x" * 129, "length"),
    ("ghg", "seq", -1, "range"),
]


@pytest.mark.parametrize(("signal", "name", "value", "reason"), REFUSED)
def test_a_field_out_of_form_is_refused_by_name(signal: str, name: str, value: object, reason: str) -> None:
    fields = changed(signal, **{name: value})
    error = refusal(signal, fields)
    assert error.reason == reason
    assert name in str(error)
    assert error.source == ("unknown" if name == "source" else "market")
    if reason not in BEYOND_THE_SCHEMA:
        assert not VALIDATORS[signal].is_valid(fields)


def test_what_comes_on_no_topic_of_signals_or_is_empty_is_refused() -> None:
    assert refusal("weather", GOOD["price"]).reason == "kind"
    with pytest.raises(SignalRejectedError) as caught:
        parse_signal(b"", signal="ghg", zone="de-lu")
    assert caught.value.reason == "empty"


def test_a_message_of_one_kind_on_the_topic_of_the_other_is_refused() -> None:
    assert refusal("ghg", GOOD["price"]).reason == "unit"
    assert refusal("price", GOOD["ghg"]).reason == "unit"


FIELD_VALUES = st.one_of(
    SCALARS,
    st.floats(0, 10_000),
    st.from_regex("[A-Z]{2,4}", fullmatch=True),
    st.sampled_from(["marginal", "average", "spot", "tariff", "per_kwh", "2026-11-21T17:00:30+00:00", 1.0]),
)


@given(
    signal=st.sampled_from(list(GOOD)),
    changes=st.dictionaries(st.sampled_from([*GOOD["price"], "extra"]), FIELD_VALUES, max_size=2),
)
def test_schema_and_parser_agree_on_every_signal(signal: str, changes: dict[str, object]) -> None:
    fields = changed(signal, **changes)
    check_agreement(
        VALIDATORS[signal], fields, partial(parse_signal, signal=signal, zone="de-lu"), BEYOND_THE_SCHEMA
    )


MOMENTS_S = st.integers(1, 4_100_000_000)


@given(
    kind=st.sampled_from(SignalKind),
    value=st.floats(0, 10_000),
    moments_s=st.lists(MOMENTS_S, min_size=2, max_size=2, unique=True),
    counter=st.integers(0, 2**63 - 1),
)
def test_every_signal_that_is_written_is_read_as_it_was_meant(
    kind: SignalKind, value: float, moments_s: list[int], counter: int
) -> None:
    first_s, last_s = sorted(map(float, moments_s))
    currency = "" if signal_of(kind) == "ghg" else "SEK"
    said = AdvisorySignal(
        kind, "de-lu", value, currency, first_s, last_s, "market", counter, counter, first_s
    )
    payload = encode_signal(said)
    VALIDATORS[signal_of(kind)].validate(json.loads(payload))
    assert parse_signal(payload, signal=signal_of(kind), zone="de-lu") == said


@given(payload=st.binary(max_size=300))
def test_no_bytes_whatever_become_anything_but_a_signal_or_a_refusal(payload: bytes) -> None:
    with contextlib.suppress(SignalRejectedError):
        parse_signal(payload, signal="ghg", zone="de-lu")


def test_the_documented_example_is_a_good_signal() -> None:
    document = (Path(__file__).parents[2] / "docs" / "grid-events.md").read_text("utf-8")
    example = json.loads(document.split("```json\n")[-1].split("```")[0])
    VALIDATORS["price"].validate(example)
    assert parse("price", example).value == 0.284


def test_the_schema_is_one_and_knows_time_stamps_as_the_parser_does() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$defs"]["time"]["pattern"] == f"^{rfc3339.PATTERN}$"
    for fields in GOOD.values():
        Draft202012Validator(SCHEMA).validate(fields)
