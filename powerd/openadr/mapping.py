"""What an event of the VTN asks of the site: the table of docs/openadr.md. Pure.

Invariant: an event is taken as a whole or refused as a whole. Nothing here guesses a unit, a sign or a start.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from powerd.core.events.grid_event import Action, ActionKind, EventClass, GridEvent, Interval, Level
from powerd.core.model import Now
from powerd.core.rack.advisory import SignalKind
from powerd.core.units import MilliWatts, milliwatts
from powerd.errors import SignalRejectedError
from powerd.openadr.event import AdrEvent, Descriptor, Payload, number
from powerd.openadr.options import Program, Rule
from powerd.openadr.timing import MAX_SPANS, Placed, Span, divided, end_of, place, sweep
from powerd.signals.fields import MAX_SITE_WATTS
from powerd.signals.reasons import Reason

STANDARD = "openadr3.1"
MAX_ID_CHARACTERS = 64
_W_PER_KW = 1000
_HIGHEST_LEVEL = 3
_WHOLE_PCT = 100.0

# By payload type: the last part of the native event's name.
_LIMITS = {"IMPORT_CAPACITY_LIMIT": "limit", "DISPATCH_SETPOINT": "setpoint"}
_SUBSCRIBED, _RESERVED = "IMPORT_CAPACITY_SUBSCRIPTION", "IMPORT_CAPACITY_RESERVATION"
_EMERGENCIES = frozenset({"ALERT_GRID_EMERGENCY", "ALERT_BLACK_START"})
# About markets and feeding in: nothing that a load could obey.
_NOT_FOR_LOADS = re.compile(
    r"EXPORT_.*|IMPORT_CAPACITY_(RESERVATION_FEE|AVAILABLE|AVAILABLE_PRICE)|PRICE_ALTERNATE"
)


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Quote:
    """A price or an emission factor, of a kilowatt-hour."""

    kind: SignalKind
    zone: str
    value: float
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What an event comes to.

    Attributes:
        events: without epoch, seq and stamp, which it gets when it is published.
        quotes, subscribed, reserved: sorted by start.
        ignored: payload types that were passed over, of which a person should know.
        reports: payload types that it asks to be told of.
        end_s: when its last interval ends; None = never.
        has_intervals: an event without any only asks for reports.
    """

    modified_s: float
    events: tuple[GridEvent, ...] = ()
    quotes: tuple[Span[Quote], ...] = ()
    subscribed: tuple[Span[MilliWatts], ...] = ()
    reserved: tuple[Span[MilliWatts], ...] = ()
    ignored: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    end_s: float | None = None
    has_intervals: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """Where an event is read.

    Attributes:
        site, source: our names.
        program: how its program is obeyed.
        descriptors: those of its program, which stand in for the event's own.
        first_seen_s: when this version of it was first seen.
    """

    site: str
    source: str
    program: Program
    descriptors: Mapping[str, Descriptor]
    first_seen_s: float
    now: Now


class _Name(NamedTuple):
    """Which of the native events of one event: each has one class and one kind of action."""

    part: str
    event_class: EventClass
    origin: str


class _Asked(NamedTuple):
    name: _Name
    action: Action


def map_event(event: AdrEvent, context: Context) -> Mapped:
    """Return what an event comes to.

    Raises:
        SignalRejectedError: it is refused; the text says why.
    """
    placed = place(event, context.source, context.first_seen_s, context.now.wall_s)
    reader = _Reader(context.program, {**context.descriptors, **event.descriptors})
    for span in placed.spans:
        for payload in span.item.payloads:
            reader.read(Span(span.start_s, span.end_s, payload))
    return Mapped(
        modified_s=event.modified_s,
        events=tuple(
            _native(event, context, name, _intervals(spans, placed, context.now.wall_s))
            for name, spans in reader.asked.items()
        ),
        quotes=_sorted(reader.quotes),
        subscribed=_sorted(reader.capacity[_SUBSCRIBED]),
        reserved=_sorted(reader.capacity[_RESERVED]),
        ignored=tuple(reader.ignored),
        reports=event.reports,
        end_s=_end_s(placed),
        has_intervals=bool(event.intervals),
    )


