"""What is wrong now, or was a moment ago: the `errors` of status, each told once a minute at most."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from powerd.core.model import Notice
from powerd.snapshot import Problem

# A problem that has not recurred for this long is over.
OVER_AFTER_S = 60.0
TELL_AGAIN_AFTER_S = 60.0
# Subjects may come from the bus: a hostile sender must not be able to grow this without end.
MAX_PROBLEMS = 256


class Problems:
    """Counts notices by event and subject. Times are boot-clock seconds unless named otherwise."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, str], Problem] = {}
        self._last_boot_s: dict[tuple[str, str], float] = {}
        self._told_boot_s: dict[tuple[str, str], float] = {}
        self._lasting: set[tuple[str, str]] = set()

    def take(
        self, notices: Iterable[Notice], boot_s: float, wall_s: float, lasting: Collection[Notice] = ()
    ) -> tuple[Notice, ...]:
        """Take in notices, and return those that are new, or due to be told again.

        Args:
            lasting: what is wrong for as long as it is in here, and over at once when it is not any more.
        """
        due = []
        ended, self._lasting = self._lasting, {(each.event, each.subject) for each in lasting}
        for key in ended - self._lasting:
            self._drop(key)
        for notice in (*notices, *lasting):
            key = (notice.event, notice.subject)
            if key not in self._problems and len(self._problems) >= MAX_PROBLEMS:
                continue
            self._count(key, notice, boot_s, wall_s)
            if boot_s - self._told_boot_s.get(key, -TELL_AGAIN_AFTER_S) >= TELL_AGAIN_AFTER_S:
                self._told_boot_s[key] = boot_s
                due.append(notice)
        self._drop_what_is_over(boot_s)
        return tuple(due)

    def current(self) -> tuple[Problem, ...]:
        """Return what is wrong, the most urgent and then the newest first."""
        order = {"critical": 0, "warning": 1, "info": 2}
        return tuple(sorted(self._problems.values(), key=lambda p: (order[p.severity], -p.last_wall_s)))

    def _count(self, key: tuple[str, str], notice: Notice, boot_s: float, wall_s: float) -> None:
        new = Problem(notice.event, str(notice.severity), notice.subject, notice.text, wall_s, wall_s, 0)
        known = self._problems.get(key, new)
        self._problems[key] = replace(known, text=notice.text, last_wall_s=wall_s, count=known.count + 1)
        self._last_boot_s[key] = boot_s

    def _drop_what_is_over(self, boot_s: float) -> None:
        for key in [k for k, last in self._last_boot_s.items() if boot_s - last > OVER_AFTER_S]:
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        for table in (self._problems, self._last_boot_s, self._told_boot_s):
            table.pop(key, None)
