"""A rack whose network can be cut: the broker and some hosts in a room, the other hosts on a cable each."""

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.broker import Mosquitto, free_port
from tests.daemon.facility import Facility
from tests.daemon.rack import LeaseTimes, Rack
from tests.faults.network import ROOM_ADDRESS, Network

_ANSWER_WITHIN_S = 5.0


class RoomBroker(Mosquitto):
    """A broker in a network namespace. From outside it is reached by its Unix socket.

    Attributes:
        socket: its path.
    """

    def __init__(self, directory: Path, *, port: int, enter: tuple[str, ...]) -> None:
        super().__init__(directory, port=port)
        self.prefix = enter
        self.socket = directory / "mqtt.sock"

    def _listeners(self) -> tuple[str, ...]:
        return (f"listener {self.port}", f"listener 0 {self.socket}")

    def knock(self) -> None:
        """Connect and hang up; OSError if nobody is there."""
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(self.socket))


class RoomFacility(Facility):
    """A facility controller beside the broker: it speaks whatever becomes of the cables."""

    def __init__(self, broker: RoomBroker) -> None:
        super().__init__(broker.port)
        self._socket = broker.socket

    def _connected(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, transport="unix")
        client.connect(str(self._socket), keepalive=0)
        deadline_s = time.monotonic() + _ANSWER_WITHIN_S
        while not client.is_connected():
            if client.loop(0.01) != mqtt.MQTT_ERR_SUCCESS or time.monotonic() > deadline_s:
                raise ConnectionError(f"the broker at {self._socket} does not answer")
        return client


class CabledRack(Rack):
    """A rack with the broker and most hosts in a room, and a cable to each of the others.

    Args:
        far: hosts that are on a cable.

    Attributes:
        network: all of it; `heal` mends all cables.
        cables: by host.
    """

    def __init__(self, directory: Path, library: Path, far: Sequence[str], times: LeaseTimes) -> None:
        self.network = Network()
        port = free_port()
        mqtt_table = {"url": f"mqtt://{ROOM_ADDRESS}:{port}", "allow_plaintext": True}
        super().__init__(directory, library, times=times, tables={"mqtt": mqtt_table})
        broker = RoomBroker(directory / "broker", port=port, enter=self.network.room.enter)
        self.broker, self.facility = broker, RoomFacility(broker)
        self.grants = self.facility.grants
        self.cables = {name: self.network.cable() for name in far}
        for name, host in self.hosts.items():
            host.move_daemon(self.cables[name].enter if name in self.cables else self.network.room.enter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.network.__exit__(kind, error, trace)
