"""Writes the ledger in a thread of its own: a disk that is full, stalled or gone never costs control.

Invariant: `put` neither waits nor fails. What cannot be written waits in memory, up to a bound; beyond it the
oldest is dropped and counted, and an entry tells so once the disk is back.
"""

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from powerd.core.proof.ledger_entry import Entry, Lost
from powerd.ledger.file import append, open_to_write

# A disk that has healed is noticed after so long.
RETRY_S = 5.0
# Entries per transaction.
_BATCH = 256
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """How the ledger is kept.

    Attributes:
        max_mb: the file grows no larger. Nothing is ever deleted from it: move it away, and a new one begins.
        max_waiting: entries that are held while they cannot be written.
        retry_s: between attempts.
        busy_s: how long to wait for another process that has locked the file.
    """

    max_mb: int = 1024
    max_waiting: int = 4096
    retry_s: float = RETRY_S
    busy_s: float = 5.0


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """How the ledger stands.

    Attributes:
        error: why it could not be written the last time; empty when it could.
        stalled_s: how long the attempt that is under way has taken; 0 without one.
        waiting: entries that are not written yet.
        written, dropped: entries since the start.
        set_aside: where a damaged file was moved to; empty if none was.
    """

    error: str = ""
    stalled_s: float = 0.0
    waiting: int = 0
    written: int = 0
    dropped: int = 0
    set_aside: str = ""


class Ledger:
    """One ledger, written by one thread.

    Args:
        path: the file; its directory exists.
    """

    def __init__(self, path: Path, options: LedgerOptions | None = None) -> None:
        self._path = path
        self._options = options or LedgerOptions()
        self._queue: deque[Entry] = deque()
        self._batch: list[Entry] = []
        self._connection: sqlite3.Connection | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._error = self._set_aside = ""
        self._attempt_since_s: float | None = None
        self._written = self._dropped = self._told = 0
        # It must not keep the process alive while its disk hangs.
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, entries: Iterable[Entry]) -> None:
        """Hand over entries. Called by one thread, always the same."""
        for entry in entries:
            if len(self._queue) >= self._options.max_waiting:
                with contextlib.suppress(IndexError):  # the writer took it meanwhile
                    self._queue.popleft()
                    self._dropped += 1
            self._queue.append(entry)
            self._wake.set()

    def status(self) -> LedgerStatus:
        """Return how the ledger stands."""
        since_s = self._attempt_since_s
        return LedgerStatus(
            error=self._error,
            stalled_s=0.0 if since_s is None else time.monotonic() - since_s,
            waiting=len(self._queue) + len(self._batch),
            written=self._written,
            dropped=self._dropped,
            set_aside=self._set_aside,
        )

    def close(self, within_s: float = 1.0) -> bool:
        """Write what is left; say whether that was done in time."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(within_s)
        return not self._thread.is_alive() and not self._queue and not self._batch

    def _run(self) -> None:
        while self._fill():
            self._attempt_since_s = time.monotonic()
            try:
                self._write()
                self._error = ""
            except (OSError, sqlite3.Error, ValueError) as error:
                self._fail(error)
            self._attempt_since_s = None
            if self._error and self._stopping.wait(self._options.retry_s):
                break
        self._disconnect()

    def _fill(self) -> bool:
        """Wait for something to write; say whether there is."""
        while not self._batch and not self._queue:
            if self._stopping.is_set():
                return False
            self._wake.wait()
            self._wake.clear()
        if not self._batch:
            dropped = self._dropped
            self._batch = self._take()
            if self._batch and dropped > self._told:
                # What was dropped is older than all that still waited.
                self._batch.insert(0, Entry(self._batch[0].wall_s, "", Lost(dropped - self._told)))
                self._told = dropped
        return True

    def _take(self) -> list[Entry]:
        taken: list[Entry] = []
        with contextlib.suppress(IndexError):  # `put` dropped the last one meanwhile
            while len(taken) < _BATCH:
                taken.append(self._queue.popleft())
        return taken

    def _write(self) -> None:
        if self._connection is None:
            options = self._options
            self._connection = open_to_write(
                self._path, max_bytes=options.max_mb << 20, busy_s=options.busy_s
            )
        append(self._connection, self._batch)
        self._written += len(self._batch)
        self._batch = []

    def _fail(self, error: Exception) -> None:
        self._disconnect()
        self._error = f"{self._path}: {error}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED and not self._set_aside:
            with contextlib.suppress(OSError):
                self._set_aside = str(_set_aside(self._path))

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _set_aside(path: Path) -> Path:
    """Move a damaged file away with its journal: it may still be evidence, and a new one is begun.

    Raises:
        OSError: it cannot be moved.
    """
    aside = Path(f"{path}.damaged-{time.time_ns()}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside
