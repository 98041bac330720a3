"""The only place that reads clocks.

Leases run on CLOCK_BOOTTIME, which counts suspend time and never steps; wall time is used only to judge
time stamps that came from elsewhere (docs/signals.md, Clocks).
"""

import ctypes
import functools
import time
from pathlib import Path
from typing import Protocol

from powerd.core.model import Now

# adjtimex(2): return value of an unsynchronised clock.
_TIME_ERROR = 5
_SYNC_CHECK_EVERY_S = 10.0


class Clock(Protocol):
    """Anything that can say what time it is."""

    def now(self) -> Now:
        """Return boot clock, wall clock, and whether the wall clock is synchronised."""


def boot_s() -> float:
    """Return seconds since boot, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the kernel's identifier of this boot: boot-clock times compare only within one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@functools.cache
def _adjtimex() -> "ctypes._NamedFuncPointer":  # the name exists for type checkers only
    return ctypes.CDLL(None, use_errno=True).adjtimex


def wall_is_synchronised() -> bool:
    """Ask the kernel (adjtimex) whether a time service keeps the wall clock."""
    buffer = ctypes.create_string_buffer(512)  # struct timex is 208 bytes; modes = 0 reads only
    state: int = _adjtimex()(buffer)
    return 0 <= state < _TIME_ERROR


class SystemClock:
    """The machine's clocks. The synchronisation state is asked for every ten seconds.

    Args:
        assume_synced: take the wall clock as synchronised without asking the kernel, for hosts whose
            time service does not report to it (containers, some virtual machines).
    """

    def __init__(self, *, assume_synced: bool = False) -> None:
        self._assume_synced = assume_synced
        self._synced = assume_synced
        self._checked_boot_s = -_SYNC_CHECK_EVERY_S

    def now(self) -> Now:
        """Return the present moment."""
        boot = boot_s()
        if not self._assume_synced and boot - self._checked_boot_s >= _SYNC_CHECK_EVERY_S:
            self._synced = wall_is_synchronised()
            self._checked_boot_s = boot
        return Now(boot_s=boot, wall_s=time.time(), wall_synced=self._synced)
