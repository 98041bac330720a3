"""Budget arithmetic: from everything that limits the rack down to what its hosts may draw together.

    rack_cap = max(what the floors need, min(hard limit, every cap that holds))
    usable   = rack_cap - rack overhead - guard band - meter trim

What a host makes of it: `standing`.

Every number keeps its sources: each function returns the steps that made it (I6).
"""

from collections.abc import Iterable
from typing import NamedTuple

from powerd.core.model import Step
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts


class RackCap(NamedTuple):
    """The lowest of everything that limits the rack, before any ramp.

    Attributes:
        asked_mw: what the lowest cap asks for, which may be below what limiting can reach.
        mw: never below what the floors need.
        steps: hard limit first, then each cap in order, with the value after it.
    """

    asked_mw: MilliWatts
    mw: MilliWatts
    steps: tuple[Step, ...]


def rack_cap(rack: Rack, caps: Iterable[Step]) -> RackCap:
    """Combine by minimum: no signal can raise what another one lowers (docs/signals.md, Precedence)."""
    hard_mw = rack.hard_limit_mw
    limit = RackCap(hard_mw, hard_mw, (Step("hard_limit", hard_mw, "rack.hard_limit_watts"),))
    return lowered(rack, limit, caps)


def lowered(rack: Rack, before: RackCap, caps: Iterable[Step]) -> RackCap:
    """Return a rack cap lowered by further caps."""
    asked = before.asked_mw
    steps = [step for step in before.steps if step.rule != "floors"]
    for cap in caps:
        asked = min(asked, cap.mw)
        steps.append(Step(cap.rule, asked, cap.source, cap.note, cap.until_boot_s))
    mw = max(asked, rack.least_mw)
    if mw > asked:
        steps.append(Step("floors", mw, "rack.hosts", "GPUs cannot be limited below their minimum"))
    return RackCap(asked, mw, tuple(steps))


class Usable(NamedTuple):
    """What of the rack cap the hosts may share.

    Attributes:
        infeasible_mw: how much the floors need beyond what was asked for.
    """

    mw: MilliWatts
    infeasible_mw: MilliWatts
    steps: tuple[Step, ...]


def usable(rack: Rack, cap_mw: MilliWatts, asked_mw: MilliWatts, trim_mw: MilliWatts = 0) -> Usable:
    """Take off what is not for the hosts to share.

    Args:
        cap_mw: the rack cap in effect.
        asked_mw: the cap that was asked for, as `RackCap.asked_mw`.
        trim_mw: what the rack's meter shows beyond what its hosts account for.
    """
    after_overhead = cap_mw - rack.overhead_mw
    mw = rack.usable_mw(cap_mw)
    band_note = f"{rack.guard_band_pct:g} % for the error of the sensors"
    steps: tuple[Step, ...] = (
        Step("rack_overhead", after_overhead, "rack.overhead_watts"),
        Step("guard_band", mw, "rack.guard_band_pct", band_note),
    )
    if trim_mw:
        mw -= trim_mw
        steps += (Step("meter_trim", mw, "meter", "drawn beyond what the hosts account for"),)
    return Usable(mw, max(0, rack.floors_mw - rack.usable_mw(asked_mw)), steps)
