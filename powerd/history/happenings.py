"""What has happened of late, for people: one line each, kept in memory."""

from collections import Counter
from typing import NamedTuple

from powerd.core.model import Severity

MAX_HAPPENINGS = 1000
# Texts may hold what others sent: memory stays bounded.
_MAX_CHARS = 500


class Happening(NamedTuple):
    """Something that happened once.

    Attributes:
        boot_s: when, on the boot clock.
        event: stable slug, as in the log and in notices.
        text: one line.
        subject: what it is about, e.g. a GPU's UUID; may be empty.
        by: who brought it about: the sender of a budget, a person; empty if nobody in particular did.
    """

    boot_s: float
    event: str
    severity: Severity
    text: str
    subject: str = ""
    by: str = ""


class Happenings:
    """The last thousand of them.

    Invariant: what happens all the time does not push out what happens once. When there are too many, the
    oldest of the kind that there are most of goes.
    """

    def __init__(self) -> None:
        self._kept: list[Happening] = []
        self._kinds: Counter[str] = Counter()

    def add(self, happening: Happening) -> None:
        """Keep one; the newest comes last."""
        text = " ".join(happening.text.split())
        self._kept.append(happening._replace(text=text[:_MAX_CHARS], subject=happening.subject[:_MAX_CHARS]))
        self._kinds[happening.event] += 1
        if len(self._kept) > MAX_HAPPENINGS:
            self._drop_one()

    def since(self, boot_s: float) -> list[Happening]:
        """Return those from a moment on, the oldest first."""
        return [happening for happening in self._kept if happening.boot_s >= boot_s]

    def _drop_one(self) -> None:
        kind = max(self._kinds, key=self._kinds.__getitem__)
        self._kept.pop(next(at for at, each in enumerate(self._kept) if each.event == kind))
        self._kinds[kind] -= 1
        self._kinds += Counter()  # forgets kinds of which none is left
