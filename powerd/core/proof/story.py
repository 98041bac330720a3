"""What the entries about one event tell, without the samples: when it asked for what."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from powerd.core.events.grid_event import GridEvent
from powerd.core.proof.ledger_entry import (
    Body,
    Changed,
    Ended,
    EndReason,
    Entry,
    IntervalBegan,
    Started,
)


@dataclass(frozen=True, slots=True)
class Part:
    """A time in which one interval with one target had a say.

    Attributes:
        event: the version that asked for it.
        end_s: None while it lasts.
    """

    event: GridEvent
    began: IntervalBegan
    start_s: float
    end_s: float | None = None


@dataclass(slots=True)
class Story:
    """What the entries about an event say, without the samples."""

    started: Started
    started_s: float
    event: GridEvent
    parts: list[Part] = field(default_factory=list)
    reason: EndReason | None = None
    ended_s: float | None = None
    restored_s: float | None = None

    def hear(self, wall_s: float, body: Body) -> None:
        """Take in one entry after the first."""
        if isinstance(body, Started | IntervalBegan):
            self.reason = self.ended_s = self.restored_s = None
        if isinstance(body, Started | Changed):
            self.event = body.event
        elif isinstance(body, IntervalBegan):
            last = self.parts[-1] if self.parts else None
            # After a restart of the daemon the same is said again.
            if last is None or last.end_s is not None or last.began != body:
                self._close(wall_s)
                self.parts.append(Part(self.event, body, wall_s))
        elif isinstance(body, Ended):
            self._close(wall_s)
            self.reason, self.ended_s = body.reason, wall_s
        else:
            self._close(wall_s)
            self.restored_s = wall_s

    def _close(self, wall_s: float) -> None:
        if self.parts and self.parts[-1].end_s is None:
            self.parts[-1] = replace(self.parts[-1], end_s=wall_s)


def tell(entries: Iterable[Entry], key: str) -> Story:
    """Return the story of one event.

    Raises:
        ValueError: the entries do not tell of its start.
    """
    story = None
    for entry in entries:
        if entry.event != key:
            continue
        if story is not None:
            story.hear(entry.wall_s, entry.body)
        elif isinstance(entry.body, Started):
            story = Story(entry.body, entry.wall_s, entry.body.event)
    if story is None:
        raise ValueError(f"nothing tells of the start of {key}")
    return story
