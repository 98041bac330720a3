"""The endpoint from outside: what it answers, and what it refuses."""

import asyncio
import json
import resource
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from powerd.errors import ConfigError
from powerd.metrics.exposition import Metrics
from powerd.snapshot import GuardStatus, Snapshot
from powerd.web.server import WebServer, bind_unix, parse_listen
from powerd.web.stream import MAX_LISTENERS
from tests.web import host

if TYPE_CHECKING:
    from tests.web.conftest import Clock, Endpoint

READS = (
    "/",
    "/healthz",
    "/readyz",
    "/v1/status",
    "/v1/explain?gpu=0",
    "/v1/events",
    "/v1/history",
    "/metrics",
    "/openapi.json",
)


async def next_event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the data of the next server-sent event."""
    async with asyncio.timeout(5):
        while True:
            line = await response.content.readline()
            if line.startswith(b"data: "):
                data: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                return data


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """Send raw bytes; return all that comes back until the server closes."""
    writer.write(request)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("path", READS)
async def test_every_path_answers_and_is_never_cached_or_sniffed(endpoint: "Endpoint", path: str) -> None:
    async with endpoint.session.get(endpoint.url + path) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", READS)
async def test_head_answers_like_get_without_a_body(endpoint: "Endpoint", path: str) -> None:
    async with endpoint.session.head(endpoint.url + path) as response:
        assert response.status == 200
        assert await response.read() == b""


async def test_the_unix_socket_answers_the_same(endpoint: "Endpoint") -> None:
    connector = aiohttp.UnixConnector(str(endpoint.socket_path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://any.name/v1/status") as over_socket,
        endpoint.session.get(endpoint.url + "/v1/status") as over_tcp,
    ):
        assert await over_socket.json() == await over_tcp.json()


async def test_the_socket_is_for_owner_and_group_and_goes_when_the_server_goes(
    metrics: Metrics, clock: "Clock", tmp_path: Path
) -> None:
    path = tmp_path / "powerd.sock"
    async with WebServer(lambda: None, clock, metrics, socket_path=path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


async def test_a_socket_left_by_a_dead_daemon_is_taken_over(
    metrics: Metrics, clock: "Clock", tmp_path: Path
) -> None:
    path = tmp_path / "powerd.sock"
    bind_unix(path).close()
    assert path.exists()
    async with WebServer(lambda: None, clock, metrics, socket_path=path):
        pass


async def test_a_socket_that_another_daemon_serves_is_left_alone(endpoint: "Endpoint") -> None:
    with pytest.raises(ConfigError, match=r"http\.socket: another process listens on"):
        bind_unix(endpoint.socket_path)
    async with endpoint.session.get(endpoint.url + "/healthz") as response:
        assert response.status == 200
    assert endpoint.socket_path.is_socket()


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "powerd.sock"
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a socket"):
        bind_unix(path)
    assert path.read_text(encoding="utf-8") == "precious"


def test_a_socket_that_cannot_be_made_names_the_key_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"http\.socket: cannot listen on .*: No such file or directory"):
        bind_unix(tmp_path / "missing" / "powerd.sock")
    with pytest.raises(ConfigError, match=r'http\.socket_group: there is no group "nobody-has-this"'):
        bind_unix(tmp_path / "powerd.sock", "nobody-has-this")


async def test_a_taken_port_is_one_line_that_names_the_key(
    endpoint: "Endpoint", metrics: Metrics, clock: "Clock"
) -> None:
    second = WebServer(lambda: None, clock, metrics, listen=f"127.0.0.1:{endpoint.server.port}")
    with pytest.raises(
        ConfigError, match=r"http\.listen: cannot listen on 127\.0\.0\.1:\d+: Address already"
    ):
        await second.start()


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:9780", ("127.0.0.1", 9780)), ("[::1]:80", ("::1", 80)), ("n3.example:0", ("n3.example", 0))],
)
def test_listen_is_address_and_port(listen: str, expected: tuple[str, int]) -> None:
    assert parse_listen(listen) == expected


@pytest.mark.parametrize("listen", ["", "9780", ":9780", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_a_malformed_listen_names_the_key(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.listen"):
        parse_listen(listen)


@pytest.mark.parametrize(("path", "status"), [(b"/healthz", b"200"), (b"/nothing", b"404")])
@pytest.mark.parametrize("expected", [b"100-continue", b"200-ok", b"\xd5"])
async def test_what_a_client_expects_is_passed_over(
    endpoint: "Endpoint", path: bytes, status: bytes, expected: bytes
) -> None:
    reader, writer = await asyncio.open_unix_connection(endpoint.socket_path)
    head = b"Host: localhost\r\nConnection: close\r\nExpect: " + expected
    answer = await exchange(reader, writer, b"GET " + path + b" HTTP/1.1\r\n" + head + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "localhost:9780", "[::1]:9780", "LOCALHOST"])
async def test_requests_to_this_machine_are_answered(endpoint: "Endpoint", name: str) -> None:
    async with endpoint.session.get(endpoint.url + "/healthz", headers={"Host": name}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "name",
    [
        *("evil.example", "evil.example:9780", "localhost.evil.example", "a@b", "", ":"),
        *("localhost#.evil.example", "localhost?.evil.example", "localhost:80x", "%6cocalhost"),
    ],
)
async def test_a_rebound_dns_name_reads_nothing(endpoint: "Endpoint", name: str) -> None:
    async with endpoint.session.get(endpoint.url + "/v1/status", headers={"Host": name}) as response:
        assert response.status == 421
        assert list(await response.json()) == ["error"]


async def test_a_name_that_the_operator_gave_is_answered(
    snapshot: Snapshot, metrics: Metrics, clock: "Clock"
) -> None:
    server = WebServer(lambda: snapshot, clock, metrics, listen="127.0.0.1:0", names=["r17-n3"])
    async with server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}/healthz"
        async with session.get(url, headers={"Host": "r17-n3:9780"}) as response:
            assert response.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_tcp_is_read_only(endpoint: "Endpoint", method: str) -> None:
    async with endpoint.session.request(method, endpoint.url + "/v1/status") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"
        assert "read-only" in (await response.json())["error"]


async def test_a_body_is_refused_without_being_read(endpoint: "Endpoint") -> None:
    body = b"x" * 100_000
    async with endpoint.session.get(endpoint.url + "/v1/status", data=body) as response:
        assert response.status == 413


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing", "/v1/status/"])
async def test_unknown_paths_are_one_line_of_json(endpoint: "Endpoint", path: str) -> None:
    async with endpoint.session.get(endpoint.url + path) as response:
        assert response.status == 404
        body = await response.text()
    assert list(json.loads(body)) == ["error"]
    assert body.count("\n") == 1


async def test_an_unknown_gpu_is_404_and_lists_the_known_ones(endpoint: "Endpoint") -> None:
    async with endpoint.session.get(endpoint.url + "/v1/explain?gpu=9") as response:
        assert response.status == 404
        assert "known: 0 GPU-00aa-0" in (await response.json())["error"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_too_large_or_not_http_is_refused_and_the_next_is_served(
    endpoint: "Endpoint", request_bytes: bytes
) -> None:
    connection = await asyncio.open_connection("127.0.0.1", endpoint.server.port)
    answer = await exchange(*connection, request_bytes)
    assert answer.startswith(b"HTTP/1.")
    assert b" 400 " in answer.splitlines()[0]
    async with endpoint.session.get(endpoint.url + "/healthz") as response:
        assert response.status == 200


async def test_health_follows_the_loop_and_nothing_else(endpoint: "Endpoint", clock: "Clock") -> None:
    shown = endpoint.shown[0]
    assert shown is not None
    endpoint.show(
        replace(shown, guard=GuardStatus("gone"), readings=(), bus=replace(shown.bus, connected=False))
    )
    async with endpoint.session.get(endpoint.url + "/healthz") as response:
        assert response.status == 200
    clock.boot_s += 3.2
    async with endpoint.session.get(endpoint.url + "/healthz") as response:
        assert response.status == 503
        assert (await response.json())["healthy"] is False


async def test_readiness_lists_what_is_missing(endpoint: "Endpoint", clock: "Clock") -> None:
    async with endpoint.session.get(endpoint.url + "/readyz") as response:
        assert (response.status, await response.json()) == (200, {"ready": True, "reasons": []})
    clock.boot_s += 60
    async with endpoint.session.get(endpoint.url + "/readyz") as response:
        assert response.status == 503
        assert len((await response.json())["reasons"]) > 1


async def test_before_the_first_iteration_nothing_is_healthy_or_invented(endpoint: "Endpoint") -> None:
    endpoint.show(None)
    for path in ("/healthz", "/readyz", "/v1/status", "/v1/explain?gpu=0"):
        async with endpoint.session.get(endpoint.url + path) as response:
            assert response.status == 503
    async with endpoint.session.get(endpoint.url + "/metrics") as response:
        assert "powerd_budget_watts{" not in await response.text()


async def test_a_defect_is_one_line_and_tells_a_stranger_nothing(
    clock: "Clock", metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Snapshot:
        raise RuntimeError("an inside story")

    server = WebServer(broken, clock, metrics, listen="127.0.0.1:0")
    async with server, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{server.port}/v1/status") as response:
            assert response.status == 500
            assert "inside" not in await response.text()
        async with session.get(f"http://127.0.0.1:{server.port}/openapi.json") as response:
            assert response.status == 200
    assert "an inside story" in "".join(capsys.readouterr())


async def test_the_stream_begins_with_the_present_and_tells_every_iteration(endpoint: "Endpoint") -> None:
    shown = endpoint.shown[0]
    assert shown is not None
    async with endpoint.session.get(endpoint.url + "/v1/stream") as response:
        assert response.content_type == "text/event-stream"
        assert (await next_event(response))["iteration"] == 7
        for iteration in (8, 9):
            endpoint.server.publish(replace(shown, iteration=iteration))
        assert [(await next_event(response))["iteration"] for _ in range(2)] == [8, 9]


async def test_listeners_are_bounded(endpoint: "Endpoint") -> None:
    url = endpoint.url + "/v1/stream"
    responses = [await endpoint.session.get(url) for _ in range(MAX_LISTENERS)]
    async with endpoint.session.get(url) as response:
        assert response.status == 503
        assert response.headers["Retry-After"]
    for listener in responses:
        listener.close()


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """Let this process open a few hundred files; return how many connections a door may then hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    yield 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_connections_on_which_nothing_is_asked_keep_nobody_out(
    few_descriptors: int, endpoint: "Endpoint"
) -> None:
    async with endpoint.session.get(endpoint.url + "/v1/stream") as listener:
        await next_event(listener)
        idle = [
            await asyncio.open_connection("127.0.0.1", endpoint.server.port)
            for _ in range(few_descriptors + 20)
        ]
        async with asyncio.timeout(5):
            assert await idle[0][0].read() == b""  # the oldest made room
        async with endpoint.session.get(endpoint.url + "/v1/status") as response:
            assert response.status == 200
        assert not idle[-1][0].at_eof()
        endpoint.server.publish(host.snapshot(host.decided()))
        assert (await next_event(listener))["host"] == "r17-n3"
    for _, writer in idle:
        writer.close()


