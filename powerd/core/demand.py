"""Who wants more: judged by power and by the power-cap counter, never by utilisation.

A GPU wants more when the cap held its clocks down for more than 5 % of the period and it draws at least
0.9 of what is enforced: an idle card can report the cap as active, and a busy one can draw its limit without
being slowed. What a GPU does not want is given to others, less a reserve, and a GPU that starts work gets its
full ceiling at once for a while.

    idle --draw rises--> waking --warm-up over--> busy <--cap holds it back--> capped
      ^-------------- low for idle_after_s -------------'

Invariant: a missing reading frees no watts.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from powerd.core.model import EventReason, GpuReading
from powerd.core.units import MilliWatts

CAPPED_SHARE_OF_PERIOD = 0.05
# A counter that ran faster than the clock is not in nanoseconds, or was reset: not to be believed.
CREDIBLE_SHARE_OF_PERIOD = 1.5
NEAR_LIMIT = 0.9
LOW_DRAW = 0.6
RESERVE_FACTOR_PCT = 115
RESERVE_MW = 30_000
NOT_POWER = (
    EventReason.HW_SLOWDOWN | EventReason.SW_THERMAL | EventReason.HW_THERMAL | EventReason.HW_POWER_BRAKE
)


class Demand(StrEnum):
    """What a GPU's readings say of the power it could use."""

    UNKNOWN = "unknown"  # no reading to judge by
    IDLE = "idle"
    BUSY = "busy"  # works, and its limit does not hold it back
    CAPPED = "capped"  # its limit holds it back: it wants more
    WAKING = "waking"  # started work a moment ago: given its ceiling until it has shown what it needs
    HELD = "held"  # held back by heat or hardware: more watts would not help


@dataclass(frozen=True, slots=True)
class DemandRules:
    """Times of the judgement, in seconds."""

    idle_after_s: float = 30.0
    warmup_s: float = 10.0


class GpuDemand(NamedTuple):
    """What is known of one GPU's demand.

    Attributes:
        want_mw: what it would use if it could, reserve included; before narrowing to floor and ceiling.
        sampled_boot_s, capped_ns: of the last reading taken in.
        low_since_boot_s: since when it draws little; None while it does not.
        idle_draw_mw: its lowest draw while idle; None while it is not.
        warm_until_boot_s: end of the warm-up.
    """

    demand: Demand
    want_mw: MilliWatts
    sampled_boot_s: float
    capped_ns: int | None = None
    low_since_boot_s: float | None = None
    idle_draw_mw: MilliWatts | None = None
    warm_until_boot_s: float = 0.0


