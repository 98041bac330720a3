"""How much of the event loop's time answers may take when many ask: half of it, however many they are.

The control loop runs on the same event loop. Without a pace, a hundred clients that ask again and again would
have a hundred answers made between two steps of an iteration.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

# So many who wait at once are no crowd: the next one is answered at once.
_FEW = 1


class Pace:
    """Has answers made one at a time; in a crowd, what one took passes again before the next."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0

    def paced(self, handler: Handler) -> Handler:
        """Return a handler that waits for its turn; `handler` itself must not wait for anything."""

        async def handle(request: web.Request) -> web.StreamResponse:
            await self._wait()
            loop = asyncio.get_running_loop()
            begun_s = loop.time()
            try:
                return await handler(request)
            finally:
                took_s = loop.time() - begun_s
                loop.call_later(took_s if self._waiting > _FEW else 0.0, self._turn.release)

        return handle

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
