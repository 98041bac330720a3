"""Abuse of a real guard's socket: after each, a good plan is served, and nothing of what came is kept."""

import array
import json
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from powerd.clock import boot_s
from powerd.guard.pace import RAISES_PER_S
from powerd.guard.protocol import MAX_LINE_BYTES, Message, decode, encode
from tests.daemon.processes import PYTHON, Process, clean_environment
from tests.daemon.waiting import wait_until
from tests.fake_nvml import FakeNvml, build

GPUS = 4
WITHIN_S = 30.0
SERVED_MW = 120_000
# Below what a GPU may have, and below what all of them have at first.
CEILING_MW, HOST_CEILING_MW = 350_000, 1_000_000
READ = encode({"id": 1, "op": "read"})
UNKNOWN = encode({"id": 1, "op": "unknown"})
# What the allocator may keep, besides what it has after one deaf client; each that stayed would cost two.
KEPT_BYTES = 6 * 2**20


class Peer:
    """A connection that has read the guard's first line."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.connect(str(path))  # without a time limit it waits while the backlog is full
            self.socket.settimeout(WITHIN_S)
        except OSError:
            self.socket.close()
            raise
        self.lines = self.socket.makefile("rb")
        self.token = self.receive().get("token")
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.lines.close()
        self.socket.close()

    def receive(self) -> Message:
        """Return the next line; empty at the end of the stream."""
        try:
            line = self.lines.readline()
        except ConnectionResetError:
            return {}
        return decode(line) if line else {}

    def send(self, data: bytes) -> bool:
        """Send all of it; say whether that worked."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def ask(self, **request: Any) -> Message:
        self.send(encode({"id": 1, **request}))
        return self.receive()

    def ask_without_reading(self) -> None:
        """Ask until the guard has had enough."""
        while self.send(UNKNOWN * 1000):
            pass

    def plan(self, **plan: Any) -> Message:
        self._number += 1
        meant = {"op": "plan", "token": self.token, "number": self._number, "end_boot_s": boot_s() + 60}
        return self.ask(**(meant | plan))


class Guard:
    """A guard process with fake GPUs."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "g" / "guard.sock"
        self.host = FakeNvml(build(directory / "lib"), directory / "gpus", gpus=GPUS)
        self.uuids = [gpu.uuid.decode() for gpu in self.host.gpus]
        config = directory / "powerd.toml"
        # The group of the socket may enter; the guard asks who it is all the same.
        config.write_text(
            f'[guard]\nsocket = "{self.path}"\nclient_user = "nobody"\n'
            f"ceiling_watts = {CEILING_MW // 1000}\nhost_ceiling_watts = {HOST_CEILING_MW // 1000}\n",
            encoding="utf-8",
        )
        command = (*PYTHON, "powerd.guard", "--config", str(config))
        self.process = Process(command, directory / "log", clean_environment(**self.host.environment()))
        self.descriptors = self.resident_bytes = 0

    def start(self) -> None:
        """Start it, and take down what it holds when it has served once."""
        self.process.start()
        self.wait_for(lambda: "listening on" in self.process.log, "the guard to listen")
        with Peer(self.path) as peer:
            peer.ask_without_reading()
        self.serves()
        # The listener, and nothing else.
        self.wait_for(lambda: self.open_sockets() == 1, "the first clients to be gone")
        self.descriptors, self.resident_bytes = self.open_descriptors(), self.resident()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, WITHIN_S, what=what, evidence=lambda: self.process.log[-2000:])

    def open_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def open_sockets(self) -> int:
        targets = (str(each.readlink()) for each in Path(f"/proc/{self.process.pid}/fd").iterdir())
        return sum(target.startswith("socket:") for target in targets)

    def resident(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()

    def serves(self) -> None:
        """Prove that a good plan is carried out, whatever was before."""
        with Peer(self.path) as peer:
            assert len(peer.ask(op="read")["readings"]) == GPUS
            reply = peer.plan(cuts=dict.fromkeys(self.uuids, SERVED_MW))
            assert {outcome["result"] for outcome in reply["outcomes"]} == {"applied"}
        assert {gpu.enforced_mw for gpu in self.host.gpus} == {SERVED_MW}


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    directory = tmp_path_factory.mktemp("abuse")
    guard = Guard(directory)
    try:
        guard.start()
        yield guard
    finally:
        guard.process.close()


@pytest.fixture(autouse=True)
def as_before(guard: Guard) -> Iterator[None]:
    """Prove after each test that the guard serves and has kept nothing."""
    yield
    assert guard.process.running
    guard.serves()
    guard.wait_for(lambda: guard.open_descriptors() <= guard.descriptors, "its descriptors as before")
    assert guard.resident() - guard.resident_bytes < KEPT_BYTES
    assert "Traceback" not in guard.process.log


@contextmanager
def user(uid: int, groups: tuple[int, ...] = ()) -> Iterator[None]:
    """Be another user to the kernel."""
    assert os.geteuid() == 0, "run this as root, as CI does: nobody else can be another user"
    before = os.getgroups()
    os.setgroups(groups)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setgroups(before)


@pytest.fixture
def way_in(guard: Guard) -> Iterator[None]:
    """Let everybody get as far as the socket's own directory, for the length of a test."""
    opened = [folder for folder in guard.path.parents if folder.stat().st_mode & 0o055 != 0o055]
    modes = {folder: folder.stat().st_mode & 0o7777 for folder in opened}
    for folder in opened:
        folder.chmod(modes[folder] | 0o055)
    yield
    for folder, mode in modes.items():
        folder.chmod(mode)


