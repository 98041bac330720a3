"""A file that always holds the latest of something: written away from the event loop, replaced as a whole."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from powerd.errors import shown
from powerd.files import records

Content = TypeVar("Content")
Record = TypeVar("Record")

# What could not be written is tried again this often, so that a directory that has healed is noticed.
RETRY_S = 5.0


def load_file(path: Path, kind: type[Record], version: int) -> Record | None:
    """Return what a file holds, as `records.dumps` wrote it; None if there is no file.

    Args:
        kind: what is in it, its `version` first of all.
        version: what it must be: what another version means is not guessed.

    Raises:
        OSError: the file exists and cannot be read.
        ValueError: the file is damaged, or of another version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    data = records.loads(text)
    if data.get("version") != version:
        raise ValueError(f"version {shown(data.get('version'))} is not {version}")
    return records.read(kind, data, "file")


def replace_file(path: Path, text: str, *, sync: bool = False) -> None:
    """Replace a file as a whole. Readable by its owner only: it decides what a start may draw.

    Args:
        sync: have it on the disk before this returns. Without, a crash of the whole host, and nothing else,
            can lose what the kernel has taken.

    Raises:
        OSError: it cannot be written.
    """
    fresh = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with open(os.open(fresh, flags, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(text.encode())
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(fresh, path)  # noqa: PTH105 - at 1 Hz the plain call costs a third
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(fresh)  # noqa: PTH108
        error.filename = error.filename or str(path)  # a disk that is full does not say where
        raise


class LatestFile(Generic[Content]):
    """Writes what is kept, the latest only: a stalled disk stalls nothing but itself.

    Args:
        write: called in a thread; raises OSError where it fails.
        on_done: called in the event loop after every attempt, with what was to be written, and the error or
            None.
        sleep: for tests.
    """

    def __init__(
        self,
        write: Callable[[Content], None],
        on_done: Callable[[Content, OSError | None], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._write = write
        self._on_done = on_done
        self._sleep = sleep
        self._latest: Content | None = None
        self._changed = asyncio.Event()

    def keep(self, content: Content) -> None:
        """Take note of what is to be in the file; writes nothing itself."""
        if content is not self._latest and content != self._latest:
            self._latest = content
            self._changed.set()

    async def run(self) -> None:
        """Write every change; what failed is tried again by itself."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not await self.write():
                await self._sleep(RETRY_S)
                self._changed.set()

    async def write(self) -> bool:
        """Write the latest; say whether that worked."""
        content = self._latest
        if content is None:
            return True
        try:
            await asyncio.to_thread(self._write, content)
        except OSError as error:
            self._on_done(content, error)
            return False
        self._on_done(content, None)
        return True
