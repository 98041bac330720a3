"""What one action of an event asks of this rack, in watts of the rack at its meter."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from powerd.core.events.grid_event import Action, ActionKind, Baseline, GridEvent, Level
from powerd.core.events.schedule import EventRules, Held
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts

WHOLE_PCT = 100.0
WHOLE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Ground:
    """What events are worked out from.

    Attributes:
        base_mw: the rack cap without events.
        before_mw: the rack cap in effect until now.
        failsafe_mw: the failsafe budget in force.
        is_controlled: a budget governs, so that `base_mw` is more than a stopgap.
        measured_mw: the rack's mean draw in the last ten minutes; None if it is not known.
    """

    rack: Rack
    host: str
    base_mw: MilliWatts
    before_mw: MilliWatts
    failsafe_mw: MilliWatts
    is_controlled: bool
    measured_mw: MilliWatts | None = None


def addresses(event: GridEvent, ground: Ground, rules: EventRules) -> bool:
    """Say whether an event is about this rack, or this host. Without targets it is about all of its level.

    Where it is not configured which feeds supply the rack, any of them may.
    """
    if not event.targets or (event.level is Level.FEED and not rules.feeds):
        return True
    if event.level is Level.FEED:
        return any(name in event.targets for name in rules.feeds)
    own = {Level.SITE: ground.rack.site, Level.RACK: ground.rack.name, Level.HOST: ground.host}
    return own[event.level] in event.targets


def fraction(event: GridEvent, rules: EventRules) -> Fraction | None:
    """Return the rack's part of what is asked of the event's scope; None if the configuration does not tell.

    Of several feeds the one that leaves the rack least counts.
    """
    if event.level is Level.SITE:
        return None if rules.site_fraction is None else _exact(rules.site_fraction)
    if event.level is Level.FEED:
        parts = (part for name, part in rules.feeds.items() if not event.targets or name in event.targets)
        return min(map(_exact, parts), default=None)
    return WHOLE


def baseline_mw(action: Action, held: Held, ground: Ground) -> MilliWatts:
    """Return what a reduction counts from: what was frozen at the start, and what is known until then."""
    if action.baseline is Baseline.NAMEPLATE:
        return ground.rack.hard_limit_mw
    budget_mw = ground.base_mw if held.budget_mw is None else held.budget_mw
    if action.baseline is Baseline.MEASURED:
        measured_mw = ground.measured_mw if held.before_mw is None else held.measured_mw
        return budget_mw if measured_mw is None else measured_mw
    return budget_mw


def target_mw(action: Action, held: Held, ground: Ground, rules: EventRules) -> MilliWatts | None:
    """Return what an action lets the rack draw; None if it asks for nothing: a release, a level of 0 %.

    What cannot be split, since the configuration does not say how, leaves the failsafe budget at the most.
    """
    kind, rack, host = action.kind, ground.rack, ground.host
    shed_pct = rules.levels_pct[action.level] if kind is ActionKind.SHED_LEVEL else None
    if kind is ActionKind.RELEASE or shed_pct == 0:
        return None
    if kind is ActionKind.FLOOR or (shed_pct is not None and shed_pct >= WHOLE_PCT):
        return rack.least_mw
    base_mw = baseline_mw(action, held, ground)
    pct = action.pct if kind is ActionKind.REDUCE_PCT else shed_pct
    if held.event.level is Level.HOST:
        # Of the rack caps, the one under which this host's share is worth what is asked of the host.
        own_mw = rack.entitlement_mw(host, rack.usable_mw(base_mw))
        return rack.cap_for_mw(host, _lowered_mw(action, own_mw, pct, WHOLE))
    part = WHOLE if pct is not None else fraction(held.event, rules)
    if part is None:
        return min(_lowered_mw(action, base_mw, pct, WHOLE), ground.failsafe_mw)
    return _lowered_mw(action, base_mw, pct, part)


def is_unsplit(event: GridEvent, rules: EventRules) -> bool:
    """Say whether watts are asked of a scope of which the rack's part is not configured."""
    kinds = {interval.action.kind for interval in event.intervals}
    return bool(kinds & {ActionKind.LIMIT, ActionKind.REDUCE}) and fraction(event, rules) is None


def _lowered_mw(action: Action, base_mw: MilliWatts, pct: float | None, part: Fraction) -> MilliWatts:
    """Return what is left, rounded down; `part` is that of watts which are asked of more than the rack."""
    if pct is not None:
        left, whole = _left(pct)
        return base_mw * left // whole
    if action.kind is ActionKind.LIMIT:
        return int(action.mw * part)
    return max(0, base_mw - math.ceil(action.mw * part))


@lru_cache(maxsize=1024)
def _left(pct: float) -> tuple[int, int]:
    """Return what is left of a whole that is reduced by so much per cent, as a ratio."""
    return (1 - _exact(pct) / 100).as_integer_ratio()


@lru_cache(maxsize=1024)
def _exact(number: float) -> Fraction:
    """Return a decimal of the configuration as the number that was meant, so that sums are exact."""
    return Fraction(str(number))
