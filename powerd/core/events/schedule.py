"""The grid events that are held, and what the operator lets them mean (docs/grid-events.md).

An event needs no lease: what was asked for holds until its end, whether its sender is heard again or not.
"""

import math
from bisect import insort
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from powerd.core.events.grid_event import GridEvent
from powerd.core.units import MilliWatts


@dataclass(frozen=True)
class EventRules:
    """What an event must satisfy, and what it means to this rack.

    Attributes:
        site_fraction: the rack's part of what is asked of the whole site; None = not known.
        feeds: the same for each feed that supplies the rack: name to fraction, > 0.
        levels_pct: by how many per cent of its baseline each shed level lowers the cap; 100 = to the floor.
        obeys_voluntary: whether events of that class are followed.
        own_fraction: 0..1, different per host: its place in the jitter of raises.
        max_skew_s: an event whose stamps differ more from our synchronised clock may only lower.
        unsynced_s: how far the wall clock may be off while no time service keeps it: events start that much
            earlier and end that much later.
        max_events, max_sources: how many are held per source, and of how many sources.
    """

    site_fraction: float | None = None
    feeds: dict[str, float] = field(default_factory=dict)
    levels_pct: tuple[float, float, float, float] = (0.0, 10.0, 25.0, 100.0)
    obeys_voluntary: bool = True
    own_fraction: float = 0.0
    max_skew_s: float = 30.0
    unsynced_s: float = 30.0
    max_events: int = 1024
    max_sources: int = 32


@dataclass(frozen=True, slots=True)
class Held:
    """An event, and what was found when it started.

    Attributes:
        is_doubtful: it takes nobody's place, and ends when its source says something newer without doubt.
        before_mw: the rack cap in effect when it started; None before that.
        budget_mw: the rack cap without events then, which reductions count from; None until one governs.
        measured_mw: the mean draw of the ten minutes before; None if that was not known.
        cancelled_s: when it was cancelled.
        asked_s: when that which it asks for was issued first, and since then only said again; None = with
            the version that is held.
    """

    event: GridEvent
    is_doubtful: bool = False
    before_mw: MilliWatts | None = None
    budget_mw: MilliWatts | None = None
    measured_mw: MilliWatts | None = None
    cancelled_s: float | None = None
    asked_s: float | None = None

    @property
    def end_s(self) -> float | None:
        """Return when it is over: by its intervals, or since it was cancelled. None = open."""
        end_s, cancelled_s = self.event.end_s, self.cancelled_s
        if end_s is None or cancelled_s is None:
            return cancelled_s if end_s is None else end_s
        return min(end_s, cancelled_s)

    def over_s(self, widened_s: float) -> float:
        """Return when it asks for nothing any more, with windows widened; infinite if it is open.

        It was cancelled at a time of our own clock, which no doubt of that clock moves.
        """
        end_s = math.inf if self.event.end_s is None else self.event.end_s + widened_s
        return end_s if self.cancelled_s is None else min(end_s, self.cancelled_s)

    def is_over(self, wall_s: float) -> bool:
        """Say whether it is over, its way back up included."""
        end_s = self.end_s
        ramp = self.event.ramp
        return end_s is not None and wall_s >= end_s + ramp.up_jitter_s + ramp.up_s


@dataclass(frozen=True)
class Schedule:
    """All events that are held. One that is over is kept for a day, so that a replay of it is known.

    Attributes:
        held: by "source/event_id"; doubtful ones under keys of their own.
        latest_s: when the newest message was issued, of each source that keeps order.
        contents: the last messages of the same sources: digest of the content to epoch.
    """

    held: dict[str, Held] = field(default_factory=dict)
    latest_s: dict[str, float] = field(default_factory=dict)
    contents: dict[str, dict[str, int]] = field(default_factory=dict)

    @cached_property
    def by_start(self) -> tuple[tuple[float, str], ...]:
        """Return when each event starts, with its key, in that order."""
        return tuple(sorted((held.event.start_s, key) for key, held in self.held.items()))

    def holding(self, key: str, held: Held, gone: Collection[str] = ()) -> "Schedule":
        """Return the schedule with one more event, or another version of it, and without some others."""
        others = {k: v for k, v in self.held.items() if k not in gone} if gone else self.held
        schedule = replace(self, held={**others, key: held})
        out = {*gone, key} if key in self.held else set(gone)
        starts = [each for each in self.by_start if each[1] not in out] if out else list(self.by_start)
        insort(starts, (held.event.start_s, key))
        schedule.__dict__["by_start"] = tuple(starts)
        return schedule

    def noting(self, notes: Mapping[str, Held]) -> "Schedule":
        """Return the schedule with what was found of some events: none of them starts at another time."""
        schedule = replace(self, held={**self.held, **notes})
        schedule.__dict__["by_start"] = self.by_start
        return schedule


def key_of(event: GridEvent) -> str:
    """Return the key under which an event is held."""
    return f"{event.source}/{event.event_id}"


def asks_the_same(one: GridEvent, other: GridEvent) -> bool:
    """Say whether two messages are versions of one event, and ask for the same."""
    return _request(one) == _request(other)


def _request(event: GridEvent) -> tuple[object, ...]:
    return (
        key_of(event),
        event.is_cancelled,
        event.event_class,
        event.level,
        event.targets,
        event.intervals,
        event.ramp,
        event.priority,
        event.program,
    )
