"""What powerd says when its rack draws more than its target: the data of `grid.powerbreach.alert.v1`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from powerd.core.dsx.breach import Alert, BreachPhase
from powerd.core.units import MilliWatts
from powerd.dsx.status import power
from powerd.signals import rfc3339
from powerd.signals.strict_json import JsonObject

KIND = "grid.powerbreach.alert.v1"
SUBJECT = "powerbreach"
# What infrastructure agents can do, from least to most disruptive.
ACTIONS = ("SHUTDOWN_NODES", "SHUTDOWN_RACKS", "CUT_DATA_FEEDS", "TRIP_BREAKERS")
DEFAULT_ACTIONS = ACTIONS[:2]


@dataclass(frozen=True, slots=True)
class HostLoad:
    """What one host of the rack draws, and may draw.

    Attributes:
        draw_mw: None if it is not known.
        cap_mw: None if it is not known.
    """

    host: str
    draw_mw: MilliWatts | None
    cap_mw: MilliWatts | None
    floor_mw: MilliWatts


@dataclass(frozen=True, slots=True)
class BreachView:
    """One breach.

    Attributes:
        breach_id: a UUID, the same from the first alert of a breach to its last.
        detected_s: when it became active, on the wall clock.
        target_mw: what may be drawn; once it is over, what could be drawn last.
        correlation_id: of that target, a UUID.
    """

    breach_id: str
    feed: str
    detected_s: float
    target_mw: MilliWatts
    correlation_id: str
    draw_mw: MilliWatts
    hosts: tuple[HostLoad, ...] = ()


def breach_data(view: BreachView, alert: Alert, actions: Sequence[str], wall_s: float) -> JsonObject:
    """Return what is said of a breach.

    Args:
        actions: what infrastructure agents may do, in this order: the first of them while the breach is
            active, all of them once it is escalated.
        wall_s: now; of a breach that is resolved, when it was.
    """
    details: JsonObject = {"breach_id": view.breach_id, "detected_at": rfc3339.utc(view.detected_s)}
    is_resolved = alert.phase is BreachPhase.RESOLVED
    if is_resolved:
        details["resolved_at"] = rfc3339.utc(wall_s)
    hints = {} if is_resolved else {"shed_hints": shed_hints(view.hosts, alert.phase)}
    return {
        "feed_tag": view.feed,
        "status": alert.phase.value,
        "severity": alert.severity.value,
        "breach": details,
        "target": {"correlation_id": view.correlation_id, "load_constraint": power(view.target_mw)},
        "measured_load": power(view.draw_mw),
        **hints,
        "infrastructure_actions": _actions(alert.phase, actions),
    }


def shed_hints(hosts: Iterable[HostLoad], phase: BreachPhase) -> list[JsonObject]:
    """Return where to save power first: at the hosts that are most above what they may draw.

    Each is asked to keep its cap; once the breach is escalated, to go to its floor. Hosts of which not enough
    is known come last.
    """
    ordered = sorted(hosts, key=_over_mw, reverse=True)
    return [
        {
            "resource_id": each.host,
            "resource_type": "node",
            "action": "power_cap",
            "priority": priority,
            "target_power": power(_asked_mw(each, phase)),
        }
        for priority, each in enumerate(ordered, start=1)
    ]


def _over_mw(each: HostLoad) -> float:
    if each.draw_mw is None or each.cap_mw is None:
        return float("-inf")
    return each.draw_mw - each.cap_mw


def _asked_mw(each: HostLoad, phase: BreachPhase) -> MilliWatts:
    if phase is BreachPhase.ESCALATED or each.cap_mw is None:
        return each.floor_mw
    return max(each.floor_mw, each.cap_mw)


def _actions(phase: BreachPhase, actions: Sequence[str]) -> list[str]:
    if phase is BreachPhase.RESOLVED:
        return []
    return list(actions if phase is BreachPhase.ESCALATED else actions[:1])
