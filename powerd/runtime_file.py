"""What the daemon remembers over a restart: which messages were seen, and the budget in force.

Keys of messages count for ever, leases only within the boot they were counted in. The file may be missing,
damaged or unwritable: then powerd starts as if for the first time, and says so.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from powerd.core.timeline import Ceiling, Seen, Statement, Timeline
from powerd.core.units import MilliWatts

VERSION = 1
FILE_NAME = "runtime.json"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was in force when the file was written.

    Attributes:
        cap_mw: the rack cap; None if nothing was remembered.
    """

    timeline: Timeline
    cap_mw: MilliWatts | None


NOTHING = Remembered(Timeline(), None)


def load(directory: Path, boot_id: str) -> Remembered:
    """Return what was remembered; nothing if there is no file.

    Raises:
        OSError: the file exists and cannot be read.
        ValueError: the file is damaged, or of another version.
    """
    try:
        text = (directory / FILE_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return NOTHING
    try:
        return _decode(json.loads(text), boot_id)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a runtime file of powerd: {error!r}") from error


def _decode(data: dict[str, Any], boot_id: str) -> Remembered:
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']} is not {VERSION}")
    seen = {source: Seen(**entry) for source, entry in data["seen"].items()}
    if data["boot_id"] != boot_id:  # leases of another boot were counted on a clock that is gone
        return Remembered(Timeline(seen=seen), data["cap_mw"])
    return Remembered(
        Timeline(
            {source: Statement(**entry) for source, entry in data["statements"].items()},
            {source: Ceiling(**entry) for source, entry in data["ceilings"].items()},
            seen,
        ),
        data["cap_mw"],
    )


def encode(remembered: Remembered, boot_id: str) -> str:
    """Return the text of the file."""
    return json.dumps(
        {"version": VERSION, "boot_id": boot_id, "cap_mw": remembered.cap_mw, **asdict(remembered.timeline)}
    )


def save(directory: Path, remembered: Remembered, boot_id: str) -> None:
    """Replace the file as a whole.

    Raises:
        OSError: it cannot be written.
    """
    temporary = directory / f".{FILE_NAME}.{os.getpid()}"
    try:
        temporary.write_text(encode(remembered, boot_id), encoding="utf-8")
        temporary.replace(directory / FILE_NAME)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class Keeper:
    """Writes what changed, away from the event loop: a stalled disk must not stall control.

    Args:
        on_error: called when the file could not be written, with None when it can be again.
    """

    def __init__(self, directory: Path, boot_id: str, on_error: Callable[[OSError | None], None]) -> None:
        self._directory = directory
        self._boot_id = boot_id
        self._on_error = on_error
        self._latest = NOTHING
        self._changed = asyncio.Event()

    def keep(self, remembered: Remembered) -> None:
        """Take note of what is in force; writes nothing itself."""
        if remembered != self._latest:
            self._latest = remembered
            self._changed.set()

    async def run(self) -> None:
        """Write every change, the latest only."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await asyncio.to_thread(save, self._directory, self._latest, self._boot_id)
            except OSError as error:
                self._on_error(error)
            else:
                self._on_error(None)
