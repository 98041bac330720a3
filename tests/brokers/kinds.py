"""The brokers that powerd is proven with, each with the way into it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.authority import Authority
from tests.broker import Mosquitto
from tests.brokers.login import Login
from tests.brokers.nats import Nats


class Server(Protocol):
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
        knows_qos_2: otherwise it ends the connection of who uses it.
    """

    server: Server
    url: str
    login: Callable[[str], Login] = lambda _name: Login()
    spoken: str = "5"
    mqtt: Mapping[str, Any] | None = None
    knows_qos_2: bool = True


def mosquitto_311(directory: Path, _ours: Authority) -> Kind:
    """Return a broker that is spoken to in MQTT 3.1.1."""
    server = Mosquitto(directory)
    return Kind(server, server.url, spoken="3.1.1", mqtt={"protocol": "3.1.1"})


def mosquitto_5(directory: Path, _ours: Authority) -> Kind:
    """Return a broker as it comes."""
    server = Mosquitto(directory)
    return Kind(server, server.url)


def mosquitto_tls(directory: Path, ours: Authority) -> Kind:
    """Return a broker that shows a certificate, and asks for none."""
    server = Mosquitto(directory, tls=True, settings=_certificates(ours))
    return Kind(server, server.url, lambda _name: Login(ca_file=ours.ca_file))


def nats(directory: Path, _ours: Authority) -> Kind:
    """Return a NATS server as it comes, but for JetStream and MQTT."""
    return _of_nats(Nats(directory))


def nats_tls(directory: Path, ours: Authority) -> Kind:
    """Return a NATS server that shows a certificate, and asks for none."""
    certificate, key = ours.issue("localhost", alternatives="IP:127.0.0.1")
    server = Nats(directory, mqtt=[f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'])
    return _of_nats(server, "mqtts", lambda _name: Login(ca_file=ours.ca_file))


def _of_nats(
    server: Nats, scheme: str = "mqtt", login: Callable[[str], Login] = lambda _name: Login()
) -> Kind:
    url = f"{scheme}://localhost:{server.port}"
    return Kind(server, url, login, spoken="3.1.1", knows_qos_2=False)


def _certificates(ours: Authority) -> tuple[str, ...]:
    certificate, key = ours.issue("localhost", alternatives="IP:127.0.0.1")
    return (f"cafile {ours.ca_file}", f"certfile {certificate}", f"keyfile {key}")
