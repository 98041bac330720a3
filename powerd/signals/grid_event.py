"""The native grid event (docs/grid-events.md): from payload to record, checked for form, and back.

Form is all that is judged here. Whether a well-formed event counts (its order, its age, whether its scope
holds this rack, the clocks) is the core's business.
"""

import hashlib
from collections.abc import Collection

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
from powerd.core.model import Now
from powerd.core.units import MilliWatts
from powerd.signals import rfc3339, strict_json
from powerd.signals.fields import MAX_SOURCE_CHARACTERS, Fields
from powerd.signals.native import MAX_LABEL_CHARACTERS, VERSION
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject
from powerd.signals.wire import encode, watts_or_null

MAX_INTERVALS = 512
MAX_TARGETS = 256
MAX_EVENT_ID_CHARACTERS = 64
MAX_PROGRAM_CHARACTERS = 64
# A ramp, or its jitter, takes a day at most.
MAX_RAMP_S = 86400.0
MAX_SHED_LEVEL = 3

# The fields of which an action has exactly one.
ACTIONS = {
    "limit_watts": ActionKind.LIMIT,
    "reduce_watts": ActionKind.REDUCE,
    "reduce_pct": ActionKind.REDUCE_PCT,
    "level": ActionKind.SHED_LEVEL,
    "floor": ActionKind.FLOOR,
}
_REDUCING = frozenset({ActionKind.REDUCE, ActionKind.REDUCE_PCT, ActionKind.SHED_LEVEL})
_OF_MANY_RACKS = frozenset({Level.SITE, Level.FEED})


def parse_event(
    payload: bytes,
    *,
    event_id: str,
    hard_limit_mw: MilliWatts,
    retained: bool,
    received: Now,
    own: Collection[str] | None = None,
) -> GridEvent:
    """Read one version of an event.

    Args:
        payload: as it came from the topic of `event_id`.
        event_id: the last level of the topic; the message must name the same.
        hard_limit_mw: of this rack, to tell a wrong unit where the scope is no more than a rack.
        retained: delivered from the broker's store.
        received: when it arrived.
        own: names of this rack and its hosts. The unit of an event about other racks or hosts is not judged,
            since their limits are not known here; None = it always is.

    Raises:
        SignalRejectedError: the form is wrong; see `Reason`. An empty payload is refused too: it clears the
            broker's store, and cancels nothing.
    """
    fields = Fields(strict_json.read_message(payload, empty="no statement; an event is over by status"))
    fields.version(VERSION)
    source = fields.text("source", MAX_SOURCE_CHARACTERS, min_characters=1)
    _check_event_id(fields, event_id)
    fields.optional_text("reason", MAX_LABEL_CHARACTERS)  # for people who read the topic
    level, targets = _scope(fields.inner("scope"))
    is_judged = level not in _OF_MANY_RACKS and (own is None or not set(own).isdisjoint(targets))
    return GridEvent(
        source=source,
        event_id=event_id,
        epoch=fields.integer("epoch"),
        seq=fields.integer("seq"),
        issued_at_s=fields.unix_s("issued_at"),
        event_class=fields.choice("class", EventClass, Reason.CLASS),
        level=level,
        targets=targets,
        intervals=_intervals(fields, hard_limit_mw if is_judged else None),
        received=received,
        is_cancelled=_is_cancelled(fields),
        ramp=_ramp(fields.inner("ramp")) if fields.has("ramp") else EventRamp(),
        priority=_priority(fields),
        program=fields.optional_text("program", MAX_PROGRAM_CHARACTERS),
        origin=_origin(fields.inner("raw")) if fields.has("raw") else "",
        correlation_id=fields.optional_text("correlation_id", MAX_LABEL_CHARACTERS),
        retained=retained,
        digest=hashlib.blake2b(payload, digest_size=8).hexdigest(),
    )


def encode_event(event: GridEvent, reason: str = "") -> bytes:
    """Return the payload from which the same event is read; see `event_fields`.

    Raises:
        ValueError: an interval releases, which native events do by ending.
    """
    return encode(event_fields(event, reason))


def event_fields(event: GridEvent, reason: str = "") -> JsonObject:
    """Return all fields of an event. How it arrived is no part of it, nor what native events do not say.

    Stamps are written in milliseconds, those beyond the years 1 to 9999 as the nearest that can be.

    Args:
        reason: for people.

    Raises:
        ValueError: an interval releases, which native events do by ending.
    """
    fields: JsonObject = {
        "v": VERSION,
        "source": event.source,
        "epoch": event.epoch,
        "seq": event.seq,
        "issued_at": rfc3339.utc(event.issued_at_s),
        "event_id": event.event_id,
        "class": event.event_class.value,
        "status": "cancelled" if event.is_cancelled else "active",
        "scope": {"level": event.level.value, "targets": list(event.targets)},
        "ramp": {
            "down_s": event.ramp.down_s,
            "up_s": event.ramp.up_s,
            "up_jitter_s": event.ramp.up_jitter_s,
        },
        "intervals": [_interval_fields(each) for each in event.intervals],
        "priority": event.priority,
        "program": event.program,
        "raw": _raw(event.origin),
        "correlation_id": event.correlation_id,
        "reason": reason,
    }
    return {name: value for name, value in fields.items() if value not in ("", None, {})}


