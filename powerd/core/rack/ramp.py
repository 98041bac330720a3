"""How the rack cap climbs: down at once, up slowly and not in step with the other hosts.

Grid operators fear synchronised returns of large loads as much as their absence, so every
raise after the start waits for the dwell and a jitter of its own, then follows a slope.
"""

from dataclasses import dataclass
from typing import NamedTuple

from powerd.core.model import Now
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class RampRules:
    """The slope of a raise.

    Attributes:
        mw_per_s: how fast the cap may climb (default of the configuration: 16.67 % of the hard limit per
            minute, the CSIP-AUS default).
        jitter_s: this host's own delay before climbing; it never delays a cut.
    """

    mw_per_s: float
    jitter_s: float = 0.0


class Ramp(NamedTuple):
    """Where the cap is on its way.

    Attributes:
        cap_mw: the cap now; None before the first step.
        free_mw: up to here the first raise is immediate, since nothing was curtailed: what held before a
            restart, or no end (None) on the first start.
        started: whether that first raise is spent.
        base_mw, climbing_from_boot_s: the climb under way; None when there is none.
        arrived_boot_s: when the last climb reached its target, which may be on a climb itself.
    """

    cap_mw: MilliWatts | None = None
    free_mw: MilliWatts | None = None
    started: bool = False
    base_mw: MilliWatts = 0
    climbing_from_boot_s: float | None = None
    arrived_boot_s: float | None = None


# A target that rises again this soon goes on rising: the same climb, without a jitter of its own.
SAME_CLIMB_S = 2.5


def follow(
    ramp: Ramp,
    target_mw: MilliWatts,
    now: Now,
    rules: RampRules,
    *,
    controlled: bool,
    not_before_boot_s: float,
) -> Ramp:
    """Move the cap towards its target.

    Args:
        controlled: a controller is in charge; the first such step may use `free_mw`.
        not_before_boot_s: the end of the dwell after failsafe.
    """
    cap, climbing_from = ramp.cap_mw, ramp.climbing_from_boot_s
    if cap is None or (controlled and not ramp.started):
        free = target_mw if ramp.free_mw is None else min(target_mw, ramp.free_mw)
        cap, climbing_from = max(cap or 0, free), None
    if controlled and not ramp.started:
        ramp = ramp._replace(started=True)
    if target_mw == ramp.cap_mw and ramp.climbing_from_boot_s is None:
        return ramp
    if target_mw <= cap:
        arrived = ramp.arrived_boot_s if target_mw == cap else None
        return ramp._replace(cap_mw=target_mw, climbing_from_boot_s=None, arrived_boot_s=arrived)
    if climbing_from is None or climbing_from < not_before_boot_s:
        climbing_from = _start_boot_s(ramp, now.boot_s, rules, not_before_boot_s)
        ramp = ramp._replace(base_mw=cap, climbing_from_boot_s=climbing_from)
    height = ramp.base_mw + int(max(0.0, now.boot_s - climbing_from) * rules.mw_per_s)
    if height >= target_mw:
        return ramp._replace(cap_mw=target_mw, climbing_from_boot_s=None, arrived_boot_s=now.boot_s)
    return ramp._replace(cap_mw=max(cap, height))


def _start_boot_s(ramp: Ramp, boot_s: float, rules: RampRules, not_before_boot_s: float) -> float:
    arrived_boot_s = ramp.arrived_boot_s
    if arrived_boot_s is not None and boot_s <= arrived_boot_s + SAME_CLIMB_S:
        return max(arrived_boot_s, not_before_boot_s)
    return max(boot_s, not_before_boot_s) + rules.jitter_s
