"""What the daemon remembers over a restart: messages seen, the budget in force, and what was lent to whom.

Keys of messages, the own epoch and the roster count for ever, leases only within the boot they were counted
in. The file may be missing, damaged or unwritable: then powerd starts as if for the first time, lends nothing
that it could not remember, and says so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from powerd.core.leases.leases import Promise
from powerd.core.leases.memory import LeaseMemory
from powerd.core.rack.timeline import Ceiling, Seen, Statement, Timeline
from powerd.core.units import MilliWatts
from powerd.files import records
from powerd.files.latest_file import LatestFile, load_file, replace_file

VERSION = 4
FILE_NAME = "runtime.json"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was in force when the file was written.

    Attributes:
        cap_mw: the rack cap; None if nothing was remembered.
        leases: None if nothing is known of them.
        of_this_boot: what it tells of times and promises was counted on the clock that runs now.
        trim_mw: what was taken off the budget for the rack's meter: to forget it would raise limits.
    """

    timeline: Timeline
    cap_mw: MilliWatts | None
    leases: LeaseMemory | None = None
    of_this_boot: bool = True
    trim_mw: MilliWatts = 0

    @property
    def promises(self) -> frozenset[Promise]:
        """Return what was lent and may be in use."""
        return frozenset(self.leases.promises if self.leases else ())


NOTHING = Remembered(Timeline(), None)


@dataclass(frozen=True, slots=True)
class _Content:
    """What is in the file."""

    version: int
    boot_id: str
    cap_mw: MilliWatts | None
    statements: dict[str, Statement]
    ceilings: dict[str, Ceiling]
    seen: dict[str, Seen]
    unsigned: dict[str, Ceiling]
    leases: LeaseMemory | None
    trim_mw: MilliWatts

    def __post_init__(self) -> None:
        for source, statement in self.statements.items():
            if source != statement.source or source not in self.seen:
                raise ValueError(f"statements.{source} is not of a source in seen")


def load(directory: Path, boot_id: str) -> Remembered:
    """Return what was remembered; nothing if there is no file.

    Raises:
        OSError: the file exists and cannot be read.
        ValueError: the file is damaged, or of a version that is not known.
    """
    content = load_file(directory / FILE_NAME, _Content, VERSION)
    if content is None:
        return NOTHING
    if content.boot_id == boot_id:
        timeline = Timeline(content.statements, content.ceilings, content.seen, content.unsigned)
        return Remembered(timeline, content.cap_mw, content.leases, trim_mw=content.trim_mw)
    # The times in it were counted on a clock that is gone.
    leases = content.leases and replace(content.leases, promises=(), wait_until_boot_s=0.0)
    timeline = Timeline(seen={source: replace(seen, lag_s=None) for source, seen in content.seen.items()})
    return Remembered(timeline, content.cap_mw, leases, of_this_boot=False, trim_mw=content.trim_mw)


def encode(remembered: Remembered, boot_id: str) -> str:
    """Return the text of the file."""
    timeline, cap_mw = remembered.timeline, remembered.cap_mw
    said = (timeline.statements, timeline.ceilings, timeline.seen, timeline.unsigned)
    content = _Content(VERSION, boot_id, cap_mw, *said, remembered.leases, remembered.trim_mw)
    return records.dumps(content)


def save(directory: Path, remembered: Remembered, boot_id: str) -> None:
    """Replace the file. What a crash of the whole host loses counts for nothing in the boot after it.

    Raises:
        OSError: it cannot be written.
    """
    replace_file(directory / FILE_NAME, encode(remembered, boot_id))


class Keeper:
    """Writes what changed, away from the event loop: a stalled disk must not stall control.

    Invariant: no message leaves before every promise in it is in the file. Everything is called in the
    event loop.

    Args:
        on_error: called when the file could not be written, with None when it can be again.
        sleep: for tests.
    """

    def __init__(
        self,
        directory: Path,
        boot_id: str,
        on_error: Callable[[OSError | None], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._on_error = on_error
        self._file = LatestFile[Remembered](
            lambda remembered: save(directory, remembered, boot_id), self._on_done, sleep=sleep
        )
        self._works = False
        self._in_file: frozenset[Promise] = frozenset()
        self._waiting: _Waiting | None = None
        # Promises of messages that never left: nobody can rely on them, so no message waits for them.
        self._never_said: frozenset[Promise] = frozenset()

    @property
    def works(self) -> bool:
        """Return whether the file could be written the last time, and at least once."""
        return self._works

    def keep(self, remembered: Remembered) -> None:
        """Take note of what is in force; writes nothing itself."""
        self._file.keep(remembered)

    def say(self, remembered: Remembered, send: Callable[[], None]) -> None:
        """Call `send` once every promise in `remembered` is in the file: now, if it is.

        Messages are complete, so a newer one takes the place of one that waits. What waits is dropped when
        the file cannot be written.
        """
        self.keep(remembered)
        self._drop()
        self._never_said &= remembered.promises
        missing = remembered.promises - self._in_file - self._never_said
        if missing:
            self._waiting = _Waiting(missing, send)
        else:
            send()

    async def run(self) -> None:
        """Write every change, the latest only; what failed is tried again by itself."""
        await self._file.run()

    async def write(self) -> bool:
        """Write the latest now; say whether that worked."""
        return await self._file.write()

    def _on_done(self, remembered: Remembered, error: OSError | None) -> None:
        if error is not None:
            self._works = False
            self._drop()
            self._on_error(error)
            return
        if not self._works:
            self._works = True
            self._on_error(None)
        self._in_file = remembered.promises
        waiting = self._waiting
        if waiting is not None and waiting.missing <= self._in_file:
            self._waiting = None
            waiting.send()

    def _drop(self) -> None:
        if self._waiting is not None:
            self._never_said |= self._waiting.missing
            self._waiting = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message that is to be sent once these promises are in the file."""

    missing: frozenset[Promise]
    send: Callable[[], None]
