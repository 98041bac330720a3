"""When the intervals of an event are: the rules of OpenADR for starts, durations, shifts and repetition.

Pure. Moments are Unix seconds; an end of None is one that never comes.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from powerd.errors import SignalRejectedError
from powerd.openadr.durations import Duration, after
from powerd.openadr.event import AdrEvent, AdrInterval, Period
from powerd.signals.reasons import Reason

# What a native event has room for.
MAX_SPANS = 512

Item = TypeVar("Item")


class Span(NamedTuple, Generic[Item]):
    """A stretch of time, and what holds in it."""

    start_s: float
    end_s: float | None
    item: Item


Place = Span[AdrInterval]


class Placed(NamedTuple):
    """The intervals of an event in time.

    Attributes:
        spans: in the order of the event; those that take no time are left out.
        is_endless: the list repeats for ever, and `spans` is only its next part.
    """

    spans: tuple[Place, ...]
    is_endless: bool


def place(event: AdrEvent, seed: str, first_seen_s: float, now_s: float) -> Placed:
    """Return when each interval is.

    Args:
        seed: who we are; a shift is drawn from it and the event, so that it is the same after a restart and
            not the same at everybody.
        first_seen_s: what "now" means: when this version of the event was first seen.
        now_s: cycles of a repeated list that are over by then are left out.

    Raises:
        SignalRejectedError: no start is said.
    """
    if event.is_cancelled:
        return Placed((), is_endless=False)
    once = tuple(_in_order(event, seed, first_seen_s))
    if not once or not event.duration:
        return Placed(once, is_endless=False)  # PT0S is the default, and says nothing
    first_s = min(span.start_s for span in once)
    until_s = after(first_s, event.duration)
    length_s = _length_s(once, first_s)
    if length_s is None or (until_s is not None and until_s <= first_s + length_s):
        return Placed(tuple(_cut(once, until_s)), is_endless=False)
    cycles = _cycles(once, length_s, max(0, math.floor((now_s - first_s) / length_s)))
    return Placed(tuple(_cut(cycles, until_s)), is_endless=until_s is None)


def shift_fraction(seed: str, event_id: str, index: int) -> float:
    """Return how far a start is shifted, from -1 to 1 of what the event allows, evenly distributed."""
    digest = hashlib.blake2b(f"{seed}/{event_id}/{index}".encode(), digest_size=8).digest()
    return 2 * int.from_bytes(digest) / (2**64 - 1) - 1


def sweep(
    spans: Sequence[Span[Item]], better: Callable[[Item, Item], Item], same: Callable[[Item, Item], bool]
) -> tuple[Span[Item], ...]:
    """Return sorted spans that do not overlap.

    Args:
        better: chooses where two overlap.
        same: neighbours for which this holds become one.
    """
    swept: list[Span[Item]] = []
    for span in _without_overlap(sorted(spans, key=lambda each: each.start_s), better):
        if swept and swept[-1].end_s == span.start_s and same(swept[-1].item, span.item):
            swept[-1] = swept[-1]._replace(end_s=span.end_s)
        else:
            swept.append(span)
    return tuple(swept)


def divided(start_s: float, end_s: float | None, parts: Sequence[Item]) -> Iterator[Span[Item]]:
    """Divide a stretch of time evenly, as several values in one interval do.

    Raises:
        SignalRejectedError: it has no end, so that it cannot be divided.
    """
    if len(parts) == 1:
        yield Span(start_s, end_s, parts[0])
        return
    if end_s is None:
        raise SignalRejectedError(Reason.ORDER, "several values in an interval without end", "vtn")
    part_s = (end_s - start_s) / len(parts)
    for index, part in enumerate(parts):
        yield Span(start_s + index * part_s, start_s + (index + 1) * part_s, part)


def _without_overlap(
    spans: Sequence[Span[Item]], better: Callable[[Item, Item], Item]
) -> Iterator[Span[Item]]:
    if all(end_of(one) <= other.start_s for one, other in pairwise(spans)):
        yield from spans  # as nearly all events are
        return
    edges = sorted({span.start_s for span in spans} | {end_of(span) for span in spans})
    for start_s, end_s in pairwise(edges):
        here = [span.item for span in spans if span.start_s <= start_s and end_s <= end_of(span)]
        if here:
            yield Span(start_s, None if math.isinf(end_s) else end_s, functools.reduce(better, here))


def end_of(span: Span[Item]) -> float:
    """Return when a span ends; infinity if never."""
    return math.inf if span.end_s is None else span.end_s


def _in_order(event: AdrEvent, seed: str, first_seen_s: float) -> Iterator[Place]:
    """Yield the intervals of an event, once through its list."""
    default = event.period or Period()
    follow_s: float | None = None
    shift_s = 0.0
    for index, interval in enumerate(event.intervals):
        period = interval.period
        start_s = period.start_s if index else _first_start_s(period, default, first_seen_s)
        randomize = period.randomize or (default.randomize if index == 0 else None)
        if start_s is not None:
            if randomize:
                shift_s = shift_fraction(seed, event.event_id, index) * _range_s(start_s, randomize)
            start_s += shift_s
        elif follow_s is not None:
            start_s = follow_s
        else:
            continue  # after an interval without end
        # PT0S is the default of the schema: servers that write it out have not said that it takes no time.
        duration = period.duration or default.duration
        follow_s = after(start_s, duration) if duration else start_s
        if follow_s is None or follow_s > start_s:
            yield Span(start_s, follow_s, interval)


def _first_start_s(period: Period, default: Period, first_seen_s: float) -> float:
    for said in (period, default):
        if said.start_s is not None:
            return said.start_s
    if period.is_now or default.is_now:
        return first_seen_s
    raise SignalRejectedError(Reason.MISSING, "intervalPeriod.start is missing: when does it begin?", "vtn")


def _range_s(start_s: float, randomize: Duration) -> float:
    end_s = after(start_s, randomize)
    if end_s is None:
        raise SignalRejectedError(Reason.RANGE, "randomizeStart has no end", "vtn")
    return abs(end_s - start_s)


def _length_s(once: Sequence[Place], first_s: float) -> float | None:
    ends_s = [span.end_s for span in once]
    return None if None in ends_s else max(end_s for end_s in ends_s if end_s is not None) - first_s


def _cycles(once: Sequence[Place], length_s: float, cycle: int) -> Iterator[Place]:
    """Yield the list over and over from its cycle of that number, as many spans as fit."""
    for index in range(MAX_SPANS):
        round_, at = divmod(index, len(once))
        span = once[at]
        offset_s = (cycle + round_) * length_s
        end_s = None if span.end_s is None else span.end_s + offset_s
        yield Span(span.start_s + offset_s, end_s, span.item)


def _cut(spans: Sequence[Place] | Iterator[Place], until_s: float | None) -> Iterator[Place]:
    for span in spans:
        if until_s is None:
            yield span
        elif span.start_s < until_s:
            yield span._replace(end_s=min(end_of(span), until_s))