def _check_event_id(fields: Fields, event_id: str) -> None:
    # A bridge that mixes up its events would otherwise change one in the name of another.
    named = fields.text("event_id", MAX_EVENT_ID_CHARACTERS, min_characters=1)
    if named != event_id:
        fields.refuse(Reason.EVENT, f'event_id is "{named}", which is not the last level of the topic')


def _scope(scope: Fields) -> tuple[Level, tuple[str, ...]]:
    level = scope.choice("level", Level, Reason.LEVEL)
    return level, scope.texts("targets", MAX_TARGETS, MAX_LABEL_CHARACTERS)


def _is_cancelled(fields: Fields) -> bool:
    status = fields.text("status", MAX_LABEL_CHARACTERS)
    if status not in ("active", "cancelled"):
        fields.refuse(Reason.STATUS, f'status is "{status}", neither active nor cancelled')
    return status == "cancelled"


def _priority(fields: Fields) -> int | None:
    if not fields.has("priority") or fields.is_null("priority"):
        return None
    return fields.integer("priority")


def _ramp(ramp: Fields) -> EventRamp:
    def duration_s(name: str) -> float:
        return ramp.seconds(name, MAX_RAMP_S) if ramp.has(name) else 0.0

    return EventRamp(duration_s("down_s"), duration_s("up_s"), duration_s("up_jitter_s"))


def _origin(raw: Fields) -> str:
    parts = (raw.optional_text(name, MAX_LABEL_CHARACTERS) for name in ("standard", "event", "type"))
    return " ".join(filter(None, parts))


def _raw(origin: str) -> JsonObject:
    standard, _, rest = origin.partition(" ")
    event, _, kind = rest.rpartition(" ")
    parts = {"standard": standard, "event": event, "type": kind}
    return {name: part for name, part in parts.items() if part}


def _intervals(fields: Fields, hard_limit_mw: MilliWatts | None) -> tuple[Interval, ...]:
    intervals: list[Interval] = []
    free_from_s: float | None = None
    for each in fields.each("intervals", MAX_INTERVALS, least=1):
        if intervals and free_from_s is None:
            each.refuse(Reason.ORDER, "end is null in an interval that is not the last")
        start_s = each.unix_s("start")
        end_s = None if each.is_null("end") else each.unix_s("end")
        if end_s is not None and end_s <= start_s:
            each.refuse(Reason.ORDER, "end is not after start")
        if free_from_s is not None and start_s < free_from_s:
            each.refuse(Reason.ORDER, "start is before the end of the interval before it")
        intervals.append(Interval(start_s, end_s, _action(each.inner("action"), hard_limit_mw)))
        free_from_s = end_s
    return tuple(intervals)


def _action(action: Fields, hard_limit_mw: MilliWatts | None) -> Action:
    names = [name for name in ACTIONS if action.has(name)]
    if len(names) != 1:
        text = f"holds {' and '.join(names) or 'none'} of {', '.join(ACTIONS)}; it must hold exactly one"
        action.refuse(Reason.ACTION, text)
    [name] = names
    baseline = Baseline.BUDGET
    if action.has("baseline"):
        baseline = action.choice("baseline", Baseline, Reason.BASELINE)
    match kind := ACTIONS[name]:
        case ActionKind.LIMIT:
            return Action(kind, mw=action.nearest_mw(name, hard_limit_mw))
        case ActionKind.REDUCE:
            return Action(kind, mw=action.nearest_mw(name, hard_limit_mw), baseline=baseline)
        case ActionKind.REDUCE_PCT:
            return Action(kind, pct=action.number(name, 0, 100), baseline=baseline)
        case ActionKind.SHED_LEVEL:
            return Action(kind, level=_shed_level(action), baseline=baseline)
        case _:
            if not action.boolean(name):
                action.refuse(Reason.ACTION, "floor is false, which asks for nothing")
            return Action(kind)


def _shed_level(action: Fields) -> int:
    level = action.integer("level")
    if level > MAX_SHED_LEVEL:
        action.refuse(Reason.RANGE, f"level is {level}, not between 0 and {MAX_SHED_LEVEL}")
    return level


def _interval_fields(interval: Interval) -> JsonObject:
    return {
        "start": rfc3339.utc(interval.start_s),
        "end": None if interval.end_s is None else rfc3339.utc(interval.end_s),
        "action": _action_fields(interval.action),
    }


def _action_fields(action: Action) -> JsonObject:
    baseline = {"baseline": action.baseline.value} if action.kind in _REDUCING else {}
    match action.kind:
        case ActionKind.LIMIT:
            return {"limit_watts": watts_or_null(action.mw)}
        case ActionKind.REDUCE:
            return {"reduce_watts": watts_or_null(action.mw), **baseline}
        case ActionKind.REDUCE_PCT:
            return {"reduce_pct": action.pct, **baseline}
        case ActionKind.SHED_LEVEL:
            return {"level": action.level, **baseline}
        case ActionKind.FLOOR:
            return {"floor": True}
        case _:
            raise ValueError("a release cannot be said by a native event: end its interval, or cancel it")
