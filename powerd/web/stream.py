"""Server-sent events: every finished iteration, to a few listeners that keep up.

Invariant: a listener costs bounded memory and never holds up the publisher. One that does not keep up is cut
off; a browser connects again by itself.
"""

import asyncio
from http import HTTPStatus

from aiohttp import web

# An operations desk has a few pages open; more is a script gone wild.
MAX_LISTENERS = 64
# Snapshots that may wait for one listener: a few periods' worth.
_MAX_WAITING = 8
_RETRY_AFTER_S = "5"


class Stream:
    """The listeners of `/v1/stream`."""

    def __init__(self) -> None:
        self._listeners: dict[asyncio.Queue[bytes | None], asyncio.Transport] = {}

    @property
    def listeners(self) -> int:
        """Return how many are connected."""
        return len(self._listeners)

    def send(self, event: bytes) -> None:
        """Queue one event for every listener; cut off those that are too far behind."""
        for queue, transport in tuple(self._listeners.items()):
            if queue.full():
                del self._listeners[queue]
                transport.abort()  # ends the write that the listener blocks
            else:
                queue.put_nowait(event)

    def close(self) -> None:
        """End every stream."""
        for queue, transport in self._listeners.items():
            if queue.full():
                transport.abort()
            else:
                queue.put_nowait(None)
        self._listeners.clear()

    async def serve(self, request: web.Request, first: bytes | None) -> web.StreamResponse:
        """Answer one listener until it leaves, falls behind, or the server stops.

        Args:
            request: its request.
            first: the event of the latest iteration, if there is one.
        """
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the listener left before it was answered")
        if len(self._listeners) >= MAX_LISTENERS:
            raise web.HTTPServiceUnavailable(
                text=f"{MAX_LISTENERS} listeners are connected already: poll /v1/status instead",
                headers={"Retry-After": _RETRY_AFTER_S},
            )
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_WAITING)
        if first is not None:
            queue.put_nowait(first)
        response = web.StreamResponse(
            status=HTTPStatus.OK,
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"},
        )
        self._listeners[queue] = transport
        try:
            await response.prepare(request)
            while (event := await queue.get()) is not None:
                await response.write(event)
        except ConnectionResetError:
            return response  # it left, or was cut off
        finally:
            self._listeners.pop(queue, None)
        return response


def event(name: str, number: int, data: str) -> bytes:
    """Return one event; `data` is a single line."""
    return f"event: {name}\nid: {number}\ndata: {data}\n\n".encode()
