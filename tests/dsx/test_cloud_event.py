"""Envelopes: read as the schema of DSX Flex wants them, and written so."""

import re

import pytest

from powerd.dsx.cloud_event import AGENT_ROLE, Trace, build, parse, source_of
from powerd.errors import SignalRejectedError
from powerd.signals import rfc3339
from tests.dsx.keys import ISV_SOURCE
from tests.dsx.messages import CORRELATION_ID, MESSAGE_ID, TRACE_PARENT, envelope, targets
from tests.dsx.schema import checked, is_valid
from tests.signals.payloads import ABSENT, encoded

KIND = "grid.loadtarget.set.v1"
JWS = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"


def refusal(payload: bytes) -> SignalRejectedError:
    with pytest.raises(SignalRejectedError) as caught:
        parse(payload, kind=KIND, source=ISV_SOURCE, label="dsx:acme")
    assert caught.value.source == "dsx:acme"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    return caught.value


@pytest.mark.parametrize("data", [JWS, targets()])
def test_every_field_of_an_envelope_arrives(data: object) -> None:
    fields = checked("LoadTargetSetEvent", envelope(data, tracestate="vendor=1"))
    message = parse(encoded(fields), kind=KIND, source=ISV_SOURCE)
    assert message.id == MESSAGE_ID
    assert message.source == ISV_SOURCE
    assert message.time_s == 1795280400.0
    assert message.data == data
    assert message.trace == Trace(TRACE_PARENT, "vendor=1")
    assert message.correlation_id == CORRELATION_ID


def test_what_may_be_missing_is_empty() -> None:
    message = parse(encoded(envelope(JWS, correlationid=ABSENT)), kind=KIND, source=ISV_SOURCE)
    assert (message.correlation_id, message.trace.state) == ("", "")


def test_attributes_that_powerd_does_not_know_are_passed_over() -> None:
    assert parse(encoded(envelope(JWS, dataschema="urn:x", ext=1)), kind=KIND, source=ISV_SOURCE)


def test_the_version_of_cloudevents_itself_is_taken_too() -> None:
    """Libraries write "1.0", which is what the standard says; the schema of DSX Flex wants "1.0.2"."""
    fields = envelope(JWS, specversion="1.0")
    assert not is_valid("LoadTargetSetEvent", fields)
    assert parse(encoded(fields), kind=KIND, source=ISV_SOURCE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": "0.3"}, "version"),
        ({"specversion": 1}, "type"),
        ({"specversion": ABSENT}, "missing"),
        ({"id": "42"}, "id"),
        ({"id": ABSENT}, "missing"),
        ({"id": None}, "type"),
        ({"source": ABSENT}, "missing"),
        ({"type": "grid.loadtarget.set.v2"}, "version"),
        ({"type": ABSENT}, "missing"),
        ({"time": "2026-11-21T17:00:00"}, "time"),
        ({"time": 1795280400}, "type"),
        ({"time": ABSENT}, "missing"),
        ({"datacontenttype": "text/plain"}, "type"),
        ({"datacontenttype": ABSENT}, "missing"),
        ({"subject": ABSENT}, "missing"),
        ({"correlationid": "job-7"}, "id"),
        ({"correlationid": None}, "type"),
        ({"traceparent": "00-xyz"}, "id"),
        ({"traceparent": ABSENT}, "missing"),
        ({"tracestate": 1}, "type"),
        ({"data": ABSENT}, "missing"),
        ({"data": None}, "type"),
        ({"data": []}, "type"),
        ({"data": 7}, "type"),
    ],
)
def test_what_the_schema_forbids_powerd_refuses(changes: dict[str, object], reason: str) -> None:
    fields = envelope(targets(), **changes)
    assert not is_valid("LoadTargetSetEvent", fields)
    assert refusal(encoded(fields)).reason == reason


@pytest.mark.parametrize("source", ["//grid/v1/isv/other", "//grid/v1/infra/acme-energy"])
def test_a_message_in_the_name_of_another_is_refused(source: str) -> None:
    """The schema cannot tell: it does not know the topic."""
    fields = envelope(JWS, source=source)
    assert is_valid("LoadTargetSetEvent", fields)
    assert refusal(encoded(fields)).reason == "source"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"[]", "not_object"),
        (b"\xff", "encoding"),
        (b'{"id":"a","id":"b"}', "duplicate_key"),
        (b'{"id":1e999}', "not_finite"),
        (b"{" * 30, "too_deep"),
        (b" " * 70_000, "too_large"),
    ],
)
def test_what_is_no_message_is_refused_as_everywhere(payload: bytes, reason: str) -> None:
    assert refusal(payload).reason == reason


def test_what_powerd_writes_it_could_read_and_the_schema_allows() -> None:
    source = source_of(AGENT_ROLE, "hel1-r17")
    payload = build(
        kind="grid.powerstate.status.v1", subject="powerstate", source=source, data=JWS, wall_s=1795280400.25
    )
    fields = checked("PowerStateStatusEvent", payload)
    assert fields["specversion"] == "1.0.2"
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", fields["id"])
    assert rfc3339.parse(fields["time"]) == 1795280400.25
    assert "correlationid" not in fields
    assert parse(payload, kind="grid.powerstate.status.v1", source=source).data == JWS


def test_no_two_messages_have_the_same_id_or_trace() -> None:
    messages = [
        parse(
            build(kind="k", subject="s", source=ISV_SOURCE, data=JWS, wall_s=0.0), kind="k", source=ISV_SOURCE
        )
        for _ in range(20)
    ]
    assert len({message.id for message in messages}) == 20
    assert len({message.trace.parent.split("-")[1] for message in messages}) == 20


def test_an_answer_goes_on_in_the_trace_of_what_it_answers() -> None:
    payload = build(
        kind="k",
        subject="s",
        source=ISV_SOURCE,
        data=JWS,
        wall_s=0.0,
        correlation_id=CORRELATION_ID,
        trace=Trace(TRACE_PARENT, "vendor=1"),
    )
    message = parse(payload, kind="k", source=ISV_SOURCE)
    version, trace_id, parent_id, flags = message.trace.parent.split("-")
    asked_version, asked_trace_id, asked_parent_id, asked_flags = TRACE_PARENT.split("-")
    assert (version, trace_id, flags) == (asked_version, asked_trace_id, asked_flags)
    assert parent_id != asked_parent_id
    assert message.trace.state == "vendor=1"
    assert message.correlation_id == CORRELATION_ID
