"""Reads the ledger while it is written: which events there were, and what a report on one is made of.

Every call opens the file anew and only reads. To be called away from the event loop.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from powerd.core.proof.ledger_entry import Entry
from powerd.core.proof.recording import BEFORE_S, FINE_S, MINUTE_S
from powerd.core.proof.story import Story, tell
from powerd.ledger.entries import decode
from powerd.ledger.file import open_to_read, verify

# What is listed, and what goes into one report: two weeks of minutes, or two days of seconds.
MAX_EVENTS = 200
MAX_ABOUT = 5000
MAX_ENTRIES = 20_000

_KEYS = """
SELECT event FROM entries WHERE kind = 'started' GROUP BY event ORDER BY max(wall_ms) DESC LIMIT ?
"""
_ABOUT = """
SELECT wall_ms, event, kind, body FROM entries WHERE event = ? AND event <> '' ORDER BY number LIMIT ?
"""
_SPAN = "SELECT min(number), max(number) FROM entries WHERE event = ? AND event <> ''"
_AROUND = """
SELECT number, wall_ms, event, kind, body FROM entries WHERE event = :event AND event <> ''
UNION ALL
SELECT number, wall_ms, event, kind, body FROM entries
WHERE kind IN ('began', 'clock_stepped', 'lost', 'samples') AND wall_ms BETWEEN :from_ms AND :to_ms
ORDER BY number LIMIT :most
"""
_MATCHES = """
SELECT DISTINCT event FROM entries
WHERE kind = 'started' AND (event = :name OR substr(event, instr(event, '/') + 1) = :name)
ORDER BY event LIMIT 9
"""
_LATEST_MS = 2**62


@dataclass(frozen=True, slots=True)
class Extract:
    """What the ledger holds of one event.

    Attributes:
        entries: about it, and the samples from ten minutes before until a quarter of an hour after.
        first, last: numbers of the first and the last of them.
        digest: of the last one, in hexadecimal.
        is_intact: from the first to the last nothing was changed, left out or put in.
        is_cut: there are more samples than a report is made of; the later ones are not in it.
    """

    entries: tuple[Entry, ...]
    first: int
    last: int
    digest: str
    is_intact: bool
    is_cut: bool


class LedgerReader:
    """Reads one ledger.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def stories(self) -> dict[str, Story]:
        """Return the events that started last, the latest first.

        Raises:
            sqlite3.Error, ValueError: the ledger cannot be read.
        """
        if not self._path.exists():
            return {}
        with closing(open_to_read(self._path)) as connection:
            keys = [key for (key,) in connection.execute(_KEYS, (MAX_EVENTS,))]
            return {key: tell(_entries(connection.execute(_ABOUT, (key, MAX_ABOUT))), key) for key in keys}

    def find(self, name: str) -> list[str]:
        """Return the keys that an event goes by: its own, or all with that event_id.

        Raises:
            sqlite3.Error, ValueError: the ledger cannot be read.
        """
        if not self._path.exists():
            return []
        with closing(open_to_read(self._path)) as connection:
            found = [key for (key,) in connection.execute(_MATCHES, {"name": name})]
        return [name] if name in found else found

    def extract(self, key: str) -> Extract:
        """Return what a report on an event is made of.

        Raises:
            sqlite3.Error, ValueError: the ledger cannot be read, or does not know the event.
        """
        with closing(open_to_read(self._path)) as connection:
            story = tell(_entries(connection.execute(_ABOUT, (key, MAX_ABOUT))), key)
            until_s = story.restored_s
            bounds = {
                "event": key,
                # An entry of samples is found by when it begins.
                "from_ms": round((story.started_s - BEFORE_S - 2 * MINUTE_S) * 1000),
                "to_ms": _LATEST_MS if until_s is None else round((until_s + FINE_S) * 1000),
                "most": MAX_ENTRIES + 1,
            }
            rows = connection.execute(_AROUND, bounds).fetchall()
            is_cut = len(rows) > MAX_ENTRIES
            rows = rows[:MAX_ENTRIES]
            first, last = rows[0][0], rows[-1][0]
            checked = verify(connection, first, last)
            entries = tuple(_entries(row[1:] for row in rows))
        return Extract(entries, first, last, checked.head.digest.hex(), checked.broken_at is None, is_cut)


def _entries(rows: Iterable[tuple[int, str, str, str]]) -> Iterator[Entry]:
    for row in rows:
        entry = decode(*row)
        if entry is not None:
            yield entry
