"""powerd's own messages, and what all payloads are made of."""

import calendar
import contextlib
import json
import math
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from powerd.core.events.grid_event import ActionKind, GridEvent
from powerd.core.leases.host_state import HostState
from powerd.core.model import Now
from powerd.core.rack.advisory import AdvisorySignal
from powerd.meters.topic_filter import checked_filter
from powerd.signals import rfc3339, strict_json
from powerd.signals.advisory import encode_signal, parse_signal
from powerd.signals.fields import MAX_INTEGER, MAX_SITE_WATTS
from powerd.signals.grid_event import encode_event, parse_event
from powerd.signals.host_state import MAX_ENTRIES, parse_host_state
from powerd.signals.mqtt import matches
from powerd.signals.native import parse_budget
from powerd.signals.topics import (
    RackTopics,
    checked_segment,
    event_id_of,
    has_wildcard,
    host_of,
    signal_and_zone_of,
)
from tests.fuzz.oracle import accepted, check_finite, check_line, check_mw, check_texts, fair

HARD_LIMIT_MW = 40_000_000
MOST_MW = 10 * HARD_LIMIT_MW
NOW = Now(boot_s=1000.0, wall_s=1795280400.5)
EVENT_ID = "vtn1-8842"
HOSTS = frozenset({"h1", "h2", "h3"})
TOPICS = RackTopics("powerd/v1", "hel1", "r12")
_ORIGIN = "openadr3.1 8842 IMPORT_CAPACITY_LIMIT"


def budget(payload: bytes) -> None:
    """No limit where the JSON says null and nowhere else, 0 W where it says 0; a lease that has a length."""

    def read() -> Any:
        return parse_budget(payload, rack="r12", hard_limit_mw=HARD_LIMIT_MW, retained=False, received=NOW)

    message = accepted(read)
    if message is None:
        return
    said = fair(payload)
    assert message == read()
    assert said["rack"] == "r12"
    check_mw(message.mw, said["watts"])
    check_optional_mw(message.default_mw, said, "default_watts")
    check_optional_mw(message.failsafe_mw, said, "failsafe_watts")
    check_finite(message)
    assert message.valid_until_s > message.issued_at_s
    assert abs(message.issued_at_s - fair_unix_s(said["issued_at"])) < 1e-3
    assert abs(message.valid_until_s - fair_unix_s(said["valid_until"])) < 1e-3
    assert (message.epoch, message.seq) == (said["epoch"], said["seq"])
    assert all(0 <= number <= MAX_INTEGER for number in (message.epoch, message.seq, message.priority))
    assert 0 < len(message.source) <= 64
    check_texts((message.source, message.reason, message.correlation_id), 128)


def host_state(payload: bytes) -> None:
    """Every watt is as it is said, each host is spoken of once, and only the host of the topic speaks."""

    def read() -> HostState:
        return parse_host_state(
            payload, host="h3", rack="r12", hosts=HOSTS, hard_limit_mw=HARD_LIMIT_MW, received_boot_s=500.0
        )

    state = accepted(read)
    if state is None:
        return
    said = fair(payload)
    assert state == read()
    assert (said["host"], said["rack"], state.host) == ("h3", "r12", "h3")
    check_mw(state.rack_cap_mw, said["rack_cap_watts"])
    check_mw(state.entitlement_mw, said["share_watts"])
    check_mw(state.want_mw, said["demand_watts"])
    check_mw(state.spare_mw, said["spare_watts"])
    check_mw(state.lent_mw, said["lent_watts"])
    check_mw(state.over_mw, said["over_watts"])
    check_mw(state.worst_case_mw, said["worst_case_watts"])
    check_mw(state.measured_mw, said["measured_watts"])
    assert state.is_leasing is said["leasing"]
    assert (state.budget is None) == (said["budget"] is None)
    if state.budget is not None:
        check_mw(state.budget.mw, said["budget"]["watts"])
        assert 0 <= state.budget.lease_s <= 300
    for entries, name, whom in ((state.lends, "lends", "to"), (state.holds, "holds", "from")):
        assert len({other for other, *_ in entries}) == len(entries) == len(said[name]) <= MAX_ENTRIES
        for (other, mw, key), entry in zip(entries, said[name], strict=True):
            check_mw(mw, entry["watts"])
            assert tuple(key) == (entry["epoch"], entry["seq"])
            assert other == entry[whom] or not entry[whom].isprintable()
            check_line(other, 64)


