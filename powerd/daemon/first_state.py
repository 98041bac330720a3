"""What the daemon knows when it starts: as much as the files tell that outlived the last one.

Invariant: a file that is damaged or missing never stops the start. It is as if for the first time then, and
that is told.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from powerd.clock import boot_id
from powerd.core.events.schedule import Schedule
from powerd.core.leases import memory
from powerd.core.model import Notice, Now, Severity
from powerd.core.state import Config, State, initial_state
from powerd.daemon.ears import listened_to
from powerd.files import events_file, runtime_file
from powerd.settings.model import Settings

Record = TypeVar("Record")


def first_state(settings: Settings, config: Config, now: Now) -> tuple[State, tuple[Notice, ...]]:
    """Return what is known at the start, and why no more is."""
    directory = Path(settings.host.state_dir)
    recall = partial(runtime_file.load, directory, boot_id())
    known, damage = _loaded(directory / runtime_file.FILE_NAME, recall)
    schedule, lost = _loaded(directory / events_file.FILE_NAME, partial(events_file.load, directory))
    known, schedule = known or runtime_file.NOTHING, schedule or Schedule()
    leases = memory.recall(known.leases, config.rack, config.leases, now, of_this_boot=known.of_this_boot)
    timeline = listened_to(settings, known.timeline)
    trim_mw = known.trim_mw if config.meter.parts else 0
    state = initial_state(now, timeline, known.cap_mw, leases, schedule, trim_mw)
    told = (("runtime_file_unusable", damage), ("events_file_unusable", lost))
    return state, tuple(Notice(event, Severity.WARNING, text) for event, text in told if text)


def _loaded(path: Path, load: Callable[[], Record]) -> tuple[Record | None, str]:
    try:
        return load(), ""
    except (OSError, ValueError) as error:
        return None, f"{path}: {error}; starting as if for the first time"
