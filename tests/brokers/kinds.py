"""The brokers that powerd is proven with, each with the way into it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.authority import Authority
from tests.broker import Mosquitto
from tests.brokers.login import Login
from tests.brokers.nats import Nats


class Broker(Protocol):
    """What tests do with a broker's process, or with those of a cluster."""

    port: int

    @property
    def log(self) -> str:
        """Return what it wrote."""

    def start(self) -> None:
        """Start it and wait until it accepts connections."""

    def kill(self) -> None:
        """End it with SIGKILL."""


@dataclass(frozen=True)
class Kind:
    """One broker, not started.

    Attributes:
        server: its process, or that of a cluster's node.
        login: how a client of some name gets in.
        url: for daemons.
        spoken: the version of MQTT that is spoken in the end.
        mqtt: further keys of `[mqtt]`.
    """

    server: Broker
    url: str
    login: Callable[[str], Login] = lambda _name: Login()
    spoken: str = "5"
    mqtt: Mapping[str, Any] | None = None


def mosquitto_311(directory: Path, _ours: Authority) -> Kind:
    """Return a broker that is spoken to in MQTT 3.1.1."""
    server = Mosquitto(directory)
    return Kind(server, server.url, spoken="3.1.1", mqtt={"protocol": "3.1.1"})


def mosquitto_5(directory: Path, _ours: Authority) -> Kind:
    """Return a broker as it comes."""
    server = Mosquitto(directory)
    return Kind(server, server.url)


def nats(directory: Path, _ours: Authority) -> Kind:
    """Return a NATS server as it comes, but for JetStream and MQTT."""
    server = Nats(directory)
    return Kind(server, f"mqtt://localhost:{server.port}", spoken="3.1.1")
