"""Which GPUs idle, judged for accounting `measured`: what they are charged has to be known when it is short.

Demand calls a GPU idle that draws little for its limit. Where watts are short its limit has sunk to its
lowest before that, and then its draw is not little any more; for demand that makes no difference. So what
counts here is that a GPU began to draw little, that its draw has not risen since, and that its limit does not
hold it down.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from powerd.core.gpus.demand import Demand, GpuDemand
from powerd.core.gpus.gpu_load import SOME_OF_THE_TIME
from powerd.core.gpus.reserve import kept_mw, wakes_mw
from powerd.core.model import GpuReading
from powerd.core.units import MilliWatts


class Quiet(NamedTuple):
    """A GPU that draws little.

    Attributes:
        since_boot_s: since when.
        sampled_boot_s: of the last reading taken in.
        lowest_mw: its lowest mean draw between two readings since then.
        charge_mw: its mean draw and the reserve.
        held_share: for which part of the time its limit held it down, of late.
    """

    since_boot_s: float
    sampled_boot_s: float
    lowest_mw: MilliWatts
    charge_mw: MilliWatts
    held_share: float

    def is_idle(self, after_s: float) -> bool:
        """Say whether the GPU has drawn little for so long, and is not held down."""
        return self.sampled_boot_s - self.since_boot_s >= after_s and self.held_share <= SOME_OF_THE_TIME


QuietGpus = Mapping[str, Quiet]
NONE_QUIET: QuietGpus = MappingProxyType({})


def watch(last: QuietGpus, readings: Sequence[GpuReading], demands: Mapping[str, GpuDemand]) -> QuietGpus:
    """Take in readings; return the GPUs that draw little."""
    quiet = {}
    for reading in readings:
        uuid = reading.uuid
        found = _judged(last.get(uuid), demands[uuid], reading.sampled_boot_s)
        if found is not None:
            quiet[uuid] = found
    return quiet


def _judged(last: Quiet | None, known: GpuDemand, sampled_boot_s: float) -> Quiet | None:
    mean_mw, held_share = known.mean_mw, known.slack.share
    if known.demand not in (Demand.IDLE, Demand.BUSY) or mean_mw <= 0:  # a counter at rest tells nothing
        return None
    if last is None:
        if known.low_since_boot_s is None:
            return None
        return Quiet(known.low_since_boot_s, sampled_boot_s, mean_mw, kept_mw(0, mean_mw), held_share)
    if sampled_boot_s <= last.sampled_boot_s:
        return last
    if mean_mw > wakes_mw(last.lowest_mw):
        return None
    return last._replace(
        sampled_boot_s=sampled_boot_s,
        lowest_mw=min(last.lowest_mw, mean_mw),
        charge_mw=kept_mw(last.charge_mw, mean_mw),
        held_share=held_share,
    )
