"""TCP servers that answer like brokers on a bad day, and a bus under observation."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Self

from powerd.core.model import Notice
from powerd.signals.bus import Bus, Presence
from powerd.signals.endpoint import BusOptions
from powerd.signals.mqtt import OnMessage

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ACCEPT_311 = bytes([0x20, 0x02, 0x00, 0x00])
ONLINE_TOPIC = "powerd/v1/hel1/rack/r17/host/n3/online"
BUDGET_TOPIC = "powerd/v1/hel1/rack/r17/budget"


async def until(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Wait for a condition; TimeoutError if it does not come true."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - conditions look at objects that signal nothing
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def tcp_server(answer: Answer) -> AsyncIterator[str]:
    """Serve on a free port and give its URL; connections are closed at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await answer(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        for writer in writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def connect_version(reader: asyncio.StreamReader) -> int:
    """Read a CONNECT packet and return its protocol level: 5, or 4 for MQTT 3.1.1."""
    await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    packet = await reader.readexactly(length)
    return packet[2 + int.from_bytes(packet[:2], "big")]


class Observed:
    """A bus that does not wait between attempts, and all it said."""

    def __init__(
        self,
        options: BusOptions,
        *filters: str,
        on_message: OnMessage | None = None,
        presence: Presence | None = None,
        subscriptions: Mapping[str, int] | None = None,
    ) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.notices = list[Notice]()
        self.waits_s: list[float] = []
        self.bus = Bus(
            options,
            filters=subscriptions or dict.fromkeys(filters, 1),
            on_message=on_message or self._record,
            on_notice=self.notices.append,
            presence=presence,
            rng=random.Random(1),
            sleep=self._sleep,
        )

    def events(self) -> list[str]:
        return [notice.event for notice in self.notices]

    def payloads(self) -> list[bytes]:
        return [payload for _, payload, _ in self.messages]

    async def connected(self) -> None:
        await until(lambda: self.bus.status().connected)

    async def disconnected(self) -> None:
        await until(lambda: not self.bus.status().connected)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.bus.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def _record(self, topic: str, payload: bytes, retained: bool) -> None:
        self.messages.append((topic, payload, retained))

    async def _sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        await asyncio.sleep(0.01)


def presence(topic: str = ONLINE_TOPIC) -> Presence:
    return Presence(topic, lambda online: json.dumps({"online": online}).encode())


def options(url: str, **changes: object) -> BusOptions:
    return BusOptions(url, "powerd-hel1-r17-n3", **changes)  # type: ignore[arg-type] # keys of the class itself
