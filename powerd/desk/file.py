"""The orders that outlive the daemon: overrides, and a driver that was given up. Of this boot only.

The file may be missing or damaged: then none is taken to hold, and powerd says so.
"""

from dataclasses import dataclass
from pathlib import Path

from powerd.core.orders.override import Override
from powerd.files import records
from powerd.files.latest_file import load_file, replace_file
from powerd.snapshot import Detached

VERSION = 1
FILE_NAME = "orders.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of the orders that hold."""

    overrides: tuple[Override, ...] = ()
    detached: Detached | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    """What is in the file."""

    version: int
    boot_id: str
    overrides: tuple[Override, ...]
    detached: Detached | None


def load(directory: Path, boot_id: str) -> Kept:
    """Return the orders that held; none if there is no file, or it is of another boot.

    Raises:
        OSError: the file exists and cannot be read.
        ValueError: the file is damaged, or of a version that is not known.
    """
    content = load_file(directory / FILE_NAME, _Content, VERSION)
    if content is None or content.boot_id != boot_id:
        return Kept()
    return Kept(content.overrides, content.detached)


def save(directory: Path, boot_id: str, kept: Kept) -> None:
    """Replace the file.

    Raises:
        OSError: it cannot be written.
    """
    content = _Content(VERSION, boot_id, kept.overrides, kept.detached)
    replace_file(directory / FILE_NAME, records.dumps(content))
