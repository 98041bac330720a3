"""Whose turn it is among the events that are held.

Between events of one source and program the lowest priority number governs, then the newest, then the lowest
watts; different ones do not take each other's place. Times are the wall clock's, since schedules are: a clock
that is set moves the windows, and leases are not affected.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from enum import StrEnum

from powerd.core.event_target import Ground, addresses, target_mw
from powerd.core.grid_event import EventClass, GridEvent, Interval
from powerd.core.model import Now
from powerd.core.schedule import EventRules, Held, Schedule
from powerd.core.units import MilliWatts


class EventPhase(StrEnum):
    """Where an event stands."""

    ACTIVE = "active"
    RESTORING = "restoring"  # over; the cap is on its way back up


@dataclass(frozen=True, slots=True)
class Turn:
    """An event that could govern now.

    Attributes:
        key: as in `Schedule.held`.
        rank: the lowest of a source and program governs.
        intervals: those in force: one, or several while windows are widened; none while it restores.
    """

    key: str
    phase: EventPhase
    rank: tuple[object, ...]
    intervals: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class Agenda:
    """Whose turn it is, worked out once for a stretch of time in which that does not change.

    Attributes:
        schedule: the one it was made from.
        widened_s: by how much windows are widened.
        from_s, until_s: on the wall clock; `until_s` is not included.
        turns: the events that govern.
    """

    schedule: Schedule
    widened_s: float
    from_s: float
    until_s: float
    turns: tuple[Turn, ...]


def agenda(old: Agenda | None, schedule: Schedule, ground: Ground, rules: EventRules, now: Now) -> Agenda:
    """Return whose turn it is now; the old agenda while it holds."""
    wall_s, widened_s = now.wall_s, 0.0 if now.wall_synced else rules.unsynced_s
    if (
        old is not None
        and old.schedule is schedule
        and old.widened_s == widened_s
        and old.from_s <= wall_s < old.until_s
    ):
        return old
    groups: dict[tuple[str, ...], list[Turn]] = {}
    until_s = math.inf
    for begins_s, key in schedule.by_start:
        if begins_s - widened_s > wall_s:
            until_s = min(until_s, begins_s - widened_s)
            break  # all others start later
        held = schedule.held[key]
        if not _is_obeyed(held.event, rules) or not addresses(held.event, ground, rules):
            continue
        turn, changes_s = _turn(key, held, ground, rules, wall_s, widened_s)
        until_s = min(until_s, changes_s)
        if turn is not None:
            group = (key,) if held.is_doubtful else (held.event.source, held.event.program)
            groups.setdefault(group, []).append(turn)
    chosen = (min(turns, key=_rank) for turns in groups.values())
    return Agenda(schedule, widened_s, wall_s, until_s, tuple(sorted(chosen, key=_key)))


def begin(plan: Agenda, ground: Ground) -> Agenda:
    """Note what was found when an event starts: so that a reduction counts from one number always."""
    fresh = {}
    for turn in plan.turns:
        held = plan.schedule.held[turn.key]
        if turn.phase is EventPhase.ACTIVE and held.before_mw is None:
            held = replace(held, before_mw=ground.before_mw, measured_mw=ground.measured_mw)
        if turn.phase is EventPhase.ACTIVE and held.budget_mw is None and ground.is_controlled:
            held = replace(held, budget_mw=ground.base_mw)
        if held is not plan.schedule.held[turn.key]:
            fresh[turn.key] = held
    if not fresh:
        return plan
    return replace(plan, schedule=replace(plan.schedule, held={**plan.schedule.held, **fresh}))


def _key(turn: Turn) -> str:
    return turn.key


def _rank(turn: Turn) -> tuple[object, ...]:
    return turn.rank


def _is_obeyed(event: GridEvent, rules: EventRules) -> bool:
    if event.event_class is EventClass.VOLUNTARY:
        return rules.obeys_voluntary
    return event.event_class is not EventClass.ADVISORY


def _turn(
    key: str, held: Held, ground: Ground, rules: EventRules, wall_s: float, widened_s: float
) -> tuple[Turn | None, float]:
    """Return what an event that has started is to be ranked by, if anything, and when that changes."""
    event, end_s = held.event, math.inf if held.end_s is None else held.end_s + widened_s
    if wall_s >= end_s:
        over_s = end_s + way_back_s(held, rules)
        if wall_s >= over_s or held.before_mw is None:
            return None, math.inf
        return Turn(key, EventPhase.RESTORING, (1, -end_s, key)), over_s
    intervals = _in_force(event.intervals, wall_s, widened_s)
    changes_s = min(end_s, _next_boundary_s(event.intervals, wall_s, widened_s))
    if not intervals:
        return None, changes_s
    mw = lowest_mw(intervals, held, ground, rules)
    newest = (event.priority is None, event.priority or 0, -event.issued_at_s, -event.epoch, -event.seq)
    return Turn(key, EventPhase.ACTIVE, (0, *newest, mw is None, mw or 0, key), intervals), changes_s


def _in_force(intervals: tuple[Interval, ...], wall_s: float, widened_s: float) -> tuple[Interval, ...]:
    last = bisect_right(intervals, wall_s + widened_s, key=start_s)
    first = last
    while first > 0 and _end_s(intervals[first - 1]) > wall_s - widened_s:
        first -= 1
    return intervals[first:last]


def _next_boundary_s(intervals: tuple[Interval, ...], wall_s: float, widened_s: float) -> float:
    """Return when the next interval starts, or the first one in force ends."""
    following = bisect_right(intervals, wall_s + widened_s, key=start_s)
    starts_s = intervals[following].start_s - widened_s if following < len(intervals) else math.inf
    in_force = _in_force(intervals, wall_s, widened_s)
    return min(starts_s, min((_end_s(interval) + widened_s for interval in in_force), default=math.inf))


def start_s(interval: Interval) -> float:
    """Return when an interval starts: the key of a search."""
    return interval.start_s


def _end_s(interval: Interval) -> float:
    return math.inf if interval.end_s is None else interval.end_s


def lowest_mw(
    intervals: tuple[Interval, ...], held: Held, ground: Ground, rules: EventRules
) -> MilliWatts | None:
    """Return the least that any of the intervals asks for; None for releases."""
    asked = (target_mw(interval.action, held, ground, rules) for interval in intervals)
    return min((mw for mw in asked if mw is not None), default=None)


def jitter_s(held: Held, rules: EventRules) -> float:
    """Return how much later than others this host starts its way back up."""
    return held.event.ramp.up_jitter_s * rules.own_fraction


def way_back_s(held: Held, rules: EventRules) -> float:
    """Return how long an event still has a say after its end."""
    return jitter_s(held, rules) + held.event.ramp.up_s
