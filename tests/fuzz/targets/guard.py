"""The guard's socket in both directions, and the files that it finds at its start."""

import asyncio
import json
import selectors
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from powerd.clock import boot_id
from powerd.core.model import GpuReading, Plan, Write
from powerd.errors import GuardError
from powerd.guard.client import GuardClient
from powerd.guard.config import GuardConfig
from powerd.guard.keeper import BASELINE_FILE, DETACHED_FILE, PLAN_FILE
from powerd.guard.plans import RefusedError
from powerd.guard.protocol import MAX_MW as MAX_STORED_MW
from powerd.guard.server import Loop, Server
from tests.fuzz.oracle import check_lines
from tests.fuzz.place import directory
from tests.guard.rig import DEFAULT_MW, MIN_MW, Rig, W

CEILING_MW = 450 * W
HOST_CEILING_MW = 850 * W
_TEXT_CHARACTERS = 600
# After so many turns of the event loop a daemon that has an answer has sent its next request.
_TURNS = 10
_BOOT = boot_id().encode()


def guard_requests(data: bytes) -> None:
    """A guard answers each line, obeys no ceiling's breach, falls back in time, and serves the next client.

    `TOKEN` in a request stands for the token of the connection; time stands at 1000 s.
    """
    with _guard() as (rig, server):
        answers = list(_asked(rig, server, data))
        for answer in answers:
            assert isinstance(answer["id"], int)
            assert answer["ok"] in (True, False)
            if not answer["ok"]:
                check_lines(answer["error"], _TEXT_CHARACTERS)
        check_limits(rig)
        if b"TOKEN" not in data:
            assert all(write.mw <= DEFAULT_MW for write in rig.driver.writes), "raised without the token"
        before_mw = rig.driver.sum_mw
        rig.advance(400.0)
        assert rig.driver.sum_mw <= before_mw, "raised without a plan"
        check_limits(rig)
        again = list(_asked(rig, server, b'{"id":1,"op":"read"}\n'))
        assert [len(each["readings"]) for each in again if each["id"] == 1] == [2]


def check_limits(rig: Rig) -> None:
    """Prove that nothing was written out of range, and that the limits sum up to no more than they may."""
    assert all(MIN_MW <= write.mw <= CEILING_MW for write in rig.driver.writes)
    assert rig.driver.sum_mw <= HOST_CEILING_MW


@contextmanager
def _guard() -> Iterator[tuple[Rig, Server]]:
    place = _fresh()
    config = GuardConfig(
        socket=str(place / "guard.sock"),
        state_dir=str(place),
        ceiling_watts=CEILING_MW / W,
        host_ceiling_watts=HOST_CEILING_MW / W,
    )
    rig = Rig(place, config=config)
    server = Server(config, cast("Loop", _Still(rig)))
    try:
        yield rig, server
    finally:
        server.close()
        server._selector.close()


class _Still:
    """In the place of the guard's loop: the same keeper and selector, without its threads and its clock."""

    def __init__(self, rig: Rig) -> None:
        self.keeper = rig.keeper
        self.selector = selectors.DefaultSelector()


def _asked(rig: Rig, server: Server, data: bytes) -> Iterator[dict[str, Any]]:
    """Send bytes as a client, and yield what is answered until nothing more comes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(server._keeper._config.socket)
        _serve(rig, server)
        client.sendall(data.replace(b"TOKEN", rig.keeper._token.encode()))
        _serve(rig, server)
        rig.advance(1.5)
        _serve(rig, server)
        client.setblocking(False)
        received = b""
        with suppress(BlockingIOError, ConnectionResetError):
            while chunk := client.recv(1 << 20):
                received += chunk
    for line in received.splitlines():
        yield json.loads(line)
    _serve(rig, server)


def _serve(rig: Rig, server: Server) -> None:
    while ready := server._selector.select(0):
        for key, events in ready:
            key.data(events)
        rig.settle()


def guard_files(data: bytes) -> None:
    """A guard starts whatever it finds, and what it finds raises no limit. `BOOT` stands for this boot."""
    place = _fresh()
    content = data.replace(b"BOOT", _BOOT)
    for name in (PLAN_FILE, BASELINE_FILE, DETACHED_FILE):
        (place / name).write_bytes(content)
    rig = Rig(place)
    rig.advance(400.0)
    assert rig.driver.sum_mw <= 2 * DEFAULT_MW
    assert all(write.mw <= DEFAULT_MW for write in rig.driver.writes)
    rig.keeper.attach(rig.token, lambda reply: None)
    rig.settle()
    outcomes = rig.plan(cuts={0: 200, 1: 200}, fallback={0: 100, 1: 100})
    assert [outcome.result for outcome in outcomes.values()] == ["applied", "applied"]
    rig.advance(6.0)
    assert rig.driver.sum_mw == 2 * MIN_MW, "a plan that ended is fallen back from, whatever was stored"
    replies: list[dict[str, Any]] = []
    with suppress(RefusedError):
        rig.keeper.release(rig.token, replies.append)
        rig.settle()
    assert all(0 <= write.mw <= MAX_STORED_MW for write in rig.driver.writes)


def guard_answers(data: bytes) -> None:
    """Whatever a guard says, each call of the daemon ends, with an answer or as the documented error.

    The first line is said at once, each other one as soon as there may be a request; then it hangs up.
    """
    _loop().run_until_complete(_answered(data))


async def _answered(data: bytes) -> None:
    said = data.split(b"\n")
    path = str(directory() / "answers.sock")
    answered = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in said:
            writer.write(line + b"\n")
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        answered.set()

    server = await asyncio.start_unix_server(answer, path)
    client = GuardClient(path)
    try:
        await client.connect()
        report = await client.read()
        assert all(isinstance(reading, GpuReading) for reading in report.readings)
        await client.plan(Plan((Write("GPU-0", 1000),), (), (), 1005.0))
        await client.release()
        await client.attach()
    except GuardError as error:
        check_lines(str(error), _TEXT_CHARACTERS)
    finally:
        await client.close()
        await answered.wait()
        server.close()
        await server.wait_closed()


_LOOPS: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process; what goes wrong in it unheard is a finding."""
    if not _LOOPS:
        _LOOPS.append(asyncio.new_event_loop())
        _LOOPS[0].set_exception_handler(_unheard)
    return _LOOPS[0]


def _unheard(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    raise AssertionError(str(context)) from context.get("exception")


def _fresh() -> Path:
    place = directory() / "guard"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place
