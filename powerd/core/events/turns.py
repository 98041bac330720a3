"""Whose turn it is among the events that are held.

Between events of one source and program the lowest priority number governs, then the newest, then the lowest
watts; those of different ones do not take each other's place. Times are the wall clock's, since schedules
are: a clock that is set moves the windows, and leases are not affected.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from powerd.core.events.grid_event import EventClass, GridEvent, Interval
from powerd.core.events.schedule import EventRules, Held, Schedule
from powerd.core.events.target import Ground, addresses, target_mw
from powerd.core.model import Now
from powerd.core.units import MilliWatts


class EventPhase(StrEnum):
    """Where an event stands."""

    ACTIVE = "active"
    RESTORING = "restoring"  # over, or between two intervals: the cap is on its way back up


@dataclass(frozen=True, slots=True)
class Turn:
    """An event that could govern now.

    Attributes:
        key: as in `Schedule.held`.
        rank: the lowest of a source and program governs; between equals the lower watts do.
        intervals: those in force: one, or several while windows are widened; none while it restores.
        is_sure: it is in force however far the clock may be off.
    """

    key: str
    phase: EventPhase
    rank: tuple[object, ...]
    intervals: tuple[Interval, ...] = ()
    is_sure: bool = True


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
    groups: dict[tuple[str, str], list[Turn]] = {}
    moved: dict[str, Held] = {}
    until_s = math.inf
    for begins_s, key in schedule.by_start:
        if begins_s - widened_s > wall_s:
            until_s = min(until_s, begins_s - widened_s)
            break  # all others start later
        held = schedule.held[key]
        if held.cancelled_s is not None and held.cancelled_s > wall_s:
            # The clock was set back: what was cancelled is not in force again.
            held = moved[key] = replace(held, cancelled_s=wall_s)
        if held.over_s(widened_s) + way_back_s(held, rules) <= wall_s:
            continue
        if not _is_obeyed(held.event, rules) or not addresses(held.event, ground, rules):
            continue
        turn, changes_s = _turn(key, held, rules, wall_s, widened_s)
        until_s = min(until_s, changes_s)
        if turn is not None and not _was_set_aside(turn, old):
            groups.setdefault((held.event.source, held.event.program), []).append(turn)
    if moved:
        schedule = schedule.noting(moved)
    chosen = (turn for turns in groups.values() for turn in _chosen(turns, schedule, ground, rules))
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
    return replace(plan, schedule=plan.schedule.noting(fresh)) if fresh else plan


def _chosen(turns: list[Turn], schedule: Schedule, ground: Ground, rules: EventRules) -> Iterator[Turn]:
    """Yield those of a source and program that have a say: the first that is surely in force, and no other.

    What may be in force before that has a say too, and so has what is doubtful: these can only lower. Only a
    source that keeps order sets what is doubtful aside by what it says later.
    """

    def order(turn: Turn) -> tuple[object, ...]:
        mw = lowest_mw(turn.intervals, schedule.held[turn.key], ground, rules)
        return *turn.rank, mw is None, mw or 0, turn.key

    if len(turns) > 1:
        turns = sorted(turns, key=order)
    is_settled = False
    for turn in turns:
        held = schedule.held[turn.key]
        if held.is_doubtful:
            if not (is_settled and held.event.keeps_order):
                yield turn
        elif not is_settled:
            is_settled = turn.is_sure
            yield turn


def _key(turn: Turn) -> str:
    return turn.key


def _is_obeyed(event: GridEvent, rules: EventRules) -> bool:
    if event.event_class is EventClass.VOLUNTARY:
        return rules.obeys_voluntary
    return event.event_class is not EventClass.ADVISORY


def _was_set_aside(turn: Turn, old: Agenda | None) -> bool:
    """Say whether another event had taken this one's place: then there is no way back from it."""
    if turn.phase is EventPhase.ACTIVE or old is None:
        return False
    return all(turn.key != before.key for before in old.turns)


def _turn(
    key: str, held: Held, rules: EventRules, wall_s: float, widened_s: float
) -> tuple[Turn | None, float]:
    """Return what an event that has started is to be ranked by, if anything, and when that changes."""
    event, over_s = held.event, held.over_s(widened_s)
    intervals, boundary_s = _in_force(event.intervals, wall_s, widened_s)
    if wall_s >= over_s:
        intervals, boundary_s = (), math.inf
    if not intervals:
        begun = bisect_right(event.intervals, wall_s + widened_s, key=start_s)
        ended_s = min(over_s, _end_s(event.intervals[begun - 1]) + widened_s)
        back_s = ended_s + way_back_s(held, rules)
        if wall_s >= back_s or held.before_mw is None:
            return None, boundary_s
        return Turn(key, EventPhase.RESTORING, (1, -ended_s)), min(back_s, boundary_s)
    is_sure = any(i.start_s + widened_s <= wall_s < _end_s(i) - widened_s for i in intervals)
    return Turn(key, EventPhase.ACTIVE, (0, *_precedence(held)), intervals, is_sure), min(over_s, boundary_s)


def _precedence(held: Held) -> tuple[object, ...]:
    """Return priority, then age; what is only said again grows no newer."""
    event = held.event
    asked_s = event.issued_at_s if held.asked_s is None else held.asked_s
    return event.priority is None, event.priority or 0, -asked_s, -event.seq if event.keeps_order else 0


def _in_force(
    intervals: tuple[Interval, ...], wall_s: float, widened_s: float
) -> tuple[tuple[Interval, ...], float]:
    """Return what is in force, or may be while windows are widened, and when that changes."""
    first = following = bisect_right(intervals, wall_s + widened_s, key=start_s)
    while first > 0 and _end_s(intervals[first - 1]) > wall_s - widened_s:
        first -= 1
    edges_s = (edge_s for each in intervals[first : following + 1] for edge_s in (each.start_s, _end_s(each)))
    changes_s = (at_s for edge_s in edges_s for at_s in (edge_s - widened_s, edge_s + widened_s))
    return intervals[first:following], min((at_s for at_s in changes_s if at_s > wall_s), default=math.inf)


def start_s(interval: Interval) -> float:
    """Return when an interval starts: the key of a search."""
    return interval.start_s


def _end_s(interval: Interval) -> float:
    return math.inf if interval.end_s is None else interval.end_s


def lowest_mw(
    intervals: tuple[Interval, ...], held: Held, ground: Ground, rules: EventRules
) -> MilliWatts | None:
    """Return the least that any of the intervals asks for; None if none asks for anything."""
    asked = (target_mw(interval.action, held, ground, rules) for interval in intervals)
    return min((mw for mw in asked if mw is not None), default=None)


def jitter_s(held: Held, rules: EventRules) -> float:
    """Return how much later than others this host starts its way back up."""
    return held.event.ramp.up_jitter_s * rules.own_fraction


def way_back_s(held: Held, rules: EventRules) -> float:
    """Return how long an event still has a say after its end."""
    return jitter_s(held, rules) + held.event.ramp.up_s
