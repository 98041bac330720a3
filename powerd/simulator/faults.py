"""Faults of simulated GPUs, from a JSON file that is read again whenever it changes.

    {"gpus": {"3": {"lost": true}, "*": {"set_latency_s": 0.015}}, "reload": 1}

Keys of a GPU, by its index or "*" for those not named, are the fields of `GpuFaults`; keys of the host those
of `HostFaults`. Replace the file in one step (write another, rename it): it is read at any moment.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from powerd.guard.driver import DriverError, Kind

EVERY_GPU = "*"


@dataclass(frozen=True, slots=True)
class GpuFaults:
    """What is wrong with one GPU.

    Attributes:
        get_latency_s, set_latency_s: how long each call takes.
        hang: calls do not return until this is taken away.
        lost: the GPU does not answer.
        refuse: writes fail, with this `Kind`; empty = they don't.
        ineffective: writes succeed and change nothing.
        out_of_band_watts: a limiter beside the driver is in effect; None = none.
        rival_watts: another program sets this limit, once, when the value appears.
        event_reasons: clocks event reasons besides those that follow from the physics.
    """

    get_latency_s: float = 0.0
    set_latency_s: float = 0.0
    hang: bool = False
    lost: bool = False
    refuse: str = ""
    ineffective: bool = False
    out_of_band_watts: float | None = None
    rival_watts: float | None = None
    event_reasons: int = 0


@dataclass(frozen=True, slots=True)
class HostFaults:
    """What is wrong with the host.

    Attributes:
        gpus: by index, or `EVERY_GPU`.
        reload: the driver is reloaded each time this number changes.
        unloaded: there is no driver.
    """

    gpus: dict[str, GpuFaults] = field(default_factory=dict)
    reload: int = 0
    unloaded: bool = False

    def of(self, index: int) -> GpuFaults:
        """Return what is wrong with a GPU."""
        return self.gpus.get(str(index)) or self.gpus.get(EVERY_GPU) or GpuFaults()


class FaultFile:
    """The file of faults; an empty name stands for no faults, ever."""

    def __init__(self, name: str) -> None:
        self._path = Path(name) if name else None
        self._stamp: tuple[int, ...] = ()
        self._faults = HostFaults()

    def read(self) -> HostFaults:
        """Return the faults of this moment. No file means none.

        Raises:
            DriverError: the file cannot be used; the text says why.
        """
        if self._path is None:
            return self._faults
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._faults = (), HostFaults()
            return self._faults
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._faults = self._parse(self._path)
            self._stamp = stamp
        return self._faults

    @staticmethod
    def _parse(path: Path) -> HostFaults:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            gpus = {index: GpuFaults(**faults) for index, faults in document.pop("gpus", {}).items()}
            return HostFaults(gpus=gpus, **document)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DriverError(Kind.UNKNOWN, f"gpu.simulated.commands: {path}: {error}") from error
