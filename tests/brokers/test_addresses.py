"""A cluster behind one name with several addresses: hosts spread over its nodes, and pass over a dead one."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from powerd.signals.mqtt import connect
from tests.broker import free_port
from tests.signals.stubs import Observed, connect_version, options, until

NODES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
ACCEPTED = bytes([0x20, 0x02, 0x00, 0x00])


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `localhost` be the name of three nodes."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *arguments: Any, **more: Any) -> list[Any]:
        names = NODES if host == "localhost" else (host,)
        return [found for name in names for found in real(name, port, *arguments, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


class Node:
    """Accepts connections on one address; answers them, or keeps silent."""

    def __init__(self, seen: Counter[str], *, silent: bool = False) -> None:
        self._seen = seen
        self._silent = silent

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._seen[writer.get_extra_info("sockname")[0]] += 1
        await connect_version(reader)
        if not self._silent:
            writer.write(ACCEPTED)
        await reader.read()
        writer.close()


@contextlib.contextmanager
def deaf(address: str, port: int) -> Iterator[None]:
    """Hold a port where packets are dropped: the queue of connections that nobody accepts is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        yield


async def test_hosts_spread_over_the_nodes_of_a_cluster(named: None) -> None:
    port, seen = free_port(), Counter[str]()
    async with contextlib.AsyncExitStack() as stack:
        for address in NODES:
            await stack.enter_async_context(await asyncio.start_server(Node(seen), address, port))
        for _ in range(60):
            async with connect(options(f"mqtt://localhost:{port}", protocol="3.1.1")):
                pass
    # Each has 20 on average; fewer than 5 come by chance once in 300,000 runs.
    assert all(seen[address] >= 5 for address in NODES), seen


async def test_a_node_that_is_down_and_one_that_drops_packets_are_passed_over(
    named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("powerd.signals.mqtt.DIAL_TIMEOUT_S", 0.1)
    port, seen = free_port(), Counter[str]()
    with deaf(NODES[1], port):
        async with await asyncio.start_server(Node(seen), NODES[2], port):
            for _ in range(10):
                async with connect(options(f"mqtt://localhost:{port}", protocol="3.1.1")):
                    pass
    assert seen == {NODES[2]: 10}


async def test_a_node_that_accepts_and_keeps_silent_is_left_at_one_of_the_next_attempts(
    named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that has lost its cluster does that."""
    monkeypatch.setattr("powerd.signals.mqtt.ANSWER_TIMEOUT_S", 0.1)
    port, seen = free_port(), Counter[str]()
    async with contextlib.AsyncExitStack() as stack:
        for address in NODES:
            silent = address != NODES[2]
            await stack.enter_async_context(
                await asyncio.start_server(Node(seen, silent=silent), address, port)
            )
        async with Observed(options(f"mqtt://localhost:{port}", protocol="3.1.1")) as host:
            await host.connected()
            await until(lambda: seen[NODES[2]] == 1)


async def test_a_name_all_of_whose_addresses_are_dead_says_why(named: None) -> None:
    url = f"mqtt://localhost:{free_port()}"
    async with Observed(options(url)) as host:
        await until(lambda: "Connection refused" in host.bus.status().error)
