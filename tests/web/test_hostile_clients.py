"""Clients that mean harm: what each is answered, and that the next one is served as if nothing had been."""

import asyncio
import gzip
import json
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from powerd.metrics.exposition import Metrics
from powerd.snapshot import Snapshot
from powerd.web import order_routes
from powerd.web import server as web_server
from powerd.web.order_routes import ORDERS
from powerd.web.server import WebServer
from tests.desk import running

if TYPE_CHECKING:
    from tests.web.conftest import Clock, Endpoint

SOON_S = 1.0
WITHIN_S = 20.0
READS = ("/", "/healthz", "/readyz", "/v1/status", "/v1/history", "/v1/stream", "/metrics", "/openapi.json")
GET = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n"
STATUS = GET + b"\r\n"


@dataclass
class Raw:
    """A connection by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def end(self) -> bytes:
        """Return all that comes until the server closes."""
        answer = b""
        async with asyncio.timeout(WITHIN_S):
            with suppress(ConnectionResetError):
                while chunk := await self.reader.read(65536):
                    answer += chunk
        self.writer.close()
        with suppress(ConnectionResetError, BrokenPipeError):
            await self.writer.wait_closed()
        return answer

    async def status(self) -> int:
        """Return the status of one answer, and hang up."""
        async with asyncio.timeout(WITHIN_S):
            line = await self.reader.readline()
        self.writer.close()
        with suppress(ConnectionResetError, BrokenPipeError):
            await self.writer.wait_closed()
        return int(line.split()[1])


async def opened(endpoint: "Endpoint", request: bytes = b"") -> Raw:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", endpoint.server.port))
    raw.writer.write(request)
    return raw


async def answered(endpoint: "Endpoint", request: bytes) -> int:
    return await (await opened(endpoint, request)).status()


async def trickle(raw: Raw, of: bytes) -> None:
    """Send a byte now and then, as long as the server listens."""
    with suppress(ConnectionError):
        for byte in of:
            raw.writer.write(bytes((byte,)))
            await raw.writer.drain()
            await asyncio.sleep(SOON_S / 20)


@pytest.fixture
async def impatient(
    snapshot: Snapshot, clock: "Clock", metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[int]:
    """Run a server that waits less long; return its port."""
    monkeypatch.setattr(web_server, "_IDLE_TIMEOUT_S", SOON_S)
    server = WebServer(lambda: snapshot, clock, metrics, listen="127.0.0.1:0")
    async with server:
        assert server.port
        yield server.port


@pytest.fixture
async def order_socket(
    snapshot: Snapshot, clock: "Clock", metrics: Metrics, tmp_path: Path
) -> AsyncIterator[Path]:
    """Run the door that takes orders."""
    path = tmp_path / "orders.sock"
    async with (
        running(tmp_path) as daemon,
        WebServer(lambda: snapshot, clock, metrics, socket_path=path, desk=daemon.desk),
    ):
        yield path
        connector = aiohttp.UnixConnector(str(path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://x/v1/status") as response,
        ):
            assert response.status == 200


@pytest.fixture(autouse=True)
async def served_afterwards(endpoint: "Endpoint") -> AsyncIterator[None]:
    """Prove after each test that an honest client gets its answer."""
    yield
    async with endpoint.session.get(endpoint.url + "/v1/status") as response:
        assert response.status == 200


async def test_headers_that_never_end_are_not_waited_for(impatient: int) -> None:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", impatient))
    sending = asyncio.create_task(trickle(raw, b"GET /v1/status HTTP/1.1\r\nX: " + b"x" * 4000))
    assert await raw.end() == b""
    await sending


async def test_a_second_request_that_never_ends_is_not_waited_for(impatient: int) -> None:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", impatient))
    raw.writer.write(STATUS)
    sending = asyncio.create_task(trickle(raw, STATUS[:-2] + b"X: " + b"x" * 4000))
    answer = await raw.end()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.") == 1
    await sending


async def test_an_order_that_is_never_sent_to_its_end_is_not_waited_for(
    order_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_routes, "_BODY_WITHIN_S", SOON_S)
    head = b"POST /v1/attach HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    # By hand: a stream that can no longer write would not read what has come either.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, str(order_socket))

        async def send() -> None:
            await loop.sock_sendall(raw, head + b"Content-Length: 4000\r\n\r\n")
            with suppress(ConnectionError):
                for _ in range(4000):
                    await loop.sock_sendall(raw, b" ")
                    await asyncio.sleep(SOON_S / 20)

        sending = asyncio.create_task(send())
        async with asyncio.timeout(WITHIN_S):
            answer = await loop.sock_recv(raw, 65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        await sending


async def test_an_order_that_is_compressed_is_not_unpacked(order_socket: Path) -> None:
    """4 KiB could become 4 MiB."""
    bomb = gzip.compress(b'{"reason":"' + b" " * 3_000_000 + b'"}')
    assert len(bomb) < 4096
    connector = aiohttp.UnixConnector(str(order_socket))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post("http://x/v1/attach", data=bomb, headers=headers) as response,
    ):
        assert response.status == 400
        assert "UTF-8" in (await response.json())["error"]


async def test_an_order_in_chunks_is_no_larger_than_another(order_socket: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 1000

    connector = aiohttp.UnixConnector(str(order_socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        order = session.post(
            "http://x/v1/attach", data=chunks(), headers={"Content-Type": "application/json"}
        )
        with suppress(aiohttp.ClientError):  # the door may be shut before all was sent
            async with order as response:
                assert response.status == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_a_web_page_can_send_without_asking_is_no_order(order_socket: Path, kind: str) -> None:
    connector = aiohttp.UnixConnector(str(order_socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(
            "http://x/v1/attach", data=b'{"reason": "a try"}', headers={"Content-Type": kind}
        ) as response,
    ):
        assert response.status == 415


async def test_a_web_page_gives_no_orders(endpoint: "Endpoint") -> None:
    """Not by a form, not by a script, and it is not told that it might."""
    origins = ("http://evil.example", "null", endpoint.url)
    for order, origin, method in product(ORDERS, origins, ("POST", "OPTIONS", "PUT", "DELETE")):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        url = f"{endpoint.url}{order.path}"
        async with endpoint.session.request(method, url, headers=headers) as response:
            assert response.status == 405
            assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_a_rebound_name_reads_no_path(endpoint: "Endpoint") -> None:
    names = ("evil.example", "127.0.0.1.evil.example:9780", "localhost.", "[::1].evil", "localhost@evil")
    for path, name in product(READS, names):
        request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
        assert await answered(endpoint, request) in (400, 421), (path, name)


NOT_FOR_US = (
    b"GET /v1/status HTTP/1.0\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\n\r\n",
    GET + b"Host: evil.example\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost : localhost\r\n\r\n",
    GET + b"A: b\r\n c\r\n\r\n",
    GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    GET + b"Content-Length: +5\r\n\r\n",
    GET + b"X: \x00\r\n\r\n",
    GET + b"X: y\r\n" * 65 + b"\r\n",
    b"GET /v1/status HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"MAKE /v1/attach HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"get /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"HEAD /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


async def test_what_is_not_plain_http_for_this_server_is_refused(endpoint: "Endpoint") -> None:
    for request in NOT_FOR_US:
        assert 400 <= await answered(endpoint, request) < 500, request


PATHS = (
    "/../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/v1/..%2f..%2f..%2fetc%2fpasswd",
    "//etc/passwd",
    "/v1/events/..%2f..%2fsecret/report",
    "/page.html",
    "/v1/status/../../powerd.toml",
)


async def test_no_path_leads_to_a_file(endpoint: "Endpoint") -> None:
    for path in PATHS:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        raw = await opened(endpoint, request.encode())
        head, _, body = (await raw.end()).partition(b"\r\n\r\n")
        assert int(head.split()[1]) in (400, 404), path
        assert list(json.loads(body)) == ["error"]


async def test_nothing_becomes_a_websocket(endpoint: "Endpoint") -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    assert await answered(endpoint, GET + upgrade + key + b"\r\n") == 200


async def test_ten_thousand_requests_in_one_go_are_answered_as_they_are_read(endpoint: "Endpoint") -> None:
    """Who reads nothing gets no more than fits on the way to him."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    raw = await opened(endpoint)
    with suppress(ConnectionError, TimeoutError):
        raw.writer.write(STATUS * 10_000)
        async with asyncio.timeout(SOON_S):
            await raw.writer.drain()
    async with endpoint.session.get(endpoint.url + "/v1/status") as response:
        assert response.status == 200
    raw.writer.transport.abort()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024