def test_another_user_cannot_open_the_socket(guard: Guard, way_in: None) -> None:
    with user(1), pytest.raises(PermissionError):
        Peer(guard.path)


def test_a_member_of_the_sockets_group_is_told_who_he_is_and_turned_away(guard: Guard, way_in: None) -> None:
    with user(1, groups=(guard.path.stat().st_gid,)), Peer(guard.path) as peer:
        assert peer.token is None
        assert not peer.plan(raises={guard.uuids[0]: 400_000})
    assert guard.process.log.count("refused a connection of user id 1\n") == 1


def test_who_is_turned_away_a_thousand_times_fills_no_log(guard: Guard, way_in: None) -> None:
    before = guard.process.log.count("refused a connection")
    with user(1, groups=(guard.path.stat().st_gid,)):
        for _ in range(1000):
            with Peer(guard.path) as peer:
                assert peer.token is None
    assert guard.process.log.count("refused a connection") - before <= 1


def test_the_configured_user_is_let_in(guard: Guard, way_in: None) -> None:
    with user(65534, groups=(guard.path.stat().st_gid,)), Peer(guard.path) as peer:
        assert peer.ask(op="read")["ok"]


def test_a_hundred_megabytes_without_an_end_of_line(guard: Guard) -> None:
    with Peer(guard.path) as peer:
        sent = 0
        while sent < 100 * 2**20 and peer.send(b"x" * 2**20):
            sent += 2**20
        assert sent < 100 * 2**20, "the door was shut long before"


def test_a_thousand_connections_at_once(guard: Guard) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        with ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(Peer(guard.path))
            assert guard.open_descriptors() < guard.descriptors + 20
            guard.serves()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_connections_that_leave_before_they_are_served(guard: Guard) -> None:
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.setblocking(False)
            with suppress(BlockingIOError):  # its backlog is full
                peer.connect(str(guard.path))


def test_clients_that_ask_and_never_read(guard: Guard) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Peer(guard.path)).ask_without_reading()
        guard.serves()


def test_a_request_byte_by_byte(guard: Guard) -> None:
    with Peer(guard.path) as peer:
        for byte in READ:
            peer.send(bytes((byte,)))
        assert peer.receive()["ok"]


def test_clients_that_hang_up_half_way(guard: Guard) -> None:
    for end in range(len(READ)):
        with Peer(guard.path) as peer:
            peer.send(READ[:end])
            peer.socket.shutdown(socket.SHUT_WR)
            assert peer.receive() == {}


def test_file_descriptors_that_nobody_asked_for(guard: Guard) -> None:
    """What is passed over a Unix socket is open at the receiver, if he takes it."""
    with Peer(guard.path) as peer, Path("/dev/null").open("rb") as null:
        rights = array.array("i", [null.fileno()] * 250)
        for _ in range(40):
            peer.socket.sendmsg([READ], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            assert peer.receive()["ok"]
        assert guard.open_descriptors() <= guard.descriptors + 1


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\x00" * 1000,
        b"\xff\xfe\xfd",
        b"[" * 100_000,
        b'{"id":1,"op":"plan","token":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"id":1,"op":"plan","token":' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"}",
        b'{"id":' + b"9" * 4000 + b',"op":"read"}',
        b'{"id":' + b"9" * 5000 + b',"op":"read"}',
        b'{"id":-0,"op":"read","op":"reboot"}',
        b'{"id":1e400,"op":"read"}',
        b'{"id":NaN,"op":"read"}',
        b'{"id":1,"op":"\\ud800"}',
        b'{"id":1,"op":"detach","token":"x","reason":"a\\u001b[2Jb"}',
        json.dumps({"id": 1, "op": "plan", "cuts": {"\ud800" * 9: 1}}).encode(),
        b'{"id":1,"op":"' + b"x" * (MAX_LINE_BYTES - 20) + b'"}',
    ],
    ids=range(15),
)
def test_a_line_that_is_no_request(guard: Guard, line: bytes) -> None:
    with Peer(guard.path) as peer:
        peer.send(line + b"\n")
        assert peer.receive().get("ok") is not None


