"""What the guard needs of a GPU driver, and the errors it can answer with.

Two implementations: `nvml.py` (the real bindings) and `simulated.py`. One contract suite runs over both.
Every call may block: the guard calls a driver only from the worker thread of the GPU concerned.
"""

import os
from dataclasses import dataclass
from typing import NamedTuple, Protocol

FORBID_WRITES_VARIABLE = "POWERD_FORBID_WRITES"


class DriverError(Exception):
    """A driver call failed.

    Attributes:
        kind: one of the constants of `Kind`.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Kind:
    """What a failed driver call means for the GPU."""

    FORBIDDEN = "forbidden"  # POWERD_FORBID_WRITES is set
    NO_PERMISSION = "no_permission"
    NOT_SUPPORTED = "not_supported"
    INVALID = "invalid"  # outside the constraints
    LOST = "lost"  # off the bus, or needs a reset
    DRIVER_GONE = "driver_gone"  # unloaded, or never loaded: attach again
    DRIVER_REPLACED = "driver_replaced"  # upgraded: the library this process has loaded is of no use any more
    UNKNOWN = "unknown"  # anything else: retry


GPU_OUT_OF_REACH = (Kind.LOST, Kind.DRIVER_GONE, Kind.DRIVER_REPLACED)


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """What does not change while the driver stays loaded.

    Attributes:
        capability: `settable | readable | opaque`.
        min_mw, max_mw, default_mw: constraints; None where the GPU does not tell.
        persistence_mode: None where it does not tell. Without it limits vanish with the last client.
        max_sm_clock_mhz: the highest clock of the multiprocessors; None where it does not tell.
    """

    uuid: str
    index: int
    name: str
    capability: str
    min_mw: int | None = None
    max_mw: int | None = None
    default_mw: int | None = None
    persistence_mode: bool | None = None
    max_sm_clock_mhz: int | None = None


class Limits(NamedTuple):
    """The two limits of a GPU, in milliwatts; None where it does not tell.

    Attributes:
        requested_mw: what in-band software asked for last.
        enforced_mw: what is in effect, the lowest of all limiters.
    """

    requested_mw: int | None
    enforced_mw: int | None


class Sample(NamedTuple):
    """One reading of a GPU; None where it does not tell.

    Attributes:
        draw_mw: instantaneous draw.
        energy_mj: millijoules since the driver was loaded; going backwards means it was reloaded.
        capped_ns: cumulative nanoseconds held down by the power cap.
        event_reasons: NVML clocks event reasons bitmask, 0 when unknown.
        sm_clock_mhz: clock of the multiprocessors at this moment.
    """

    limits: Limits
    draw_mw: int | None
    energy_mj: int | None
    capped_ns: int | None
    event_reasons: int
    sm_clock_mhz: int | None = None


class Driver(Protocol):
    """A host's GPUs. All methods raise `DriverError` and nothing else."""

    def attach(self) -> tuple[GpuInfo, ...]:
        """Open the driver, or open it again after `Kind.DRIVER_GONE`, and list its GPUs by index."""

    def detach(self) -> None:
        """Let go of the driver so that it can be unloaded. Never raises."""

    def read(self, uuid: str) -> Sample:
        """Read one GPU."""

    def read_limits(self, uuid: str) -> Limits:
        """Read one GPU's limits only: the read-back after a write."""

    def set_limit(self, uuid: str, limit_mw: int) -> None:
        """Ask for a limit in milliwatts. Success says nothing: read back."""


def refuse_if_writes_forbidden() -> None:
    """Stand below every other setting: nothing is written while POWERD_FORBID_WRITES=1.

    Called first by every driver's `set_limit`. Any value but empty and "0" forbids.

    Raises:
        DriverError: with `Kind.FORBIDDEN`.
    """
    if os.environ.get(FORBID_WRITES_VARIABLE, "0") not in ("", "0"):
        raise DriverError(Kind.FORBIDDEN, f"{FORBID_WRITES_VARIABLE} is set: nothing is written")
