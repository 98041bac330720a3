"""A real daemon is asked, and given orders, whatever its interface document allows and forbids."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

from tests.daemon.rig import Rig

FEW = ("--phases", "coverage,fuzzing", "--max-examples", "4", "--generation-deterministic", "--no-shrink")
QUIET = ("--warnings", "off", "--no-color")


@asynccontextmanager
async def relay(path: Path) -> AsyncIterator[int]:
    """Have a Unix socket behind a TCP port, for clients that know no other; yield the port."""

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(path)
        with closing(to_client), closing(to_server):
            await asyncio.gather(_pass_on(client, to_server), _pass_on(server, to_client))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield listener.sockets[0].getsockname()[1]


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def try_out(port: int, directory: Path, method: str) -> None:
    url = f"http://127.0.0.1:{port}/openapi.json"
    # The stream does not end by itself.
    chosen = ("--include-method", method, "--exclude-path", "/v1/stream")
    command = (sys.executable, "-m", "schemathesis.cli", "run", url, *chosen, *FEW, *QUIET)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=directory)
    said, wrong = await process.communicate()
    assert process.returncode == 0, said.decode()[-5000:] + wrong.decode()[-1000:]


async def test_what_the_network_reads_is_as_described(rig: Rig, tmp_path: Path) -> None:
    await try_out(rig.http_port, tmp_path, "GET")


async def test_whatever_is_posted_to_the_socket_is_answered_as_described(rig: Rig, tmp_path: Path) -> None:
    async with relay(rig.socket) as port:
        await try_out(port, tmp_path, "POST")
    assert rig.get("/healthz").status == 200
    assert "http_failed" not in rig.daemon.log