def grid_event(payload: bytes) -> None:
    """Intervals are in order, an action asks for what is said; what is written is read as the same event."""
    event = accepted(lambda: _event(payload))
    if event is None:
        return
    said = fair(payload)
    check_finite(event)
    assert event == _event(payload)
    assert event.is_cancelled == (said["status"] == "cancelled")
    ends = [math.inf if each.end_s is None else each.end_s for each in event.intervals]
    assert all(end_s <= later.start_s for end_s, later in zip(ends, event.intervals[1:], strict=False))
    for each, as_said in zip(event.intervals, said["intervals"], strict=True):
        assert (each.end_s is None) == (as_said["end"] is None)
        assert each.end_s is None or each.start_s < each.end_s
        check_action(each.action, as_said["action"])
    check_texts((event.source, *event.targets, event.program, event.correlation_id), 128)
    check_round_trip(event)


def check_action(action: Any, said: Any) -> None:
    """Prove that an action asks for what the JSON says."""
    if action.kind is ActionKind.LIMIT:
        check_mw(action.mw, said["limit_watts"])
    elif action.kind is ActionKind.REDUCE:
        check_mw(action.mw, said["reduce_watts"])
    elif action.kind is ActionKind.REDUCE_PCT:
        assert action.pct == float(said["reduce_pct"])
        assert 0 <= action.pct <= 100
    elif action.kind is ActionKind.SHED_LEVEL:
        assert action.level == said["level"]
        assert 0 <= action.level <= 3
    else:
        assert (action.kind, said["floor"]) == (ActionKind.FLOOR, True)
    assert 0 <= action.mw <= MAX_SITE_WATTS * 1000


def check_round_trip(event: GridEvent) -> None:
    """Prove that an event of this age of the world is written as it was read, to the millisecond."""
    written = encode_event(replace(event, origin=_ORIGIN))
    again = accepted(lambda: _event(written))
    times_s = [event.issued_at_s, *(one.start_s for one in event.intervals)]
    times_s += [one.end_s for one in event.intervals if one.end_s is not None]
    if not all(map(_is_of_our_age, times_s)):
        return
    if again is None:  # an interval of less than a millisecond has no length any more
        assert min(one.end_s - one.start_s for one in event.intervals if one.end_s is not None) < 0.001
        return
    assert [one.action for one in again.intervals] == [one.action for one in event.intervals]
    assert encode_event(again) == written


def _is_of_our_age(unix_s: float) -> bool:
    """Say whether a double tells the milliseconds of a time apart, as it does until the year 3871."""
    return 0 <= unix_s < 6e10


def _event(payload: bytes) -> GridEvent:
    return parse_event(payload, event_id=EVENT_ID, hard_limit_mw=HARD_LIMIT_MW, retained=False, received=NOW)


def advisory_signal(payload: bytes) -> None:
    """The value is as it is said and within its bounds; what is written is read as the same signal."""
    for kind in ("ghg", "price"):
        signal = _signal(payload, kind)
        if signal is None:
            continue
        said = fair(payload)
        check_finite(signal)
        assert signal.value == float(said["value"])
        assert kind == "price" or signal.value >= 0
        assert signal.valid_from_s < signal.valid_until_s
        check_texts((signal.source, signal.currency, signal.correlation_id), 128)
        written = encode_signal(signal)
        again = _signal(written, kind)
        if all(map(_is_of_our_age, (signal.valid_from_s, signal.valid_until_s, signal.issued_at_s))):
            is_short = signal.valid_until_s - signal.valid_from_s < 0.001
            assert is_short if again is None else encode_signal(again) == written


def _signal(payload: bytes, kind: str) -> AdvisorySignal | None:
    return accepted(lambda: parse_signal(payload, signal=kind, zone="de-lu"))


def topic(data: bytes) -> None:
    """A filter takes in what section 4.7 of MQTT says, and names come out of topics as they went in."""
    text = data.decode(errors="replace")
    pattern, _, name = text.partition("\n")
    try:
        checked_filter("filter", pattern)
    except ValueError:
        pass
    else:
        if name and not has_wildcard(name):
            assert matches(pattern, name) == _takes_in(pattern.split("/"), name.split("/"))
    try:
        checked_segment("name", name)
    except ValueError:
        assert not name or len(name) > 64 or set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    else:
        assert event_id_of(TOPICS.grid_event(name)) == name
        assert host_of(TOPICS.state_of(name)) == name
        assert signal_and_zone_of(TOPICS.signal("ghg", name)) == ("ghg", name)
        assert matches(TOPICS.grid_events, TOPICS.grid_event(name))
        assert matches(TOPICS.states, TOPICS.state_of(name))
        assert not matches(TOPICS.states, TOPICS.grid_event(name))


