"""GPUs that exist only here: `Driver` over measured curves and traces, for demos, drills and tests.

It behaves as the real driver does, errors included, in real time by the boot clock. It must not know anything
that the real one could not tell. A new process starts with new GPUs: unlike real ones they keep no limits.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from powerd.clock import boot_s
from powerd.core.model import EventReason
from powerd.core.units import milliwatts
from powerd.guard.config import SimulatedGpus
from powerd.guard.driver import DriverError, GpuInfo, Kind, Limits, Sample, refuse_if_writes_forbidden
from powerd.simulator.curves import model_named
from powerd.simulator.faults import FaultFile, GpuFaults, HostFaults
from powerd.simulator.loads import curve_at, load_at
from powerd.simulator.plant import GpuPlant

# A load is taken to be constant this long; a GPU nobody looked at for long is caught up in coarser steps.
_STEP_S = 0.1
_MAX_STEPS = 200
_HANG_POLL_S = 0.005
# Of no board in particular. Dynamic power goes with the cube of the clock.
_MAX_CLOCK_MHZ, _IDLE_CLOCK_MHZ = 1980, 210
_IDLE_REASON = 0x1  # nvmlClocksEventReasonGpuIdle
_NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class _Gpu:
    index: int
    plant: GpuPlant
    requested_mw: int
    load: float

    def apply(self, faults: GpuFaults) -> None:
        """Put the lower of what was requested and what an out-of-band limiter allows into effect."""
        outside_watts = faults.out_of_band_watts
        outside_mw = self.requested_mw if outside_watts is None else milliwatts(outside_watts)
        self.plant.limit_mw = min(self.requested_mw, outside_mw)

    def clock_mhz(self) -> int:
        """Return the clock, which follows from what the limit allows of the draw."""
        if self.load == 0:
            return _IDLE_CLOCK_MHZ
        idle_mw, curve = self.plant.model.idle_mw, self.plant.curve
        allowed_mw = curve.busy_mw(self.plant.limit_mw) - idle_mw
        full_mw = curve.busy_mw(self.plant.model.max_mw) - idle_mw
        return round(_MAX_CLOCK_MHZ * math.cbrt(min(1.0, allowed_mw / full_mw)))

    def restart(self) -> None:
        self.plant.restart()
        self.requested_mw = self.plant.limit_mw


class SimulatedDriver:
    """A host of simulated GPUs. Implements `Driver`; calls may come from any thread.

    Args:
        settings: the `[gpu.simulated]` table. UUIDs derive from its seed: hosts need different ones.
        clock: boot clock, seconds.
        sleep: how latency and hanging wait.

    Raises:
        ConfigError: there is no such GPU model.
    """

    def __init__(
        self,
        settings: SimulatedGpus,
        *,
        clock: Callable[[], float] = boot_s,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._model = model_named(settings.model)
        self._lock = threading.Lock()  # held for arithmetic only, never while a call waits
        self._file = FaultFile(settings.commands)
        self._faults = HostFaults()
        self._is_attached = False
        self._gpus = {
            f"GPU-{settings.seed % 2**32:08x}-0000-4000-8000-{index:012x}": self._new_gpu(index)
            for index in range(settings.count)
        }

    def _new_gpu(self, index: int) -> _Gpu:
        now_s = self._clock()
        plant = GpuPlant(self._model, curve_at(self._settings, index), now_s)
        return _Gpu(index, plant, plant.limit_mw, load_at(self._settings, index, now_s))

    def attach(self) -> tuple[GpuInfo, ...]:
        """List the GPUs."""
        with self._lock:
            self._follow_file()
            if self._faults.unloaded:
                raise DriverError(Kind.DRIVER_GONE, "simulated driver: not loaded")
            self._is_attached = True
        return tuple(
            GpuInfo(
                uuid=uuid,
                index=gpu.index,
                name=f"Simulated {self._model.name}",
                capability="settable",
                min_mw=self._model.min_mw,
                max_mw=self._model.max_mw,
                default_mw=self._model.default_mw,
                persistence_mode=True,
                max_sm_clock_mhz=_MAX_CLOCK_MHZ,
            )
            for uuid, gpu in self._gpus.items()
        )

    def detach(self) -> None:
        """Let go: calls fail until the next `attach`."""
        self._is_attached = False

    def read(self, uuid: str) -> Sample:
        """Read one GPU."""
        gpu = self._endure(uuid, lambda faults: faults.get_latency_s)
        with self._lock:
            faults = self._catch_up(gpu)
            plant = gpu.plant
            reasons = faults.event_reasons
            if gpu.load == 0:
                reasons |= _IDLE_REASON
            if plant.curve.is_capped(plant.limit_mw, gpu.load):
                reasons |= EventReason.SW_POWER_CAP
            return Sample(
                limits=Limits(gpu.requested_mw, plant.limit_mw),
                draw_mw=round(plant.draw_mw),
                energy_mj=int(plant.energy_mj),
                capped_ns=int(plant.capped_s * _NS_PER_S),
                event_reasons=reasons,
                sm_clock_mhz=gpu.clock_mhz(),
            )

    def read_limits(self, uuid: str) -> Limits:
        """Read one GPU's limits."""
        gpu = self._endure(uuid, lambda faults: faults.get_latency_s)
        with self._lock:
            self._catch_up(gpu)
            return Limits(gpu.requested_mw, gpu.plant.limit_mw)

    def set_limit(self, uuid: str, limit_mw: int) -> None:
        """Ask for a limit, within the model's constraints."""
        refuse_if_writes_forbidden()
        gpu = self._endure(uuid, lambda faults: faults.set_latency_s)
        with self._lock:
            faults = self._catch_up(gpu)
            if faults.refuse:
                raise DriverError(faults.refuse, f"{uuid}: setting {limit_mw} mW: refused")
            if not self._model.min_mw <= limit_mw <= self._model.max_mw:
                raise DriverError(Kind.INVALID, f"{uuid}: {limit_mw} mW is outside the constraints")
            if not faults.ineffective:
                gpu.requested_mw = limit_mw
                gpu.apply(faults)

    def _endure(self, uuid: str, latency_s: Callable[[GpuFaults], float]) -> _Gpu:
        """Return a GPU once its call has got through; raise what the call would fail with."""
        gpu = self._gpus.get(uuid)
        if gpu is None:
            raise DriverError(Kind.LOST, f"{uuid}: the driver does not list this GPU")
        faults = self._current_faults(gpu)
        if latency_s(faults) > 0:
            self._sleep(latency_s(faults))
        while faults.hang:
            self._sleep(_HANG_POLL_S)
            faults = self._current_faults(gpu)
        if not self._is_attached:
            raise DriverError(Kind.DRIVER_GONE, f"{uuid}: the driver is not attached")
        if faults.lost:
            raise DriverError(Kind.LOST, f"{uuid}: the GPU is lost")
        return gpu

    def _current_faults(self, gpu: _Gpu) -> GpuFaults:
        with self._lock:
            self._follow_file()
            return self._faults.of(gpu.index)

    def _follow_file(self) -> None:
        """Let what has changed in the file of faults happen."""
        faults = self._file.read()
        if faults == self._faults:
            return
        before, self._faults = self._faults, faults
        reloaded = faults.reload != before.reload
        if reloaded or faults.unloaded:
            self._is_attached = False
        for gpu in self._gpus.values():
            self._catch_up(gpu)
            if reloaded:
                gpu.restart()
            rival_watts = faults.of(gpu.index).rival_watts
            if rival_watts is not None and rival_watts != before.of(gpu.index).rival_watts:
                gpu.requested_mw = milliwatts(rival_watts)
            gpu.apply(faults.of(gpu.index))

    def _catch_up(self, gpu: _Gpu) -> GpuFaults:
        """Bring a GPU's physics to the present."""
        start_s, now_s = gpu.plant.now_s, self._clock()
        steps = min(_MAX_STEPS, math.ceil((now_s - start_s) / _STEP_S))
        for step in range(1, steps + 1):
            at_s = start_s + (now_s - start_s) * step / steps
            gpu.load = load_at(self._settings, gpu.index, at_s)
            gpu.plant.step(at_s, gpu.load)
        return self._faults.of(gpu.index)
