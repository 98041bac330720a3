"""Who wants more: judged by mean draw and by the power-cap counter, never by utilisation.

A GPU wants what it draws and a small reserve: its mean draw since the last reading, and at least its usual
draw of the last half minute, so that a burst finds what the one before it needed. Held down by its limit all
the time, it wants more than it has, and more from period to period; held down for a part of the time, it may
have slack, which is tried (slack.py). What a GPU does not want is given to others, and a GPU that starts work
gets its full ceiling at once for a while.

    idle --draw rises--> waking --warm-up over--> busy <--its limit holds it back--> capped
      ^-------------- low for idle_after_s -------------'

Invariant: a missing reading frees no watts.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from powerd.core.gpus.gpu_load import ALL_THE_TIME, SOME_OF_THE_TIME, held_share, mean_mw
from powerd.core.gpus.reserve import kept_mw, reserve_mw, wakes_mw
from powerd.core.gpus.slack import Slack, try_less
from powerd.core.model import EventReason, GpuReading
from powerd.core.units import MilliWatts

LOW_DRAW = 0.6
USUAL_S = 30.0
# Held back a moment ago and not any more: its load comes in bursts, and the next one is served at once.
BURSTS_S = 20.0
FIRST_CLIMB, BURST_CLIMB = 0.1, 10.0
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
        sampled_boot_s, capped_ns, energy_mj: of the last reading taken in.
        mean_mw, usual_mw: its draw since the reading before, and over the last half minute.
        top_mw: its highest sample since it draws little.
        low_since_boot_s: since when it draws little; None while it does not.
        idle_draw_mw: its lowest draw while idle; None while it is not.
        warm_until_boot_s: end of the warm-up.
        held_boot_s: when its limit held it back all the time, last.
        climb: by which part its want grows if that happens again.
    """

    demand: Demand
    want_mw: MilliWatts
    sampled_boot_s: float
    capped_ns: int | None = None
    energy_mj: int | None = None
    mean_mw: MilliWatts = 0
    usual_mw: MilliWatts = 0
    top_mw: MilliWatts = 0
    low_since_boot_s: float | None = None
    idle_draw_mw: MilliWatts | None = None
    warm_until_boot_s: float = 0.0
    held_boot_s: float = float("-inf")
    climb: float = FIRST_CLIMB
    slack: Slack = Slack()


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
        return _waking(_first(reading), ceiling_mw, rules)
    return _judged(*_observed(last, reading), reading, ceiling_mw, rules)


def _judged(
    seen: GpuDemand, share: float, reading: GpuReading, ceiling_mw: MilliWatts, rules: DemandRules
) -> GpuDemand:
    if reading.event_reasons & NOT_POWER:
        want = kept_mw(seen.want_mw, seen.mean_mw)
        return seen._replace(demand=Demand.HELD, want_mw=want, idle_draw_mw=None)
    if share >= ALL_THE_TIME:
        return _climbing(seen, reading.enforced_mw or 0, ceiling_mw, rules)
    if seen.idle_draw_mw is not None and (share <= SOME_OF_THE_TIME or _wakes(seen, reading)):
        return _from_idle(seen, reading, ceiling_mw, rules)
    return _from_work(seen, reading, share, ceiling_mw, rules)


def _unknown(last: GpuDemand | None, reading: GpuReading, ceiling_mw: MilliWatts) -> GpuDemand:
    kept = reading.worst_case_mw if reading.worst_case_mw is not None else ceiling_mw
    known = last or GpuDemand(Demand.UNKNOWN, kept, reading.sampled_boot_s)
    return known._replace(demand=Demand.UNKNOWN, want_mw=kept, low_since_boot_s=None, idle_draw_mw=None)


def _first(reading: GpuReading) -> GpuDemand:
    draw, counters = reading.draw_mw or 0, (reading.capped_ns, reading.energy_mj)
    return GpuDemand(Demand.WAKING, draw, reading.sampled_boot_s, *counters, draw, draw)


def _observed(last: GpuDemand, reading: GpuReading) -> tuple[GpuDemand, float]:
    """Carry all but demand and want forward; return for which part of the time the limit held it down."""
    elapsed_s = reading.sampled_boot_s - last.sampled_boot_s
    mean = mean_mw(last.energy_mj, reading, elapsed_s)
    share = held_share(last.capped_ns, reading, mean, elapsed_s)
    low_since, top = None, 0
    if last.idle_draw_mw is not None or mean < LOW_DRAW * (reading.enforced_mw or 0):
        low_since, top = last.low_since_boot_s, last.top_mw
        low_since = reading.sampled_boot_s if low_since is None else low_since
    # Built anew: a copy with changes costs twice as much, for every GPU at every reading.
    seen = GpuDemand(
        demand=Demand.BUSY,
        want_mw=last.want_mw,
        sampled_boot_s=reading.sampled_boot_s,
        capped_ns=reading.capped_ns,
        energy_mj=reading.energy_mj,
        mean_mw=mean,
        usual_mw=last.usual_mw + round((mean - last.usual_mw) * min(1.0, elapsed_s / USUAL_S)),
        top_mw=top,
        low_since_boot_s=low_since,
        idle_draw_mw=last.idle_draw_mw,
        warm_until_boot_s=last.warm_until_boot_s,
        held_boot_s=last.held_boot_s,
        climb=last.climb,
        slack=last.slack.seen(share, elapsed_s),
    )
    return seen, share