def reserve_mw(draw_mw: MilliWatts) -> MilliWatts:
    """Return what a donor keeps: the larger of 1.15 x its draw and its draw + 30 W."""
    return max(draw_mw * RESERVE_FACTOR_PCT // 100, draw_mw + RESERVE_MW)


def assess(
    last: GpuDemand | None, reading: GpuReading, ceiling_mw: MilliWatts, rules: DemandRules
) -> GpuDemand:
    """Take in a reading; one that was already taken in changes nothing.

    Args:
        ceiling_mw: the most the GPU may be given: what it wants while its need is unknown.
    """
    if last is not None and reading.sampled_boot_s <= last.sampled_boot_s and reading.draw_mw is not None:
        return last
    if reading.draw_mw is None or not reading.enforced_mw:
        return _unknown(last, reading, ceiling_mw)
    if last is None:  # nothing to compare with: assume work until shown otherwise
        return _waking(_observed(None, reading), ceiling_mw, rules)
    seen = _observed(last, reading)
    if reading.event_reasons & NOT_POWER:
        return seen._replace(demand=Demand.HELD, want_mw=reserve_mw(reading.draw_mw), idle_draw_mw=None)
    capped = _is_capped(last, reading)
    if last.idle_draw_mw is not None:
        return _from_idle(seen, reading.draw_mw, ceiling_mw, rules, capped=capped)
    return _from_work(seen, reading, ceiling_mw, rules, capped=capped)


def _unknown(last: GpuDemand | None, reading: GpuReading, ceiling_mw: MilliWatts) -> GpuDemand:
    kept = reading.worst_case_mw if reading.worst_case_mw is not None else ceiling_mw
    sampled = last.sampled_boot_s if last else reading.sampled_boot_s
    return GpuDemand(Demand.UNKNOWN, kept, sampled, last.capped_ns if last else None)


def _observed(last: GpuDemand | None, reading: GpuReading) -> GpuDemand:
    """Carry the memory forward; demand and want are filled in by the caller."""
    draw, enforced = reading.draw_mw or 0, reading.enforced_mw or 0
    low_since = None
    if draw < LOW_DRAW * enforced:
        low_since = last.low_since_boot_s if last else None
        low_since = reading.sampled_boot_s if low_since is None else low_since
    return GpuDemand(
        demand=Demand.BUSY,
        want_mw=reserve_mw(draw),
        sampled_boot_s=reading.sampled_boot_s,
        capped_ns=reading.capped_ns,
        low_since_boot_s=low_since,
        idle_draw_mw=last.idle_draw_mw if last else None,
        warm_until_boot_s=last.warm_until_boot_s if last else 0.0,
    )


def _waking(seen: GpuDemand, ceiling_mw: MilliWatts, rules: DemandRules) -> GpuDemand:
    until = seen.sampled_boot_s + rules.warmup_s
    return seen._replace(demand=Demand.WAKING, want_mw=ceiling_mw, idle_draw_mw=None, warm_until_boot_s=until)


def _from_idle(
    seen: GpuDemand, draw_mw: MilliWatts, ceiling_mw: MilliWatts, rules: DemandRules, *, capped: bool
) -> GpuDemand:
    """Stay idle until the draw leaves the reserve: its limit may by now be too low to compare with."""
    base = seen.idle_draw_mw or 0
    if capped or draw_mw > reserve_mw(base):
        return _waking(seen, ceiling_mw, rules)
    return seen._replace(demand=Demand.IDLE, idle_draw_mw=min(base, draw_mw))


def _from_work(
    seen: GpuDemand, reading: GpuReading, ceiling_mw: MilliWatts, rules: DemandRules, *, capped: bool
) -> GpuDemand:
    if capped:
        return seen._replace(demand=Demand.CAPPED, want_mw=ceiling_mw)
    if seen.sampled_boot_s < seen.warm_until_boot_s:
        return seen._replace(demand=Demand.WAKING, want_mw=ceiling_mw)
    if seen.low_since_boot_s is None:
        return seen
    if seen.sampled_boot_s - seen.low_since_boot_s >= rules.idle_after_s:
        return seen._replace(demand=Demand.IDLE, idle_draw_mw=reading.draw_mw)
    # Low for a moment only, perhaps between two steps of a job: it keeps what it has.
    return seen._replace(want_mw=max(seen.want_mw, min(ceiling_mw, reading.enforced_mw or 0)))


def _is_capped(last: GpuDemand, reading: GpuReading) -> bool:
    if (reading.draw_mw or 0) < NEAR_LIMIT * (reading.enforced_mw or 0):
        return False
    share = _capped_share(last, reading)
    if share is None:  # no counter to believe: the momentary bit must do
        return bool(reading.event_reasons & EventReason.SW_POWER_CAP)
    return share > CAPPED_SHARE_OF_PERIOD


def _capped_share(last: GpuDemand, reading: GpuReading) -> float | None:
    """Return the share of the time since the last reading that the power cap held the clocks down."""
    if last.capped_ns is None or reading.capped_ns is None:
        return None
    share = (reading.capped_ns - last.capped_ns) * 1e-9 / (reading.sampled_boot_s - last.sampled_boot_s)
    return share if 0 <= share <= CREDIBLE_SHARE_OF_PERIOD else None