SPOILT: list[Callable[[Guard], dict[str, Any]]] = [
    lambda guard: {"raises": {guard.uuids[0]: 10**400}},
    lambda guard: {"raises": {guard.uuids[0]: -(10**400)}},
    lambda guard: {"raises": {guard.uuids[0]: guard.host.gpus[0].max_mw + 1}},
    lambda guard: {"cuts": {guard.uuids[0]: guard.host.gpus[0].min_mw - 1}},
    lambda guard: {"cuts": {guard.uuids[0]: 0}},
    lambda guard: {"cuts": {guard.uuids[0]: True}},
    lambda guard: {"cuts": {guard.uuids[0]: "200000"}},
    lambda guard: {"cuts": {guard.uuids[0]: 200_000.5}},
    lambda guard: {"cuts": {guard.uuids[0]: None}},
    lambda guard: {"cuts": {"GPU-\n<0>panic": 200_000}},
    lambda guard: {"cuts": dict.fromkeys((*guard.uuids, "GPU-of-another-host"), 150_000)},
    lambda guard: {"cuts": {guard.uuids[0]: 150_000}, "raises": {guard.uuids[0]: 400_000}},
    lambda guard: {"fallback": {guard.uuids[0]: 10**9}},
    lambda guard: {"cuts": [guard.uuids[0]]},
    lambda guard: {"raises": {guard.uuids[0]: CEILING_MW + 1}},
    lambda guard: {"fallback": {guard.uuids[0]: CEILING_MW + 1}},
    lambda guard: {"raises": dict.fromkeys(guard.uuids, HOST_CEILING_MW // GPUS + 1)},
    lambda guard: {"cuts": dict.fromkeys(guard.uuids, HOST_CEILING_MW // GPUS + 1)},
    lambda _guard: {"end_boot_s": 10**400},
    lambda _guard: {"end_boot_s": boot_s() + 10**6},
    lambda _guard: {"end_boot_s": boot_s() - 1},
    lambda _guard: {"end_boot_s": "soon"},
    lambda _guard: {"number": -1},
    lambda _guard: {"number": 1.5},
    lambda _guard: {"token": "0" * 16},
    lambda _guard: {"token": None},
]


@pytest.mark.parametrize("spoilt", SPOILT, ids=range(len(SPOILT)))
def test_a_plan_with_one_bad_number_writes_nothing(
    guard: Guard, spoilt: Callable[[Guard], dict[str, Any]]
) -> None:
    before = len(guard.host.writes())
    with Peer(guard.path) as peer:
        reply = peer.plan(**{"cuts": {guard.uuids[1]: 110_000}, **spoilt(guard)})
        assert (reply["ok"], "\n" in reply["error"]) == (False, False)
    assert len(guard.host.writes()) == before


def test_an_order_to_release_stays_below_the_ceilings_too(guard: Guard) -> None:
    """All GPUs had more at first than the ceiling of the host lets them have."""
    before = len(guard.host.writes())
    with Peer(guard.path) as peer:
        assert "above guard.host_ceiling_watts" in peer.ask(op="release", token=peer.token)["error"]
    assert len(guard.host.writes()) == before


def test_limits_that_are_flipped_as_fast_as_the_socket_takes_it(guard: Guard) -> None:
    """Lowered each time, raised no oftener than the fastest control loop would."""
    uuid = guard.uuids[0]
    began_s, before = boot_s(), len(guard.host.writes())
    with Peer(guard.path) as peer:
        for _ in range(200):
            (lowered,) = peer.plan(cuts={uuid: SERVED_MW})["outcomes"]
            assert lowered["result"] == "applied"
            peer.plan(raises={uuid: 200_000})
    lasted_s = boot_s() - began_s
    raises = [write for write in guard.host.writes()[before:] if write.requested_mw == 200_000]
    assert 0 < len(raises) <= RAISES_PER_S * (1 + lasted_s)


def test_the_driver_given_up_and_taken_back_without_end(guard: Guard) -> None:
    with Peer(guard.path) as peer:
        for _ in range(200):
            assert peer.ask(op="detach", token=peer.token, reason="a try")["ok"]
            assert peer.ask(op="attach", token=peer.token)["ok"]


def test_clients_that_take_over_from_each_other(guard: Guard) -> None:
    def take_over() -> None:
        for _ in range(30):
            with Peer(guard.path) as peer:
                reply = peer.plan(cuts={guard.uuids[0]: SERVED_MW})
                assert reply["ok"] or "newer connection" in reply["error"]

    threads = [threading.Thread(target=take_over) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert not any(thread.is_alive() for thread in threads)
