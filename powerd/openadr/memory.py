"""What the bridge remembers over a restart: the VTN's events, and what was published for them.

Without it nothing that was deleted while the bridge was away could be cancelled, "now" would begin anew, and
a VTN that is down at the start would leave the site without its events.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from powerd.files import records
from powerd.files.latest_file import load_file, replace_file
from powerd.signals.strict_json import JsonObject

VERSION = 1
FILE_NAME = "openadr.json"


@dataclass(frozen=True, slots=True)
class Known:
    """One object of the VTN, as it was given.

    Attributes:
        content: JSON; empty once it is over and nothing more can come of this version.
        modified_s: its version, by the VTN's clock.
        first_seen_s: when this version was first seen, Unix seconds.
    """

    content: str
    modified_s: float
    first_seen_s: float

    @property
    def data(self) -> JsonObject:
        """Return the object."""
        return cast("JsonObject", json.loads(self.content))


@dataclass(frozen=True, slots=True)
class Said:
    """What was published last about one native event.

    Attributes:
        origin: the VTN's event that it came from; empty if that is not known.
        payload: JSON.
        said_s: when, Unix seconds.
        over_s: when it ends, or was cancelled; None = it is open.
        is_cancelled: nothing more is to be said about it.
    """

    origin: str
    payload: str
    said_s: float
    over_s: float | None
    is_cancelled: bool = False

    def is_over(self, wall_s: float) -> bool:
        """Say whether it has ended, or was cancelled."""
        return self.over_s is not None and self.over_s <= wall_s


@dataclass(slots=True)
class Memory:
    """All that is remembered.

    Attributes:
        epoch: of the last run; each run takes a larger one.
        events, programs: of the VTN, by their identifiers there.
        said: by the native event's name.
    """

    epoch: int = 0
    events: dict[str, Known] = field(default_factory=dict)
    programs: dict[str, Known] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Content:
    version: int
    epoch: int
    events: dict[str, Known]
    programs: dict[str, Known]
    said: dict[str, Said]


def load(directory: Path) -> Memory:
    """Return what was remembered; an empty memory if there is no file.

    Raises:
        OSError: the file exists and cannot be read.
        ValueError: it is damaged, or of another version.
    """
    content = load_file(directory / FILE_NAME, _Content, VERSION)
    if content is None:
        return Memory()
    for known in (*content.events.values(), *content.programs.values()):
        records.loads(known.content)
    for said in content.said.values():
        records.loads(said.payload)
    return Memory(content.epoch, content.events, content.programs, content.said)


def encode(memory: Memory) -> str:
    """Return the text of the file."""
    return records.dumps(_Content(VERSION, memory.epoch, memory.events, memory.programs, memory.said))


def save(directory: Path, text: str) -> None:
    """Replace the file as a whole, and have it on the disk before anything in it is published.

    Raises:
        OSError: it cannot be written.
    """
    replace_file(directory / FILE_NAME, text, sync=True)
