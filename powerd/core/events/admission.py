"""Which grid events count: replays and clocks judged (docs/grid-events.md).

Invariant: a refused event changes nothing; a doubtful one can only lower.
"""

from dataclasses import replace

from powerd.core.events.grid_event import ActionKind, GridEvent
from powerd.core.events.schedule import EventRules, Held, Schedule, asks_the_same, key_of
from powerd.core.metering.draw import WINDOW_S
from powerd.core.rack.newness import why_stale
from powerd.core.rack.timeline import Verdict, VerdictKind, skew_s

DAY_S = 86400.0
# Contents remembered of one source.
MAX_CONTENTS = 256


def admit_event(schedule: Schedule, event: GridEvent, rules: EventRules) -> tuple[Schedule, Verdict]:
    """Judge one version of an event, at the moment it was received."""
    schedule = _swept(schedule, event, rules)
    refusal = _refusal(schedule, event, rules)
    if refusal is not None:
        return schedule, refusal
    doubt = _doubt(schedule, event, rules)
    if doubt is None:
        return _accept(schedule, event), _verdict(VerdictKind.ACCEPTED, event)
    reason, why = doubt
    if event.is_cancelled or any(i.action.kind is ActionKind.RELEASE for i in event.intervals):
        return schedule, _verdict(VerdictKind.REJECTED, event, reason, f"{why}: it may not raise")
    key = f"{key_of(event)}?{event.epoch}.{event.seq}"
    if key in schedule.held:
        return schedule, _verdict(VerdictKind.DUPLICATE, event, "duplicate")
    text = f"{why}: it may only lower"
    schedule = schedule.holding(*_doubtful(schedule, event, key))
    return schedule, _verdict(VerdictKind.LOWER_ONLY, event, reason, text)


def _verdict(kind: VerdictKind, event: GridEvent, reason: str = "", text: str = "") -> Verdict:
    about = f"event {event.event_id}"
    ahead_s = skew_s(event.received, event.issued_at_s, retained=event.retained)
    return Verdict(kind, event.source, event.epoch, event.seq, reason, text, about, ahead_s)


def _doubtful(schedule: Schedule, event: GridEvent, key: str) -> tuple[str, Held]:
    """Return what is to be held of a doubtful event: what is only said again, however often, but once."""
    for same, held in schedule.held.items():
        if held.is_doubtful and asks_the_same(held.event, event):
            return same, replace(held, event=event)
    return key, Held(event, is_doubtful=True)


def _swept(schedule: Schedule, event: GridEvent, rules: EventRules) -> Schedule:
    """Forget what has been over for a day; all that is over where there is no room left.

    By a clock that may be far off, anything may seem over.
    """
    if not event.received.wall_synced:
        return schedule
    wall_s = event.received.wall_s
    old = set()
    is_crowded = len(schedule.held) >= rules.max_events
    for begins_s, key in schedule.by_start:
        if begins_s > wall_s - (0.0 if is_crowded else DAY_S):
            break
        held = schedule.held[key]
        if held.is_over(wall_s - DAY_S) or (is_crowded and _has_passed(held, wall_s)):
            old.add(key)
    if not old:
        return schedule
    return replace(schedule, held={key: held for key, held in schedule.held.items() if key not in old})


def _has_passed(held: Held, wall_s: float) -> bool:
    """Say whether its own intervals are over, so that a replay of it would ask for nothing."""
    return held.event.end_s is not None and held.event.end_s <= wall_s and held.is_over(wall_s)


def _refusal(schedule: Schedule, event: GridEvent, rules: EventRules) -> Verdict | None:
    """Refuse repeats, replays, and what would fill the memory."""
    known = schedule.held.get(key_of(event))
    if known is not None:
        stale = why_stale(event, known.event, rules.max_skew_s)
        return None if stale is None else _verdict(stale.kind, event, stale.reason, stale.text)
    if event.keeps_order and _is_late(schedule, event):
        text = "it was issued before the newest message of its source: delivered again, or replayed"
        return _verdict(VerdictKind.REJECTED, event, "replayed", text)
    sources = {held.event.source for held in schedule.held.values()} | {event.source}
    count = sum(1 for held in schedule.held.values() if held.event.source == event.source)
    if len(sources) > rules.max_sources or count >= rules.max_events:
        text = f"{count} events of {event.source} and {len(sources) - 1} sources are held already"
        return _verdict(VerdictKind.REJECTED, event, "too_many_events", text)
    return None


