"""A guard without threads: GPUs in memory, a clock that the test moves, jobs that end when it says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from powerd.core.model import GpuReading, Outcome, Plan, Write
from powerd.guard.config import GuardConfig
from powerd.guard.driver import DriverError, GpuInfo, Kind, Limits, Sample, refuse_if_writes_forbidden
from powerd.guard.jobs import Done, Job, perform
from powerd.guard.keeper import Keeper
from powerd.guard.workers import AttachResult

W = 1000
MIN_MW, MAX_MW, DEFAULT_MW = 100 * W, 500 * W, 400 * W


class HostGpu:
    """One GPU of the host, with what is wrong with it."""

    def __init__(self) -> None:
        self.requested_mw = DEFAULT_MW
        self.out_of_band_mw: int | None = None
        self.energy_mj = 1000
        self.set_error = ""
        self.read_error = ""
        self.ignores_writes = False
        self.rounding_mw = 1

    @property
    def effective_mw(self) -> int:
        return min(self.requested_mw, self.out_of_band_mw or self.requested_mw)


class HostDriver:
    """Implements `Driver` in memory.

    Attributes:
        writes: every limit ever set.
        asked: counts readings of limits.
        is_open: attached, and not detached since.
    """

    def __init__(self, count: int) -> None:
        self.gpus = {f"GPU-{index}": HostGpu() for index in range(count)}
        self.absent: set[str] = set()
        self.attach_error = ""
        self.attach_error_kind = Kind.DRIVER_GONE
        self.attaches = 0
        self.default_mw: int | None = DEFAULT_MW
        self.tells_requested = True
        self.is_open = False
        self.asked = 0
        self.writes: list[Write] = []

    def attach(self) -> tuple[GpuInfo, ...]:
        self.attaches += 1
        if self.attach_error:
            raise DriverError(self.attach_error_kind, self.attach_error)
        self.is_open = True
        return tuple(
            GpuInfo(
                uuid, index, "Test GPU", "settable", MIN_MW, MAX_MW, self.default_mw, persistence_mode=True
            )
            for index, uuid in enumerate(self.gpus)
            if uuid not in self.absent
        )

    def detach(self) -> None:
        self.is_open = False

    def read(self, uuid: str) -> Sample:
        limits = self.read_limits(uuid)
        gpu = self.gpus[uuid]
        gpu.energy_mj += 1
        return Sample(limits, gpu.effective_mw // 2, gpu.energy_mj, 0, 0)

    def read_limits(self, uuid: str) -> Limits:
        self.asked += 1
        gpu = self.gpus[uuid]
        if uuid in self.absent:
            raise DriverError(Kind.LOST, f"no GPU {uuid}")
        if gpu.read_error:
            raise DriverError(gpu.read_error, f"{gpu.read_error} on read")
        return Limits(gpu.requested_mw if self.tells_requested else None, gpu.effective_mw)

    def set_limit(self, uuid: str, limit_mw: int) -> None:
        refuse_if_writes_forbidden()
        gpu = self.gpus[uuid]
        if gpu.set_error:
            raise DriverError(gpu.set_error, f"{gpu.set_error} on set")
        self.writes.append(Write(uuid, limit_mw))
        if not gpu.ignores_writes:
            gpu.requested_mw = limit_mw // gpu.rounding_mw * gpu.rounding_mw

    def reload(self) -> None:
        """Load the driver again: default limits, counters at zero."""
        for gpu in self.gpus.values():
            gpu.requested_mw = DEFAULT_MW
            gpu.energy_mj = 0

    @property
    def sum_mw(self) -> int:
        return sum(gpu.effective_mw for gpu in self.gpus.values())


class ManualRunner:
    """Implements `Runner`: holds jobs until the test lets them end."""

    def __init__(self, driver: HostDriver, clock: Callable[[], float]) -> None:
        self.driver = driver
        self.clock = clock
        self.jobs: dict[str, tuple[Job, Callable[[str, Job, Done], None]]] = {}
        self.attaching: Callable[[AttachResult], None] | None = None
        self.detaching: Callable[[], None] | None = None
        self.held: set[str] = set()

    def start(self, uuid: str, job: Job, finished: Callable[[str, Job, Done], None]) -> None:
        assert uuid not in self.jobs, "one call at a time per GPU"
        self.jobs[uuid] = (job, finished)

    def attach(self, finished: Callable[[AttachResult], None]) -> None:
        assert self.attaching is None
        assert self.detaching is None
        self.attaching = finished

    def detach(self, finished: Callable[[], None]) -> None:
        assert self.attaching is None
        assert self.detaching is None
        self.detaching = finished

    def finish(self, uuid: str) -> None:
        """Let the job of one GPU take effect and return."""
        job, finished = self.jobs.pop(uuid)
        finished(uuid, job, perform(self.driver, uuid, job, self.clock))

    def finish_attach(self) -> None:
        """Let the attach return."""
        finished, self.attaching = self.attaching, None
        assert finished is not None
        result: AttachResult
        try:
            result = self.driver.attach()
        except DriverError as error:
            result = error
        finished(result)

    def finish_detach(self) -> None:
        """Let the detach return."""
        finished, self.detaching = self.detaching, None
        assert finished is not None
        self.driver.detach()
        finished()


class Rig:
    """A keeper on a host in memory."""

    def __init__(self, directory: Path, *, gpus: int = 2, config: GuardConfig | None = None) -> None:
        self.config = config or GuardConfig(state_dir=str(directory), call_deadline_s=1.0)
        self.driver = HostDriver(gpus)
        self.now_s = 1000.0
        self.start()

    def start(self) -> None:
        """Start a guard, as if the one before had been killed."""
        self.runner = ManualRunner(self.driver, lambda: self.now_s)
        self.keeper = Keeper(self.config, self.runner, lambda: self.now_s)
        self.connect()
        self.settle()

    def connect(self) -> None:
        """Connect anew."""
        self.token = self.keeper.new_client()
        self.number = 0

    def settle(self) -> None:
        """Let everything happen that can, except on held GPUs."""
        self.keeper.tick(self.now_s)
        while self.runner.attaching or self.runner.detaching or set(self.runner.jobs) - self.runner.held:
            if self.runner.detaching:
                self.runner.finish_detach()
            if self.runner.attaching:
                self.runner.finish_attach()
            for uuid in sorted(set(self.runner.jobs) - self.runner.held):
                self.runner.finish(uuid)
            self.keeper.tick(self.now_s)

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps no longer than the guard's own."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            due_s = self.keeper.due_boot_s()
            self.now_s = min(end_s, max(self.now_s + 0.001, due_s if due_s is not None else end_s))
            self.settle()

    def send(
        self,
        *,
        cuts: dict[int, int] | None = None,
        raises: dict[int, int] | None = None,
        fallback: dict[int, int] | None = None,
        hold_s: float = 5.0,
    ) -> list[dict[str, Any]]:
        """Send a plan in watts by GPU index; the reply is in the list once it has come."""
        plan = Plan(
            cuts=_writes(cuts),
            raises=_writes(raises),
            fallback=_writes(fallback),
            end_boot_s=self.now_s + hold_s,
        )
        replies: list[dict[str, Any]] = []
        self.number += 1
        self.keeper.plan(self.token, self.number, plan, replies.append)
        return replies

    def plan(self, **plan: Any) -> dict[int, Outcome]:
        """Send a plan, let everything happen, and return the outcomes by GPU index."""
        replies = self.send(**plan)
        self.settle()
        assert len(replies) == 1, "a plan is answered exactly once"
        return {int(outcome.uuid.removeprefix("GPU-")): outcome for outcome in replies[0]["outcomes"]}

    def report(self) -> dict[str, Any]:
        """Read, and let everything happen."""
        replies: list[dict[str, Any]] = []
        self.keeper.read(replies.append)
        self.settle()
        if not replies:
            self.advance(2 * self.config.call_deadline_s)
        assert len(replies) == 1, "a read is answered exactly once"
        return replies[0]

    def reading(self, gpu: int) -> GpuReading:
        """Read, and return one GPU."""
        readings: list[GpuReading] = self.report()["readings"]
        return next(reading for reading in readings if reading.uuid == f"GPU-{gpu}")

    def limits_w(self) -> list[float]:
        """Return the limits in effect, in watts."""
        return [gpu.effective_mw / W for gpu in self.driver.gpus.values()]

    def __getitem__(self, gpu: int) -> HostGpu:
        return self.driver.gpus[f"GPU-{gpu}"]


def _writes(limits_w: dict[int, int] | None) -> tuple[Write, ...]:
    return tuple(Write(f"GPU-{gpu}", watts * W) for gpu, watts in (limits_w or {}).items())
