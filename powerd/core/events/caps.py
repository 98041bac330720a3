"""What the events whose turn it is make of the rack cap: what they ask for, and the ramps to it and back."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from powerd.core.events.grid_event import Action, GridEvent, Level
from powerd.core.events.schedule import EventRules, Held
from powerd.core.events.target import Ground, baseline_mw, target_mw
from powerd.core.events.turns import Agenda, EventPhase, Turn, jitter_s, lowest_mw, start_s, way_back_s
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
    if turn.phase is EventPhase.ACTIVE and (
        plan.widened_s or wall_s - turn.intervals[-1].start_s >= _settled_s(held, rules)
    ):
        cap_mw = asked_mw
    else:
        # What ends late starts its way back late; a cancellation came by our own clock.
        late_s = plan.widened_s if held.cancelled_s is None or wall_s < held.cancelled_s else 0.0
        cap_mw = _path_mw(held, before_mw, ground, rules, wall_s - late_s)
    return EventStatus(
        key=turn.key,
        event=held.event,
        phase=turn.phase,
        cap_mw=hard_limit_mw if cap_mw is None else cap_mw,
        target_mw=asked_mw,
        baseline_mw=_baseline_mw(turn, held, ground),
        before_mw=before_mw,
        until_s=plan.until_s if math.isfinite(plan.until_s) else None,
    )


def _baseline_mw(turn: Turn, held: Held, ground: Ground) -> MilliWatts | None:
    action = turn.intervals[0].action if turn.intervals else held.event.intervals[-1].action
    return baseline_mw(action, held, ground)


def _path_mw(
    held: Held, before_mw: MilliWatts, ground: Ground, rules: EventRules, wall_s: float
) -> MilliWatts | None:
    """Return where an event is on its way from what held before it; None where it holds nothing back.

    From each interval the way goes on to the next from wherever it has come, and where nothing is asked for,
    back to the rack cap without events.
    """
    ramp, jitter = held.event.ramp, jitter_s(held, rules)
    mw: MilliWatts | None = None
    is_held = False
    for action, lasts_s in reversed(tuple(_stretches(held, rules, wall_s))):
        asked_mw = None if action is None else target_mw(action, held, ground, rules)
        goal_mw = ground.base_mw if asked_mw is None else asked_mw
        # At first nothing is lowered yet; and what allows more than there is to draw is left from that.
        mw = max(before_mw, goal_mw) if mw is None else min(mw, ground.base_mw)
        if goal_mw < mw:
            mw = _between(mw, goal_mw, lasts_s, ramp.down_s if asked_mw is not None else 0.0)
        else:
            mw = _between(mw, goal_mw, lasts_s - jitter, ramp.up_s)
        is_held = asked_mw is not None or mw < goal_mw
    return mw if is_held else None


def _settled_s(held: Held, rules: EventRules) -> float:
    """Return how long it takes at the most from one interval to the next."""
    return max(held.event.ramp.down_s, way_back_s(held, rules))


def _stretches(held: Held, rules: EventRules, wall_s: float) -> Iterator[tuple[Action | None, float]]:
    """Yield what was asked for until a moment, and for how long; None for nothing. The latest first.

    Back to one that lasted until its goal was reached: what was before that has no influence any more.
    """
    intervals = held.event.intervals
    enough_s = _settled_s(held, rules)
    begun, until_s = bisect_right(intervals, wall_s, key=start_s), wall_s
    cancelled_s = math.inf if held.cancelled_s is None else held.cancelled_s
    for interval in reversed(intervals[: min(begun, bisect_left(intervals, cancelled_s, key=start_s))]):
        end_s = min(cancelled_s, until_s if interval.end_s is None else interval.end_s)
        if end_s < until_s:
            yield None, until_s - end_s
            if until_s - end_s >= enough_s:
                return
        lasts_s = min(end_s, until_s) - interval.start_s
        yield interval.action, lasts_s
        if lasts_s >= enough_s:
            return
        until_s = interval.start_s


def _between(from_mw: MilliWatts, to_mw: MilliWatts, elapsed_s: float, whole_s: float) -> MilliWatts:
    if elapsed_s < 0:
        return from_mw
    if elapsed_s >= whole_s:
        return to_mw
    return from_mw + int((to_mw - from_mw) * (elapsed_s / whole_s))