def _is_late(schedule: Schedule, event: GridEvent) -> bool:
    """Say whether a source that keeps order has said something else since."""
    latest_s = schedule.latest_s.get(event.source, event.issued_at_s)
    contents = schedule.contents.get(event.source, {})
    # Of two messages of one instant the one that came last is the latest.
    was_last = not contents or event.digest == next(reversed(contents))
    is_again = event.digest in contents and not was_last
    return event.issued_at_s < latest_s or (event.issued_at_s == latest_s and is_again)


def _doubt(schedule: Schedule, event: GridEvent, rules: EventRules) -> tuple[str, str] | None:
    """Return why the event may only lower, as (slug, text); None if it may do all.

    Its age alone is no reason while a broker kept it: schedules are made ahead.
    """
    epoch = schedule.contents.get(event.source, {}).get(event.digest, event.epoch)
    if event.keeps_order and epoch != event.epoch:
        return "replayed", "its content came before in another message"
    received = event.received
    if not received.wall_synced:
        if event.retained:
            return "unsynced_retained", "its age is unknown: retained, and our clock is not synchronised"
        return None
    age_s = received.wall_s - event.issued_at_s
    if age_s < -rules.max_skew_s or (age_s > rules.max_skew_s and not event.retained):
        return "clock_skew", f"its sender's clock differs by {-age_s:+.0f} s"
    return None


def _accept(schedule: Schedule, event: GridEvent) -> Schedule:
    key = key_of(event)
    before = _before(schedule, event)
    if event.is_cancelled:
        # It goes back up from where it was: what was obeyed counts, not what the cancellation repeats.
        cancelled = replace(
            before.event,
            is_cancelled=True,
            epoch=event.epoch,
            seq=event.seq,
            issued_at_s=event.issued_at_s,
            received=event.received,
            retained=event.retained,
            digest=event.digest,
            correlation_id=event.correlation_id,
        )
        cancelled_s = event.received.wall_s if before.cancelled_s is None else before.cancelled_s
        held = replace(before, event=cancelled, cancelled_s=cancelled_s)
    else:
        asked_s = event.issued_at_s
        if asks_the_same(before.event, event):
            asked_s = before.event.issued_at_s if before.asked_s is None else before.asked_s
        held = replace(before, event=event, cancelled_s=None, asked_s=asked_s)
    gone = {
        k for k, v in schedule.held.items() if (v.is_doubtful or event.keeps_order) and _replaces(event, k, v)
    }
    schedule = schedule.holding(key, held, gone)
    return _noted(schedule, event) if event.keeps_order else schedule


def _before(schedule: Schedule, event: GridEvent) -> Held:
    """Return what is held of an event; one that was over long ago begins anew, under the same name."""
    held, received = schedule.held.get(key_of(event)), event.received
    if held is None:
        return Held(event)
    is_long_over = received.wall_synced and held.is_over(received.wall_s - WINDOW_S)
    return Held(event) if is_long_over and not event.is_cancelled else held


def _replaces(event: GridEvent, key: str, held: Held) -> bool:
    """Say whether an accepted event makes another one void: doubtful versions of it, or what it covers."""
    old = held.event
    if held.is_doubtful:
        if (old.epoch, old.seq) > (event.epoch, event.seq):
            return False
        if key_of(old) == key_of(event):
            return True
    if not event.keeps_order or (old.source, old.program) != (event.source, event.program):
        return False
    starts_no_later = event.start_s <= max(old.start_s, event.received.wall_s)
    ends_no_earlier = event.end_s is None or (old.end_s is not None and old.end_s <= event.end_s)
    return starts_no_later and ends_no_earlier and key != key_of(event)


def _noted(schedule: Schedule, event: GridEvent) -> Schedule:
    """Remember what a source that keeps order has said last."""
    contents = {**schedule.contents.get(event.source, {}), event.digest: event.epoch}
    while len(contents) > MAX_CONTENTS:
        contents.pop(next(iter(contents)))
    return replace(
        schedule,
        latest_s={**schedule.latest_s, event.source: event.issued_at_s},
        contents={**schedule.contents, event.source: contents},
    )
