"""A driver, and the hand that makes its GPUs misbehave: the same for both drivers, so one suite fits both.

All GPUs of a rig are busy with as much work as they can do, between 100 and 400 W, 400 W by default.
"""

import json
from pathlib import Path
from typing import Any, Protocol

from powerd.guard.config import SimulatedGpus
from powerd.guard.driver import Driver, Kind
from powerd.guard.nvml import NvmlDriver
from powerd.guard.simulated import SimulatedDriver
from tests import fake_nvml

GPUS = 4


class Rig(Protocol):
    """A host of `GPUS` GPUs; those are named by index, times are seconds."""

    driver: Driver

    def advance(self, seconds: float) -> None: ...
    def lose(self, gpu: int, *, is_lost: bool) -> None: ...
    def refuse_writes(self, gpu: int, kind: str) -> None: ...
    def ignore_writes(self, gpu: int) -> None: ...
    def limit_out_of_band(self, gpu: int, watts: float) -> None: ...
    def write_as_rival(self, gpu: int, watts: float) -> None: ...
    def delay(self, gpu: int, *, get_s: float = 0.0, set_s: float = 0.0) -> None: ...
    def hang(self, gpu: int, *, is_hung: bool) -> None: ...
    def brake(self, gpu: int) -> None: ...
    def reload_driver(self) -> None: ...
    def unload_driver(self) -> None: ...


class NvmlRig:
    """The real bindings on the fake library."""

    def __init__(self, host: fake_nvml.FakeNvml) -> None:
        self.driver: Driver = NvmlDriver()
        self._host = host
        for gpu in range(GPUS):
            host.set_demand(gpu, 400)

    def advance(self, seconds: float) -> None:
        self._host.advance(seconds)

    def lose(self, gpu: int, *, is_lost: bool) -> None:
        self._host.lose(gpu, is_lost=is_lost)

    def refuse_writes(self, gpu: int, kind: str) -> None:
        codes = {
            Kind.NO_PERMISSION: fake_nvml.NO_PERMISSION,
            Kind.NOT_SUPPORTED: fake_nvml.NOT_SUPPORTED,
            Kind.UNKNOWN: fake_nvml.UNKNOWN,
        }
        self._host.gpus[gpu].set_error = codes[kind]

    def ignore_writes(self, gpu: int) -> None:
        self._host.gpus[gpu].ignores_writes = 1

    def limit_out_of_band(self, gpu: int, watts: float) -> None:
        self._host.limit_out_of_band(gpu, watts)

    def write_as_rival(self, gpu: int, watts: float) -> None:
        self._host.write_as_rival(gpu, watts)

    def delay(self, gpu: int, *, get_s: float = 0.0, set_s: float = 0.0) -> None:
        self._host.gpus[gpu].get_latency_ns = round(get_s * fake_nvml.NS_PER_S)
        self._host.gpus[gpu].set_latency_ns = round(set_s * fake_nvml.NS_PER_S)

    def hang(self, gpu: int, *, is_hung: bool) -> None:
        self._host.gpus[gpu].get_hangs = int(is_hung)
        self._host.gpus[gpu].set_hangs = int(is_hung)

    def brake(self, gpu: int) -> None:
        self._host.gpus[gpu].extra_reasons = 0x80

    def reload_driver(self) -> None:
        self._host.reload_driver()

    def unload_driver(self) -> None:
        self._host.unload_driver()


class SimulatedRig:
    """The simulated driver, on a clock of its own, commanded through its file of faults."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "faults.json"
        self._faults: dict[str, Any] = {"gpus": {}, "reload": 0, "unloaded": False}
        self._now_s = 1000.0
        settings = SimulatedGpus(count=GPUS, load="full", commands=str(self._file))
        self.driver: Driver = SimulatedDriver(settings, clock=lambda: self._now_s)

    def _write(self, **host: Any) -> None:
        self._faults.update(host)
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(self._faults), encoding="utf-8")
        draft.replace(self._file)

    def _set(self, gpu: int, **faults: Any) -> None:
        self._faults["gpus"].setdefault(str(gpu), {}).update(faults)
        self._write()

    def advance(self, seconds: float) -> None:
        self._now_s += seconds

    def lose(self, gpu: int, *, is_lost: bool) -> None:
        self._set(gpu, lost=is_lost)

    def refuse_writes(self, gpu: int, kind: str) -> None:
        self._set(gpu, refuse=kind)

    def ignore_writes(self, gpu: int) -> None:
        self._set(gpu, ineffective=True)

    def limit_out_of_band(self, gpu: int, watts: float) -> None:
        self._set(gpu, out_of_band_watts=watts)

    def write_as_rival(self, gpu: int, watts: float) -> None:
        self._set(gpu, rival_watts=watts)

    def delay(self, gpu: int, *, get_s: float = 0.0, set_s: float = 0.0) -> None:
        self._set(gpu, get_latency_s=get_s, set_latency_s=set_s)

    def hang(self, gpu: int, *, is_hung: bool) -> None:
        self._set(gpu, hang=is_hung)

    def brake(self, gpu: int) -> None:
        self._set(gpu, event_reasons=0x80)

    def reload_driver(self) -> None:
        self._write(reload=self._faults["reload"] + 1, unloaded=False)

    def unload_driver(self) -> None:
        self._write(unloaded=True)
