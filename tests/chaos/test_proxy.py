"""The network of the chaos does what networks do."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Door, Network
from tests.daemon.waiting import boot_s

WITHIN_S = 10.0
HOLD_S = 0.3


def echo(connection: socket.socket) -> None:
    with connection, contextlib.suppress(ConnectionError):
        while data := connection.recv(65_536):
            connection.sendall(data)


@pytest.fixture
def door() -> Iterator[Door]:
    """Return a door to somebody who repeats what is said."""
    network = Network()
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.closing(network):

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield network.door(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join(WITHIN_S)


def connected(door: Door) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", door.port), timeout=WITHIN_S)
    assert said(client, b"hello") == b"hello"
    return client


def said(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(65_536)


def hears_nothing(client: socket.socket) -> bool:
    client.settimeout(HOLD_S)
    try:
        client.recv(65_536)
    except TimeoutError:
        return True
    finally:
        client.settimeout(WITHIN_S)
    return False


def test_what_is_refused_is_cut_and_comes_back(door: Door) -> None:
    with connected(door) as client:
        door.refuse()
        assert client.recv(1) == b""
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", door.port), timeout=WITHIN_S)
        door.restore()
        connected(door).close()


@pytest.mark.parametrize("direction", ["to_broker", "from_broker"])
def test_what_is_held_back_arrives_late_and_ends_nothing(door: Door, direction: str) -> None:
    with connected(door) as client:
        door.hold(**{"to_broker": False, "from_broker": False, direction: True})
        client.sendall(b"late")
        assert hears_nothing(client)
        door.restore()
        assert client.recv(100) == b"late"


def test_what_is_delayed_arrives_later(door: Door) -> None:
    with connected(door) as client:
        door.delay(HOLD_S)
        begun_s = boot_s()
        assert said(client, b"late") == b"late"
        assert boot_s() - begun_s >= 2 * HOLD_S


def test_what_is_forgotten_stays_so_and_new_connections_work(door: Door) -> None:
    with connected(door) as client:
        door.forget()
        client.sendall(b"lost")
        assert hears_nothing(client)
        door.restore()
        assert hears_nothing(client)
        connected(door).close()


def test_what_is_reset_ends_with_an_error(door: Door) -> None:
    with connected(door) as client:
        door.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        connected(door).close()