def _waking(seen: GpuDemand, ceiling_mw: MilliWatts, rules: DemandRules) -> GpuDemand:
    until = seen.sampled_boot_s + rules.warmup_s
    return seen._replace(demand=Demand.WAKING, want_mw=ceiling_mw, idle_draw_mw=None, warm_until_boot_s=until)


def _from_idle(seen: GpuDemand, reading: GpuReading, ceiling_mw: MilliWatts, rules: DemandRules) -> GpuDemand:
    """Stay idle until the draw rises: its limit may by now be too low to compare with."""
    if _wakes(seen, reading):
        return _waking(seen, ceiling_mw, rules)
    want, top = kept_mw(seen.want_mw, seen.mean_mw), max(seen.top_mw, reading.draw_mw or 0)
    return seen._replace(
        demand=Demand.IDLE,
        want_mw=want,
        top_mw=top,
        usual_mw=seen.mean_mw,
        idle_draw_mw=min(seen.idle_draw_mw or 0, seen.mean_mw),
    )


def _wakes(seen: GpuDemand, reading: GpuReading) -> bool:
    """Say whether an idle GPU draws more than it did, also where its low limit holds it down already."""
    return seen.mean_mw > wakes_mw(seen.idle_draw_mw or 0) or (reading.draw_mw or 0) > wakes_mw(seen.top_mw)


def _climbing(seen: GpuDemand, limit_mw: MilliWatts, ceiling_mw: MilliWatts, rules: DemandRules) -> GpuDemand:
    """Want more than there is: a tenth, then a fifth, and so on up to the ceiling."""
    if seen.idle_draw_mw is not None:
        return _waking(seen, ceiling_mw, rules)
    more = round(max(seen.want_mw, limit_mw) * (1 + seen.climb))
    return seen._replace(
        demand=Demand.CAPPED,
        want_mw=min(ceiling_mw, max(more, reserve_mw(seen.mean_mw))),
        held_boot_s=seen.sampled_boot_s,
        climb=min(BURST_CLIMB, 2 * seen.climb),
        slack=seen.slack.without_step(),
    )


def _from_work(
    seen: GpuDemand, reading: GpuReading, share: float, ceiling_mw: MilliWatts, rules: DemandRules
) -> GpuDemand:
    boot_s, limit = seen.sampled_boot_s, reading.enforced_mw or 0
    has_bursts = boot_s - seen.held_boot_s < BURSTS_S
    climb = BURST_CLIMB if has_bursts else FIRST_CLIMB
    if climb != seen.climb or seen.idle_draw_mw is not None:
        seen = seen._replace(climb=climb, idle_draw_mw=None)
    if boot_s < seen.warm_until_boot_s:
        return seen._replace(demand=Demand.WAKING, want_mw=ceiling_mw)
    want = kept_mw(seen.want_mw, max(seen.mean_mw, seen.usual_mw))
    if share > SOME_OF_THE_TIME:
        if has_bursts:
            return seen if want == seen.want_mw else seen._replace(want_mw=want)
        slack, less = try_less(seen.slack, boot_s, limit, want)
        demand = Demand.CAPPED if less is None else Demand.BUSY
        return seen._replace(demand=demand, want_mw=ceiling_mw if less is None else less, slack=slack)
    if seen.slack.from_mw:
        seen = seen._replace(slack=seen.slack.without_step())
    low_since = seen.low_since_boot_s
    if low_since is None:
        return seen if want == seen.want_mw else seen._replace(want_mw=want)
    top = max(seen.top_mw, reading.draw_mw or 0)
    if boot_s - low_since >= rules.idle_after_s:
        want = kept_mw(seen.want_mw, seen.mean_mw)
        return seen._replace(demand=Demand.IDLE, want_mw=want, top_mw=top, idle_draw_mw=seen.mean_mw)
    # Low for a moment only, perhaps between two steps of a job: it keeps what it has.
    return seen._replace(want_mw=max(want, min(ceiling_mw, limit)), top_mw=top)
