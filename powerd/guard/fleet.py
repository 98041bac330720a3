"""All GPUs of the host and the jobs that wait for them: one at a time per GPU, each with a deadline.

Scheduling happens in the main loop alone, so withdrawing a job that has not started needs no lock. A job
whose deadline passes is answered as failed, and its GPU gets no other until the call returns.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from powerd.guard.driver import DriverError, GpuInfo, Kind
from powerd.guard.gpu import Gpu
from powerd.guard.jobs import Done, Job, Op, failed, too_late
from powerd.guard.workers import AttachResult


class Runner(Protocol):
    """Runs jobs elsewhere and reports their ends in the main loop: `workers.Workers`."""

    def start(self, uuid: str, job: Job, finished: Callable[[str, Job, Done], None]) -> None:
        """Do `job`, then call `finished`."""

    def attach(self, finished: Callable[[AttachResult], None]) -> None:
        """Attach the driver, then call `finished`."""

    def detach(self, finished: Callable[[], None]) -> None:
        """Detach the driver, then call `finished`."""


class Fleet:
    """The GPUs ever seen since the start, by UUID, in the order of their index.

    Args:
        runner: does the jobs.
        clock: seconds on the boot clock.
        call_deadline_s: a job that takes longer marks its GPU as hung.
        before_write: called with a GPU before each write to it is started.
        after: called with a GPU, its ended job, its result, whether it was hung or lost, and whether its
            counters went back; before the owner of the job hears of it.
    """

    def __init__(
        self,
        runner: Runner,
        clock: Callable[[], float],
        call_deadline_s: float,
        before_write: Callable[[Gpu], None],
        after: Callable[[Gpu, Job, Done, bool, bool], None],
    ) -> None:
        self.gpus: dict[str, Gpu] = {}
        self._runner = runner
        self._clock = clock
        self._call_deadline_s = call_deadline_s
        self._before_write = before_write
        self._after = after
        self._closed: DriverError | None = DriverError(Kind.DRIVER_GONE, "the driver is not attached yet")

    def submit(self, uuid: str, job: Job) -> None:
        """Queue a job; when it cannot be done it ends at once, as failed."""
        gpu = self.gpus.get(uuid)
        refusal = self._refusal(gpu, job)
        if gpu is None or refusal is not None:
            job.on_done(failed(refusal or DriverError(Kind.LOST, f"no GPU {uuid}")))
            return
        (gpu.reads if job.op is Op.READ else gpu.writes).append(job)
        self._pump(gpu)

    def withdraw(self, uuid: str, job: Job) -> bool:
        """Take back a job that has not started; return whether that worked. Its owner is not called."""
        gpu = self.gpus.get(uuid)
        if gpu is None:
            return False
        queue = gpu.reads if job.op is Op.READ else gpu.writes
        if job not in queue:
            return False
        queue.remove(job)
        return True

    def close(self, error: DriverError) -> None:
        """Start no more jobs and fail those that wait: the driver is gone."""
        self._closed = error
        for gpu in self.gpus.values():
            gpu.lose(str(error), driver_gone=True)
            _fail_all(gpu, error)

    def open(self, infos: Iterable[GpuInfo]) -> None:
        """Take the GPUs of a new attach; those that are missing from it stay, lost."""
        self._closed = None
        found = {info.uuid: info for info in infos}
        for uuid, gpu in self.gpus.items():
            if uuid not in found:
                gpu.lose("the driver does not list it any more", driver_gone=True)
        for uuid, info in found.items():
            if uuid in self.gpus:
                self.gpus[uuid].adopt(info)
            else:
                self.gpus[uuid] = Gpu(info)
        self.gpus = dict(sorted(self.gpus.items(), key=lambda item: item[1].info.index))

    @property
    def is_open(self) -> bool:
        """Whether the driver is attached."""
        return self._closed is None

    @property
    def is_quiet(self) -> bool:
        """Whether no worker is in the driver, those that hang excepted."""
        return all(gpu.running is None or gpu.hung for gpu in self.gpus.values())

    def check_deadlines(self, now_boot_s: float) -> None:
        """Give up on jobs that have been running for too long."""
        for gpu in self.gpus.values():
            job = gpu.running
            if job is None or gpu.hung or now_boot_s - job.started_boot_s < self._call_deadline_s:
                continue
            gpu.hung = True
            job.abandoned = True
            error = DriverError(Kind.UNKNOWN, f"{job.op} did not return within {self._call_deadline_s:g} s")
            job.on_done(failed(error))
            _fail_all(gpu, error)

    def next_deadline_boot_s(self) -> float | None:
        """Return when `check_deadlines` has something to do next."""
        started = [
            gpu.running.started_boot_s
            for gpu in self.gpus.values()
            if gpu.running is not None and not gpu.hung
        ]
        return min(started) + self._call_deadline_s if started else None

    def _refusal(self, gpu: Gpu | None, job: Job) -> DriverError | None:
        if self._closed is not None:
            return self._closed
        if gpu is None:
            return None
        if gpu.hung:
            return DriverError(Kind.UNKNOWN, "hung: an earlier driver call has not returned")
        if job.op is not Op.READ and not gpu.settable:
            return DriverError(Kind.NOT_SUPPORTED, gpu.detail or "its limit cannot be set")
        return None

    def _pump(self, gpu: Gpu) -> None:
        while gpu.running is None and (gpu.writes or gpu.reads):
            job = gpu.writes.popleft() if gpu.writes else gpu.reads.popleft()
            now_boot_s = self._clock()
            late = too_late(job, now_boot_s)
            if late is not None:
                job.on_done(late)
                continue
            if job.op is not Op.READ:
                self._before_write(gpu)
            gpu.running = job
            job.started_boot_s = now_boot_s
            self._runner.start(gpu.info.uuid, job, self._finished)

    def _finished(self, uuid: str, job: Job, done: Done) -> None:
        gpu = self.gpus[uuid]
        was_away = gpu.hung or gpu.lost
        counters_went_back = gpu.counter_reset(done.sample)
        gpu.absorb(job, done)
        if self._closed is not None:
            gpu.lose(str(self._closed), driver_gone=True)
        self._after(gpu, job, done, was_away, counters_went_back)
        if not job.abandoned:
            job.on_done(done)
        self._pump(gpu)


def _fail_all(gpu: Gpu, error: DriverError) -> None:
    jobs = [*gpu.writes, *gpu.reads]
    gpu.writes.clear()
    gpu.reads.clear()
    for job in jobs:
        job.on_done(failed(error))
