"""What is wrong now, or was a moment ago: the `errors` of status, each told once a minute at most.

Only a change of how things stand is told each time, or the last line in the log would not be true.

Subjects may come from the bus. However many of them a sender makes up, no other kind of problem is kept from
being told, and what is told, logged and published stays bounded.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import replace

from powerd.core.model import Notice, Severity
from powerd.snapshot import Problem

# A problem that has not recurred for this long is over.
OVER_AFTER_S = 60.0
TELL_AGAIN_AFTER_S = 60.0
# None comes more often than phases change, connections are made, or operators say something.
CHANGES = frozenset(
    {
        "drill_ended",
        "failsafe_entered",
        "failsafe_left",
        "mqtt_connected",
        "mqtt_disconnected",
        "mqtt_subscribed",
        "override_ended",
        "phase_changed",
    }
)
MAX_PROBLEMS = 256
# Of one event; what is beyond it is told as one more. A host has fewer GPUs.
MAX_SUBJECTS = 32
OTHERS = "(others)"


class Waiting:
    """Notices that the next iteration tells: of each event the newest `MAX_SUBJECTS`."""

    def __init__(self) -> None:
        self._by_event: dict[str, deque[Notice]] = {}

    def add(self, notice: Notice) -> None:
        """Take a notice in."""
        self._by_event.setdefault(notice.event, deque(maxlen=MAX_SUBJECTS)).append(notice)

    def take(self) -> list[Notice]:
        """Return them, once."""
        taken, self._by_event = self._by_event, {}
        return [notice for notices in taken.values() for notice in notices]


class Problems:
    """Counts notices by event and subject. Times are boot-clock seconds unless named otherwise."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, str], Problem] = {}
        self._last_boot_s: dict[tuple[str, str], float] = {}
        self._told_boot_s: dict[tuple[str, str], float] = {}
        self._lasting: set[tuple[str, str]] = set()
        self._subjects: Counter[str] = Counter()

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
        for said in (*notices, *lasting):
            notice = self._summed_up(said)
            key = (notice.event, notice.subject)
            if key not in self._problems and not self._has_room(notice):
                continue
            self._count(key, notice, boot_s, wall_s)
            last_boot_s = self._told_boot_s.get(key, -TELL_AGAIN_AFTER_S)
            if notice.event in CHANGES or boot_s - last_boot_s >= TELL_AGAIN_AFTER_S:
                self._told_boot_s[key] = boot_s
                due.append(notice)
        self._drop_what_is_over(boot_s)
        return tuple(due)

    def current(self) -> tuple[Problem, ...]:
        """Return what is wrong, the most urgent and then the newest first."""
        order = {"critical": 0, "warning": 1, "info": 2}
        return tuple(sorted(self._problems.values(), key=lambda p: (order[p.severity], -p.last_wall_s)))

    def _summed_up(self, notice: Notice) -> Notice:
        """Return a notice of the others where there are too many subjects of its event."""
        known = (notice.event, notice.subject) in self._problems
        if known or self._subjects[notice.event] < MAX_SUBJECTS:
            return notice
        return replace(notice, subject=OTHERS)

    def _has_room(self, notice: Notice) -> bool:
        return len(self._problems) < MAX_PROBLEMS or notice.severity is Severity.CRITICAL

    def _count(self, key: tuple[str, str], notice: Notice, boot_s: float, wall_s: float) -> None:
        new = Problem(notice.event, str(notice.severity), notice.subject, notice.text, wall_s, wall_s, 0)
        if key not in self._problems:
            self._subjects[notice.event] += 1
        known = self._problems.get(key, new)
        self._problems[key] = replace(known, text=notice.text, last_wall_s=wall_s, count=known.count + 1)
        self._last_boot_s[key] = boot_s

    def _drop_what_is_over(self, boot_s: float) -> None:
        for key in [k for k, last in self._last_boot_s.items() if boot_s - last > OVER_AFTER_S]:
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        if key in self._problems:
            self._subjects[key[0]] -= 1
        for table in (self._problems, self._last_boot_s, self._told_boot_s):
            table.pop(key, None)
