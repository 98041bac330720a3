"""`powerd bridge openadr` as it is run: a process, its file, its exit code."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.openadr.make import event, limits, program
from tests.openadr.rig import TOPICS
from tests.openadr.vtn import CLIENT, SECRET, Vtn
from tests.signals.stubs import until

ROOT = Path(__file__).parents[2]
NOW = {"start": "0001-01-01T00:00:00Z", "duration": "PT1H"}
NAME = "openadr-8842-limit"


def configuration(directory: Path, vtn: Vtn, broker: Mosquitto) -> Path:
    secret = directory / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET, encoding="utf-8")
    file = directory / "openadr.toml"
    file.write_text(
        f'[vtn]\nurl = "{vtn.url}"\nclient_id = "{CLIENT}"\nclient_secret_file = "{secret}"\n'
        f'[site]\nname = "hel1"\nstate_dir = "{directory}"\n[mqtt]\nurl = "{broker.url}"\n'
        '[log]\nformat = "json"\n',
        encoding="utf-8",
    )
    return file


async def powerd(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "powerd", "bridge", "openadr", *arguments]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)


async def stored(broker: Mosquitto, topic: str, text: bytes) -> None:
    """Wait until the broker keeps a message with this in it."""
    async with asyncio.timeout(30):
        while text not in (await asyncio.to_thread(broker.retained, topic) or b""):
            pass  # each look takes its time


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Vtn]:
    async with Vtn(time.time) as vtn:
        vtn.programs["44"] = program()
        vtn.put(event(intervalPeriod=NOW, intervals=limits(500)))
        yield vtn
    assert vtn.violations == []


async def test_from_the_file_to_the_racks_and_an_orderly_end(tmp_path: Path, broker: Mosquitto) -> None:
    async with serving() as vtn:
        bridge = await powerd("--config", str(configuration(tmp_path, vtn, broker)))
        topic = TOPICS.grid_event(NAME)
        await stored(broker, topic, b'"status":"active"')
        bridge.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(bridge.communicate(), 20)
        assert bridge.returncode == 0, log.decode()
        assert b'"event": "bridge_stopped"' in log
        assert SECRET.encode() not in log
        online = await asyncio.to_thread(broker.retained, TOPICS.bridge_online("openadr"))
        assert online is not None
        assert b'"online":false' in online
        assert await asyncio.to_thread(broker.retained, topic), "the event runs on without the bridge"


async def test_what_was_deleted_after_a_bridge_was_killed_is_cancelled_by_the_next_one(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with serving() as vtn:
        file = configuration(tmp_path, vtn, broker)
        first = await powerd("--config", str(file))
        await until(lambda: NAME in _state(tmp_path), within_s=30)
        await stored(broker, TOPICS.bridge_online("openadr"), b'"online":true')
        first.kill()
        await first.wait()
        await stored(broker, TOPICS.bridge_online("openadr"), b'"online":false')
        del vtn.events["8842"]
        second = await powerd("--config", str(file))
        await stored(broker, TOPICS.grid_event(NAME), b'"status":"cancelled"')
        second.terminate()
        await asyncio.wait_for(second.communicate(), 20)


def _state(directory: Path) -> str:
    path = directory / "openadr.json"
    return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--config", "/nowhere/openadr.toml"),
            "powerd: /nowhere/openadr.toml: no such file; name an existing",
        ),
        (("--config", "config/powerd.toml"), "powerd: config/powerd.toml: vtn: missing; add it"),
    ],
)
async def test_a_mistake_is_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    process = await powerd(*arguments)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert message in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_a_file_can_be_checked_without_running_anything() -> None:
    process = await powerd("--check", "--config", "config/openadr.toml")
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, output.decode()) == (0, "config/openadr.toml: valid\n")