def safe_id(*parts: str) -> str:
    """Return parts as one level of a topic, the same for the same parts and different for different ones."""
    plain = "-".join(parts)
    name = re.sub(r"[^a-z0-9_-]", "_", plain.lower())
    if name == plain and len(name) <= MAX_ID_CHARACTERS:
        return name
    digest = hashlib.blake2b("/".join(parts).encode(), digest_size=4).hexdigest()
    return f"{name[: MAX_ID_CHARACTERS - len(digest) - 1]}-{digest}"


class _Reader:
    """Goes through the payloads of an event and sorts what they say."""

    def __init__(self, program: Program, descriptors: Mapping[str, Descriptor]) -> None:
        self._program = program
        self._descriptors = descriptors
        self.asked: dict[_Name, list[Span[Action]]] = {}
        self.quotes: list[Span[Quote]] = []
        self.capacity: dict[str, list[Span[MilliWatts]]] = {_SUBSCRIBED: [], _RESERVED: []}
        self.ignored: dict[str, None] = {}

    def read(self, span: Span[Payload]) -> None:
        payload = span.item
        descriptor = self._descriptors.get(payload.kind, Descriptor("", ""))
        if payload.kind in self.capacity:
            self.capacity[payload.kind] += divided(
                span.start_s, span.end_s, [_kilowatts_mw(v, payload, descriptor) for v in payload.values]
            )
        elif payload.kind in ("PRICE", "GHG"):
            self.quotes += divided(
                span.start_s,
                span.end_s,
                [self._quote(value, payload, descriptor) for value in payload.values],
            )
        elif _NOT_FOR_LOADS.fullmatch(payload.kind):
            return
        elif (actions := self._actions(payload, descriptor)) is None:
            self.ignored[payload.kind] = None
        else:
            for part in divided(span.start_s, span.end_s, actions):
                if part.item is not None:
                    self.asked.setdefault(part.item.name, []).append(Span(*part[:2], part.item.action))

    def _actions(self, payload: Payload, descriptor: Descriptor) -> list[_Asked | None] | None:
        """Return an action for each value, None for a value that asks for nothing; None if not obeyed."""
        kind, program = payload.kind, self._program
        if kind in program.rules:
            rule = program.rules[kind]
            name = self._name(kind.lower(), EventClass.MANDATORY, kind)
            actions = [_by_rule(rule, value, payload, descriptor) for value in payload.values]
            return [None if action is None else _Asked(name, action) for action in actions]
        if kind in _LIMITS:
            name = self._name(_LIMITS[kind], EventClass.MANDATORY, kind)
            limits_mw = [_kilowatts_mw(value, payload, descriptor) for value in payload.values]
            return [_Asked(name, Action(ActionKind.LIMIT, mw=mw)) for mw in limits_mw]
        if kind == "SIMPLE":
            return [self._simple(number(value)) for value in payload.values]
        if kind in _EMERGENCIES and program.alerts_floor:
            return [_Asked(_Name("alert", EventClass.EMERGENCY, kind), Action(ActionKind.FLOOR))]
        if kind.startswith("ALERT_"):
            return [_Asked(_Name("advisory", EventClass.ADVISORY, kind), Action(ActionKind.SHED_LEVEL))]
        return None

    def _name(self, part: str, event_class: EventClass, kind: str) -> _Name:
        return _Name(part, self._program.event_class or event_class, kind)

    def _simple(self, level: float) -> _Asked:
        if level not in range(_HIGHEST_LEVEL + 1):
            raise _refusal(Reason.RANGE, f"SIMPLE is {level:g}, not 0, 1, 2 or 3")
        action = Action(ActionKind.SHED_LEVEL, level=int(level))
        if level == _HIGHEST_LEVEL:
            return _Asked(_Name("emergency", EventClass.EMERGENCY, "SIMPLE"), action)
        return _Asked(self._name("simple", EventClass.VOLUNTARY, "SIMPLE"), action)

    def _quote(self, value: object, payload: Payload, descriptor: Descriptor) -> Quote:
        zone = self._program.zone
        if payload.kind == "GHG":
            return Quote(SignalKind.GHG_MARGINAL, zone, number(value))
        if descriptor.units != "KWH" or not re.fullmatch("[A-Z]{3}", descriptor.currency):
            unit = f"{descriptor.currency or 'no currency'} per {descriptor.units or 'nothing'}"
            raise _refusal(Reason.UNIT, f"PRICE is in {unit}; a currency like EUR and KWH are needed")
        return Quote(self._program.price_kind, zone, number(value), descriptor.currency)


