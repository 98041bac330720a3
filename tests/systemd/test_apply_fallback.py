"""What the units run after a service has ended lowers the limits, whichever of the two services it was."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from powerd.clock import boot_s
from powerd.core.model import Plan, Write
from powerd.guard.client import GuardClient
from tests.fake_nvml import FakeNvml, build

HELD_MW, FALLBACK_MW = 300_000, 150_000


@pytest.fixture
def host(tmp_path: Path) -> FakeNvml:
    return FakeNvml(build(tmp_path / "nvml"), tmp_path / "gpus", gpus=2)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "powerd.toml").write_text(f'[guard]\nsocket = "{tmp_path}/guard.sock"\n', encoding="utf-8")
    return [sys.executable, "-m", "powerd.guard", "--config", str(tmp_path / "powerd.toml")]


@pytest.fixture
def guard(command: list[str], host: FakeNvml, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a guard, give it a plan that holds for an hour, and leave it alone."""
    process = subprocess.Popen(command, env=os.environ | host.environment())
    try:
        wait_until((tmp_path / "guard.sock").exists)
        asyncio.run(hold_for_an_hour(tmp_path / "guard.sock"))
        assert limits_mw(host) == [HELD_MW, HELD_MW]
        yield process
    finally:
        process.kill()
        process.wait()


async def hold_for_an_hour(socket: Path) -> None:
    client = GuardClient(socket)
    await client.connect()
    uuids = [reading.uuid for reading in (await client.read()).readings]
    cuts = tuple(Write(uuid, HELD_MW) for uuid in uuids)
    fallback = tuple(Write(uuid, FALLBACK_MW) for uuid in uuids)
    await client.plan(Plan(cuts=cuts, fallback=fallback, end_boot_s=boot_s() + 3600))
    await client.close()


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


def test_after_the_daemon_has_ended_the_running_guard_lowers_the_limits(
    guard: subprocess.Popen[bytes], command: list[str], host: FakeNvml
) -> None:
    """It is the guard that writes: a second writer would be taken for a stranger and be given way to."""
    # The command finds no driver, like in the unit of the daemon, which has no devices.
    host.library.rename(host.library.with_name("out-of-reach"))
    apply_fallback(command, host)
    wait_until(lambda: limits_mw(host) == [FALLBACK_MW, FALLBACK_MW])
    assert guard.poll() is None
