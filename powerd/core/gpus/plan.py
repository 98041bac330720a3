"""What to write, and in which order: every cut before any raise.

Invariants: the sum after the plan is at most the budget whenever the sum of targets is; no prefix of the plan
exceeds max(before, after); equal inputs give an empty plan.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from powerd.core.model import Write
from powerd.core.units import MilliWatts

# Limits are written in whole watts, so that no driver has anything to round.
LIMIT_STEP_MW = 1000
# What is not needed now may wait until it is worth a write: for that the dead-band is so many times as wide.
SPARE_BANDS = 4


@dataclass(frozen=True, slots=True)
class DeadBand:
    """A change below both is not worth a write, unless the budget needs a cut.

    For a change that nobody needs, spare watts given or taken, both are four times as wide.
    """

    mw: MilliWatts = 5_000
    pct: float = 2.0

    def covers(self, current_mw: MilliWatts, target_mw: MilliWatts, *, needed: bool) -> bool:
        """Say whether the change is too small to bother the driver."""
        band = min(self.mw, current_mw * self.pct / 100) * (1 if needed else SPARE_BANDS)
        return abs(target_mw - current_mw) < band


def whole_watts(mw: MilliWatts, floor_mw: MilliWatts) -> MilliWatts:
    """Round a limit down to whole watts, but not below its floor."""
    return max(floor_mw, mw - mw % LIMIT_STEP_MW)


def writes(
    current: Mapping[str, MilliWatts | None],
    targets: Mapping[str, MilliWatts],
    wants: Mapping[str, MilliWatts],
    budget_mw: MilliWatts,
    dead_band: DeadBand,
    exact: Collection[str] = (),
) -> tuple[tuple[Write, ...], tuple[Write, ...]]:
    """Return the cuts and the raises that lead from the current limits to the targets.

    Args:
        current: per GPU the most it may draw now; None = unknown, which is written first, as a cut.
        targets: per GPU the limit it shall have; the same GPUs.
        wants: per GPU what it could use: a limit above that is spare.
        budget_mw: what all of them may draw together.
        exact: GPUs that no dead-band holds for.
    """
    known = {uuid: mw for uuid, mw in current.items() if mw is not None}
    cuts = {uuid: mw for uuid, mw in targets.items() if uuid not in known}
    raises: dict[str, MilliWatts] = {}
    small_cuts: dict[str, MilliWatts] = {}
    for uuid, before in known.items():
        target = targets[uuid]
        if target == before:
            continue
        needed = _is_needed(before, target, wants[uuid])
        small = uuid not in exact and dead_band.covers(before, target, needed=needed)
        if target > before and not small:
            raises[uuid] = target
        elif target < before:
            (small_cuts if small else cuts)[uuid] = target
    after = sum({**known, **cuts, **raises}.values())
    for uuid in sorted(small_cuts, key=lambda u: (small_cuts[u] - known[u], u)):
        if after <= budget_mw:
            break
        cuts[uuid] = small_cuts[uuid]
        after -= known[uuid] - small_cuts[uuid]
    return _ordered(cuts), _ordered(raises)


def _is_needed(before_mw: MilliWatts, target_mw: MilliWatts, want_mw: MilliWatts) -> bool:
    """Say whether a change follows a want or a ceiling, and not only what the others leave."""
    return before_mw < min(target_mw, want_mw) or abs(target_mw - want_mw) < LIMIT_STEP_MW


def _ordered(targets: Mapping[str, MilliWatts]) -> tuple[Write, ...]:
    return tuple(Write(uuid, targets[uuid]) for uuid in sorted(targets))
