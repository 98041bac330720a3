"""What powerd says of the power state of its feeds: the data of `grid.powerstate.status.v1`.

All watts are of this rack's part of a feed, since no rack can speak for the others.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from powerd.core.dsx.flex import Told
from powerd.core.units import MilliWatts
from powerd.signals import rfc3339
from powerd.signals.strict_json import JsonObject
from powerd.signals.wire import watts_or_null

KIND = "grid.powerstate.status.v1"
SUBJECT = "powerstate"


@dataclass(frozen=True, slots=True)
class FeedTarget:
    """A load target, as long as it is held.

    Attributes:
        is_active: it is in force now.
        start_s, end_s: on the wall clock; `end_s` None = until it is replaced.
        correlation_id: a UUID.
    """

    is_active: bool
    limit_mw: MilliWatts
    start_s: float
    end_s: float | None
    is_best_effort: bool
    correlation_id: str


@dataclass(frozen=True, slots=True)
class FeedView:
    """One feed.

    Attributes:
        minimum_mw: the least that limiting can reach.
        maximum_mw: what may be drawn at the very most.
        default_mw: what may be drawn without a target.
        load_mw: what is drawn, or may be, if that is not known.
        is_compliant: the load is within the target in force, or there is none.
    """

    minimum_mw: MilliWatts
    maximum_mw: MilliWatts
    default_mw: MilliWatts
    targets: tuple[FeedTarget, ...]
    load_mw: MilliWatts
    is_compliant: bool
    told: Told


def status_data(feeds: Iterable[tuple[str, FeedView]], wall_s: float) -> JsonObject:
    """Return the state of all feeds, by name."""
    return {"snapshot_time": rfc3339.utc(wall_s), "feeds": {name: _feed(view) for name, view in feeds}}


def power(mw: MilliWatts) -> JsonObject:
    """Return an amount of power as DSX Flex writes it."""
    return {"value": watts_or_null(mw), "unit": "watt"}


def _feed(view: FeedView) -> JsonObject:
    told = view.told
    begun = {} if told.since_s is None else {"power_event_start_time": rfc3339.utc(told.since_s)}
    return {
        "metadata": {
            "power_minimum": power(view.minimum_mw),
            "power_maximum": power(view.maximum_mw),
            "default_constraint": power(view.default_mw),
        },
        "targets": [_target(target) for target in view.targets],
        "calculated_load": power(view.load_mw),
        "in_flight": told.is_in_flight,
        "event": told.event.value,
        **begun,
        "compliant": view.is_compliant,
    }


def _target(target: FeedTarget) -> JsonObject:
    ends = {} if target.end_s is None else {"end_time": rfc3339.utc(target.end_s)}
    return {
        "active": target.is_active,
        "load_constraint": power(target.limit_mw),
        "interval": {"start_time": rfc3339.utc(target.start_s), **ends},
        "strategy": {"best_effort": target.is_best_effort},
        "correlation_id": target.correlation_id,
    }
