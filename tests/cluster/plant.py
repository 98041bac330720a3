"""The GPUs of a host: what they draw, what limits them, and a driver that may be slow, deaf or stuck.

The physics are the least that decisions depend on: a GPU draws its load up to its limit, and its power-cap
counter runs while the load is above. What the theorem is checked against is read here and nowhere else.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from powerd.guard.driver import DriverError, GpuInfo, Kind, Limits, Sample
from powerd.guard.jobs import Done, Job, Op, perform
from powerd.guard.workers import AttachResult
from tests.cluster.world import HostClock, World

_NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class PlantGpu:
    """One GPU; limits and draws in milliwatts.

    Attributes:
        load_mw: what its work would draw without a limit.
        in_flight: targets of writes that were handed to the driver and have not returned; not of those that
            only lower.
        latency_s: how long a driver call takes; never nothing, or a sample could not be told from a write.
        hang_s: how much longer the next write takes.
        lands_first: that write takes effect before it hangs, not after.
        refuses_until_s, unreadable_until_s: writes, reads fail until then.
    """

    uuid: str
    index: int
    min_mw: int
    max_mw: int
    limit_mw: int
    load_mw: int
    in_flight: list[int] = field(default_factory=list)
    latency_s: float = 0.001
    hang_s: float = 0.0
    lands_first: bool = False
    refuses_until_s: float = 0.0
    unreadable_until_s: float = 0.0
    capped_s: float = 0.0
    energy_mj: float = 0.0
    seen_s: float = 0.0

    @property
    def draw_mw(self) -> int:
        """Return what it draws."""
        return min(self.load_mw, self.limit_mw)

    @property
    def applied_mw(self) -> int:
        """Return the largest limit that is in effect or may still take effect."""
        return max(self.limit_mw, *self.in_flight) if self.in_flight else self.limit_mw

    def catch_up(self, now_s: float) -> None:
        """Bring its counters to the present."""
        elapsed_s = now_s - self.seen_s
        self.seen_s = now_s
        self.energy_mj += self.draw_mw * elapsed_s
        if self.load_mw > self.limit_mw:
            self.capped_s += elapsed_s


class Plant:
    """All GPUs of one host. Implements the guard's `Driver`.

    Args:
        overhead_mw: what the host draws besides.
        changed: called with the host's new total when what its GPUs may draw has changed.

    Attributes:
        applied_mw: overhead, and what every GPU may draw.
    """

    def __init__(
        self, world: World, gpus: Iterable[PlantGpu], overhead_mw: int, changed: Callable[[int], None]
    ) -> None:
        self.gpus = {gpu.uuid: gpu for gpu in gpus}
        self.overhead_mw = overhead_mw
        self.applied_mw = overhead_mw + sum(gpu.applied_mw for gpu in self.gpus.values())
        self._world = world
        self._changed = changed

    def attach(self) -> tuple[GpuInfo, ...]:
        """List the GPUs."""
        return tuple(
            GpuInfo(g.uuid, g.index, "GPU", "settable", g.min_mw, g.max_mw, g.max_mw, persistence_mode=True)
            for g in self.gpus.values()
        )

    def detach(self) -> None:
        """Let go."""

    def read(self, uuid: str) -> Sample:
        """Read one GPU."""
        limits, gpu = self.read_limits(uuid), self.gpus[uuid]
        gpu.catch_up(self._world.now_s)
        return Sample(limits, gpu.draw_mw, int(gpu.energy_mj), int(gpu.capped_s * _NS_PER_S), 0)

    def read_limits(self, uuid: str) -> Limits:
        """Read one GPU's limits."""
        gpu = self.gpus[uuid]
        if self._world.now_s < gpu.unreadable_until_s:
            raise DriverError(Kind.UNKNOWN, "cannot be read")
        return Limits(gpu.limit_mw, gpu.limit_mw)

    def set_limit(self, uuid: str, limit_mw: int) -> None:
        """Limit one GPU."""
        gpu = self.gpus[uuid]
        if self._world.now_s < gpu.refuses_until_s:
            raise DriverError(Kind.UNKNOWN, "refused")
        gpu.catch_up(self._world.now_s)
        gpu.limit_mw = limit_mw
        self.recount()

    def set_load(self, gpu: PlantGpu, load_mw: int) -> None:
        """Give a GPU other work."""
        gpu.catch_up(self._world.now_s)
        gpu.load_mw = load_mw

    def recount(self) -> None:
        """Add up what may be drawn."""
        applied_mw = self.overhead_mw + sum(gpu.applied_mw for gpu in self.gpus.values())
        if applied_mw != self.applied_mw:
            self.applied_mw = applied_mw
            self._changed(applied_mw)


