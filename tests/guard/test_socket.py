"""The socket: whatever a peer sends, the guard answers with a line or closes, and goes on."""

import os
import resource
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from powerd.clock import boot_s
from powerd.errors import ConfigError
from powerd.guard.connection import Connection
from powerd.guard.listener import Listener
from powerd.guard.protocol import MAX_LINE_BYTES, encode
from tests.guard.live import LiveGuard, eventually


def test_the_guard_speaks_first_and_answers_by_id(guard: LiveGuard) -> None:
    with guard.peer() as peer:
        hello = peer.receive()
        assert (hello["id"], hello["ok"], hello["protocol"]) == (0, True, 1)
        reply = peer.ask(id=7, op="read")
        assert (reply["id"], reply["ok"], len(reply["readings"])) == (7, True, 2)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"garbage\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"7\n",
        b'{"op":"read"}\n',
        b'{"id":true,"op":"read"}\n',
        b"[" * 100_000 + b"\n",
        b"x" * (MAX_LINE_BYTES + 1) + b"\n",
        b"x" * (MAX_LINE_BYTES + 65_536 + 1),
    ],
)
def test_what_is_no_request_gets_one_line_and_the_door(guard: LiveGuard, line: bytes) -> None:
    with guard.peer() as peer:
        peer.receive()
        peer.send(line)
        reply = peer.receive()
        assert (reply["id"], reply["ok"]) == (0, False)
        assert "\n" not in reply["error"]
        assert peer.receive() == {}
    with guard.peer() as peer:
        assert peer.receive()["ok"], "and others are served"


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "reboot"},
        {"op": None},
        {"op": "plan"},
        {"op": "plan", "number": 1, "end_boot_s": "soon"},
        {"op": "plan", "number": 1, "end_boot_s": 1e400},
        {"op": "plan", "number": 1, "end_boot_s": True},
        {"op": "plan", "number": 1.5, "end_boot_s": 1e9},
        {"op": "plan", "number": 1, "end_boot_s": 1e9, "cuts": {"GPU-0": 1}},
        {"op": "plan", "number": 1, "end_boot_s": 1e9, "cuts": [{"uuid": "GPU-0"}]},
        {"op": "plan", "number": 1, "end_boot_s": 1e9, "cuts": [{"uuid": 0, "mw": 200_000}]},
        {"op": "plan", "number": 1, "end_boot_s": 1e9, "cuts": [{"uuid": "GPU-0", "mw": 200_000.5}]},
        {"op": "plan", "number": 1, "end_boot_s": 1e9, "cuts": [{"uuid": "GPU-0", "mw": True}]},
        {"op": "plan", "number": 1, "end_boot_s": 1e9, "token": ["x"]},
        {"op": "release"},
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_the_next_one_served(
    guard: LiveGuard, request_: dict[str, object]
) -> None:
    with guard.peer() as peer:
        token = peer.receive()["token"]
        line = encode({"id": 1, "token": token, **request_}) if request_.get("end_boot_s") != 1e400 else None
        peer.send(line or b'{"id":1,"op":"plan","number":1,"end_boot_s":1e400}\n')
        reply = peer.receive()
        assert (reply["id"], reply["ok"]) == (1, False) or "token" not in request_
        assert reply["ok"] is False or request_["op"] == "release"
        assert peer.ask(id=2, op="read")["ok"]
    assert guard.driver.writes == []


def test_a_number_of_hundreds_of_digits_is_refused_and_not_repeated(guard: LiveGuard) -> None:
    """What a peer says comes back in errors, and in the log of who asked."""
    with guard.peer() as peer:
        token = peer.receive()["token"]
        plan = {"op": "plan", "token": token, "end_boot_s": boot_s() + 60}
        assert not peer.ask(id=1, number=10**400, **plan)["ok"]
        assert peer.ask(id=2, number=1, **plan)["ok"], (
            "nor is it the last one that any other must be newer than"
        )
        assert len(peer.ask(id=10**400, op="read")["error"]) < 100


def test_half_lines_are_put_together(guard: LiveGuard) -> None:
    with guard.peer() as peer:
        peer.receive()
        for byte in encode({"id": 1, "op": "read"}):
            peer.send(bytes([byte]))
        assert peer.receive()["id"] == 1


