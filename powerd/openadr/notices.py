"""What a person should hear about, said once and not at every attempt."""

from collections.abc import Callable
from typing import NamedTuple

from powerd.core.model import Notice

REPEAT_S = 3600.0
_MAX_REMEMBERED = 1024


class _Told(NamedTuple):
    text: str
    boot_s: float


class Once:
    """Passes on a notice when it says something new, and once an hour while it stays true.

    Args:
        say: what to do with those.
        boot_s: the clock.
    """

    def __init__(self, say: Callable[[Notice], None], boot_s: Callable[[], float]) -> None:
        self._say = say
        self._boot_s = boot_s
        self._told: dict[tuple[str, str], _Told] = {}

    def __call__(self, notice: Notice) -> None:
        """Take one notice."""
        key, now_boot_s = (notice.event, notice.subject), self._boot_s()
        before = self._told.pop(key, None)
        if before is not None and before.text == notice.text and now_boot_s < before.boot_s + REPEAT_S:
            self._told[key] = before
            return
        if len(self._told) >= _MAX_REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[key] = _Told(notice.text, now_boot_s)
        self._say(notice)
