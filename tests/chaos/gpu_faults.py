"""What GPUs, their driver and others on the host do to limits."""

import contextlib
import http.client
from random import Random
from typing import Any, ClassVar

from powerd import renewal
from tests.chaos.faults import HostFault
from tests.chaos.stage import Span, Stage
from tests.daemon.host import GPU_MAX_WATTS, GPU_MIN_WATTS
from tests.daemon.rack import GPUS
from tests.fake_nvml import UNKNOWN, Gpu

_HW_POWER_BRAKE = 0x80


class GpuFault(HostFault):
    """Something wrong with one GPU of a host."""

    def __init__(self, stage: Stage, random: Random) -> None:
        super().__init__(stage, random)
        self.index = random.randrange(GPUS)
        self.claims |= {f"{self.host.name}/gpu{self.index}"}

    @property
    def gpu(self) -> Gpu:
        """Return the GPU."""
        return self.host.gpus.gpus[self.index]


class Field(GpuFault):
    """A field of the GPU that makes it behave badly: meanwhile nobody can be sure to set its limit."""

    field: ClassVar[str]
    value: ClassVar[Any] = 1
    _span: Span | None = None

    def begin(self) -> None:
        self._span = Span()
        self.stage.stuck[self.host.name, self.index].append(self._span)
        setattr(self.gpu, self.field, self.value)

    def end(self) -> None:
        setattr(self.gpu, self.field, 0)
        if self._span:
            self._span.end()


class Lost(Field):
    """A guard that starts meanwhile does not learn its name, and takes it in when an operator reloads it."""

    kind = "GPU lost"
    field = "get_error"
    value = 15

    def end(self) -> None:
        setattr(self.gpu, self.field, 0)

    def is_over(self) -> bool:
        states = self._states()
        guard = f"{self.host.name}/guard"
        if any(uuid.startswith("unidentified") for uuid in states) and guard not in self.stage.claimed:
            self.claims |= {guard}
            self.stage.claimed.add(guard)
            self.stage.leaves(self.host, "guard")
            self.host.guard.signal(renewal.SIGNAL)
        if states.get(self.gpu.uuid.decode()) != "ok":
            return False
        if guard in self.claims:
            self.stage.returns(self.host, "guard")
        if self._span:
            self._span.end()
        return True

    def _states(self) -> dict[str, str]:
        """Return how the host says that its GPUs are; nothing if it does not say."""
        if not self.stage.is_ready(self.host):
            return {}
        with contextlib.suppress(OSError, http.client.HTTPException):
            return {gpu["uuid"]: gpu["state"] for gpu in self.host.status()["gpus"]}
        return {}


class ReadsHang(Field):
    kind = "GPU: reads hang"
    field = "get_hangs"


class WritesHang(Field):
    kind = "GPU: writes hang"
    field = "set_hangs"


class Refuses(Field):
    kind = "GPU refuses limits"
    field = "set_error"
    value = UNKNOWN


class Ignores(Field):
    kind = "GPU accepts limits without effect"
    field = "ignores_writes"


class Slow(Field):
    kind = "GPU slow to set"
    field = "set_latency_ns"
    value = 100_000_000


class Rival(GpuFault):
    """Another program sets a limit, and does it again and again."""

    kind = "rival sets limits"
    lasts_s = (0.2, 3.0)

    def begin(self) -> None:
        self.host.gpus.write_as_rival(self.index, self.random.randint(GPU_MIN_WATTS, GPU_MAX_WATTS))

    def step(self) -> None:
        if self.random.random() < 0.2:
            self.begin()


class ResetToDefault(GpuFault):
    kind = "GPU reset to its default limit"
    lasts_s = (0.0, 0.0)

    def begin(self) -> None:
        self.host.gpus.write_as_rival(self.index, GPU_MAX_WATTS)


class BoardLimits(GpuFault):
    kind = "board limits by itself"

    def begin(self) -> None:
        self.host.gpus.limit_out_of_band(self.index, self.random.randint(GPU_MIN_WATTS, GPU_MAX_WATTS))

    def end(self) -> None:
        self.host.gpus.limit_out_of_band(self.index, 0)


class PowerBrake(GpuFault):
    kind = "hardware power brake"
    weight = 1

    def begin(self) -> None:
        self.gpu.extra_reasons = _HW_POWER_BRAKE

    def end(self) -> None:
        self.gpu.extra_reasons = 0


class DriverAway(HostFault):
    """All GPUs vanish, and are at their default when they are back."""

    kind = "driver away"
    needs = tuple(f"gpu{index}" for index in range(GPUS))
    lasts_s = (0.5, 5.0)

    def begin(self) -> None:
        self.host.gpus.unload_driver()

    def end(self) -> None:
        self.host.gpus.reload_driver()


class DriverReloaded(HostFault):
    kind = "driver exchanged"
    needs = DriverAway.needs
    lasts_s = (0.0, 0.0)
    weight = 1

    def begin(self) -> None:
        self.host.gpus.reload_driver()