def _takes_in(pattern: list[str], levels: list[str]) -> bool:
    if levels[0].startswith("$") and pattern[0] in ("+", "#"):
        return False
    while pattern and levels:
        head, *pattern = pattern
        if head == "#":
            return True
        if head not in ("+", levels[0]):
            return False
        levels = levels[1:]
    return not levels and pattern in ([], ["#"])


def json_object(payload: bytes) -> None:
    """What a fair and strict reader takes is taken, and nothing else; what is read is the same."""
    read = accepted(lambda: strict_json.loads(payload))
    expected = _strictly(payload)
    if expected is None:
        assert read is None, "taken, but not by a strict reader"
        return
    assert read is not None, "refused, but not by a strict reader"
    assert repr(read) == repr(expected)


def _strictly(payload: bytes) -> Any:
    if len(payload) > 65536 or payload.startswith(b"\xef\xbb\xbf"):
        return None
    try:
        found = fair(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not _is_sound(found, 1):
        return None
    return json.loads(payload)


def _is_sound(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        inside = value.items()
        return depth <= 16 and all(_is_sound(key, 0) and _is_sound(each, depth + 1) for key, each in inside)
    if isinstance(value, list):
        return depth <= 16 and all(_is_sound(each, depth + 1) for each in value)
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if type(value) is int:
        return abs(value) < 2**1024 - 2**970
    return not isinstance(value, Decimal) or math.isfinite(float(value))


def time_stamp(data: bytes) -> None:
    """A time is what its digits say, wherever its offset leads; one without an offset is none."""
    text = data.decode(errors="replace")
    expected = None
    with contextlib.suppress(ValueError, IndexError):
        expected = fair_unix_s(text)
    try:
        unix_s = rfc3339.parse(text)
    except ValueError as error:
        check_line(str(error))
        assert expected is None, f"refused: {text}"
        return
    assert expected is not None, f"taken: {text}"
    assert abs(unix_s - expected) < 1e-5
    written = rfc3339.utc(unix_s)
    if 0 < expected < 253402300799:
        assert abs(rfc3339.parse(written) - unix_s) <= 1e-3


def fair_unix_s(text: str) -> float:
    """Return what a time means, by its digits alone.

    Raises:
        ValueError, IndexError: it is none.
    """
    day, clock = text[:10], text[11:19]
    rest = text[19:]
    if [day[4], day[7], text[10], clock[2], clock[5]] != ["-", "-", "T", ":", ":"]:
        raise ValueError(text)
    fraction = 0.0
    if rest[0] == ".":
        digits = rest[1:].rstrip("Z").partition("+")[0].partition("-")[0]
        if len(digits) > 9:
            raise ValueError(text)
        fraction, rest = _whole(digits) / 10 ** len(digits), rest[1 + len(digits) :]
    offset_s = 0
    if rest != "Z":
        if len(rest) != 6 or rest[3] != ":" or rest[0] not in "+-":
            raise ValueError(text)
        offset_s = _below(rest[1:3], 24) * 3600 + _below(rest[4:6], 60) * 60
        offset_s = -offset_s if rest[0] == "-" else offset_s
    year, month, number = _whole(day[:4]), _whole(day[5:7]), _whole(day[8:])
    hour, minute, second = _below(clock[:2], 24), _below(clock[3:5], 60), _below(clock[6:], 60)
    date(year, month, number)
    return calendar.timegm((year, month, number, hour, minute, second)) - offset_s + fraction


def _whole(digits: str) -> int:
    if not digits or set(digits) - set("0123456789"):
        raise ValueError(digits)
    return int(digits)


def _below(digits: str, end: int) -> int:
    number = _whole(digits)
    if number >= end:
        raise ValueError(digits)
    return number


def check_optional_mw(mw: int | None, said: Any, name: str) -> None:
    """Prove that a power that may be missing is what the JSON says; null is no way of leaving it out."""
    if name in said:
        assert said[name] is not None
        check_mw(mw, said[name])
    else:
        assert mw is None
