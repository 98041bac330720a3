"""What an order is carried out with: the loop, the guard, and what holds."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from powerd.clock import Clock
from powerd.core.gpus.targets import may_draw_mw
from powerd.core.state import Config
from powerd.core.units import watts
from powerd.daemon.gate import Gate
from powerd.daemon.host_gpus import HostGpus
from powerd.desk.changes import Change, Changes
from powerd.desk.in_force import InForce
from powerd.desk.order import RefusedOrderError
from powerd.snapshot import Snapshot


class Hands(NamedTuple):
    """What orders are carried out with.

    Attributes:
        changes: of the loop.
        gate: whether limits are written.
        orders: what holds.
        config: asked when it is needed, since it can be reloaded.
    """

    changes: Changes
    gate: Gate
    orders: InForce
    gpus: HostGpus
    clock: Clock
    config: Callable[[], Config]

    async def wait_until(self, condition: Callable[[], bool], within_s: float) -> Snapshot:
        """Wait for an iteration after which a condition is true, for a bounded time; return the last one."""
        deadline_s = self.clock.now().boot_s + within_s
        snapshot = await self.changes.next_iteration()
        while not condition() and self.clock.now().boot_s < deadline_s:
            snapshot = await self.changes.next_iteration()
        return snapshot

    @asynccontextmanager
    async def leases_given_back(self) -> AsyncIterator[None]:
        """Deal with no other host inside; nothing is lent or borrowed then.

        Raises:
            RefusedOrderError: watts are still in use elsewhere.
        """
        self.orders.gives_leases_back = True
        try:
            snapshot = await self.changes.make(nothing)
            # After that no lease that was made before can be in use.
            deadline_s = self.clock.now().boot_s + self.config().leases.count_s + 2 * snapshot.period_s
            while snapshot.leases and self.clock.now().boot_s < deadline_s:
                snapshot = await self.changes.next_iteration()
            if snapshot.leases:
                raise RefusedOrderError("watts lent to other hosts are not back yet")
            yield
        finally:
            self.orders.gives_leases_back = False


async def nothing() -> None:
    """Change nothing."""


def at_once(change: Callable[[], None]) -> Change:
    """Return a change that waits for nothing."""

    async def make() -> None:
        change()

    return make


def most_text(snapshot: Snapshot) -> str:
    """Return what the GPUs may draw together, for people."""
    known = [mw for mw in map(may_draw_mw, snapshot.readings) if mw is not None]
    return f"{watts(sum(known)):,g} W"
