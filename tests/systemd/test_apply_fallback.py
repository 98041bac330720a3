"""What the units run after a service has ended lowers the limits, whichever of the two services it was."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from powerd.clock import boot_s
from powerd.core.model import Plan, Write
from powerd.guard.client import GuardClient
from powerd.guard.protocol import decode, encode
from tests.fake_nvml import NS_PER_S, FakeNvml, build

RAISED_MW, HELD_MW, FALLBACK_MW = 350_000, 300_000, 150_000


@pytest.fixture
def host(tmp_path: Path) -> FakeNvml:
    return FakeNvml(build(tmp_path / "nvml"), tmp_path / "gpus", gpus=2)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "powerd.toml").write_text(f'[guard]\nsocket = "{tmp_path}/guard.sock"\n', encoding="utf-8")
    return [sys.executable, "-m", "powerd.guard", "--config", str(tmp_path / "powerd.toml")]


@pytest.fixture
def guard(command: list[str], host: FakeNvml, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a guard, give it a plan that holds for minutes, and leave it alone."""
    process = subprocess.Popen(command, env=os.environ | host.environment())
    try:
        wait_until(lambda: listens(tmp_path / "guard.sock"))
        asyncio.run(hold_for_minutes(tmp_path / "guard.sock"))
        assert limits_mw(host) == [HELD_MW, HELD_MW]
        yield process
    finally:
        process.kill()
        process.wait()


def listens(path: Path) -> bool:
    """Return whether somebody accepts connections there: a socket has its path a moment before it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


async def hold_for_minutes(path: Path) -> None:
    client = GuardClient(path)
    await client.connect()
    uuids = [reading.uuid for reading in (await client.read()).readings]
    cuts = tuple(Write(uuid, HELD_MW) for uuid in uuids)
    fallback = tuple(Write(uuid, FALLBACK_MW) for uuid in uuids)
    await client.plan(Plan(cuts=cuts, fallback=fallback, end_boot_s=boot_s() + 240))
    await client.close()


def is_silent_in_the_end(manager: socket.socket, within_s: float = 2) -> bool:
    """Return whether nothing more comes after what has come already."""
    manager.settimeout(within_s)
    for _ in range(1000):
        try:
            manager.recv(100)
        except TimeoutError:
            return True
    return False


def limits_mw(host: FakeNvml) -> list[int]:
    return [gpu.enforced_mw for gpu in host.gpus]


def wait_until(condition: Callable[[], bool], within_s: float = 10) -> None:
    end_boot_s = boot_s() + within_s
    while not condition():
        assert boot_s() < end_boot_s
        time.sleep(0.005)


def apply_fallback(command: list[str], host: FakeNvml) -> None:
    subprocess.run(
        [*command, "--apply-fallback"], env=os.environ | host.environment(), check=True, timeout=20
    )


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_after_the_guard_has_ended_its_limits_are_lowered(
    guard: subprocess.Popen[bytes], command: list[str], host: FakeNvml, end: signal.Signals
) -> None:
    guard.send_signal(end)
    guard.wait(timeout=20)
    assert limits_mw(host) == [HELD_MW, HELD_MW]
    apply_fallback(command, host)
    assert limits_mw(host) == [FALLBACK_MW, FALLBACK_MW]


def test_a_guard_that_hangs_falls_silent_and_its_stop_action_lowers_the_limits(
    command: list[str], host: FakeNvml, tmp_path: Path
) -> None:
    """What the watchdog of the unit does, done by hand: SIGKILL ends also what no other signal reaches."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        watchdog = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        process = subprocess.Popen(command, env=os.environ | host.environment() | watchdog)
        wait_until(lambda: listens(tmp_path / "guard.sock"))
        asyncio.run(hold_for_minutes(tmp_path / "guard.sock"))
        process.send_signal(signal.SIGSTOP)
        assert is_silent_in_the_end(manager)
        process.kill()
        process.wait(timeout=20)
    apply_fallback(command, host)
    assert limits_mw(host) == [FALLBACK_MW, FALLBACK_MW]


def test_a_raise_that_nobody_has_read_back_is_lowered_too(
    guard: subprocess.Popen[bytes], command: list[str], host: FakeNvml, tmp_path: Path
) -> None:
    """The guard is killed between the raise and its read-back."""
    host.gpus[0].get_latency_ns = 60 * NS_PER_S

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer, peer.makefile("rb") as replies:
        peer.connect(str(tmp_path / "guard.sock"))
        token = decode(replies.readline())["token"]
        request = {"id": 1, "op": "plan", "token": token, "number": 1, "end_boot_s": boot_s() + 240}
        uuids = [gpu.uuid.decode() for gpu in host.gpus]
        raises, fallback = {uuids[0]: RAISED_MW}, dict.fromkeys(uuids, FALLBACK_MW)
        peer.sendall(encode({**request, "raises": raises, "fallback": fallback}))
        wait_until(lambda: limits_mw(host)[0] == RAISED_MW)
        guard.kill()
    guard.wait(timeout=20)
    host.gpus[0].get_latency_ns = 0
    apply_fallback(command, host)
    assert limits_mw(host) == [FALLBACK_MW, FALLBACK_MW]


def test_after_the_daemon_has_ended_the_running_guard_lowers_the_limits(
    guard: subprocess.Popen[bytes], command: list[str], host: FakeNvml
) -> None:
    """It is the guard that writes: a second writer would be taken for a stranger and be given way to."""
    # The command finds no driver, like in the unit of the daemon, which has no devices.
    host.library.rename(host.library.with_name("out-of-reach"))
    apply_fallback(command, host)
    wait_until(lambda: limits_mw(host) == [FALLBACK_MW, FALLBACK_MW])
    assert guard.poll() is None


def release(command: list[str], host: FakeNvml) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, "--release"],
        env=os.environ | host.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_release_without_a_guard_puts_back_what_the_gpus_had_before(
    command: list[str], host: FakeNvml, tmp_path: Path
) -> None:
    """What the removal of the package for good does last."""
    host.gpus[1].requested_mw = host.gpus[1].max_mw - 50_000
    before_mw = limits_mw(host)
    process = subprocess.Popen(command, env=os.environ | host.environment())
    wait_until(lambda: listens(tmp_path / "guard.sock"))
    asyncio.run(hold_for_minutes(tmp_path / "guard.sock"))
    process.terminate()
    process.wait(timeout=20)
    apply_fallback(command, host)
    assert limits_mw(host) == [FALLBACK_MW, FALLBACK_MW]
    assert release(command, host).returncode == 0
    assert limits_mw(host) == before_mw
    assert not (tmp_path / "baseline.json").exists()


def test_a_release_beside_a_running_guard_is_refused(
    guard: subprocess.Popen[bytes], command: list[str], host: FakeNvml
) -> None:
    done = release(command, host)
    assert (done.returncode, guard.poll()) == (2, None)
    assert "use powerctl release, or stop it first" in done.stderr
    assert limits_mw(host) == [HELD_MW, HELD_MW]
