"""Virtual time: what happens when, and processes whose every callback happens in it.

Nothing sleeps and no clock of the machine is read, so a run is as fast as its callbacks and the same every
time. Each process has an event loop of its own, on its host's clock: one that is paused runs nothing at all,
and one that is killed never runs again.
"""

import asyncio
import heapq
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

# Timers fire this late: else one that is set for a moment might find, by rounding, that it has not come yet.
LATE_S = 1e-6
# More than any process does at one moment.
_BUSY = 10_000


class World:
    """The queue of all that is to happen. Times are seconds of true time, which no host can see.

    Attributes:
        now_s: the present.
        after_event: called after each event that made anything run.
        ready: processes that have something to do now, and have their turn when the event is over.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.after_event: Callable[[], None] = lambda: None
        self.history = History(self)
        self.ready: deque[Process] = deque()
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0

    def at(self, time_s: float, call: Callable[..., object], *args: Any) -> None:
        """Have something happen; two things at one time happen in the order in which they were asked for."""
        self._order += 1
        heapq.heappush(self._queue, (max(time_s, self.now_s), self._order, call, args))

    def after(self, delay_s: float, call: Callable[..., object], *args: Any) -> None:
        """Have something happen later."""
        self.at(self.now_s + delay_s, call, *args)

    def run_until(self, end_s: float) -> None:
        """Let everything happen that is due by then. A callback that returns False did nothing."""
        queue, ready = self._queue, self.ready
        while queue and queue[0][0] <= end_s:
            self.now_s, _, call, args = heapq.heappop(queue)
            ran = call(*args) is not False
            while ready:
                ran = ready.popleft().turn() or ran
            if ran:
                self.after_event()
        self.now_s = end_s


class History:
    """What happened: the last of it to be read, all of it as a digest.

    Attributes:
        on: off, nothing is noted.
        show: print every line.
    """

    def __init__(self, world: World, *, keep: int = 60) -> None:
        self.on = True
        self.show = False
        self.lines: deque[str] = deque(maxlen=keep)
        self._world = world
        self._digest = blake2b(digest_size=16)

    def note(self, who: str, what: str) -> None:
        """Note one event."""
        if not self.on:
            return
        line = f"{self._world.now_s:10.4f}  {who:<8} {what}"
        self.lines.append(line)
        self._digest.update(line.encode())
        if self.show:
            sys.stdout.write(f"{line}\n")

    def journal(self, text: str) -> None:
        """Show what a guard tells its journal."""
        if self.show:
            sys.stdout.write(f"{'':22}{text}\n")

    @property
    def digest(self) -> str:
        """Return a digest of every line ever noted."""
        return self._digest.hexdigest()


@dataclass(slots=True)
class HostClock:
    """A host's clocks. The boot clock runs a little wrong, the wall clock may say anything.

    Attributes:
        rate: seconds of the boot clock per second.
        booted_s: when the boot clock was at zero.
        wall_offset_s: how far the wall clock is ahead.
    """

    world: World
    rate: float = 1.0
    booted_s: float = -1000.0
    wall_offset_s: float = 0.0
    wall_synced: bool = True

    @property
    def boot_s(self) -> float:
        """Return what the boot clock says."""
        return (self.world.now_s - self.booted_s) * self.rate

    def true_s(self, boot_s: float) -> float:
        """Return when the boot clock will say so."""
        return boot_s / self.rate + self.booted_s


class ProcessLoop(asyncio.BaseEventLoop):
    """The event loop of one process; nothing of it runs but in `turn`.

    Attributes:
        errors: what callbacks raised and nobody caught.
        inbox: what came from outside: calls that need no context of their own, before all that is ready.
        is_held: the process stands still, perhaps in the middle of a turn.
        executor: does what is handed to threads, and returns the future of it.
    """

    def __init__(self, clock: HostClock) -> None:
        super().__init__()
        self.errors: list[BaseException | str] = []
        self.inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.is_held = False
        self.executor: Callable[[Callable[[], Any]], asyncio.Future[Any]] | None = None
        self._clock = clock

    def time(self) -> float:
        """Return the host's boot clock."""
        return self._clock.boot_s

    def run_in_executor(  # type: ignore[override]  # as `asyncio.to_thread` calls it
        self, executor: None, func: Callable[[], Any]
    ) -> asyncio.Future[Any]:
        """Hand something to a thread."""
        assert self.executor is not None
        return self.executor(func)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught."""
        self.errors.append(context.get("exception") or str(context.get("message")))

    def turn(self) -> tuple[bool, float | None]:
        """Run all that is ready or due; return whether anything was, and when the next timer is due."""
        ready, timers, inbox = self._ready, self._scheduled, self.inbox  # type: ignore[attr-defined]
        ran = False
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            now_s = self._clock.boot_s  # nothing takes time
            for _ in range(_BUSY):
                if self.is_held:
                    break
                while inbox:
                    ran = True
                    call, args = inbox.popleft()
                    call(*args)
                while timers and (timers[0]._cancelled or timers[0]._when <= now_s):
                    handle = heapq.heappop(timers)
                    handle._scheduled = False
                    if not handle._cancelled:
                        ready.append(handle)
                if not ready:
                    break
                ran = True
                while ready and not self.is_held:
                    handle = ready.popleft()
                    if not handle._cancelled:
                        handle._run()
            else:
                raise AssertionError("a process does one thing after the other without ever waiting")
        finally:
            events._set_running_loop(before)
        return ran, timers[0]._when if timers else None


class Process:
    """Runs one event loop as time goes on, until it is killed."""

    def __init__(self, world: World, clock: HostClock) -> None:
        self.loop = ProcessLoop(clock)
        self.is_alive = True
        self._world = world
        self._clock = clock
        self._is_ready = False
        self._timer_s = float("inf")
        # What that is on the host's clock: mostly the next timer is the one that was next before.
        self._timer_boot_s: float | None = None

    def call(self, call: Callable[..., object], *args: Any) -> None:
        """Have the process do something as soon as it runs."""
        if self.is_alive:
            self.loop.inbox.append((call, args))
            self._be_ready()

    def pause(self) -> None:
        """Run nothing until `resume`; what arrives meanwhile waits."""
        self.loop.is_held = True

    def resume(self) -> None:
        """Go on."""
        self.loop.is_held = False
        self._be_ready()

    def kill(self) -> None:
        """End. What it still does while its coroutines are taken down must reach nobody: see `is_alive`."""
        self.is_alive = False
        self.loop.is_held = False
        for task in sorted(asyncio.all_tasks(self.loop), key=lambda task: task.get_name()):
            task.cancel()
        self.loop.inbox.clear()
        self.loop.turn()
        self.loop.close()

    def turn(self) -> bool:
        """Do all that is to be done now; return whether anything was."""
        self._is_ready = False
        if not self.is_alive or self.loop.is_held:
            return False
        ran, when_boot_s = self.loop.turn()
        if when_boot_s is not None and when_boot_s != self._timer_boot_s:
            time_s = max(self._world.now_s, self._clock.true_s(when_boot_s)) + LATE_S
            if time_s < self._timer_s:  # else an earlier one is set, and this one then
                self._timer_s, self._timer_boot_s = time_s, when_boot_s
                self._world.at(time_s, self._timer, time_s)
        return ran

    def _be_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._world.ready.append(self)

    def _timer(self, time_s: float) -> bool:
        if time_s == self._timer_s:
            self._timer_s, self._timer_boot_s = float("inf"), None
            self._be_ready()
        return False
