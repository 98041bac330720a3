"""An operator's word on one GPU: these watts, until then, before anybody else.

Invariant: an override moves watts between the GPUs of a host and between hosts; it never adds any. The
budget, the floors of the others, and the GPU's own ceiling hold as they do without it.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from powerd.core.gpus.gpu_range import Range
from powerd.core.gpus.plan import whole_watts
from powerd.core.model import Step
from powerd.core.units import MilliWatts

# Before every class that a configuration can name.
PRIORITY = -(2**63)


class Override(NamedTuple):
    """What one GPU shall have for a while.

    Attributes:
        mw: its want and its ceiling, as far as its range allows.
        end_boot_s: from this moment on it does not hold.
        reason: the operator's, one line.
        by: who asked for it.
    """

    uuid: str
    mw: MilliWatts
    end_boot_s: float
    reason: str
    by: str


NO_OVERRIDES: Mapping[str, Override] = MappingProxyType({})


def in_force(overrides: Iterable[Override], boot_s: float) -> Mapping[str, Override]:
    """Return the overrides that hold now, by UUID; of two for one GPU the later one."""
    return {each.uuid: each for each in overrides if boot_s < each.end_boot_s}


def narrowed(span: Range, override: Override) -> Range:
    """Return the range of a GPU with its override for the ceiling, where that is a narrower one."""
    mw = whole_watts(override.mw, span.floor_mw)
    if mw >= span.ceiling_mw:
        return span
    if mw > override.mw:
        return span._replace(ceiling_mw=mw, ceiling_rule="floor", ceiling_source="gpu")
    return span._replace(ceiling_mw=mw, ceiling_rule="override", ceiling_source=override.by)


def chain(override: Override, span: Range, limit_mw: MilliWatts) -> tuple[Step, ...]:
    """Return how the limit of a GPU with an override came about; the last step is the rule that binds.

    Args:
        span: as `narrowed` returned it.
    """
    asked = Step("override", override.mw, override.by, override.reason, override.end_boot_s)
    if limit_mw == override.mw:
        return (asked,)
    if limit_mw < span.ceiling_mw:
        left = Step("fair_share", limit_mw, "powerd", "the budget and the floors of the others leave no more")
        return (asked, left)
    if span.ceiling_rule == "override":
        return (asked._replace(mw=limit_mw),)
    return (asked, Step(span.ceiling_rule, limit_mw, span.ceiling_source))