async def test_every_answer_keeps_other_pages_out(endpoint: "Endpoint") -> None:
    for path in (*READS, "/v1/nothing"):
        async with endpoint.session.get(endpoint.url + path) as response:
            headers = response.headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Server"] == "powerd", "and no version of anything"
        assert "Set-Cookie" not in headers


async def test_what_a_client_says_comes_back_as_data(endpoint: "Endpoint") -> None:
    for hostile in ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\nb\x1b[2J"):
        async with endpoint.session.get(endpoint.url + "/v1/explain", params={"gpu": hostile}) as response:
            assert response.status == 404
            assert response.content_type == "application/json"
            text = await response.text()
        assert text.count("\n") == 1
        assert "\x1b" not in text


async def test_a_question_that_makes_no_sense_is_the_clients_mistake(endpoint: "Endpoint") -> None:
    """It is told so, and nothing fails in here."""
    days = ("2026-13-45T00:00:00Z", "0001-01-01T00:00:00Z")
    for since in ("1e400", "nan", "-1", "9" * 3000, "\u0663h", "1\x00h", "", *days):
        async with endpoint.session.get(endpoint.url + "/v1/history", params={"since": since}) as response:
            assert response.status in (200, 400), since
    for gpu in ("", "-1", "9" * 3000, "\u0663", "%", "\U0001f600"):
        async with endpoint.session.get(endpoint.url + "/v1/explain", params={"gpu": gpu}) as response:
            assert response.status in (400, 404), gpu