async def test_an_order_that_is_not_on_this_door_is_refused_with_the_door_it_is_on(
    endpoint: "Endpoint",
) -> None:
    for order in ("override", "release", "detach", "attach", "mode", "drill"):
        for method in ("POST", "GET", "PUT"):
            async with endpoint.session.request(method, f"{endpoint.url}/v1/{order}") as response:
                assert response.status == 405
                assert str(endpoint.socket_path) in (await response.json())["error"]


async def test_a_listener_that_does_not_read_is_cut_off_and_the_others_are_not(endpoint: "Endpoint") -> None:
    shown = endpoint.shown[0]
    assert shown is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.server.port, limit=1024)
    writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readexactly(1)
    async with endpoint.session.get(endpoint.url + "/v1/stream") as response, asyncio.timeout(30):
        await next_event(response)
        iteration = shown.iteration
        assert endpoint.server.listeners == 2
        while endpoint.server.listeners == 2:
            iteration += 1
            endpoint.server.publish(replace(shown, iteration=iteration))
            assert (await next_event(response))["iteration"] == iteration
        assert iteration > shown.iteration + 8
        endpoint.server.publish(replace(shown, iteration=iteration + 1))
        assert (await next_event(response))["iteration"] == iteration + 1
    writer.close()


async def test_stopping_ends_the_streams(snapshot: Snapshot, clock: "Clock", metrics: Metrics) -> None:
    server = WebServer(lambda: snapshot, clock, metrics, listen="127.0.0.1:0")
    await server.start()
    async with aiohttp.ClientSession() as session, asyncio.timeout(5):
        response = await session.get(f"http://127.0.0.1:{server.port}/v1/stream")
        await next_event(response)
        await server.stop()
        assert b"data:" not in await response.read()


async def test_openapi_describes_the_paths_that_exist_and_no_others(endpoint: "Endpoint") -> None:
    async with endpoint.session.get(endpoint.url + "/openapi.json") as response:
        described = (await response.json())["paths"]
    reads = {path for path, operations in described.items() if list(operations) == ["get"]}
    assert reads == {path.partition("?")[0] for path in READS} | {"/v1/stream", "/v1/events/{id}/report"}
    orders = {path for path, operations in described.items() if list(operations) == ["post"]}
    assert orders == described.keys() - reads
    assert orders == {
        f"/v1/{order}" for order in ("override", "release", "detach", "attach", "mode", "drill")
    }


async def test_the_page_is_small_whole_and_runs_only_its_own_script(endpoint: "Endpoint") -> None:
    async with endpoint.session.get(endpoint.url + "/") as response:
        policy = response.headers["Content-Security-Policy"]
        html = await response.text()
    assert len(html.encode()) < 100_000
    addresses = html.replace("http://www.w3.org/2000/svg", "")  # a name; nothing is fetched from there
    assert "http://" not in addresses
    assert "https://" not in addresses
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "innerHTML" not in html
    assert (html.count("<script"), html.count("<style"), html.count(" style=")) == (1, 1, 0)
