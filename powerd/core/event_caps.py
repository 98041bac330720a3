"""What the events whose turn it is make of the rack cap: what they ask for, and the ramps to it and back."""

import math
from bisect import bisect_left
from dataclasses import dataclass

from powerd.core.event_target import Ground, baseline_mw, target_mw
from powerd.core.event_turns import Agenda, EventPhase, Turn, jitter_s, lowest_mw, start_s
from powerd.core.grid_event import GridEvent, Interval, Level
from powerd.core.schedule import EventRules, Held
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class EventStatus:
    """An event that has a say in the rack cap now.

    Attributes:
        key: as in `Schedule.held`.
        phase: `ACTIVE` or `RESTORING`.
        cap_mw: what it lets the rack draw now, on its way to `target_mw` where it ramps. For a release, and
            once a way back up is done, the hard limit.
        target_mw: what the interval in force asks of the rack; None while it restores, or for a release.
        baseline_mw: what its reductions count from.
        before_mw: the rack cap before it started.
        until_s: when this changes by itself, on the wall clock; None if it does not.
    """

    key: str
    event: GridEvent
    phase: EventPhase
    cap_mw: MilliWatts
    target_mw: MilliWatts | None
    baseline_mw: MilliWatts | None
    before_mw: MilliWatts
    until_s: float | None = None

    @property
    def is_own(self) -> bool:
        """Say whether it is about this host alone."""
        return self.event.level is Level.HOST


def statuses(plan: Agenda, ground: Ground, rules: EventRules, wall_s: float) -> tuple[EventStatus, ...]:
    """Return what each event whose turn it is lets the rack draw now."""
    return tuple(_status(turn, plan, ground, rules, wall_s) for turn in plan.turns)


def _status(turn: Turn, plan: Agenda, ground: Ground, rules: EventRules, wall_s: float) -> EventStatus:
    held = plan.schedule.held[turn.key]
    hard_limit_mw = ground.rack.hard_limit_mw
    before_mw = hard_limit_mw if held.before_mw is None else held.before_mw
    asked_mw = lowest_mw(turn.intervals, held, ground, rules)
    if turn.phase is EventPhase.RESTORING:
        cap_mw = _restored_mw(held, before_mw, ground, rules, wall_s - plan.widened_s)
    elif asked_mw is None:
        cap_mw = hard_limit_mw
    elif plan.widened_s:
        cap_mw = asked_mw
    else:
        cap_mw = _level_mw(turn.intervals[0], held, before_mw, ground, rules, wall_s)
    return EventStatus(
        key=turn.key,
        event=held.event,
        phase=turn.phase,
        cap_mw=cap_mw,
        target_mw=asked_mw,
        baseline_mw=_baseline_mw(turn, held, ground),
        before_mw=before_mw,
        until_s=plan.until_s if math.isfinite(plan.until_s) else None,
    )


def _baseline_mw(turn: Turn, held: Held, ground: Ground) -> MilliWatts | None:
    action = turn.intervals[0].action if turn.intervals else held.event.intervals[-1].action
    return baseline_mw(action, held, ground)


def _level_mw(
    interval: Interval,
    held: Held,
    before_mw: MilliWatts,
    ground: Ground,
    rules: EventRules,
    wall_s: float,
) -> MilliWatts:
    """Return where the event is on its way from what held before an interval to what the interval asks."""
    asked_mw = target_mw(interval.action, held, ground, rules)
    if asked_mw is None:
        return ground.rack.hard_limit_mw
    previous = _previous(held.event.intervals, interval)
    from_mw = before_mw
    if previous is not None:
        previous_mw = target_mw(previous.action, held, ground, rules)
        from_mw = before_mw if previous_mw is None else previous_mw
    elapsed_s, ramp = wall_s - interval.start_s, held.event.ramp
    if asked_mw < from_mw:
        return _between(from_mw, asked_mw, elapsed_s, ramp.down_s)
    if previous is None:
        return asked_mw  # nothing was lowered yet
    return _between(from_mw, asked_mw, elapsed_s - jitter_s(held, rules), ramp.up_s)


def _restored_mw(
    held: Held, before_mw: MilliWatts, ground: Ground, rules: EventRules, wall_s: float
) -> MilliWatts:
    """Return where an event that is over is on its way back to what held before it."""
    end_s = wall_s if held.end_s is None else held.end_s
    last = bisect_left(held.event.intervals, end_s, key=start_s) - 1
    if last < 0:
        return ground.rack.hard_limit_mw
    from_mw = _level_mw(held.event.intervals[last], held, before_mw, ground, rules, end_s)
    if from_mw >= before_mw:
        return ground.rack.hard_limit_mw
    return _between(from_mw, before_mw, wall_s - end_s - jitter_s(held, rules), held.event.ramp.up_s)


def _previous(intervals: tuple[Interval, ...], interval: Interval) -> Interval | None:
    """Return the interval that an interval follows without a gap."""
    index = bisect_left(intervals, interval.start_s, key=start_s)
    if index and intervals[index - 1].end_s == interval.start_s:
        return intervals[index - 1]
    return None


def _between(from_mw: MilliWatts, to_mw: MilliWatts, elapsed_s: float, whole_s: float) -> MilliWatts:
    if elapsed_s < 0:
        return from_mw
    if elapsed_s >= whole_s:
        return to_mw
    return from_mw + int((to_mw - from_mw) * (elapsed_s / whole_s))
