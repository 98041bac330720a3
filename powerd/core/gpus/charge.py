"""What a GPU is charged with: its limit, or in accounting `measured`, while it is idle, what it draws.

    provable   sum of limits                                                       <= GPU budget
    measured   sum of limits - sum over idle GPUs of (lowest limit - draw and reserve) <= GPU budget

The lowest limit of a board may lie far above its idle draw, and no limit can get those watts back: only
counting by draw can. They are used by other GPUs of the same host that want them, never as spare. When idle
GPUs wake, all at once in the worst case, the host draws above its budget until the next iteration has cut
the others; how far is bounded by the operator, and how long by the times of `AccountingRules`.

Invariants: in `provable` nothing is granted; what is granted is at most what is allowed, what the idle GPUs
leave below their lowest limits, and what others want. A GPU that may be anything but idle costs its limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from powerd.core.gpus.observed import UNKNOWN, Observed
from powerd.core.gpus.quiet import QuietGpus
from powerd.core.gpus.targets import GpuTarget, Sharing
from powerd.core.model import GpuReading, Step
from powerd.core.units import MilliWatts, watts

# The loop runs after one and a half periods also when no sample came: an older reading is charged no more.
FRESH_PERIODS = 1.5

Parts = Mapping[str, MilliWatts]
NO_PARTS: Parts = MappingProxyType({})


class Accounting(StrEnum):
    """What the sum of is kept within the GPU budget."""

    PROVABLE = "provable"  # limits
    MEASURED = "measured"  # limits, but of idle GPUs what they draw and a reserve


@dataclass(frozen=True, slots=True)
class AccountingRules:
    """How far, and for how long, accounting `measured` may lead above the GPU budget.

    Attributes:
        most_mw: limits may sum up to as much above the budget.
        period_s: readings are taken this often.
        idle_after_s: a GPU that draws little is idle after so long.
        hold_s: how long a plan holds without a newer one.
        driver_s: until all cuts are read back.
        settle_s: until the boards follow.
    """

    mode: Accounting = Accounting.PROVABLE
    most_mw: MilliWatts = 200_000
    period_s: float = 1.0
    idle_after_s: float = 30.0
    hold_s: float = 5.0
    driver_s: float = 1.0
    settle_s: float = 3.0

    @property
    def cut_s(self) -> float:
        """Return how long a cut takes: a bound, not a typical time."""
        return self.driver_s + self.settle_s

    @property
    def claw_back_s(self) -> float:
        """Return how long it takes from a rise of load until the others have given way.

        One reading may have just missed the rise, or come late; the next one shows it.
        """
        return 2 * self.period_s + self.cut_s

    @property
    def worst_s(self) -> float:
        """Return the same if the daemon dies meanwhile: the guard falls back when its last plan ends."""
        return self.claw_back_s + self.hold_s


def grant(
    sharing: Sharing,
    budget_mw: MilliWatts,
    readings: Sequence[GpuReading],
    quiet: QuietGpus,
    observed: Mapping[str, Observed],
    boot_s: float,
    rules: AccountingRules,
) -> Parts:
    """Return how much less than its lowest limit each idle GPU is charged, by UUID; empty if none is.

    Args:
        budget_mw: the GPU budget; without an unmet want above it nothing is granted.
        quiet: GPUs that draw little; idle if they have for long enough.
    """
    left_mw = min(rules.most_mw, sharing.wants_mw - budget_mw)
    parts: dict[str, MilliWatts] = {}
    for reading in sorted(readings, key=lambda reading: reading.uuid):
        uuid = reading.uuid
        span = sharing.ranges.get(uuid)
        known = quiet.get(uuid)
        if left_mw <= 0 or span is None or known is None or not known.is_idle(rules.idle_after_s):
            continue
        if not _is_known(reading, observed.get(uuid, UNKNOWN), boot_s, rules):
            continue
        charge_mw = max(known.charge_mw, reading.draw_mw or 0)
        if charge_mw < span.floor_mw:
            parts[uuid] = min(left_mw, span.floor_mw - charge_mw)
            left_mw -= parts[uuid]
    return parts


def _is_known(reading: GpuReading, seen: Observed, boot_s: float, rules: AccountingRules) -> bool:
    """Say whether what a GPU shows can be relied on: a fresh reading, an energy counter, no other writers.

    A sample shows 25 ms; only the counter shows that nothing happened between two of them.
    """
    is_fresh = boot_s - reading.sampled_boot_s <= FRESH_PERIODS * rules.period_s
    is_ours = seen.ceiling_mw is None and seen.rival_mw is None and not seen.refusals
    is_ours = is_ours and seen.out_of_band_since_boot_s is None and reading.pending_mw is None
    return is_fresh and is_ours and reading.energy_mj is not None


def charged(targets: Sequence[GpuTarget], parts: Parts) -> tuple[GpuTarget, ...]:
    """Return the targets with idle GPUs counted at what they are charged."""
    return tuple(
        target._replace(counted_mw=target.counted_mw - parts[target.uuid]) if target.uuid in parts else target
        for target in targets
    )


def steps(parts: Parts, budget_mw: MilliWatts, worst_s: float) -> tuple[Step, ...]:
    """Return the link of the chain from the GPU budget to what limits may sum up to."""
    if not parts:
        return ()
    granted_mw = sum(parts.values())
    note = (
        f"{len(parts)} idle GPUs are charged what they draw, {watts(granted_mw):g} W less than their limits; "
        f"if they wake, up to that much above the budget, for {worst_s:g} s at the most"
    )
    return (Step("measured", budget_mw + granted_mw, "host.accounting", note),)
