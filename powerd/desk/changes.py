"""Changes of how the loop runs: each is made between two iterations, never within one."""

import asyncio
from collections.abc import Awaitable, Callable

from powerd.snapshot import Snapshot

Change = Callable[[], Awaitable[None]]


class Changes:
    """Makes changes in the gaps of the loop, and waits for what comes of them.

    Args:
        iterating: held by an iteration.
        wake: called when the next iteration shall begin at once.
    """

    def __init__(self, iterating: asyncio.Lock, wake: Callable[[], None]) -> None:
        self._iterating = iterating
        self._wake = wake
        self._waiting: list[asyncio.Future[Snapshot]] = []

    async def make(self, change: Change) -> Snapshot:
        """Make a change; return the iteration that followed it.

        Raises:
            Exception: what the change raised.
        """
        async with self._iterating:
            await change()
        self._wake()
        return await self.next_iteration()

    async def next_iteration(self) -> Snapshot:
        """Wait for the end of the next iteration, whatever it is due to."""
        iterated: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._waiting.append(iterated)
        return await iterated

    def iterated(self, snapshot: Snapshot) -> None:
        """Tell those who wait that an iteration has ended."""
        waiting, self._waiting = self._waiting, []
        for iterated in waiting:
            if not iterated.done():  # or who waited has gone
                iterated.set_result(snapshot)
