"""A real NATS server that speaks MQTT, for tests and benchmarks: one, or three that are a cluster."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.broker import free_port
from tests.brokers.client import Client
from tests.brokers.login import Login
from tests.server import Server, Service

_ELECTION_TIMEOUT_S = 40.0
_POLL_S = 0.02


class Nats(Server):
    """One server process. Ports, and what its store holds, stay the same over restarts.

    Args:
        directory: for its configuration, log and store.
        name: of the server, in its cluster too.
        address: of the loopback interface, for MQTT.
        port: for MQTT; 0 = a free one.
        settings: further blocks of its configuration.
        mqtt: further lines of the block `mqtt`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "n1",
        address: str = "127.0.0.1",
        port: int = 0,
        settings: Sequence[str] = (),
        mqtt: Sequence[str] = (),
    ) -> None:
        super().__init__("nats-server", directory)
        self.name = name
        self.address = address
        self.port = port or free_port()
        self._settings = tuple(settings)
        self._mqtt = tuple(mqtt)
        self._client_port = free_port()
        self._http_port = free_port()

    def look(self, path: str) -> dict[str, Any]:
        """Return what its monitoring says.

        Raises:
            OSError: it does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._http_port, timeout=5)
        try:
            connection.request("GET", path)
            document: dict[str, Any] = json.load(connection.getresponse())
            return document
        finally:
            connection.close()

    def serves(self, client_id: str) -> bool:
        """Say whether a client is connected to this server."""
        return bool(self.look(f"/connz?mqtt_client={client_id}")["connections"])

    def knock(self) -> None:
        """Connect by MQTT and by NATS' own protocol, and hang up; OSError if nobody is there."""
        for port in (self.port, self._client_port):
            socket.create_connection((self.address, port), timeout=1).close()

    def configuration(self) -> str:
        """Return the text of its configuration file."""
        blocks = (
            f"server_name: {self.name}",
            f'http: "127.0.0.1:{self._http_port}"',
            f'listen: "{self.address}:{self._client_port}"',
            f'jetstream {{ store_dir: "{self._directory}" }}',
            "\n".join(("mqtt {", f'listen: "{self.address}:{self.port}"', *self._mqtt, "}")),
            *self._settings,
        )
        return "\n".join(blocks) + "\n"


class NatsCluster(Service):
    """Three servers on three addresses of the loopback interface, MQTT on one port. A context manager.

    Args:
        directory: exists.
        login: of a client that tries whether a node serves.
        mqtt: further lines of the block `mqtt`.
        settings: further blocks of the configuration.

    Attributes:
        nodes: the servers.
        port: of MQTT at all of them.
    """

    def __init__(
        self, directory: Path, *, login: Login, mqtt: Sequence[str] = (), settings: Sequence[str] = ()
    ) -> None:
        self.port = free_port()
        self._login = login
        routes_port = free_port()
        addresses = [f"127.0.0.{number}" for number in (1, 2, 3)]
        routes = ", ".join(f'"nats://{address}:{routes_port}"' for address in addresses)
        self.nodes = [
            Nats(
                directory / address,
                name=f"n{number}",
                address=address,
                port=self.port,
                settings=[
                    f'cluster {{ name: hall, listen: "{address}:{routes_port}", routes: [{routes}] }}',
                    *settings,
                ],
                mqtt=mqtt,
            )
            for number, address in enumerate(addresses, 1)
        ]

    @property
    def log(self) -> str:
        """Return what all of them wrote, one after the other."""
        return "".join(node.log for node in self.nodes)

    def start(self) -> None:
        """Start what does not run, and wait until every node takes clients, so has leaders to talk to."""
        for node in self.nodes:
            if not node.running:
                node.launch()
        for node in self.nodes:
            self._wait_until_served(node)

    def kill(self) -> None:
        """End all of them with SIGKILL."""
        for node in self.nodes:
            node.kill()

    def leader(self, stream: str) -> Nats | None:
        """Return the node that leads one of the streams that MQTT is kept in; None while there is none.

        Raises:
            OSError: the first node that should be running does not answer.
        """
        running = next(node for node in self.nodes if node.running)
        accounts = running.look("/jsz?streams=true&accounts=true")["account_details"]
        streams = [each for account in accounts for each in account["stream_detail"]]
        names = [each["cluster"].get("leader") for each in streams if each["name"] == stream]
        return next((node for node in self.nodes if node.running and node.name in names), None)

    def _wait_until_served(self, node: Nats) -> None:
        deadline_s = time.monotonic() + _ELECTION_TIMEOUT_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError), Client(self.port, self._login, address=node.address):
                return
            time.sleep(_POLL_S)
        raise TimeoutError(f"the cluster takes no clients: {node.log}")
