"""How many connections the endpoint holds: each is a file descriptor, and files need descriptors too.

Invariant: clients that ask for nothing keep nobody out. At the limit the oldest connection on which nothing
is asked makes room for the new one; only where all are being answered is the new one refused.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

Admit: TypeAlias = Callable[[], asyncio.Protocol]

_MOST = 1536
# There are two doors, and the other half of the descriptors is for everything else.
_PART_OF_DESCRIPTORS = 4


class Door:
    """The connections of one application.

    Args:
        most: how many there may be; a few more for a moment.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._asking: set[web.RequestHandler] = set()

    def middleware(self) -> Middleware:
        """Return what notes on which connections something is asked."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = request.protocol
            self._asking.add(connection)
            try:
                return await handler(request)
            finally:
                self._asking.discard(connection)

        return note

    def admission(self, runner: web.AppRunner) -> Admit:
        """Return the factory of the connections of a running application."""

        def admit() -> asyncio.Protocol:
            server = runner.server  # None once it has ended
            return server() if server is not None and self._has_room(server) else _Refused()

        return admit

    def _has_room(self, server: web.Server) -> bool:
        open_ones = [connection for connection in server.connections if connection.transport is not None]
        if len(open_ones) < self._most:
            return True
        idle = next((connection for connection in open_ones if connection not in self._asking), None)
        if idle is None:
            return False
        idle.force_close()
        return True


class _Refused(asyncio.Protocol):
    """A connection that is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def most_connections() -> int:
    """Return how many connections one door may hold, by what the system lets this process open."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST, descriptors // _PART_OF_DESCRIPTORS)
