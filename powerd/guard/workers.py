"""Threads: one per GPU, and one that attaches the driver. The only callers of the driver.

Every call may block for ever, so a worker knows nothing but its own inbox; whoever waits for it is the main
loop, which never does. Workers are daemon threads: a hung one does not keep the process from ending.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from powerd.clock import boot_s
from powerd.guard.driver import Driver, DriverError, GpuInfo, Kind
from powerd.guard.jobs import Done, Job, perform, too_late

# How often the main loop looks for calls while workers are in the driver.
LOOK_AGAIN_S = 0.002

AttachResult = tuple[GpuInfo, ...] | DriverError


class Completions:
    """Calls that other threads want made in the main loop, and the pipe that wakes it up.

    Attributes:
        readable: file descriptor for the selector.
        writable: the other end; signal.set_wakeup_fd may use it too.
    """

    def __init__(self) -> None:
        self.readable, self.writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._calls: deque[Callable[[], None]] = deque()
        self._expected = 0

    def expect(self) -> None:
        """Announce that a thread will post one call; main loop only."""
        self._expected += 1

    def post(self, call: Callable[[], None]) -> None:
        """Queue a call; from any thread.

        The last one that is expected wakes the main loop. If each did, the main loop would compete with
        the threads that are still at work for the interpreter lock, and so delay what it waits for. Where
        a GPU hangs, the last one never comes: while others are at work the main loop looks by itself.
        """
        self._calls.append(call)
        if len(self._calls) >= self._expected:
            os.write(self.writable, b"\0")

    def woken(self, _events: int) -> None:
        """Empty the pipe that has become readable, before `drain`: what is posted later wakes again."""
        os.read(self.readable, 4096)

    def drain(self) -> None:
        """Make every queued call; main loop only."""
        while self._calls:
            self._expected -= 1
            self._calls.popleft()()


class _Worker:
    """One thread that does one thing after another."""

    def __init__(self, name: str) -> None:
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def do(self, call: Callable[[], None]) -> None:
        self._inbox.put(call)

    def _run(self) -> None:
        while True:
            self._inbox.get()()


class Workers:
    """Runs jobs on threads and reports each end in the main loop.

    Args:
        driver: called from these threads only.
        completions: where ends are posted.
    """

    def __init__(self, driver: Driver, completions: Completions) -> None:
        self._driver = driver
        self._completions = completions
        self._attacher: _Worker | None = None
        self._by_uuid: dict[str, _Worker] = {}

    def start(self, uuid: str, job: Job, finished: Callable[[str, Job, Done], None]) -> None:
        """Do `job` in the worker of `uuid`, then call `finished` in the main loop."""
        worker = self._by_uuid.get(uuid)
        if worker is None:
            worker = self._by_uuid[uuid] = _Worker(uuid)

        def work() -> None:
            # Asked once more: the process may have been stopped since the job was handed over.
            done = too_late(job, boot_s()) or perform(self._driver, uuid, job)
            self._completions.post(partial(finished, uuid, job, done))

        self._completions.expect()
        worker.do(work)

    def attach(self, finished: Callable[[AttachResult], None]) -> None:
        """Attach the driver in a thread, then call `finished` in the main loop."""

        def work() -> None:
            result: AttachResult
            try:
                result = self._driver.attach()
            except DriverError as error:
                result = error
            except Exception as error:  # noqa: BLE001 - a bug in a driver is a failed attach
                result = DriverError(Kind.UNKNOWN, f"{type(error).__name__}: {error}")
            self._completions.post(partial(finished, result))

        self._completions.expect()
        self._attach_worker().do(work)

    def detach(self, finished: Callable[[], None]) -> None:
        """Detach the driver in a thread, then call `finished` in the main loop."""

        def work() -> None:
            self._driver.detach()
            self._completions.post(finished)

        self._completions.expect()
        self._attach_worker().do(work)

    def _attach_worker(self) -> _Worker:
        if self._attacher is None:
            self._attacher = _Worker("attach")
        return self._attacher
