"""A real Mosquitto for tests and benchmarks: on a free loopback port."""

import contextlib
import itertools
import os
import random
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.server import Server, executable


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


class Mosquitto(Server):
    """One broker process. The port stays the same over restarts.

    Args:
        directory: for its configuration, log and store.
        port: 0 = a free one.
        persistence: keep retained messages over restarts.
        settings: further lines of mosquitto.conf(5).
        tls: whether `settings` make the listener speak TLS.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        persistence: bool = False,
        settings: Sequence[str] = (),
        tls: bool = False,
    ) -> None:
        super().__init__("mosquitto", directory)
        self.port = port or free_port()
        self.url = f"{'mqtts' if tls else 'mqtt'}://localhost:{self.port}"
        self.persistence = persistence
        self._settings = tuple(settings)

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
        command = [executable("mosquitto_pub"), "-p", str(self.port), "-t", topic, "-q", str(qos)]
        flags = ["-s" if payload else "-n", *(["-r"] if retain else [])]
        subprocess.run([*command, *flags], input=payload, check=True, timeout=10)

    def retained(self, topic: str) -> bytes | None:
        """Return what the broker has stored for one topic; None, after a second, if nothing."""
        command = [executable("mosquitto_sub"), "-p", str(self.port), "-t", topic, "-q", "1", "-N"]
        run = subprocess.run([*command, "-C", "1", "-W", "1"], capture_output=True, check=False, timeout=10)
        return run.stdout or None

    @property
    def _store(self) -> Path:
        return self._directory / "mosquitto.db"

    def configuration(self) -> str:
        """Return the text of its configuration file."""
        return "\n".join((*self._defaults(), *self._settings)) + "\n"

    def knock(self) -> None:
        """Connect and hang up; OSError if nobody is there."""
        socket.create_connection(("127.0.0.1", self.port), timeout=1).close()

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
