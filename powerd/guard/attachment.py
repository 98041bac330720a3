"""Getting hold of the driver, and getting hold of it again after it was unloaded, upgraded or reset.

The driver may be away for hours; until it is back it is looked for every few seconds, in a thread, since the
first call of a freshly loaded driver can take seconds or hang.
"""

from collections.abc import Callable

from powerd.guard import journal
from powerd.guard.driver import DriverError, Kind
from powerd.guard.fleet import Fleet, Runner
from powerd.guard.workers import AttachResult

_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 10.0


class Attachment:
    """Whether the driver is there; main loop only.

    Args:
        runner: attaches, in a thread.
        fleet: opened when that works, closed when the driver goes away.
        clock: seconds on the boot clock.
        on_attached: called when the fleet has been opened.
        on_settled: called after each attempt, whatever came of it.

    Attributes:
        generation: counts successful attaches; a new one means that limits may have been reset.
        error: why the driver is not there; empty when it is.
        in_progress: an attempt is due at once or under way.
        is_obsolete: the driver was upgraded since it was attached: this process has to be started anew.
    """

    def __init__(
        self,
        runner: Runner,
        fleet: Fleet,
        clock: Callable[[], float],
        on_attached: Callable[[], None],
        on_settled: Callable[[], None],
    ) -> None:
        self.generation = 0
        self.error = "the driver is not attached yet"
        self.in_progress = True
        self.is_obsolete = False
        self._runner = runner
        self._fleet = fleet
        self._clock = clock
        self._on_attached = on_attached
        self._on_settled = on_settled
        self._due_boot_s: float | None = 0.0
        self._retry_s = _FIRST_RETRY_S

    def lost(self, error: DriverError) -> None:
        """Let go of all GPUs and attach again as soon as no worker is in the driver."""
        if not self._fleet.is_open:
            return
        journal.log(journal.WARNING, f"the driver is gone ({error}); attaching again")
        self.error = str(error)
        self.in_progress = True
        self._due_boot_s = self._clock()
        self._retry_s = _FIRST_RETRY_S
        self._fleet.close(error)

    def due_boot_s(self) -> float | None:
        """Return when `tick` has something to do; None while an attempt runs or a worker is in its way."""
        return self._due_boot_s if self._fleet.is_quiet else None

    def tick(self, now_boot_s: float) -> None:
        """Make an attempt when one is due."""
        if self._due_boot_s is None or now_boot_s < self._due_boot_s or not self._fleet.is_quiet:
            return
        self._due_boot_s = None
        self.in_progress = True
        self._runner.attach(self._finished)

    def _finished(self, result: AttachResult) -> None:
        self.in_progress = False
        if isinstance(result, DriverError):
            self._failed(result)
        else:
            self.generation += 1
            self.error = ""
            self._fleet.open(result)
            journal.log(journal.NOTICE, f"driver attached, {len(result)} GPUs")
            self._on_attached()
        self._on_settled()

    def _failed(self, error: DriverError) -> None:
        # At the first attach a new process would find the same: the upgrade is not finished, so wait.
        self.is_obsolete = error.kind == Kind.DRIVER_REPLACED and self.generation > 0
        if str(error) != self.error:
            journal.log(journal.WARNING, f"cannot attach the driver: {error}; trying again")
        self.error = str(error)
        self._due_boot_s = self._clock() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)
