"""What one action of an event asks of this rack, in watts of the rack at its meter."""

from dataclasses import dataclass
from fractions import Fraction

from powerd.core.grid_event import Action, ActionKind, Baseline, GridEvent, Level
from powerd.core.schedule import EventRules, Held
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts

WHOLE_PCT = 100.0


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
    """Say whether an event is about this rack, or this host. Without targets it is about all of its level."""
    names = {
        Level.SITE: (ground.rack.site,),
        Level.FEED: tuple(rules.feeds),
        Level.RACK: (ground.rack.name,),
        Level.HOST: (ground.host,),
    }[event.level]
    return any(not event.targets or name in event.targets for name in names)


def fraction(event: GridEvent, rules: EventRules) -> Fraction | None:
    """Return the rack's part of what is asked of the event's scope; None if the configuration does not tell.

    Of several feeds the one that leaves the rack least counts.
    """
    if event.level is Level.SITE:
        return None if rules.site_fraction is None else _exact(rules.site_fraction)
    if event.level is Level.FEED:
        return min(
            _exact(part) for name, part in rules.feeds.items() if not event.targets or name in event.targets
        )
    return Fraction(1)


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
    """Return what an action lets the rack draw; None for a release.

    What cannot be split, since the configuration does not say how, leaves the failsafe budget at the most.
    """
    if action.kind is ActionKind.RELEASE:
        return None
    pct = _pct(action, rules)
    if pct is None:
        return _of_watts(action, held, ground, rules)
    if pct >= WHOLE_PCT and action.kind is not ActionKind.REDUCE_PCT:
        return ground.rack.least_mw
    return max(0, int(baseline_mw(action, held, ground) * (1 - _exact(pct) / 100)))


def _pct(action: Action, rules: EventRules) -> float | None:
    """Return by how much an action lowers its baseline, in per cent; None if it speaks of watts."""
    if action.kind is ActionKind.FLOOR:
        return WHOLE_PCT
    if action.kind is ActionKind.REDUCE_PCT:
        return action.pct
    return rules.levels_pct[action.level] if action.kind is ActionKind.SHED_LEVEL else None


def _of_watts(action: Action, held: Held, ground: Ground, rules: EventRules) -> MilliWatts:
    base_mw = baseline_mw(action, held, ground)
    part = fraction(held.event, rules)
    is_limit = action.kind is ActionKind.LIMIT
    if part is None:
        return max(0, min(action.mw if is_limit else base_mw - action.mw, ground.failsafe_mw))
    if held.event.level is Level.HOST:
        return _of_host(action, base_mw, ground)
    return int(action.mw * part) if is_limit else max(0, base_mw - int(action.mw * part))


def is_unsplit(event: GridEvent, rules: EventRules) -> bool:
    """Say whether watts are asked of a scope of which the rack's part is not configured."""
    kinds = {interval.action.kind for interval in event.intervals}
    return bool(kinds & {ActionKind.LIMIT, ActionKind.REDUCE}) and fraction(event, rules) is None


def _of_host(action: Action, base_mw: MilliWatts, ground: Ground) -> MilliWatts:
    """Return the rack cap under which this host's share is worth what is asked of the host."""
    rack, host = ground.rack, ground.host
    mw = action.mw
    if action.kind is ActionKind.REDUCE:
        mw = max(0, rack.entitlement_mw(host, rack.usable_mw(base_mw)) - action.mw)
    return rack.cap_for_mw(host, mw)


def _exact(number: float) -> Fraction:
    """Return a decimal of the configuration as the number that was meant, so that sums are exact."""
    return Fraction(str(number))
