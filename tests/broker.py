"""A real Mosquitto for tests and benchmarks: on a free loopback port, to be stopped, killed and stalled."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_START_TIMEOUT_S = 10.0
_POLL_S = 0.005


def _ports() -> Iterator[int]:
    """Return the ports of this process, over and over; no two workers of one run have one in common.

    They are below those that the kernel gives to outgoing connections: one of these could take one meanwhile.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(20_000 + worker % 8 * 1_500, 20_000 + worker % 8 * 1_500 + 1_500)
    start = random.SystemRandom().randrange(len(ports))
    return itertools.cycle((*ports[start:], *ports[:start]))


_PORTS = _ports()


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago, another one each time."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports of this process never end")


class Mosquitto:
    """One broker process. The port stays the same over restarts.

    Args:
        directory: for its configuration, log and store.
        port: 0 = a free one.
        persistence: keep retained messages over restarts.
        settings: further lines of mosquitto.conf(5).
        tls: whether `settings` make the listener speak TLS.
    """

    # What its command begins with, such as the way into a network namespace.
    prefix: tuple[str, ...] = ()

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        persistence: bool = False,
        settings: Sequence[str] = (),
        tls: bool = False,
    ) -> None:
        self.port = port or free_port()
        self.url = f"{'mqtts' if tls else 'mqtt'}://localhost:{self.port}"
        self.persistence = persistence
        self._settings = tuple(settings)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def running(self) -> bool:
        """Return whether the process is there, stalled or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the process id."""
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """Return what the broker wrote since its first start."""
        return (self._directory / "mosquitto.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        if self.running:
            raise RuntimeError("the broker is already running")
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "mosquitto.conf"
        config.write_text("\n".join((*self._defaults(), *self._settings)) + "\n", encoding="utf-8")
        with (self._directory / "mosquitto.log").open("ab") as log:
            command = [*self.prefix, _executable("mosquitto"), "-c", str(config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._wait_until_it_accepts()

    def stop(self) -> None:
        """End it with SIGTERM: it says goodbye to its clients and saves its store."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL: sockets break, unsaved changes are lost."""
        self._end(signal.SIGKILL)

    def stall(self) -> None:
        """Freeze it with SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stalled broker go on."""
        self._signal(signal.SIGCONT)

    def restart(self, *, persistence: bool | None = None) -> None:
        """Stop and start, with the retained messages (`persistence=True`) or without them."""
        if persistence is not None:
            self.persistence = persistence
        self.stop()
        if not self.persistence:
            self._store.unlink(missing_ok=True)
        self.start()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish one message from outside, with mosquitto_pub."""
        command = [_executable("mosquitto_pub"), "-p", str(self.port), "-t", topic, "-q", str(qos)]
        flags = ["-s" if payload else "-n", *(["-r"] if retain else [])]
        subprocess.run([*command, *flags], input=payload, check=True, timeout=10)

    def retained(self, topic: str) -> bytes | None:
        """Return what the broker has stored for one topic; None, after a second, if nothing."""
        command = [_executable("mosquitto_sub"), "-p", str(self.port), "-t", topic, "-q", "1", "-N"]
        run = subprocess.run([*command, "-C", "1", "-W", "1"], capture_output=True, check=False, timeout=10)
        return run.stdout or None

    @property
    def _store(self) -> Path:
        return self._directory / "mosquitto.db"

    def _defaults(self) -> tuple[str, ...]:
        return (
            *self._listeners(),
            "allow_anonymous true",
            "user root",  # only looked at when started by root: without it the store would be unreadable
            "log_dest stderr",  # unlike stdout not buffered
            "set_tcp_nodelay true",
            f"persistence {'true' if self.persistence else 'false'}",
            f"persistence_location {self._directory}/",
        )

    def _listeners(self) -> tuple[str, ...]:
        return (f"listener {self.port} 127.0.0.1",)

    def _knock(self) -> None:
        """Connect and hang up; OSError if nobody is there."""
        socket.create_connection(("127.0.0.1", self.port), timeout=1).close()

    def _wait_until_it_accepts(self) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if not self.running:
                raise RuntimeError(f"mosquitto did not start: {self.log}")
            with contextlib.suppress(OSError):
                self._knock()
                return
            time.sleep(_POLL_S)
        raise TimeoutError(f"mosquitto does not accept connections: {self.log}")

    def _end(self, number: signal.Signals) -> None:
        if not self._process:
            return
        self._signal(number)
        self._signal(signal.SIGCONT)  # a stopped process takes SIGTERM only when it goes on
        self._process.wait(timeout=10)
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)


def _executable(name: str) -> str:
    """Find a program; Debian installs brokers where only root's PATH leads."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not path:
        raise RuntimeError(f"{name} is not installed: apt-get install mosquitto mosquitto-clients")
    return path