def _refusal(reason: Reason, text: str) -> SignalRejectedError:
    return SignalRejectedError(reason, text, "vtn")


def _kilowatts_mw(value: object, payload: Payload, descriptor: Descriptor) -> MilliWatts:
    if descriptor.units != "KW":
        unit = descriptor.units or "no unit: its descriptor is missing"
        raise _refusal(Reason.UNIT, f"{payload.kind} is in {unit}; only KW is obeyed")
    return _site_mw(number(value) * _W_PER_KW, payload.kind)


def _site_mw(watts: float, kind: str) -> MilliWatts:
    if watts < 0:
        raise _refusal(Reason.NEGATIVE, f"{kind} is negative")
    if watts > MAX_SITE_WATTS:
        raise _refusal(
            Reason.UNIT_ERROR, f"{kind} is {watts:g} W, more than any site draws: is the unit right?"
        )
    return milliwatts(watts)


def _by_rule(rule: Rule, value: object, payload: Payload, descriptor: Descriptor) -> Action | None:
    """Return what a value means by the operator's word; None if it asks for more, not less."""
    if rule.units and descriptor.units != rule.units:
        text = f"{payload.kind} is in {descriptor.units or 'no unit'}; the rule for it is about {rule.units}"
        raise _refusal(Reason.UNIT, text)
    amount = number(value) * rule.scale
    if rule.action == "limit_watts":
        return Action(ActionKind.LIMIT, mw=_site_mw(amount, payload.kind))
    if amount < 0:
        return None
    if rule.action == "reduce_watts":
        return Action(ActionKind.REDUCE, mw=_site_mw(amount, payload.kind), baseline=rule.baseline)
    if rule.action == "level":
        return Action(ActionKind.SHED_LEVEL, level=min(_HIGHEST_LEVEL, round(amount)), baseline=rule.baseline)
    if amount > _WHOLE_PCT:
        raise _refusal(Reason.RANGE, f"{payload.kind} comes to {amount:g} %: is the rule's scale right?")
    return Action(ActionKind.REDUCE_PCT, pct=amount, baseline=rule.baseline)


def _native(event: AdrEvent, context: Context, name: _Name, intervals: tuple[Interval, ...]) -> GridEvent:
    program = context.program
    level, targets = _scope(event, context)
    return GridEvent(
        source=context.source,
        event_id=safe_id(context.source, event.event_id, name.part),
        epoch=0,
        seq=0,
        issued_at_s=0.0,
        event_class=name.event_class,
        level=level,
        targets=targets,
        intervals=intervals,
        received=context.now,
        ramp=program.ramp,
        priority=event.priority if program.priority is None else program.priority,
        # Limits and shed levels of one program do not take each other's place: both hold.
        program=safe_id(event.program_id, name.part),
        origin=f"{STANDARD} {event.event_id} {name.origin}",
    )


def _scope(event: AdrEvent, context: Context) -> tuple[Level, tuple[str, ...]]:
    ours = [name for theirs in event.targets for name in context.program.targets.get(theirs, ())]
    if not ours:
        return Level.SITE, (context.site,)
    return context.program.level, tuple(dict.fromkeys(ours))


def _intervals(spans: Sequence[Span[Action]], placed: Placed, now_s: float) -> tuple[Interval, ...]:
    """Return native intervals, as many as an event has room for: those that are over make room first."""
    swept = list(sweep(spans, _stricter, lambda one, other: one == other))
    if placed.is_endless and len(swept) == 1 and swept[0].end_s == placed.spans[-1].end_s:
        swept = [swept[0]._replace(end_s=None)]  # the same in every cycle
    while len(swept) > MAX_SPANS and end_of(swept[0]) <= now_s:
        del swept[0]
    return tuple(Interval(*span) for span in swept[:MAX_SPANS])


def _stricter(one: Action, other: Action) -> Action:
    """Return the action that leaves less; both are of one kind."""
    if one.kind is ActionKind.LIMIT:
        return min(one, other, key=lambda each: each.mw)
    return max(one, other, key=lambda each: (each.mw, each.pct, each.level))


def _sorted(spans: Sequence[Span[Item]]) -> tuple[Span[Item], ...]:
    return tuple(sorted(spans, key=lambda each: each.start_s))


def _end_s(placed: Placed) -> float | None:
    if placed.is_endless or any(span.end_s is None for span in placed.spans):
        return None
    return max(map(end_of, placed.spans), default=0.0)
