"""What a VTN says: events, programs, durations, and where its broker is."""

import json
import math
import re
from dataclasses import replace
from typing import Any

from powerd.core.events.grid_event import Action, ActionKind, Baseline
from powerd.core.model import Now
from powerd.openadr import durations
from powerd.openadr.client import _binding
from powerd.openadr.errors import VtnError
from powerd.openadr.event import AdrEvent, modified_s, object_id, read_descriptors, read_event
from powerd.openadr.mapping import Context, map_event
from powerd.openadr.options import Program, Rule
from powerd.openadr.web import _parsed
from powerd.signals.fields import MAX_SITE_WATTS
from powerd.signals.grid_event import MAX_INTERVALS, encode_event, parse_event
from tests.fuzz.oracle import accepted, check_finite

NOW = Now(boot_s=1000.0, wall_s=1795280100.0)
PROGRAMS = (
    Program(zone="hel1"),
    Program(alerts_floor=True, zone="hel1", priority=1),
    Program(
        rules={
            "LOAD_SHED": Rule("reduce_pct", 100.0, "", Baseline.MEASURED),
            "X": Rule("limit_watts", -1e308),
            "Y": Rule("level", 1e-3),
            "Z": Rule("reduce_watts", 1000.0, "KW"),
        }
    ),
)


def vtn_answer(data: bytes) -> None:
    """An answer is JSON or a ValueError, however deep or large."""
    accepted(lambda: _parsed(data), ValueError)


def vtn_event(data: bytes) -> None:
    """An event comes to native events that powerd itself would take, or is refused as a whole."""
    document = _object(data)
    if document is None:
        return
    event = accepted(lambda: read_event(document))
    if event is None:
        return
    # The values of payloads are as they were said; what is made of them is looked at below.
    check_finite(replace(event, intervals=()))
    check_finite(tuple(interval.period for interval in event.intervals))
    descriptors = accepted(lambda: read_descriptors(document))
    assert descriptors == event.descriptors
    for program in PROGRAMS:
        _check_mapped(event, Context("hel1", "openadr", program, {}, NOW.wall_s - 60, NOW))


def _check_mapped(event: AdrEvent, context: Context) -> None:
    mapped = accepted(lambda: map_event(event, context))
    if mapped is None:
        return
    assert mapped == map_event(event, context)
    check_finite(mapped)
    for made in mapped.events:
        check_made(made)
    for spans in (mapped.quotes, mapped.subscribed, mapped.reserved):
        assert all(span.end_s is None or span.start_s <= span.end_s for span in spans)
    for span in (*mapped.subscribed, *mapped.reserved):
        assert 0 <= span.item <= MAX_SITE_WATTS * 1000


def check_made(event: Any) -> None:
    """Prove that a native event can be published, and is read as it was meant where its times can be said."""
    assert len(event.intervals) <= MAX_INTERVALS
    if not event.intervals:
        return
    for interval in event.intervals:
        check_action(interval.action)
    times_s = [each for interval in event.intervals for each in (interval.start_s, interval.end_s)]
    if not all(each is None or 0 <= each < 6e10 for each in times_s):
        return
    shortest_s = min(
        (each.end_s if each.end_s is not None else math.inf) - each.start_s for each in event.intervals
    )
    payload = encode_event(replace(event, issued_at_s=NOW.wall_s, received=NOW))
    again = accepted(
        lambda: parse_event(
            payload, event_id=event.event_id, hard_limit_mw=40_000_000, retained=False, received=NOW, own=()
        )
    )
    if again is None:
        assert shortest_s < 0.001 or len(payload) > 65536, payload
    else:
        assert [each.action for each in again.intervals] == [each.action for each in event.intervals]


def check_action(action: Action) -> None:
    """Prove that an action asks for something that there is."""
    assert action.kind is not ActionKind.RELEASE
    assert 0 <= action.mw <= MAX_SITE_WATTS * 1000
    assert 0 <= action.pct <= 100
    assert action.level in range(4)


def vtn_object(data: bytes) -> None:
    """An identifier is fit for a topic, a version is a time; a broker is named whole or not at all."""
    document = _object(data)
    if document is None:
        return
    identifier = accepted(lambda: object_id(document))
    assert identifier is None or re.fullmatch("[a-zA-Z0-9_-]{1,128}", identifier)
    changed_s = accepted(lambda: modified_s(document))
    assert changed_s is None or math.isfinite(changed_s)
    offered = document.get("MQTT")
    if not isinstance(offered, dict):
        return
    binding = accepted(lambda: _binding(offered, document.get("topics"), "us"), VtnError)
    if binding is not None:
        assert binding.url in offered["URIS"]
        assert all(isinstance(each, str) for each in (*binding.topics, binding.method, binding.username))


def vtn_duration(data: bytes) -> None:
    """A duration is the sum of its parts, and leads to a moment or to none; nothing overflows."""
    text = data.decode(errors="replace")
    duration = accepted(lambda: durations.parse(text), ValueError)
    if duration is None:
        return
    assert text.isascii()
    parts = dict.fromkeys("YMDWhms", 0.0)
    before, _, after = text.lstrip("-").removeprefix("P").partition("T")
    for part, names in ((before, "YMDW"), (after, "HMS")):
        for number, name in re.findall(r"([0-9.]+)([A-Z])", part):
            assert name in names
            parts[name.lower() if part is after else name] += float(number)
    sign = -1 if text.startswith("-") else 1
    assert math.isclose(duration.months, sign * (12 * parts["Y"] + parts["M"]))
    days = parts["D"] + 7 * parts["W"]
    seconds = 86400 * days + 3600 * parts["h"] + 60 * parts["m"] + parts["s"]
    assert math.isclose(duration.seconds, sign * seconds)
    for start_s in (-62135683140.0, 0.0, NOW.wall_s, 253402387139.0):
        moment_s = durations.after(start_s, duration)
        assert moment_s is None or math.isfinite(moment_s)
        assert moment_s is None or duration.is_negative or moment_s >= start_s


def _object(data: bytes) -> Any:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