def test_many_requests_in_one_go_are_all_answered(guard: LiveGuard) -> None:
    with guard.peer() as peer:
        peer.receive()
        peer.send(b"".join(encode({"id": number, "op": "read"}) for number in range(1, 21)))
        assert {peer.receive()["id"] for _ in range(20)} == set(range(1, 21))


def test_more_requests_than_can_be_kept_are_refused_not_queued(guard: LiveGuard) -> None:
    guard.driver.hanging = {"GPU-0"}
    with guard.peer() as peer:
        token = peer.receive()["token"]
        cut = [{"uuid": "GPU-0", "mw": 200_000}]
        peer.send(
            encode({"id": 1, "op": "plan", "token": token, "number": 1, "cuts": cut, "end_boot_s": 1e9})
        )
        peer.send(b"".join(encode({"id": number, "op": "read"}) for number in range(2, 200)))
        replies = [peer.receive() for _ in range(199)]
    assert sum("waiting" in reply.get("error", "") for reply in replies) >= 100


def test_clients_that_come_and_go_leave_nothing_behind(guard: LiveGuard) -> None:
    for number in range(100):
        with guard.peer() as peer:
            if number % 2:
                peer.send(b'{"id": 1, "op": "read"}\n{"half')
    assert eventually(lambda: guard.connections == 0)


def test_idle_connections_cannot_lock_the_daemon_out(guard: LiveGuard) -> None:
    idle = []
    for _ in range(40):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(guard.path)
        idle.append(connection)
    with guard.peer() as peer:
        peer.receive()
        assert peer.ask(id=1, op="read")["ok"]
    assert guard.connections <= 17
    for connection in idle:
        connection.close()


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    """Have this process, and so the guard in it, use all the descriptors that it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))  # noqa: PTH208
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_free_descriptor_the_guard_serves_those_it_has_and_does_not_spin(
    guard: LiveGuard, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    again_s = 0.05
    monkeypatch.setattr("powerd.guard.server._ACCEPT_AGAIN_S", again_s)
    with guard.peer() as peer, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as late:
        peer.receive()
        late.settimeout(10)
        begin_s = time.monotonic()
        with no_free_descriptor():
            late.connect(guard.path)
            assert all(peer.ask(id=number, op="read")["ok"] for number in range(100))
            tries = guard._server._not_accepted._untold + 1
            assert 1 <= tries <= 1 + (time.monotonic() - begin_s) / again_s
        assert b'"ok":true' in late.recv(4096), "it is served as soon as that is possible"
        assert capfd.readouterr().err.count("cannot accept a connection: Too many open files\n") == 1


def test_a_client_that_does_not_read_is_closed_and_holds_up_nobody(guard: LiveGuard) -> None:
    with guard.peer() as deaf, guard.peer() as other:
        other.receive()
        deaf.connection.setblocking(False)
        request = encode({"id": 1, "op": "read"})
        end_s = time.monotonic() + 20
        while guard.connections == 2 and time.monotonic() < end_s:
            try:
                deaf.connection.send(request)
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                break
        assert other.ask(id=2, op="read")["ok"]
        assert eventually(lambda: guard.connections == 1)


def test_another_user_is_told_and_turned_away(guard: LiveGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "peer_uid", lambda _self: 12345)
    with guard.peer() as peer:
        reply = peer.receive()
        assert reply["ok"] is False
        assert "user id 12345" in reply["error"]
        assert peer.receive() == {}
    assert guard.connections == 0


def test_the_peers_user_is_the_kernels_word() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        assert Connection(ours, lambda _connection, _want: None).peer_uid() == os.geteuid()


def test_the_socket_is_closed_to_others(guard: LiveGuard) -> None:
    assert stat.S_IMODE(Path(guard.path).stat().st_mode) == 0o660


def test_a_socket_that_a_dead_guard_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "guard.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    listener = Listener(path, "")
    listener.close()
    assert not path.exists()


def test_a_guard_that_listens_is_not_pushed_aside(guard: LiveGuard) -> None:
    with pytest.raises(ConfigError, match="another guard listens"):
        Listener(Path(guard.path), "")
    with guard.peer() as peer:
        assert peer.receive()["ok"]


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "guard.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        Listener(path, "")
    assert path.read_text() == "precious"


def test_an_unknown_client_user_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"guard.client_user: there is no user nobody-here"):
        Listener(tmp_path / "guard.sock", "nobody-here")
