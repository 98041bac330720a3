"""An operator's word on one GPU: these watts, until then, before anybody else.

Invariant: an override moves watts between the GPUs of a host and between hosts; it never adds any. The
budget, the floors of the others, and the GPU's own ceiling hold as they do without it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from powerd.core.units import MilliWatts

# Before every class that a configuration can name.
PRIORITY = -1


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


def in_force(overrides: Iterable[Override], boot_s: float) -> Mapping[str, Override]:
    """Return the overrides that hold now, by UUID; of two for one GPU the later one."""
    return {each.uuid: each for each in overrides if boot_s < each.end_boot_s}
