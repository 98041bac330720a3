"""From one iteration after the other to the entries of the ledger (docs/proof-of-response.md).

Around events everything is written down: the ten minutes before, seconds after each change, minutes later. At
other times only the last ten minutes are held. Pure: what was recorded so far goes in and comes out.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from powerd.core.events.caps import EventStatus
from powerd.core.events.grid_event import GridEvent
from powerd.core.events.turns import EventPhase, start_s
from powerd.core.model import Now
from powerd.core.proof.ledger_entry import (
    Body,
    Changed,
    ClockStepped,
    Ended,
    EndReason,
    Entry,
    IntervalBegan,
    Restored,
    Sample,
    Samples,
    Started,
)
from powerd.core.proof.stretch import Look, Stretch, gap, lengthen

# What is held of the time before an event; the baseline `measured` is the mean of as much.
BEFORE_S = 600.0
# After each change every second is written down for so long, and so long after the last event.
FINE_S = 900.0
SECOND_S, MINUTE_S = 1.0, 60.0
# A stretch may be so much shorter than it should, so that one period more does not make it too long.
SLACK_S = 0.3
# A daemon that is killed loses no more than this, or the minute that it was in.
WRITE_EVERY_S = 10.0
# Two clocks that drift apart by less in one iteration are the same clock, slewed.
STEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Tracked:
    """What was last written down of an event.

    Attributes:
        event: the first message that asked for what holds.
        said: the last one that did.
        part: interval, target and baseline; None before the first.
        has_ended: it asks for nothing any more.
    """

    event: GridEvent
    said: GridEvent
    part: IntervalBegan | None = None
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """What one step hands to the next.

    Attributes:
        held: samples that are not in an entry yet.
        fine_until_boot_s: stretches are seconds until then.
        until_boot_s: samples are written down until then, and while there are events.
    """

    look: Look | None = None
    stretch: Stretch | None = None
    held: tuple[Sample, ...] = ()
    tracked: dict[str, Tracked] = field(default_factory=dict)
    fine_until_boot_s: float = 0.0
    until_boot_s: float = 0.0


def record(recording: Recording, look: Look, gap_s: float) -> tuple[Recording, tuple[Entry, ...]]:
    """Take in one iteration; return what is to be written down, in order.

    Args:
        gap_s: a reading stands no longer than this without another one.
    """
    last, boot_s = recording.look, look.now.boot_s
    recording = _measure(recording, look, gap_s)
    stepped_s = _stepped_s(last, look)
    is_on = bool(recording.tracked) or boot_s < recording.until_boot_s
    tracked, told = _follow(recording.tracked, look)
    if stepped_s and is_on:
        told = (Entry(look.now.wall_s, "", ClockStepped(stepped_s)), *told)
    if told or (last is not None and last.caps_mw[1:] != look.caps_mw[1:]):
        recording = replace(_close(recording), fine_until_boot_s=boot_s + FINE_S)
    entries: tuple[Entry, ...] = ()
    if stepped_s and not is_on:
        recording = replace(recording, stretch=None, held=())  # their times mean nothing any more
    elif told or (is_on and _is_due(recording, look)):
        recording, entries = flush(recording)
    elif not is_on:
        since_s = look.now.wall_s - BEFORE_S
        recording = replace(recording, held=tuple(s for s in recording.held if s.wall_s >= since_s))
    if tracked or recording.tracked:
        recording = replace(recording, until_boot_s=boot_s + FINE_S)
    return replace(recording, look=look, tracked=tracked), (*entries, *told)


def flush(recording: Recording) -> tuple[Recording, tuple[Entry, ...]]:
    """Return all samples that are held, as an entry; none if there are none."""
    recording = _close(recording)
    if not recording.held or recording.look is None:
        return recording, ()
    body = Samples(tuple(status.key for status in recording.look.events), recording.held)
    return replace(recording, held=()), (Entry(recording.held[0].wall_s, "", body),)


def _measure(recording: Recording, look: Look, gap_s: float) -> Recording:
    """Account for the time since the last look by what was measured then; beyond `gap_s` it is a gap."""
    last = recording.look
    if last is None:
        return recording
    elapsed_s = look.now.boot_s - last.now.boot_s
    stretch = lengthen(recording.stretch, last, min(elapsed_s, gap_s))
    recording = replace(recording, stretch=stretch)
    is_fine = last.now.boot_s < recording.fine_until_boot_s or not recording.tracked
    width_s = SECOND_S if is_fine else MINUTE_S
    if elapsed_s > gap_s:
        recording = _close(recording)
        return replace(recording, held=(*recording.held, gap(last, gap_s, elapsed_s - gap_s)))
    is_full = stretch.span_s >= width_s - SLACK_S
    return _close(recording) if is_full or look.source != last.source else recording


def _close(recording: Recording) -> Recording:
    stretch = recording.stretch
    if stretch is None or stretch.span_s <= 0:
        return replace(recording, stretch=None)
    return replace(recording, stretch=None, held=(*recording.held, stretch.sample))


def _is_due(recording: Recording, look: Look) -> bool:
    held = recording.held
    return recording.stretch is None and bool(held) and look.now.wall_s - held[0].wall_s >= WRITE_EVERY_S


def _stepped_s(last: Look | None, look: Look) -> float:
    """Return how far forward the wall clock was set since the last look; 0 if it was not."""
    if last is None:
        return 0.0
    by_s = (look.now.wall_s - look.now.boot_s) - (last.now.wall_s - last.now.boot_s)
    return round(by_s, 3) if abs(by_s) > STEP_S else 0.0


def _follow(tracked: dict[str, Tracked], look: Look) -> tuple[dict[str, Tracked], tuple[Entry, ...]]:
    """Write down what has become of events, each by itself."""
    after = {status.key: _tracked(tracked.get(status.key), status, look.now) for status in look.events}
    told: list[tuple[str, Body]] = []
    for status in look.events:
        key = status.key
        told += ((key, body) for body in _about(tracked.get(key), after[key], status, look))
    for key, before in tracked.items():
        if key not in after:
            told += ((key, body) for body in _about_end(before, look, key))
            told.append((key, Restored()))
    return after, tuple(Entry(look.now.wall_s, key, body) for key, body in told)


def _tracked(before: Tracked | None, status: EventStatus, now: Now) -> Tracked:
    event = said = status.event
    # Of an event that is only said again the first message counts: its receipt is when the time began to run.
    if before is not None and (before.said is said or _asks(before.said) == _asks(said)):
        event = before.event
    if status.phase is not EventPhase.ACTIVE:
        return Tracked(event, said, before.part if before else None, has_ended=True)
    part = IntervalBegan(_index(event, now.wall_s), status.target_mw, status.baseline_mw)
    return Tracked(event, said, part)


def _about(before: Tracked | None, after: Tracked, status: EventStatus, look: Look) -> Iterator[Body]:
    if before is None:
        yield Started(after.event, status.baseline_mw, status.before_mw)
    elif after.event is not before.event:
        yield Changed(after.event)
    if after.has_ended:
        had_ended = before is not None and before.has_ended
        yield from _about_end(replace(after, has_ended=had_ended), look, status.key)
    elif after.part is not None and (before is None or before.has_ended or after.part != before.part):
        yield after.part


def _about_end(before: Tracked, look: Look, key: str) -> Iterator[Ended]:
    if before.has_ended:
        return
    end_s = before.event.end_s
    if before.event.is_cancelled or key in look.cancelled:
        yield Ended(EndReason.CANCELLED)
    elif end_s is not None and look.now.wall_s >= end_s:
        yield Ended(EndReason.ENDED)
    else:
        yield Ended(EndReason.SET_ASIDE)


def _index(event: GridEvent, wall_s: float) -> int:
    """Return which interval holds; a clock that is not synchronised may have it begin early."""
    return max(0, bisect_right(event.intervals, wall_s, key=start_s) - 1)


def _asks(event: GridEvent) -> GridEvent:
    """Return what an event asks for, without what differs each time it is said."""
    return replace(
        event,
        epoch=0,
        seq=0,
        issued_at_s=0.0,
        received=Now(0.0, 0.0),
        retained=False,
        digest="",
        correlation_id="",
    )
