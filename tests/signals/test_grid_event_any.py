"""Grid events of every kind: what is written or keeps the schema is read, and no bytes do harm."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from powerd.signals.fields import MAX_SITE_WATTS
from powerd.signals.grid_event import MAX_INTERVALS, encode_event
from tests.signals import payloads
from tests.signals.grid_events import EVENT_ID, GOOD, HARD_LIMIT_MW, NOW, changed
from tests.signals.payloads import accepted, check_agreement, damaged, encoded
from tests.signals.test_grid_event import BEYOND_THE_SCHEMA, VALIDATOR, parse

COUNTERS = st.integers(0, 2**63 - 1)
NAMES = st.text("abc0-_.é", min_size=1, max_size=20)
BASELINES = st.sampled_from(Baseline)
DURATIONS_S = st.integers(0, 86_400_000).map(lambda ms: ms / 1000)
POWERS_MW = st.integers(0, 10 * HARD_LIMIT_MW)
ACTIONS = st.one_of(
    st.builds(Action, st.just(ActionKind.LIMIT), mw=POWERS_MW),
    st.builds(Action, st.just(ActionKind.REDUCE), mw=POWERS_MW, baseline=BASELINES),
    st.builds(Action, st.just(ActionKind.REDUCE_PCT), pct=st.floats(0, 100), baseline=BASELINES),
    st.builds(Action, st.just(ActionKind.SHED_LEVEL), level=st.integers(0, 3), baseline=BASELINES),
    st.just(Action(ActionKind.FLOOR)),
)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Interval, ...]:
    """Return intervals at whole milliseconds, from 1970 to 2100."""
    moments_ms = draw(st.lists(st.integers(0, 4_100_000_000_000), min_size=2, max_size=9, unique=True))
    moments_s = [moment_ms / 1000 for moment_ms in sorted(moments_ms)]
    held = [pair for pair in pairwise(moments_s) if draw(st.booleans())]
    intervals = [Interval(start_s, end_s, draw(ACTIONS)) for start_s, end_s in held]
    if not intervals or draw(st.booleans()):
        intervals.append(Interval(moments_s[-1], None, draw(ACTIONS)))
    return tuple(intervals)


EVENTS = st.builds(
    GridEvent,
    source=st.text("abc-", min_size=1, max_size=64),
    event_id=st.just(EVENT_ID),
    epoch=COUNTERS,
    seq=COUNTERS,
    issued_at_s=st.integers(0, 4_100_000_000_000).map(lambda ms: ms / 1000),
    event_class=st.sampled_from(EventClass),
    level=st.sampled_from(Level),
    targets=st.lists(NAMES, min_size=1, max_size=5, unique=True).map(tuple),
    intervals=schedules(),
    received=st.just(NOW),
    is_cancelled=st.booleans(),
    ramp=st.builds(EventRamp, DURATIONS_S, DURATIONS_S, DURATIONS_S),
    priority=st.none() | COUNTERS,
    program=st.text("abc-", max_size=64),
    origin=st.lists(NAMES, max_size=5).map(" ".join),
    correlation_id=st.text("abc-", max_size=128),
)


@given(event=EVENTS)
def test_every_event_keeps_its_schema_and_is_read_as_it_was_meant(event: GridEvent) -> None:
    payload = encode_event(event, reason="peak")
    VALIDATOR.validate(json.loads(payload))
    read = parse(payload)
    assert read == replace(event, digest=read.digest)


def test_a_release_is_no_native_action() -> None:
    event = parse(encoded(GOOD))
    released = Interval(event.start_s, None, Action(ActionKind.RELEASE))
    with pytest.raises(ValueError, match="release"):
        encode_event(replace(event, intervals=(released,)))


def test_a_day_of_five_minute_intervals_fits_in_one_event() -> None:
    event = parse(encoded(GOOD))
    action = Action(ActionKind.LIMIT, mw=799_999_999)
    starts_s = [event.start_s + 300 * number for number in range(MAX_INTERVALS)]
    intervals = tuple(Interval(start_s, start_s + 300, action) for start_s in starts_s)
    full = replace(event, level=Level.SITE, intervals=intervals)
    assert parse(encode_event(full)).intervals == intervals


PATHS = [
    *GOOD,
    *("scope.level", "scope.targets", "ramp.down_s", "ramp.up_s", "ramp.up_jitter_s", "raw.standard"),
    *("intervals.start", "intervals.end", "intervals.action", "extra"),
    *(f"intervals.action.{name}" for name in ("limit_watts", "reduce_watts", "reduce_pct")),
    *(f"intervals.action.{name}" for name in ("level", "floor", "baseline")),
]
ACTION_NAMES = ("limit_watts", "reduce_watts", "reduce_pct", "level", "floor", "baseline", "other")
SCALARS = st.one_of(
    payloads.SCALARS,
    st.integers(-1, 5),
    st.floats(0, 1e6),
    st.datetimes(timezones=st.just(None)).map(lambda t: t.isoformat() + "Z"),
    st.sampled_from([EVENT_ID, "active", "cancelled", "site", "host", "emergency", "advisory", "nameplate"]),
    st.sampled_from(["2026-11-21T17:10:00+00:00", "2026-13-21T17:00:00Z", 1.0, 30000.0]),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(ACTION_NAMES), SCALARS, max_size=3),
    st.fixed_dictionaries({"level": SCALARS, "targets": SCALARS}),
)


@given(path=st.sampled_from(PATHS), value=VALUES)
def test_schema_and_parser_agree_on_every_event(path: str, value: object) -> None:
    """Who validates with the schema sends nothing that the daemon refuses, but for what no schema can say."""
    check_agreement(VALIDATOR, changed(path, value), parse, BEYOND_THE_SCHEMA)


@given(payload=st.binary(max_size=400))
def test_no_bytes_whatever_become_anything_but_an_event_or_a_refusal(payload: bytes) -> None:
    event = accepted(lambda: parse(payload))
    assert event is None or isinstance(event, GridEvent)


@given(payload=damaged(encoded(GOOD)))
def test_no_damage_to_a_good_payload_is_more_than_refused_or_an_event_within_bounds(payload: bytes) -> None:
    """Flipped, cut and repeated bytes end as an event within bounds or a refusal, never another exception."""
    event = accepted(lambda: parse(payload))
    if event is not None:
        check(event)


def check(event: GridEvent) -> None:
    ends: list[Any] = [each.end_s for each in event.intervals]
    assert None not in ends[:-1]
    for each in event.intervals:
        assert each.end_s is None or each.start_s < each.end_s
        assert 0 <= each.action.mw <= MAX_SITE_WATTS * 1000
        assert 0 <= each.action.pct <= 100
        assert 0 <= each.action.level <= 3
    assert all(later.start_s >= end_s for later, end_s in zip(event.intervals[1:], ends, strict=False))
