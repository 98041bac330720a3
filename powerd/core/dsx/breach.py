"""Whether a rack draws more than its target: from measured draw to alerts, each step once.

    above the target by the threshold, for `hold_s`            active
    critical, or above the threshold after `escalate_after_s`  escalated
    back within the target, for `clear_s`                      resolved

What is not measured proves nothing: it neither begins a breach nor ends one.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from powerd.core.model import Now
from powerd.core.units import MilliWatts

# DSX Flex: more than this much over the target is critical.
CRITICAL_PCT = 20.0


class BreachPhase(StrEnum):
    """How far a breach has come."""

    ACTIVE = "active"
    ESCALATED = "escalated"
    RESOLVED = "resolved"


class BreachSeverity(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class BreachRules:
    """When draw above a target is a breach.

    Attributes:
        threshold_pct: how far above the target, in per cent of it.
        hold_s: for how long; less is the time that a cut and its measurement take.
        escalate_after_s: of an active breach.
        clear_s: how long the draw is back within the target before a breach is over.
        repeat_s: an alert is said again this often while the breach lasts.
    """

    threshold_pct: float = 5.0
    hold_s: float = 10.0
    escalate_after_s: float = 60.0
    clear_s: float = 10.0
    repeat_s: float = 60.0


class Alert(NamedTuple):
    """What is to be said of a breach now."""

    phase: BreachPhase
    severity: BreachSeverity


@dataclass(frozen=True, slots=True)
class Breach:
    """What is remembered; times are on the boot clock.

    Attributes:
        phase: None = there is no breach.
        severity: as it was told last.
        over_boot_s: since when the draw has been above the threshold, without a gap.
        within_boot_s: since when it has been within the target, without a gap.
        begun: when the breach became active.
        told_boot_s: when it was told last.
    """

    phase: BreachPhase | None = None
    severity: BreachSeverity = BreachSeverity.WARNING
    over_boot_s: float | None = None
    within_boot_s: float | None = None
    begun: Now | None = None
    told_boot_s: float = 0.0


NO_BREACH = Breach()


def step(
    breach: Breach, draw_mw: MilliWatts | None, target_mw: MilliWatts | None, now: Now, rules: BreachRules
) -> tuple[Breach, Alert | None]:
    """Return what is to be remembered, and what is to be said: one thing at a time.

    Args:
        draw_mw: None if it is not known.
        target_mw: None if none is in force: then any draw is within it.
    """
    if draw_mw is None:
        return replace(breach, over_boot_s=None, within_boot_s=None), None
    over_boot_s = _since(breach.over_boot_s, now, holds=_is_over(draw_mw, target_mw, rules.threshold_pct))
    is_within = target_mw is None or draw_mw <= target_mw
    within_boot_s = _since(breach.within_boot_s, now, holds=is_within)
    breach = replace(breach, over_boot_s=over_boot_s, within_boot_s=within_boot_s)
    severity = BreachSeverity.WARNING
    if _is_over(draw_mw, target_mw, CRITICAL_PCT):
        severity = BreachSeverity.CRITICAL
    phase = _phase(breach, severity, now, rules)
    if phase is BreachPhase.RESOLVED:
        return replace(NO_BREACH, within_boot_s=within_boot_s), Alert(phase, breach.severity)
    is_news = phase is not breach.phase
    if phase is None or not (is_news or now.boot_s >= breach.told_boot_s + rules.repeat_s):
        return breach, None
    begun = breach.begun or now
    return (
        replace(breach, phase=phase, severity=severity, begun=begun, told_boot_s=now.boot_s),
        Alert(phase, severity),
    )


def _phase(breach: Breach, severity: BreachSeverity, now: Now, rules: BreachRules) -> BreachPhase | None:
    if breach.begun is None:
        return BreachPhase.ACTIVE if _for(breach.over_boot_s, now, rules.hold_s) else None
    if _for(breach.within_boot_s, now, rules.clear_s):
        return BreachPhase.RESOLVED
    # Between target and threshold a breach goes on, but that alone is no reason to have racks switched off.
    lasts = breach.over_boot_s is not None and _for(breach.begun.boot_s, now, rules.escalate_after_s)
    if severity is BreachSeverity.CRITICAL or lasts:
        return BreachPhase.ESCALATED
    return breach.phase


def _is_over(draw_mw: MilliWatts, target_mw: MilliWatts | None, pct: float) -> bool:
    return target_mw is not None and draw_mw > target_mw * (1 + pct / 100)


def _since(since_boot_s: float | None, now: Now, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now.boot_s if since_boot_s is None else since_boot_s


def _for(since_boot_s: float | None, now: Now, how_long_s: float) -> bool:
    return since_boot_s is not None and now.boot_s - since_boot_s >= how_long_s
