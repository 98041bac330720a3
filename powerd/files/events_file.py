"""The grid events that outlive the daemon: a bus need not keep them, and a schedule needs no sender.

The file may be missing or damaged: then powerd starts without events, and says so. It holds for every boot,
since events are dated by the wall clock.
"""

from dataclasses import dataclass
from pathlib import Path

from powerd.core.events.schedule import Held, Schedule
from powerd.files import records
from powerd.files.latest_file import load_file, replace_file

VERSION = 1
FILE_NAME = "events.json"


@dataclass(frozen=True, slots=True)
class _Content:
    """What is in the file."""

    version: int
    held: dict[str, Held]
    latest_s: dict[str, float]
    contents: dict[str, dict[str, int]]


def load(directory: Path) -> Schedule:
    """Return the events that were held; none if there is no file.

    Raises:
        OSError: the file exists and cannot be read.
        ValueError: the file is damaged, or of a version that is not known.
    """
    content = load_file(directory / FILE_NAME, _Content, VERSION)
    if content is None:
        return Schedule()
    return Schedule(content.held, content.latest_s, content.contents)


def save(directory: Path, schedule: Schedule) -> None:
    """Replace the file.

    Raises:
        OSError: it cannot be written.
    """
    content = _Content(VERSION, schedule.held, schedule.latest_s, schedule.contents)
    replace_file(directory / FILE_NAME, records.dumps(content))
