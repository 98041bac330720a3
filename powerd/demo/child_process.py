"""The processes of the demo: started with a clean environment, watched, and ended without a trace."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from powerd.errors import PowerdError
from powerd.guard.driver import FORBID_WRITES_VARIABLE

_TAIL_LINES = 8
# Above what a host needs to have its guard fall back and end.
_END_WITHIN_S = 8.0
# The demo is a rack of its own: it neither follows the caller's settings nor talks to its service manager.
_NOT_PASSED_ON = ("POWERD_", "NOTIFY_SOCKET", "WATCHDOG_")


class ChildFailedError(PowerdError):
    """A process of the demo ended, or does not answer. The text has its last lines."""


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a child: the caller's, without settings; the ban on writing stays."""
    return {
        name: value
        for name, value in own.items()
        if name == FORBID_WRITES_VARIABLE or not name.startswith(_NOT_PASSED_ON)
    }


class Child:
    """One process, in a session of its own, so that Ctrl-C reaches the demo alone.

    Args:
        name: for people.
        process: with a pipe as standard input.
        log: the file that it writes to.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    async def ended(self) -> NoReturn:
        """Wait until the process has ended by itself.

        Raises:
            ChildFailedError: always, since none of them ends by itself.
        """
        code = await self._process.wait()
        raise self.failure(f"ended with exit code {code}")

    def failure(self, what: str) -> ChildFailedError:
        """Return the error that tells what happened, and the last lines of its log."""
        with self._log.open(encoding="utf-8", errors="replace") as lines:
            tail = "".join(f"\n  {line.rstrip()}" for line in deque(lines, _TAIL_LINES))
        return ChildFailedError(f"{self.name} {what}; its last lines:{tail or ' none'}")

    async def stop(self) -> None:
        """End it, and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_WITHIN_S):
                await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


async def start(name: str, part: str, value: str, log: Path) -> Child:
    """Start one part of the demo.

    Args:
        name: for people.
        part, value: as `powerd.demo.tethered` takes them.
        log: where it writes to.
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "powerd.demo.tethered",
            part,
            value,
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env=environment(os.environ),
        )
    return Child(name, process, log)
