"""Brokers that run from the very files that administrators copy, but for ports, paths and names."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.authority import Authority
from tests.broker import Mosquitto
from tests.brokers.kinds import Kind
from tests.brokers.login import Login
from tests.brokers.nats import Nats

FILES = Path(__file__).parent.parent.parent / "packaging" / "brokers"
PASSWORD = "correct horse"


def adapted(name: str, changes: Mapping[str, str]) -> str:
    """Return a packaged file with these parts replaced; each has to be in it."""
    text = (FILES / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, new)
    return text


def printed(broker: str, participants: str = "") -> str:
    """Return what access.py makes of participants; by default of those that are packaged."""
    command = [sys.executable, str(FILES / "access.py"), broker, "hel1"]
    text = participants or (FILES / "participants.txt").read_text(encoding="utf-8")
    return subprocess.run(command, input=text, capture_output=True, check=True, text=True).stdout


class PackagedMosquitto(Mosquitto):
    """A Mosquitto with mosquitto.conf, and more lines behind it.

    Args:
        changes: parts of the file to replace, besides paths and the port.
    """

    def __init__(
        self, directory: Path, ours: Authority, *more: str, changes: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(directory, tls=True)
        directory.mkdir(parents=True)
        certificate, key = ours.issue("localhost", alternatives="IP:127.0.0.1")
        self._text = adapted(
            "mosquitto.conf",
            {
                "listener 8883": f"listener {self.port} 127.0.0.1",
                "/etc/mosquitto/certs/ca.pem": ours.ca_file,
                "/etc/mosquitto/certs/broker.pem": certificate,
                "/etc/mosquitto/certs/broker.key": key,
                "/etc/mosquitto/powerd.acl": str(FILES / "powerd.acl"),
                "/var/lib/mosquitto/": f"{directory}/",
                **(changes or {}),
            },
        )
        self._more = more

    def _defaults(self) -> tuple[str, ...]:
        return (self._text, "user root", "log_dest stderr", *self._more)


def packaged_mosquitto(directory: Path, ours: Authority) -> Kind:
    """Return the packaged broker: certificates of both sides, and the access list."""
    server = PackagedMosquitto(directory, ours)
    return Kind(server, server.url, by_certificate(ours))


def packaged_mosquitto_with_passwords(directory: Path, ours: Authority) -> Kind:
    """Return the packaged broker as it is with passwords instead of certificates of clients."""
    passwords = directory.parent / "passwords"
    by_password = {
        "require_certificate true": f"password_file {passwords}",
        "use_identity_as_username true": "",
    }
    server = PackagedMosquitto(directory, ours, changes=by_password)
    for number, name in enumerate(("r17-n1", "r17-n2", "facility", "vtn1", "grafana")):
        create = ["-c"] if not number else []
        subprocess.run(["mosquitto_passwd", "-b", *create, passwords, name, PASSWORD], check=True)
    return Kind(server, server.url, lambda name: Login(name, PASSWORD, ours.ca_file))


def packaged_nats(directory: Path, ours: Authority) -> Kind:
    """Return the packaged NATS server, which is alone."""
    server = PackagedNats(directory, ours)
    url = f"mqtts://localhost:{server.port}"
    return Kind(server, url, by_certificate(ours), spoken="3.1.1")


class PackagedNats(Nats):
    """A NATS server with nats.conf, which is alone.

    Attributes:
        client_port: of NATS' own protocol.
    """

    def __init__(self, directory: Path, ours: Authority) -> None:
        super().__init__(directory)
        self.client_port = self._client_port
        directory.mkdir(parents=True)
        certificate, key = ours.issue("localhost", alternatives="IP:127.0.0.1")
        self._packaged = adapted(
            "nats.conf",
            {
                '"127.0.0.1:4222"': f'"127.0.0.1:{self._client_port}"',
                '"0.0.0.0:8883"': f'"127.0.0.1:{self.port}"',
                "/etc/nats/certs/ca.pem": ours.ca_file,
                "/etc/nats/certs/broker.pem": certificate,
                "/etc/nats/certs/broker.key": key,
                "/var/lib/nats": str(directory),
            },
        )
        (directory / "cluster.conf").touch()
        users = (FILES / "powerd-users.conf").read_text(encoding="utf-8")
        (directory / "powerd-users.conf").write_text(users, encoding="utf-8")

    def configuration(self) -> str:
        """Return the text of its configuration file."""
        return self._packaged


class by_certificate:  # noqa: N801 - a function with a memory
    """Makes logins by certificates, each issued once."""

    def __init__(self, ours: Authority) -> None:
        self._ours = ours

    def __call__(self, name: str) -> Login:
        certificate, key = self._ours.directory / f"{name}.pem", self._ours.directory / f"{name}.key"
        if not certificate.exists():
            self._ours.issue(name)
        return Login(ca_file=self._ours.ca_file, cert_file=str(certificate), key_file=str(key))
