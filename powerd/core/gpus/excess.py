"""What the GPUs may draw above their budget, and what they did: the worst case, and an account of energy.

The account is never less than what was drawn above the budget, as far as energy counters are true, boards
obey their limits, and an idle GPU draws no less than the lowest mean seen of it. Over the time T between two
samples, with the mean draw m of a GPU, its lowest l, its lowest limit f, and a charge of x below f:

    it went on being idle    x T (m - l) / (f - l)    as if all above the lowest had been drawn at the limit
    anything else            x T                      it may have been at its limit all the time

A charge counts until the boards have followed the cut that ended it. A GPU that hangs keeps its limit, with
what it was given: as far as the others cannot make up for that at their floors, it counts like a charge. If
all means together were further above the budget, this counts instead: so it does when a budget falls, in any
accounting. What was drawn since the last sample is not in it yet.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from powerd.core.gpus.charge import NO_PARTS, Accounting, AccountingRules, Parts
from powerd.core.gpus.demand import Demand, GpuDemand
from powerd.core.gpus.gpu_range import Range
from powerd.core.gpus.quiet import QuietGpus
from powerd.core.gpus.targets import Sharing, may_draw_mw
from powerd.core.model import GpuReading
from powerd.core.units import MilliWatts

# In the place of a UUID: what cannot be taken back from GPUs that do not answer.
_STUCK = ""


class Ended(NamedTuple):
    """A reach that was taken back, and until when boards may not have followed."""

    mw: MilliWatts
    until_boot_s: float


class Excess(NamedTuple):
    """What is known of draw above the GPU budget.

    Attributes:
        granted_mw: how far limits may sum up to above the budget now.
        reach_mw: how far they do, where GPUs do not answer or the budget is below all floors.
        worst_mw: the most that may be drawn above it now: cuts that boards still follow are included, and no
            less than was seen last, since some boards draw above their limits. 0 in `provable`.
        seen_mw: the mean draw above it between the last two samples.
        drawn_mj: drawn above it since the start, in millijoules (mW s), at the most.
        budget_mw: the lowest since the last sample; None before the first.
        parts: what idle GPUs were charged less than their limits, the largest since the last sample.
        before: the same until the last sample.
        ended: further reaches that boards may still draw by.
        is_blind: there were no readings: the guard does not answer.
    """

    granted_mw: MilliWatts = 0
    reach_mw: MilliWatts = 0
    worst_mw: MilliWatts = 0
    seen_mw: MilliWatts = 0
    drawn_mj: int = 0
    sampled_boot_s: float = -math.inf
    budget_mw: MilliWatts | None = None
    parts: Parts = NO_PARTS
    before: Parts = NO_PARTS
    ended: tuple[Ended, ...] = ()
    is_blind: bool = False


def follow(
    last: Excess,
    parts: Parts,
    budget_mw: MilliWatts,
    sharing: Sharing,
    readings: Sequence[GpuReading],
    demands: Mapping[str, GpuDemand],
    quiet: QuietGpus,
    rules: AccountingRules,
    boot_s: float,
) -> Excess:
    """Account for the time since the last sample, and take in what is charged from now on.

    Args:
        parts: as `charge.grant` returns them.
        budget_mw: the GPU budget.
        quiet: GPUs that draw little now.
    """
    sampled_boot_s = max((reading.sampled_boot_s for reading in readings), default=-math.inf)
    if sampled_boot_s > last.sampled_boot_s:
        last = _accounted(last, sampled_boot_s, sharing, readings, demands, quiet, rules)
    is_measured, is_blind = rules.mode is Accounting.MEASURED, not readings
    stuck_mw = max(0, sharing.floors_mw - budget_mw) if is_measured else 0
    counted = {**parts, _STUCK: min(stuck_mw, rules.most_mw)} if stuck_mw else parts
    granted_mw = sum(parts.values())
    reach_mw = max(granted_mw, stuck_mw)
    ended = _ended(last, reach_mw, rules, boot_s, is_blind=is_blind)
    return last._replace(
        granted_mw=granted_mw,
        reach_mw=reach_mw,
        worst_mw=max((reach_mw, last.seen_mw if is_measured else 0, *(each.mw for each in ended))),
        budget_mw=budget_mw if last.budget_mw is None else min(budget_mw, last.budget_mw),
        parts=_largest(last.parts, counted),
        ended=ended,
        is_blind=is_blind,
    )


def _ended(
    last: Excess, reach_mw: MilliWatts, rules: AccountingRules, boot_s: float, *, is_blind: bool
) -> tuple[Ended, ...]:
    """Let the worst case rise at once, and fall when boards have had time to follow.

    A guard that does not answer may still hold the last plan, until that ends.
    """
    ended = last.ended
    if reach_mw < last.reach_mw:
        ended = (*ended, Ended(last.reach_mw, boot_s + rules.cut_s))
    if is_blind and not last.is_blind:
        ended = (*ended, Ended(last.worst_mw, boot_s + rules.hold_s + rules.cut_s))
    if ended:
        ended = tuple(each for each in ended if boot_s < each.until_boot_s and each.mw > reach_mw)
    return ended


def _accounted(
    last: Excess,
    sampled_boot_s: float,
    sharing: Sharing,
    readings: Sequence[GpuReading],
    demands: Mapping[str, GpuDemand],
    quiet: QuietGpus,
    rules: AccountingRules,
) -> Excess:
    """Add what was drawn above the budget since the last sample, and begin with the next."""
    seen_mw, drawn_mj = last.seen_mw, last.drawn_mj
    if last.sampled_boot_s > -math.inf:
        elapsed_s = sampled_boot_s - last.sampled_boot_s
        mean_mw = sum(_mean_mw(reading, demands[reading.uuid]) for reading in readings)
        seen_mw = max(0, mean_mw - (last.budget_mw or 0))
        woken_mj = _woken_mj(last, elapsed_s, sharing, readings, demands, quiet, rules)
        drawn_mj += math.ceil(max(seen_mw * elapsed_s, woken_mj))
    return last._replace(
        seen_mw=seen_mw,
        drawn_mj=drawn_mj,
        sampled_boot_s=sampled_boot_s,
        budget_mw=None,
        parts=NO_PARTS,
        before=last.parts,
    )


def _woken_mj(
    last: Excess,
    elapsed_s: float,
    sharing: Sharing,
    readings: Sequence[GpuReading],
    demands: Mapping[str, GpuDemand],
    quiet: QuietGpus,
    rules: AccountingRules,
) -> float:
    """Return what GPUs may have drawn at the most of what they were charged less, since the last sample."""
    parts = _largest(last.before, last.parts)
    if not parts:
        return 0.0
    woken_mj = 0.0
    read = {reading.uuid for reading in readings if reading.sampled_boot_s > last.sampled_boot_s}
    for uuid, part_mw in parts.items():
        time_s = elapsed_s if uuid in last.parts else min(elapsed_s, rules.settle_s)
        share = 1.0
        if uuid in read and uuid in quiet and uuid in sharing.ranges:
            share = _awake_share(demands[uuid].mean_mw, quiet[uuid].lowest_mw, sharing.ranges[uuid])
        woken_mj += part_mw * time_s * share
    return woken_mj


def _mean_mw(reading: GpuReading, known: GpuDemand) -> MilliWatts:
    """Return the mean draw since the last sample; what a GPU that was not read may draw."""
    if known.demand is Demand.UNKNOWN:
        return may_draw_mw(reading) or 0
    return known.mean_mw


def _awake_share(mean_mw: MilliWatts, lowest_mw: MilliWatts, span: Range) -> float:
    """Return for which part of the time, 0..1, a GPU that went on being idle may have been at its limit."""
    return min(1.0, (mean_mw - lowest_mw) / max(1, span.floor_mw - lowest_mw))


def _largest(one: Parts, other: Parts) -> Parts:
    if not one or not other:
        return one or other
    return {uuid: max(one.get(uuid, 0), other.get(uuid, 0)) for uuid in one.keys() | other.keys()}
