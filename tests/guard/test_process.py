"""The guard as a process of its own on the real bindings: starting, stopping, dying, and what it takes."""

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
from powerd.errors import GuardUnreachableError
from powerd.guard.client import GuardClient
from powerd.guard.spawn import spawn_guard
from tests.fake_nvml import FakeNvml, build

GPUS = 8


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def host(library: Path, tmp_path: Path) -> FakeNvml:
    return FakeNvml(library, tmp_path / "gpus", gpus=GPUS)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "powerd.toml"
    path.write_text(f'[guard]\nsocket = "{tmp_path}/guard.sock"\ncall_deadline_s = 0.5\n')
    return path


@pytest.fixture
def environment(host: FakeNvml) -> dict[str, str]:
    return os.environ | host.environment()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(config: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Start guards, and end those that are left."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "powerd.guard", "--config", str(config), *arguments]
        pipe = subprocess.PIPE
        env = environment | variables
        processes.append(subprocess.Popen(command, env=env, stdin=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stderr):
            assert stream is not None
            stream.close()


async def connected(config: Path) -> GuardClient:
    """Connect as soon as the guard listens, and wait for the driver."""
    client = GuardClient(config.parent / "guard.sock")
    async with asyncio.timeout(20):
        while not client.is_connected:
            try:
                await client.connect()
            except GuardUnreachableError:
                await asyncio.sleep(0.01)
    assert len((await client.read()).readings) == GPUS, "a read waits for the driver"
    return client


async def hold(client: GuardClient, watts: int, fallback_watts: int, hold_s: float = 60.0) -> None:
    """Cut all GPUs."""
    uuids = [reading.uuid for reading in (await client.read()).readings]
    report = await client.plan(
        Plan(
            cuts=tuple(Write(uuid, watts * 1000) for uuid in uuids),
            fallback=tuple(Write(uuid, fallback_watts * 1000) for uuid in uuids),
            end_boot_s=boot_s() + hold_s,
        )
    )
    assert {outcome.result.value for outcome in report.outcomes} == {"applied"}


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def limits_w(host: FakeNvml) -> set[int]:
    return {gpu.enforced_mw // 1000 for gpu in host.gpus}


async def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(2000):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


async def test_sigterm_ends_it_and_changes_no_limit(start: Start, config: Path, host: FakeNvml) -> None:
    process = start()
    client = await connected(config)
    await hold(client, 300, 150)
    process.send_signal(signal.SIGTERM)
    assert await eventually(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert limits_w(host) == {300}
    assert not (config.parent / "guard.sock").exists()
    await client.close()


async def test_sigterm_ends_it_although_a_driver_call_hangs(
    start: Start, config: Path, host: FakeNvml
) -> None:
    process = start()
    client = await connected(config)
    host.gpus[3].get_hangs = 1
    report = await client.read()
    assert [reading.state.value for reading in report.readings].count("hung") == 1
    process.send_signal(signal.SIGTERM)
    assert await eventually(lambda: process.poll() is not None)
    assert process.returncode == 0
    await client.close()


async def test_a_killed_guard_is_followed_by_one_that_keeps_the_plan(
    start: Start, config: Path, host: FakeNvml
) -> None:
    process = start()
    client = await connected(config)
    await hold(client, 300, 150, hold_s=3.0)
    process.kill()
    process.wait()
    await client.close()
    start()
    assert await eventually(lambda: limits_w(host) == {150})


async def test_the_stop_action_lowers_to_the_stored_fallback(
    start: Start, config: Path, host: FakeNvml
) -> None:
    process = start()
    client = await connected(config)
    await hold(client, 300, 150)
    host.gpus[0].requested_mw = 120_000
    process.kill()
    process.wait()
    await client.close()
    action = start("--apply-fallback")
    assert await eventually(lambda: action.poll() is not None)
    assert action.returncode == 0
    assert limits_w(host) == {120, 150}, "what is lower already is not raised"


async def test_the_stop_action_is_bounded_and_lowers_what_it_can(
    start: Start, config: Path, host: FakeNvml
) -> None:
    process = start()
    client = await connected(config)
    await hold(client, 300, 150)
    process.kill()
    process.wait()
    await client.close()
    host.gpus[3].set_hangs = 1
    began_s = time.monotonic()
    action = start("--apply-fallback")
    assert await eventually(lambda: action.poll() is not None)
    assert action.returncode == 1
    assert time.monotonic() - began_s < 8
    assert limits_w(host) == {150, 300}


async def test_a_parent_that_dies_leaves_the_gpus_at_the_fallback(
    start: Start, config: Path, host: FakeNvml
) -> None:
    process = start("--exit-with-stdin")
    client = await connected(config)
    await hold(client, 300, 150)
    assert process.stdin is not None
    process.stdin.close()  # what the kernel does to a parent's end of the pipe
    assert await eventually(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert limits_w(host) == {150}
    await client.close()


async def test_a_spawned_guard_serves_and_ends_with_its_owner(
    config: Path, host: FakeNvml, environment: dict[str, str]
) -> None:
    socket_path = config.parent / "guard.sock"
    async with await spawn_guard(config, socket_path, environment=environment) as guard:
        client = await connected(config)
        await hold(client, 300, 150)
        await client.close()
    assert guard.returncode == 0
    assert limits_w(host) == {150}


async def test_a_guard_that_cannot_start_is_an_error_not_a_wait(tmp_path: Path) -> None:
    with pytest.raises(GuardUnreachableError, match="ended at once with exit code 2"):
        await spawn_guard(tmp_path / "none.toml", tmp_path / "guard.sock")


async def test_spawning_beside_a_guard_that_runs_is_an_error(
    start: Start, config: Path, environment: dict[str, str]
) -> None:
    start()
    await (await connected(config)).close()
    with pytest.raises(GuardUnreachableError, match="exit code 2"):
        await spawn_guard(config, config.parent / "guard.sock", environment=environment)


async def test_a_driver_reload_is_survived_with_the_limits_put_back(
    start: Start, config: Path, host: FakeNvml
) -> None:
    start()
    client = await connected(config)
    await hold(client, 300, 150)
    host.reload_driver()
    assert limits_w(host) == {400}
    report = await client.read()
    while report.generation == 1 or report.driver_error:
        report = await client.read()
    assert limits_w(host) == {300}
    await client.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config"], "--config FILE is missing"),
        ([], "--config FILE is missing"),
        (["--confg", "x"], "unknown argument --confg"),
        (["--config", "/nowhere.toml"], "/nowhere.toml: no such file"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_code_2(arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "powerd.guard", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_the_service_manager_hears_ready_alive_and_stopping(
    start: Start, config: Path, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        process = start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        heard = [manager.recv(100) for _ in range(5)]
        process.send_signal(signal.SIGTERM)
        while heard[-1] != b"STOPPING=1":
            heard.append(manager.recv(100))
    assert heard[0] == b"READY=1"
    assert set(heard[1:-1]) == {b"WATCHDOG=1"}


async def test_the_watchdog_is_fed_while_opening_the_driver_takes_its_time(
    start: Start, host: FakeNvml, tmp_path: Path
) -> None:
    host.gpus[0].get_hangs = 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        heard = [manager.recv(100) for _ in range(6)]
    assert heard == [b"READY=1", *[b"WATCHDOG=1"] * 5]


async def test_a_raise_that_lands_after_its_plan_is_taken_back(
    start: Start, config: Path, host: FakeNvml
) -> None:
    start()
    client = await connected(config)
    await hold(client, 300, 150)
    host.gpus[0].set_hangs = 1
    uuids = [gpu.uuid.decode() for gpu in host.gpus]
    fallback = tuple(Write(uuid, 150_000) for uuid in uuids)
    late = Plan(raises=(Write(uuids[0], 400_000),), fallback=fallback, end_boot_s=boot_s() + 1)
    (outcome,) = (await client.plan(late)).outcomes
    assert (outcome.result.value, outcome.worst_case_mw) == ("failed", 400_000)
    assert await eventually(lambda: limits_w(host) == {300, 150})
    host.gpus[0].set_hangs = 0
    assert await eventually(lambda: limits_w(host) == {150})
    assert [write.requested_mw for write in host.writes() if write.gpu == 0][-2:] == [400_000, 150_000]
    await client.close()


async def test_it_fits_in_twenty_mebibytes(start: Start, config: Path) -> None:
    process = start()
    client = await connected(config)
    for _ in range(50):
        await hold(client, 300, 150)
    assert resident_bytes(process.pid) <= 20 * 2**20
    await client.close()
