"""A guard of the daemon's own, as a child process, for development and demos.

The child ends when its standard input does, so it also notices a parent that was killed; before it ends it
lowers the GPUs to the fallback of the last plan.
"""

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from powerd.errors import GuardUnreachableError

_POLL_S = 0.02
_UCRED = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)
# Above the guard's own bound for an orderly end.
_END_WITHIN_S = 15.0


class SpawnedGuard:
    """A running child; an asynchronous context manager that ends it.

    Args:
        process: started with a pipe as standard input.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.returncode

    async def close(self) -> int:
        """Have the child lower to its fallback and end; return its exit code."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            return await asyncio.wait_for(self._process.wait(), _END_WITHIN_S)
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


async def spawn_guard(
    config_path: str | Path,
    socket_path: str | Path,
    *,
    environment: Mapping[str, str] | None = None,
    within_s: float = 10.0,
) -> SpawnedGuard:
    """Start a guard and wait until it accepts connections.

    Args:
        config_path: the configuration, the same as the daemon's.
        socket_path: where that configuration has it listen.
        environment: the child's variables; None = those of this process.
        within_s: how long to wait.

    Raises:
        GuardUnreachableError: it ended at once (its own line on stderr says why), or does not answer.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "powerd.guard",
        "--config",
        str(config_path),
        "--exit-with-stdin",
        stdin=asyncio.subprocess.PIPE,
        env=dict(os.environ if environment is None else environment),
    )
    guard = SpawnedGuard(process)
    try:
        async with asyncio.timeout(within_s):
            await _answers(process, socket_path)
    except TimeoutError as error:
        await guard.close()
        raise GuardUnreachableError(f"{socket_path}: no guard answered within {within_s:g} s") from error
    except BaseException:
        await guard.close()
        raise
    return guard


async def _answers(process: asyncio.subprocess.Process, socket_path: str | Path) -> None:
    while await _listener_pid(socket_path) != process.pid:
        if process.returncode is not None:
            text = f"the guard ended at once with exit code {process.returncode}; see its message above"
            raise GuardUnreachableError(text)
        await asyncio.sleep(_POLL_S)


async def _listener_pid(socket_path: str | Path) -> int | None:
    """Return who listens: a guard that was there before is not the one that was started."""
    try:
        _reader, writer = await asyncio.open_unix_connection(str(socket_path))
    except OSError:
        return None
    try:
        peer: socket.socket = writer.get_extra_info("socket")
        pid: int = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
    finally:
        writer.close()
    return pid
