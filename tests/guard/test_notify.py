"""Messages to the service manager."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from powerd.notify import notify, watchdog_interval_s


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        yield manager


def test_a_state_reaches_the_manager(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notify("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_a_socket_in_the_abstract_name_space_is_reached(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.bind(f"\0powerd-test-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@powerd-test-{os.getpid()}")
    notify("WATCHDOG=1")
    assert manager.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_no_manager_is_no_problem(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [("20000000", "", 10.0), ("20000000", "1", None), ("0", "", None), ("soon", "", None), ("", "", None)],
)
def test_the_watchdog_is_fed_twice_per_interval(
    usec: str, pid: str, interval_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert watchdog_interval_s() == interval_s