class DriverCalls:
    """The driver calls of one process. Implements the guard's `Runner`: each call returns in virtual time.

    Args:
        returned: called when the process has taken in calls that returned.
        attach_s: how long attaching takes.

    Attributes:
        is_dead: the process was killed; what its calls do, nobody hears of.
        is_stalled: the process stands still; what returns waits.
    """

    def __init__(
        self, world: World, clock: HostClock, plant: Plant, returned: Callable[[], None], attach_s: float
    ) -> None:
        self.is_dead = False
        self.is_stalled = False
        self._world = world
        self._clock = clock
        self._plant = plant
        self._returned = returned
        self._attach_s = attach_s
        self._calls: dict[float, list[_Call]] = {}
        self._kept: list[Callable[[], None]] = []

    def start(self, uuid: str, job: Job, finished: Callable[[str, Job, Done], None]) -> None:
        """Begin a call."""
        gpu = self._plant.gpus[uuid]
        delay_s = gpu.latency_s
        if job.op is not Op.READ:
            delay_s += gpu.hang_s
            if gpu.lands_first and gpu.hang_s:
                self._world.after(gpu.latency_s, self._land, uuid, job)
            gpu.hang_s = 0.0
        if job.op is Op.WRITE:
            gpu.in_flight.append(job.target_mw)
            self._plant.recount()
        end_s = self._world.now_s + delay_s
        calls = self._calls.get(end_s)
        if calls is None:
            calls = self._calls[end_s] = []
            self._world.at(end_s, self._return, end_s)
        calls.append(_Call(uuid, job, finished))

    def attach(self, finished: Callable[[AttachResult], None]) -> None:
        """Attach the driver."""
        self._world.after(self._attach_s, self._hand_over, [lambda: finished(self._plant.attach())])

    def detach(self, finished: Callable[[], None]) -> None:
        """Detach the driver."""
        self._plant.detach()
        self._world.after(self._attach_s, self._hand_over, [finished])

    def go_on(self) -> None:
        """Take in what has returned while the process stood still."""
        self.is_stalled = False
        kept, self._kept = self._kept, []
        self._hand_over(kept)

    def die(self, *, writes_land: bool) -> float:
        """Kill the process in the middle of its calls; return when the kernel lets go of the last of them.

        Args:
            writes_land: a write under way still takes effect, else it never does.
        """
        self.is_dead = True
        if not writes_land:
            for calls in self._calls.values():
                for call in calls:
                    self._end(call)
            self._calls.clear()
        return max(self._calls, default=self._world.now_s)

    def _land(self, uuid: str, job: Job) -> None:
        """Let a write take effect long before it returns."""
        if any(call.job is job for calls in self._calls.values() for call in calls):
            perform(self._plant, uuid, job, lambda: self._clock.boot_s)

    def _return(self, end_s: float) -> bool:
        calls = self._calls.pop(end_s, [])
        ended = []
        for call in calls:
            done = perform(self._plant, call.uuid, call.job, lambda: self._clock.boot_s)
            self._end(call)
            ended.append(call.ended(done))
        self._hand_over(ended)
        return bool(calls)

    def _end(self, call: "_Call") -> None:
        if call.job.op is Op.WRITE:
            self._plant.gpus[call.uuid].in_flight.remove(call.job.target_mw)
            self._plant.recount()

    def _hand_over(self, ends: list[Callable[[], None]]) -> None:
        if self.is_dead:
            return
        if self.is_stalled:
            self._kept += ends
            return
        for end in ends:
            end()
        self._returned()


@dataclass(slots=True)
class _Call:
    uuid: str
    job: Job
    finished: Callable[[str, Job, Done], None]

    def ended(self, done: Done) -> Callable[[], None]:
        """Return what tells the process of the end."""
        return lambda: self.finished(self.uuid, self.job, done)
