"""What the host draws that is not GPU, as the kernel tells: RAPL counters, or a host power meter in hwmon."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

from powerd.clock import boot_s
from powerd.core.gpus.overhead import OverheadSample
from powerd.core.units import MilliWatts
from powerd.errors import ConfigError

RAPL_ROOT = Path("/sys/class/powercap")
_UW_PER_MW = 1000


class RaplSensor:
    """CPU packages and memory, from the energy counters of the powercap framework.

    It sees neither fans nor network cards nor losses: configure `host.overhead_watts` as well, the larger
    of the two counts.
    """

    def __init__(self, root: Path = RAPL_ROOT) -> None:
        self._packages = sorted(root.glob("intel-rapl:?"))
        if not self._packages:
            raise ConfigError(f'host.overhead_sensor = "rapl": there are no RAPL counters in {root}')
        self._last: tuple[int, float] | None = None

    def read(self, gpu_draw_mw: MilliWatts, now_boot_s: float) -> OverheadSample | None:
        """Return the mean power since the last call; None at the first, or when a counter wrapped.

        Raises:
            OSError: a counter cannot be read; since CVE-2020-8694 that needs CAP_DAC_READ_SEARCH.
        """
        del gpu_draw_mw  # RAPL does not see the GPUs
        energy_uj = sum(int((zone / "energy_uj").read_text()) for zone in self._packages)
        last, self._last = self._last, (energy_uj, now_boot_s)
        if last is None or energy_uj < last[0] or now_boot_s <= last[1]:
            return None
        mw = int((energy_uj - last[0]) / (now_boot_s - last[1]) / _UW_PER_MW)
        return OverheadSample(mw, now_boot_s, "rapl")


class HostMeter:
    """The whole host's draw from one hwmon file in microwatts; the GPUs' own draw is taken off."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigError(f"host.overhead_sensor: {path} does not exist")
        self._path = path

    def read(self, gpu_draw_mw: MilliWatts, now_boot_s: float) -> OverheadSample | None:
        """Return what is left of the host's draw without its GPUs, at least 0.

        Raises:
            OSError: the file cannot be read.
        """
        host_mw = int(self._path.read_text()) // _UW_PER_MW
        return OverheadSample(max(0, host_mw - gpu_draw_mw), now_boot_s, str(self._path))


ReadOverhead: TypeAlias = Callable[[MilliWatts, float], OverheadSample | None]


def overhead_sensor(setting: str) -> ReadOverhead | None:
    """Return the reader that `host.overhead_sensor` names; None if it is empty.

    Raises:
        ConfigError: what it names is not there.
    """
    if not setting:
        return None
    return RaplSensor().read if setting == "rapl" else HostMeter(Path(setting)).read


class OverheadSampler:
    """Reads a sensor once per period, in a thread: a meter behind a BMC may take its time.

    Attributes:
        latest: the last measurement; None before the first. Its age is judged by who uses it.
    """

    def __init__(
        self,
        read: ReadOverhead,
        gpu_draw_mw: Callable[[], MilliWatts],
        on_error: Callable[[str], None],
        period_s: float,
    ) -> None:
        self._read = read
        self._gpu_draw_mw = gpu_draw_mw
        self._on_error = on_error
        self._period_s = period_s
        self.latest: OverheadSample | None = None

    async def run(self) -> NoReturn:
        """Sample until cancelled."""
        while True:
            try:
                self.latest = (
                    await asyncio.to_thread(self._read, self._gpu_draw_mw(), boot_s()) or self.latest
                )
            except (OSError, ValueError) as error:
                self._on_error(f"host.overhead_sensor cannot be read: {error}")
            await asyncio.sleep(self._period_s)
