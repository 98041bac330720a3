"""Build the fake libnvidia-ml.so.1, and command the GPUs that it shows.

`build(directory)` compiles it. `FakeNvml(library, state)` is a host: a file of GPUs that this process
commands and that any process started with `environment()` sees through the real bindings. The physics are
brought up to date before each change, so what is read afterwards is exact.

Fields of `Gpu` may be set directly for faults (`host.gpus[3].get_hangs = 1`); what the physics depend on is
set by the methods. Units as in the field names; error codes and event reasons are NVML's.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_GPUS = 128
LOG_SIZE = 32768
NS_PER_S = 1_000_000_000

# Bits of `Gpu.missing`: questions that the GPU answers with "not supported".
FIELDS, CONSTRAINTS, ENFORCED, REQUESTED, ENERGY, REASONS, PERSISTENCE, POWER, DEFAULT_LIMIT, CLOCK = (
    1 << bit for bit in range(10)
)
# Values of `Write.source`.
BY_NVML, BY_RIVAL, BY_RELOAD, BY_BOARD = range(4)

NO_PERMISSION, NOT_SUPPORTED, GPU_IS_LOST, LIB_RM_VERSION_MISMATCH, UNKNOWN = 4, 3, 15, 18, 999


def build(directory: Path, *, old_driver: bool = False) -> Path:
    """Compile the library into a directory and return its path.

    Args:
        directory: put it on LD_LIBRARY_PATH of a process to make the bindings load the fake.
        old_driver: leave out the functions that old drivers lack.

    Raises:
        subprocess.CalledProcessError: the compiler refused; its messages are on stderr.
    """
    directory.mkdir(parents=True, exist_ok=True)
    library = directory / "libnvidia-ml.so.1"
    source = Path(__file__).parent / "fake_nvml.c"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    variant = ["-DFAKE_NVML_OLD_DRIVER"] if old_driver else []
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [
            compiler,
            *flags,
            *variant,
            "-Wl,-soname,libnvidia-ml.so.1",
            "-o",
            library,
            source,
            "-lm",
            "-lpthread",
        ],
        check=True,
    )
    return library


_GPU_INTEGERS = (
    "capped_ns",
    "updated_ns",
    "min_mw",
    "default_mw",
    "max_mw",
    "requested_mw",
    "out_of_band_mw",
    "demand_mw",
    "idle_mw",
    "lag_ns",
    "persistence",
    "extra_reasons",
    "get_latency_ns",
    "set_latency_ns",
    "get_hangs",
    "set_hangs",
    "get_error",
    "set_error",
    "field_error",
    "ignores_writes",
    "missing",
    "blank",
    "get_calls",
    "set_calls",
    "set_v2_calls",
)


class Gpu(ctypes.Structure):
    """Mirror of `struct gpu` in fake_host.h, where the fields are explained."""

    uuid: bytes
    name: bytes
    draw_mw: float
    energy_mj: float
    capped_ns: int
    min_mw: int
    default_mw: int
    max_mw: int
    requested_mw: int
    out_of_band_mw: int
    demand_mw: int
    idle_mw: int
    lag_ns: int
    persistence: int
    extra_reasons: int
    get_latency_ns: int
    set_latency_ns: int
    get_hangs: int
    set_hangs: int
    get_error: int
    set_error: int
    field_error: int
    ignores_writes: int
    missing: int
    blank: int
    get_calls: int
    set_calls: int
    set_v2_calls: int

    _fields_ = (
        ("uuid", ctypes.c_char * 48),
        ("name", ctypes.c_char * 48),
        ("draw_mw", ctypes.c_double),
        ("energy_mj", ctypes.c_double),
        *((field, ctypes.c_int64) for field in _GPU_INTEGERS),
    )

    @property
    def enforced_mw(self) -> int:
        """Return the limit in effect."""
        return min(self.requested_mw, self.out_of_band_mw or self.requested_mw)


class Write(ctypes.Structure):
    """One change of a limit, on the boot clock."""

    boot_ns: int
    gpu: int
    source: int
    requested_mw: int
    enforced_mw: int

    _fields_ = tuple(
        (field, ctypes.c_int64) for field in ("boot_ns", "gpu", "source", "requested_mw", "enforced_mw")
    )


class _Host(ctypes.Structure):
    count: int
    loaded: int
    generation: int
    stale_error: int
    time_shift_ns: int
    log_count: int
    gpus: "ctypes.Array[Gpu]"
    log: "ctypes.Array[Write]"

    _fields_ = (
        ("lock", ctypes.c_uint64 * 8),
        *(
            (field, ctypes.c_int64)
            for field in (
                "layout",
                "count",
                "loaded",
                "generation",
                "stale_error",
                "time_shift_ns",
                "log_count",
            )
        ),
        ("gpus", Gpu * MAX_GPUS),
        ("log", Write * LOG_SIZE),
    )


class LimitSum(NamedTuple):
    """The sum of all enforced limits from one moment on."""

    boot_ns: int
    enforced_mw: int


class FakeNvml:
    """A host of fake GPUs.

    Args:
        library: what `build` returned.
        state: the file that holds the GPUs; created if missing, else joined.
        gpus: how many GPUs a new file gets.
        limits_mw: their minimum, default and maximum limit.
    """

    def __init__(
        self,
        library: Path,
        state: Path,
        *,
        gpus: int = 8,
        limits_mw: tuple[int, int, int] = (100_000, 400_000, 400_000),
    ) -> None:
        self.library = library
        self.state = state
        self._control = ctypes.CDLL(str(library))
        self._control.fake_nvml_map.restype = ctypes.POINTER(_Host)
        self._control.fake_nvml_size.restype = ctypes.c_int64
        if self._control.fake_nvml_size() != ctypes.sizeof(_Host):
            raise RuntimeError(f"{library} and {__file__} differ about the layout of a host: build it again")
        if not state.exists():
            self._create(gpus, limits_mw)
        self._pointer = self._control.fake_nvml_map(os.fsencode(state))
        if not self._pointer:
            raise RuntimeError(f"{state} is not a host of fake GPUs")
        self._host: _Host = self._pointer.contents

    def _create(self, gpus: int, limits_mw: tuple[int, int, int]) -> None:
        names = ("FAKE_NVML_GPUS", "FAKE_NVML_MIN_MW", "FAKE_NVML_DEFAULT_MW", "FAKE_NVML_MAX_MW")
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(zip(names, map(str, (gpus, *limits_mw)), strict=True))
        try:
            self._control.fake_nvml_map(os.fsencode(self.state))
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    @property
    def gpus(self) -> list[Gpu]:
        """Return the GPUs as they are in the file, by index. For readings of this moment use `now`."""
        return list(self._host.gpus[: self._host.count])

    def environment(self) -> dict[str, str]:
        """Return what a process needs in its environment to see this host through the bindings."""
        return {"LD_LIBRARY_PATH": str(self.library.parent), "FAKE_NVML_STATE": str(self.state)}

    @contextlib.contextmanager
    def now(self) -> Iterator[list[Gpu]]:
        """Bring the physics to the present and hold every other process off meanwhile."""
        self._control.fake_nvml_lock(self._pointer)
        try:
            yield self.gpus
        finally:
            self._control.fake_nvml_unlock(self._pointer)

    def set_demand(self, gpu: int, watts: float) -> None:
        """Make a GPU's work want that many watts; at or below its idle draw it is idle."""
        with self.now() as gpus:
            gpus[gpu].demand_mw = round(watts * 1000)

    def set_lag(self, gpu: int, seconds: float) -> None:
        """Set the time constant with which the draw follows."""
        with self.now() as gpus:
            gpus[gpu].lag_ns = round(seconds * NS_PER_S)

    def write_as_rival(self, gpu: int, watts: float) -> None:
        """Set a limit as another program on the host would."""
        with self.now() as gpus:
            gpus[gpu].requested_mw = round(watts * 1000)
            self._log(gpu, BY_RIVAL)

    def limit_out_of_band(self, gpu: int, watts: float) -> None:
        """Put a limiter beside NVML, such as a BMC, in effect; 0 takes it away."""
        with self.now() as gpus:
            gpus[gpu].out_of_band_mw = round(watts * 1000)
            self._log(gpu, BY_BOARD)

    def lose(self, gpu: int, *, is_lost: bool = True) -> None:
        """Take a GPU off the bus, or bring it back."""
        self.gpus[gpu].get_error = GPU_IS_LOST if is_lost else 0

    def reload_driver(self, *, is_newer: bool = False) -> None:
        """Exchange the driver: default limits, counters at zero, and every process has to open it again.

        Args:
            is_newer: processes that have loaded the library of the one before get no answer any more.
        """
        with self.now() as gpus:
            if is_newer:
                self._host.stale_error = LIB_RM_VERSION_MISMATCH
            for index, gpu in enumerate(gpus):
                gpu.requested_mw = gpu.default_mw
                gpu.energy_mj = 0.0
                gpu.capped_ns = 0
                self._log(index, BY_RELOAD)
            self._host.generation += 1
            self._host.loaded = 1

    def reset(self, gpu: int) -> None:
        """Reset one GPU: it is as after the load of the driver, and no process has to open anything."""
        with self.now() as gpus:
            gpus[gpu].requested_mw = gpus[gpu].default_mw
            gpus[gpu].energy_mj = 0.0
            gpus[gpu].capped_ns = 0
            self._log(gpu, BY_RELOAD)

    def unload_driver(self) -> None:
        """Leave the host without a driver until `reload_driver`."""
        self._host.loaded = 0

    def advance(self, seconds: float) -> None:
        """Let that much time pass for the physics, at once."""
        with self.now():
            self._host.time_shift_ns += round(seconds * NS_PER_S)

    def writes(self) -> list[Write]:
        """Return the changes of limits, oldest first; at most the last `LOG_SIZE`."""
        with self.now():
            count = self._host.log_count
            positions = range(max(0, count - LOG_SIZE), count)
            return [Write.from_buffer_copy(self._host.log[position % LOG_SIZE]) for position in positions]

    def writes_since(self, position: int) -> tuple[list[Write], int]:
        """Return the changes of limits from a position of the log on, oldest first, and where it ends now.

        Args:
            position: 0 = from the creation of the file, or what an earlier call returned.

        Raises:
            RuntimeError: the log does not reach back so far.
        """
        with self.now():
            count = self._host.log_count
            if count - position > LOG_SIZE:
                raise RuntimeError(f"the log holds the last {LOG_SIZE} of {count - position} changes")
            slots = (number % LOG_SIZE for number in range(position, count))
            return [Write.from_buffer_copy(self._host.log[slot]) for slot in slots], count

    def limit_sums(self) -> list[LimitSum]:
        """Return how the sum of enforced limits went since the file was created, a value after each change.

        Raises:
            RuntimeError: more changes than the log holds.
        """
        if self._host.log_count > LOG_SIZE:
            raise RuntimeError(f"the log holds the last {LOG_SIZE} of {self._host.log_count} changes")
        enforced_mw = {index: gpu.default_mw for index, gpu in enumerate(self.gpus)}
        sums = [LimitSum(0, sum(enforced_mw.values()))]
        for write in self.writes():
            enforced_mw[write.gpu] = write.enforced_mw
            sums.append(LimitSum(write.boot_ns, sum(enforced_mw.values())))
        return sums

    def _log(self, gpu: int, source: int) -> None:
        self._control.fake_nvml_log(self._pointer, ctypes.c_int64(gpu), ctypes.c_int64(source))
