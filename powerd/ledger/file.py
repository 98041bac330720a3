"""The file of the ledger: a table that can only grow, and a chain of digests that shows if it was changed.

The digest of an entry is the SHA-256 of the digest before it (32 zero bytes for the first one), followed by
the JSON array [number, wall_ms, event, kind, body]. Whoever knows one digest can tell later whether anything
up to it was changed, left out or put in.
"""

import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from powerd.core.proof.ledger_entry import Entry
from powerd.ledger.entries import encode, kind_of

FILE_NAME = "ledger.sqlite3"
VERSION = 1
APPLICATION_ID = 0x70776C67  # "pwlg"
FIRST_DIGEST = bytes(32)
_PAGE_BYTES = 4096
_JOURNAL_BYTES = 4 << 20

_TABLE = """
CREATE TABLE entries (
    number INTEGER PRIMARY KEY,
    wall_ms INTEGER NOT NULL,
    event TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    digest BLOB NOT NULL
);
CREATE INDEX entries_by_event ON entries (event, number) WHERE event <> '';
CREATE INDEX entries_by_kind ON entries (kind, wall_ms);
CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER entries_stay_as_they_are BEFORE UPDATE ON entries BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER entries_are_numbered BEFORE INSERT ON entries
WHEN NEW.number IS NOT (SELECT ifnull(max(number), 0) + 1 FROM entries) BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
"""
_MARK = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
_INSERT = "INSERT INTO entries (number, wall_ms, event, kind, body, digest) VALUES (?, ?, ?, ?, ?, ?)"
_RANGE = """
SELECT number, wall_ms, event, kind, body, digest FROM entries WHERE number BETWEEN ? AND ? ORDER BY number
"""
_LAST = 2**62


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry: nothing before it can be changed without its digest becoming another."""

    number: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of going through the chain.

    Attributes:
        head: the last entry that is as it was written.
        broken_at: number of the first one that is not, or is missing; None if all are good.
    """

    head: Head
    broken_at: int | None = None


def open_to_write(path: Path, *, max_bytes: int, busy_s: float) -> sqlite3.Connection:
    """Open the ledger, or a new one. Readable by its owner only: so is what a site draws.

    Args:
        max_bytes: the file does not grow beyond; then it is as if the disk were full.
        busy_s: how long to wait for another process that has locked it.

    Raises:
        OSError, sqlite3.Error: it cannot be opened.
        ValueError: it is not a ledger, or of a newer powerd.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path, max_bytes)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, max_bytes: int) -> None:
    is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not is_new:
        _check(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    # What is committed is on the disk, also when the host loses its power: there is a thread to wait for it.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
    connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // _PAGE_BYTES)}")
    if is_new:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLE} {_MARK} COMMIT;")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a ledger, also while it is written, or a copy of one.

    Raises:
        sqlite3.Error: it cannot be opened.
        ValueError: it is not a ledger, or of a newer powerd.
    """
    # Without a writer there is no index of its journal, and whoever only reads may not make one.
    is_written = Path(f"{path}-wal").exists()
    how = "mode=ro" if is_written else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
    try:
        _check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = tuple(
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if found != (APPLICATION_ID, VERSION):
        raise ValueError(f"{path} is not a ledger of this version of powerd")


def head(connection: sqlite3.Connection) -> Head:
    """Return the last entry; number 0 if there is none."""
    row = connection.execute("SELECT number, digest FROM entries ORDER BY number DESC LIMIT 1").fetchone()
    return Head(0, FIRST_DIGEST) if row is None else Head(*row)


def append(connection: sqlite3.Connection, entries: Iterable[Entry]) -> Head:
    """Append entries, all or none of them, and return the last one.

    Raises:
        sqlite3.Error: they could not be written; nothing has changed.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        last = head(connection)
        for entry in entries:
            row = (last.number + 1, round(entry.wall_s * 1000), entry.event, kind_of(entry.body))
            body = encode(entry.body)
            last = Head(row[0], digest(last.digest, *row, body))
            connection.execute(_INSERT, (*row, body, last.digest))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return last


def digest(before: bytes, number: int, wall_ms: int, event: str, kind: str, body: str) -> bytes:
    """Return the digest of an entry."""
    text = json.dumps([number, wall_ms, event, kind, body], separators=(",", ":"))
    return sha256(before + text.encode()).digest()


def verify(connection: sqlite3.Connection, first: int = 1, last: int | None = None) -> Verified:
    """Go through the chain, or a part of it.

    Args:
        last: number of the last entry to look at; None = all there are.

    Raises:
        sqlite3.Error: the file cannot be read, or is damaged.
    """
    good = _before(connection, first)
    if good is None:
        return Verified(Head(0, FIRST_DIGEST), first - 1)
    rows = connection.execute(_RANGE, (first, _LAST if last is None else last))
    for number, wall_ms, event, kind, body, stored in rows:
        if number != good.number + 1 or digest(good.digest, number, wall_ms, event, kind, body) != stored:
            return Verified(good, good.number + 1)
        good = Head(number, stored)
    return Verified(good, good.number + 1 if last is not None and good.number < last else None)


def _before(connection: sqlite3.Connection, first: int) -> Head | None:
    if first <= 1:
        return Head(0, FIRST_DIGEST)
    row = connection.execute("SELECT number, digest FROM entries WHERE number = ?", (first - 1,)).fetchone()
    return None if row is None else Head(*row)
