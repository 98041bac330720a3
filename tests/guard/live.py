"""A guard with its real threads and socket, in a thread of the test; its driver can be made to hang."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from powerd.guard.config import GuardConfig
from powerd.guard.protocol import decode, encode
from powerd.guard.server import Loop, Server
from tests.guard.rig import HostDriver


class HangingDriver(HostDriver):
    """Calls for the GPUs in `hanging` block until `let_go`."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.hanging: set[str] = set()
        self._let_go = threading.Event()

    def set_limit(self, uuid: str, limit_mw: int) -> None:
        if uuid in self.hanging:
            self._let_go.wait(60)
        super().set_limit(uuid, limit_mw)

    def let_go(self) -> None:
        self.hanging = set()
        self._let_go.set()


class LiveGuard:
    """A guard that has attached its driver."""

    def __init__(self, config: GuardConfig, driver: HangingDriver) -> None:
        self.path = config.socket
        self.driver = driver
        self.loop = Loop(config, driver)
        self._server = Server(config, self.loop)
        self._stopping = threading.Event()
        self._posted = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        with self.peer() as peer:
            peer.receive()
            peer.ask(id=1, op="read")  # answered when the driver is attached

    def stop(self) -> None:
        """Close the socket and all connections, and let the calls that hang return."""
        if self._stopping.is_set():
            return
        self.loop._completions.post(self._stopping.set)  # in the loop's own thread, so that it wakes up
        self._posted.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self.loop.run_until(self._stopping.is_set)
        assert self._posted.wait(10), "the pipe that wakes it up is closed below, and must not be in use"
        self._server.close()
        self.driver.let_go()
        gpus = self.loop.keeper._fleet.gpus.values()
        assert self.loop.run_until(lambda: all(gpu.running is None for gpu in gpus), 10)
        self.loop.detach()
        self._await_threads()
        self.loop.selector.close()
        os.close(self.loop._completions.readable)
        os.close(self.loop._completions.writable)

    def _await_threads(self) -> None:
        """Wait until no worker is about to write to the pipe that is closed next."""
        workers = self.loop._workers
        for worker in (workers._attach_worker(), *workers._by_uuid.values()):
            idle = threading.Event()
            worker.do(idle.set)
            assert idle.wait(10)

    @contextmanager
    def peer(self) -> Iterator["Peer"]:
        """Connect by hand."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(self.path)
            with connection.makefile("rb") as file:
                yield Peer(connection, file)

    @property
    def connections(self) -> int:
        """How many sockets the loop watches, besides its listener and its pipe."""
        return len(self.loop.selector.get_map()) - 2


class Peer:
    """A connection that sends whatever it likes."""

    def __init__(self, connection: socket.socket, file: BinaryIO) -> None:
        self.connection = connection
        self._file = file

    def send(self, data: bytes) -> None:
        # The guard may close the door before all is sent; what it said can still be received.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.sendall(data)

    def receive(self) -> dict[str, Any]:
        """Return the next reply; empty at the end of the stream."""
        try:
            line = self._file.readline()
        except ConnectionResetError:  # the end of a stream whose other side had not read everything
            return {}
        return decode(line) if line else {}

    def ask(self, **request: Any) -> dict[str, Any]:
        self.send(encode(request))
        return self.receive()


@contextmanager
def live_guard(directory: Path, **settings: Any) -> Iterator[LiveGuard]:
    """Run a guard of two GPUs."""
    guard = LiveGuard(GuardConfig(socket=str(directory / "guard.sock"), **settings), HangingDriver(2))
    try:
        yield guard
    finally:
        guard.stop()


def eventually(condition: Callable[[], bool]) -> bool:
    """Return whether a condition comes true."""
    end_s = time.monotonic() + 10
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.005)
    return condition()
