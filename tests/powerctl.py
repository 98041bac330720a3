"""`powerctl` as an operator has it: a process of its own, off a terminal."""

import asyncio
import subprocess
import sysconfig
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

POWERCTL = str(Path(sysconfig.get_path("scripts"), "powerctl"))
# It waits for nobody that long.
_TIMEOUT_S = 30.0

StartPublishing: TypeAlias = Callable[..., Awaitable[Process]]


class Ran(NamedTuple):
    """What it said, and its exit code."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Ran:
    """Run it to its end."""
    command = (POWERCTL, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    return Ran(done.returncode, done.stdout, done.stderr)


async def powerctl(*arguments: str) -> Ran:
    """Run it to its end, while what it talks to runs in this process."""
    return await asyncio.to_thread(run, *arguments)


@asynccontextmanager
async def publishing(*arguments: str) -> AsyncIterator[StartPublishing]:
    """Give what starts `powerctl publish` with these arguments and more; at the end none of them runs."""
    started: list[Process] = []

    async def start(*options: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            POWERCTL, "publish", *arguments, *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()
