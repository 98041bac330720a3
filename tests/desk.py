"""A daemon's loop, over the real guard with GPUs in memory, and the desk that takes its orders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from powerd.clock import SystemClock, boot_id
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.state import initial_state
from powerd.core.topology import Host
from powerd.daemon.controller import Controller, Options, Report
from powerd.daemon.host_gpus import HostGpus
from powerd.desk import file
from powerd.desk.desk import Desk, Done, OrderEntry, RefusedOrderError, Who
from powerd.desk.file import Kept
from powerd.desk.hands import Hands
from powerd.desk.memory import OrderMemory
from powerd.guard.client import GuardClient
from powerd.mode import Mode
from powerd.snapshot import BusStatus, Snapshot
from tests.core.make import W, config, rack
from tests.guard.live import LiveGuard, live_guard

PERIOD_S = 0.02
ANNA = Who(1000, 1000, 4242, "anna")
# Two GPUs of 100 to 500 W, 400 W by default; no overhead.
CONFIG = config(of=rack(hosts=(Host("h1", 1.0, 200 * W),), hard_limit=2000, failsafe=500), overhead=0)


@dataclass
class Daemon:
    """A loop on two GPUs, and its desk.

    Attributes:
        entries: what the desk has told.
    """

    guard: LiveGuard
    loop: Controller
    gpus: HostGpus
    clock: SystemClock
    entries: list[OrderEntry] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    desk: Desk = field(init=False)
    seq: int = 0

    def hear(self, watts: float, lease_s: float = 60.0) -> None:
        """Hear a budget."""
        now = self.clock.now()
        self.seq += 1
        end_s = now.wall_s + lease_s
        message = BudgetMessage("facility", 1, self.seq, now.wall_s, end_s, round(watts * W), now)
        self.loop.submit(message)

    async def until(self, condition: Callable[[Snapshot], bool]) -> Snapshot:
        """Wait for an iteration of which something is true."""
        async with asyncio.timeout(10):
            while not condition(snapshot := await self.loop.changes.next_iteration()):
                pass
        return snapshot

    async def obey(self, watts: float) -> None:
        """Hear a budget, and wait until all of it is in the limits."""
        self.hear(watts)
        await self.until(lambda _: self.limits_w() == [min(500, watts / 2)] * 2)

    def limits_w(self) -> list[float]:
        """Return what is in effect."""
        return [gpu.effective_mw / W for gpu in self.guard.driver.gpus.values()]

    def holds_driver(self) -> bool:
        """Return whether the guard has the driver open."""
        return self.guard.driver.is_open

    async def refusal(self, order: Awaitable[Done]) -> str:
        """Return why an order is refused."""
        with pytest.raises(RefusedOrderError) as refused:
            await order
        assert (self.entries[-1].outcome, self.entries[-1].refused) == (str(refused.value), True)
        return str(refused.value)


@asynccontextmanager
async def running(directory: Path, mode: Mode = "enforce", kept: Kept | None = None) -> AsyncIterator[Daemon]:
    """Run a loop, its guard and its desk."""
    with live_guard(directory, state_dir=str(directory), call_deadline_s=0.5) as guard:
        clock = SystemClock(assume_synced=True)
        gpus = HostGpus(GuardClient(guard.path), clock, read_within_s=2.0, plan_within_s=2.0)
        file.save(directory, boot_id(), kept or Kept())
        memory = OrderMemory(directory, boot_id(), mode, lambda _: None)
        reports: list[Report] = []
        loop = Controller(
            Options("hel1", "r1", "h1", mode, PERIOD_S),
            CONFIG,
            initial_state(clock.now()),
            clock=clock,
            gpus=gpus,
            report=reports.append,
            bus_status=lambda: BusStatus("none"),
            orders=memory.orders,
        )
        daemon = Daemon(guard, loop, gpus, clock, reports=reports)
        hands = Hands(loop.changes, loop.gate, memory.orders, gpus, clock, lambda: CONFIG)
        daemon.desk = Desk(hands, daemon.entries.append)
        task = asyncio.create_task(loop.run())
        try:
            yield daemon
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await gpus._guard.close()
