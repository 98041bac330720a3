"""The envelope of DSX Flex: CloudEvents in structured mode, read and written (docs/dsx-flex.md).

The envelope is not signed: whoever may publish can put signed data into a new one. So nothing in it makes
data newer or better than what was signed.
"""

import re
import secrets
import uuid
from dataclasses import dataclass

from powerd.signals import rfc3339, strict_json
from powerd.signals.fields import Fields
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject
from powerd.signals.wire import encode

NAMESPACE = "grid/v1"
# DSX Flex writes the version of the document; CloudEvents itself knows "1.0" only.
SPEC_VERSION = "1.0.2"
SPEC_VERSIONS = (SPEC_VERSION, "1.0")
CONTENT_TYPE = "application/json"
# The role in the `source` of what powerd publishes. The one in topics is a setting.
AGENT_ROLE = "dsx-flex-agent"
ISV_ROLE = "isv"
INFRA_ROLE = "infra"

MAX_IDENTIFIER_CHARACTERS = 59
MAX_LABEL_CHARACTERS = 128
MAX_TRACE_STATE_CHARACTERS = 512

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TRACE_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = "01"


@dataclass(frozen=True, slots=True)
class Trace:
    """W3C Trace Context: the trace that a message belongs to."""

    parent: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One message.

    Attributes:
        time_s: when its sender made it, in Unix seconds.
        data: signed data as a JWS, or the plain object.
        correlation_id: empty if there is none.
    """

    id: str
    source: str
    time_s: float
    data: str | JsonObject
    trace: Trace
    correlation_id: str = ""


def source_of(role: str, identifier: str) -> str:
    """Return how CloudEvents name a participant: `//grid/v1/isv/acme-energy`."""
    return f"//{NAMESPACE}/{role}/{identifier}"


def parse(payload: bytes, *, kind: str, source: str, label: str = "unknown") -> CloudEvent:
    """Read one message.

    Args:
        payload: as it came from a topic.
        kind: the `type` that belongs on it.
        source: whose topic it is; the message must name the same.
        label: under which refusals are counted.

    Raises:
        SignalRejectedError: the form is wrong; see `Reason`.
    """
    parsed = strict_json.read_message(payload, label)
    fields = Fields(parsed, label)
    _one_of(fields, "specversion", SPEC_VERSIONS, Reason.VERSION)
    _one_of(fields, "type", (kind,), Reason.VERSION)
    _one_of(fields, "datacontenttype", (CONTENT_TYPE,), Reason.TYPE)
    # A sender that is let onto the topic of another must at least not do so by mistake.
    _one_of(fields, "source", (source,), Reason.SOURCE)
    fields.text("subject", MAX_LABEL_CHARACTERS)
    return CloudEvent(
        id=identifier(fields, "id"),
        source=source,
        time_s=fields.unix_s("time"),
        data=_data(fields, parsed),
        trace=_trace(fields),
        correlation_id=identifier(fields, "correlationid") if fields.has("correlationid") else "",
    )


def identifier(fields: Fields, name: str) -> str:
    """Return a UUID, as it was written.

    Raises:
        SignalRejectedError: it is missing, or none.
    """
    text = fields.text(name, MAX_LABEL_CHARACTERS)
    if not _UUID.fullmatch(text):
        fields.refuse(Reason.ID, f'{name} is "{text}", not a UUID')
    return text


def build(
    *,
    kind: str,
    subject: str,
    source: str,
    data: str | JsonObject,
    wall_s: float,
    correlation_id: str = "",
    trace: Trace | None = None,
) -> bytes:
    """Return one message.

    Args:
        kind: its `type`.
        data: signed data as a JWS, or the plain object.
        wall_s: when it was made.
        trace: of the message that this one follows; None begins a trace.
    """
    following = _following(trace)
    optional = {"correlationid": correlation_id, "tracestate": following.state}
    return encode(
        {
            "specversion": SPEC_VERSION,
            "id": str(uuid.uuid4()),
            "source": source,
            "type": kind,
            "time": rfc3339.utc(wall_s),
            "datacontenttype": CONTENT_TYPE,
            "subject": subject,
            "traceparent": following.parent,
        }
        | {name: text for name, text in optional.items() if text}
        | {"data": data}
    )


def _following(trace: Trace | None) -> Trace:
    """Return the same trace, one step on."""
    span_id = secrets.token_hex(8)
    if trace is None:
        return Trace(f"00-{secrets.token_hex(16)}-{span_id}-{_SAMPLED}")
    version, trace_id, _, flags = trace.parent.split("-")
    return Trace(f"{version}-{trace_id}-{span_id}-{flags}", trace.state)


def _one_of(fields: Fields, name: str, allowed: tuple[str, ...], reason: Reason) -> None:
    text = fields.text(name, MAX_LABEL_CHARACTERS)
    if text not in allowed:
        fields.refuse(reason, f'{name} is "{text}", not {" or ".join(allowed)}')


def _data(fields: Fields, parsed: JsonObject) -> str | JsonObject:
    if not fields.has("data"):
        fields.refuse(Reason.MISSING, "data is missing")
    data = parsed["data"]
    if not isinstance(data, str | dict):
        fields.refuse(Reason.TYPE, "data is neither a JWS nor an object")
    return data


def _trace(fields: Fields) -> Trace:
    parent = fields.text("traceparent", MAX_LABEL_CHARACTERS)
    if not _TRACE_PARENT.fullmatch(parent):
        fields.refuse(Reason.ID, f'traceparent is "{parent}", not of W3C Trace Context')
    state = fields.text("tracestate", MAX_TRACE_STATE_CHARACTERS) if fields.has("tracestate") else ""
    return Trace(parent, state)
