"""The network between one host and its broker, as bad as anybody wants it.

A TCP proxy on the loopback interface, for plaintext and TLS alike since it looks at no byte. All proxies of
a process share one thread. What it does to a connection is what networks do: refuse, hold back in one
direction or both, delay, forget a connection that both ends believe in, reset.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from tests.broker import free_port

_Value = TypeVar("_Value")

_CHUNK_BYTES = 65_536
_ANSWER_WITHIN_S = 10.0
# Closing a socket with this option sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Network:
    """The thread that all doors live in. A context manager that closes them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._doors: list[Door] = []

    def door(self, port: int) -> "Door":
        """Return a new way to a port of the loopback interface, open."""
        door = Door(self, port)
        self._doors.append(door)
        return door

    def close(self) -> None:
        """Close all doors, and end the thread."""
        for door in self._doors:
            door.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_WITHIN_S)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, _Value]) -> _Value:
        """Have something done in the thread, and return what comes of it."""
        done: Future[_Value] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(_ANSWER_WITHIN_S)


class _Passage:
    """One connection through a door."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        # Forgotten by the network: nothing gets through any more, whatever becomes of the door.
        self.is_lost = False

    def close(self, *, reset: bool) -> None:
        for writer in (self.client, self.server):
            if writer is None:
                continue
            if reset:
                transport = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()


class Door:
    """A way to a port that can be made bad.

    Attributes:
        port: connect here.
    """

    def __init__(self, network: Network, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._network = network
        self._server: asyncio.Server | None = None
        self._passages: set[_Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # By direction: to the broker, from the broker.
        self._delay_s = 0.0
        self._open = [asyncio.Event(), asyncio.Event()]
        self.restore()

    def restore(self) -> None:
        """Let everything through again; what was held back arrives late."""
        self._network.run(self._restore())

    def refuse(self) -> None:
        """Cut all connections, and refuse new ones."""
        self._network.run(self._refuse())

    def reset(self) -> None:
        """Cut all connections with RST; new ones are welcome."""
        self._network.run(self._cut(reset=True))

    def hold(self, *, to_broker: bool = True, from_broker: bool = True) -> None:
        """Let nothing through in a direction or both, and end no connection."""
        self._network.run(self._hold(to_broker, from_broker))

    def delay(self, seconds: float) -> None:
        """Let everything through so much later."""
        self._delay_s = seconds

    def forget(self) -> None:
        """Never again let anything through the connections of now; both ends go on believing in them."""
        self._network.run(self._forget())

    async def _restore(self) -> None:
        self._delay_s = 0.0
        for event in self._open:
            event.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut(reset=False)

    async def _cut(self, *, reset: bool) -> None:
        for passage in tuple(self._passages):
            passage.close(reset=reset)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, *directions: bool) -> None:
        for event, is_held in zip(self._open, directions, strict=True):
            if is_held:
                event.clear()

    async def _forget(self) -> None:
        for passage in self._passages:
            passage.is_lost = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = _Passage(writer)
        task = asyncio.current_task()
        assert task is not None
        self._passages.add(passage)
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._pass(passage, reader)
        finally:
            passage.close(reset=False)
            self._passages.discard(passage)
            self._tasks.discard(task)

    async def _pass(self, passage: _Passage, from_client: asyncio.StreamReader) -> None:
        from_server, passage.server = await asyncio.open_connection("127.0.0.1", self._target)
        ways = (
            asyncio.ensure_future(self._pump(passage, 0, from_client, passage.server)),
            asyncio.ensure_future(self._pump(passage, 1, from_server, passage.client)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self, passage: _Passage, direction: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            data = await reader.read(_CHUNK_BYTES)
            await self._open[direction].wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if passage.is_lost:
                await asyncio.Event().wait()  # for ever: neither data nor an end gets through
            if not data:
                return
            writer.write(data)
            await writer.drain()
