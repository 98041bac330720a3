"""Why `enforce` must not start on this host: what a limit would not survive, or could not reach."""

from collections.abc import Sequence

from powerd.core.gpus.gpu_range import gpu_range
from powerd.core.gpus.observed import Observed
from powerd.core.gpus.targets import may_draw_mw
from powerd.core.model import Capability, GpuReading
from powerd.core.state import Config
from powerd.core.units import MilliWatts, watts


def objections(
    readings: Sequence[GpuReading],
    config: Config,
    overhead_mw: MilliWatts,
    *,
    persistence_needed: bool,
) -> tuple[str, ...]:
    """Return one line per reason, each with what to do; empty if `enforce` may start.

    Args:
        overhead_mw: what the host draws that is not GPU.
        persistence_needed: without persistence mode limits vanish with the driver's last client.
    """
    found = []
    without = [str(r.index) for r in readings if r.persistence_mode is False]
    if persistence_needed and without:
        found.append(
            f"persistence mode is off on GPU {', '.join(without)}: run nvidia-smi -pm 1 (or "
            "nvidia-persistenced), or set host.allow_without_persistence_mode = true"
        )
    floor = overhead_mw + sum(_least_mw(reading, config) for reading in readings)
    roster_floor = config.rack.host(config.host).floor_mw
    if floor > roster_floor:
        found.append(
            f"rack.hosts.{config.host}.floor_watts is {watts(roster_floor):g}, but the GPUs' minimum limits "
            f"and the overhead of this host are {watts(floor):g} W: raise it, on every host of the rack"
        )
    return tuple(found)


def _least_mw(reading: GpuReading, config: Config) -> MilliWatts:
    span = gpu_range(reading, config.policies.of(reading.uuid), Observed())
    if span is None or reading.capability not in (Capability.SETTABLE, Capability.LOST):
        return may_draw_mw(reading) or 0
    return span.floor_mw
