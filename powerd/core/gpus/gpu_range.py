"""The range in which a GPU can be limited."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from powerd.core.gpus.observed import Observed
from powerd.core.model import GpuReading
from powerd.core.topology import GpuPolicy
from powerd.core.units import MilliWatts


class Range(NamedTuple):
    """Floor and ceiling of a GPU: its constraints, narrowed by configuration and by what was observed."""

    floor_mw: MilliWatts
    ceiling_mw: MilliWatts
    ceiling_rule: str
    ceiling_source: str


# Of all GPUs of a host, by UUID; None for one that tells no constraints.
Ranges: TypeAlias = Mapping[str, Range | None]


def gpu_range(reading: GpuReading, policy: GpuPolicy, observed: Observed) -> Range | None:
    """Return the range in which a GPU can be limited; None if it tells no constraints."""
    own = reading.constraints
    if own is None:
        return None
    floor = min(max(own.min_mw, policy.floor_mw or 0), own.max_mw)
    ceiling, rule, source = own.max_mw, "ceiling", "gpu"
    if policy.ceiling_mw is not None and policy.ceiling_mw < ceiling:
        ceiling, source = policy.ceiling_mw, "gpu.ceiling_watts"
    if observed.ceiling_mw is not None and observed.ceiling_mw < ceiling:
        ceiling, rule, source = observed.ceiling_mw, observed.ceiling_source, "read-back"
    return Range(floor, max(floor, ceiling), rule, source)
