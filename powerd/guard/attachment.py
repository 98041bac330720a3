"""Getting hold of the driver, and getting hold of it again after it was unloaded, upgraded or reset.

The driver may be away for hours; until it is back it is looked for every few seconds, in a thread, since the
first call of a freshly loaded driver can take seconds or hang. Given up on order, it is left alone until
`attach` is ordered, also by a guard that starts meanwhile.
"""

from collections.abc import Callable

from powerd.guard import journal
from powerd.guard.driver import DriverError, Kind
from powerd.guard.fleet import Fleet, Runner
from powerd.guard.statefile import StateFile
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
        file: where an order to stay away outlives the guard.

    Attributes:
        generation: counts successful attaches; a new one means that limits may have been reset.
        error: why the driver is not there; empty when it is.
        detached: who has given it up on order, and why; empty where nobody has.
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
        file: StateFile,
    ) -> None:
        self.generation = 0
        self.is_obsolete = False
        self.detached = str(file.load().get("detached", ""))
        self.error = _told(self.detached) if self.detached else "the driver is not attached yet"
        self.in_progress = not self.detached
        self._runner = runner
        self._fleet = fleet
        self._clock = clock
        self._on_attached = on_attached
        self._on_settled = on_settled
        self._file = file
        self._due_boot_s: float | None = None if self.detached else 0.0
        self._retry_s = _FIRST_RETRY_S
        self._is_in_call = False
        # Whether NVML may be open.
        self._is_held = False

    @property
    def state(self) -> str:
        """Return how it stands: "attached", "away", or on order "letting go", then "detached"."""
        if self.detached:
            return "letting go" if self._is_held or self._is_in_call else "detached"
        return "attached" if self._fleet.is_open else "away"

    def detach(self, why: str) -> None:
        """Let go of all GPUs and of the driver, as soon as no worker is in it, and stay away."""
        journal.log(journal.NOTICE, f"letting go of the driver: {why}")
        self.detached = why
        self._file.save({"detached": why})
        self.error = _told(why)
        self.in_progress = False
        self._due_boot_s = None
        self._fleet.close(DriverError(Kind.DRIVER_GONE, self.error))

    def attach(self) -> None:
        """End what `detach` has begun: attach as soon as possible."""
        if not self.detached:
            return
        self.detached = ""
        self._file.remove()
        self.error = "the driver is being attached again"
        self._attach_soon()

    def lost(self, error: DriverError) -> None:
        """Let go of all GPUs and attach again as soon as no worker is in the driver."""
        if not self._fleet.is_open:
            return
        journal.log(journal.WARNING, f"the driver is gone ({error}); attaching again")
        self.error = str(error)
        self._attach_soon()
        self._fleet.close(error)

    def due_boot_s(self) -> float | None:
        """Return when `tick` has something to do; None while a call runs or a worker is in its way."""
        if self._is_in_call or not self._fleet.is_quiet:
            return None
        return 0.0 if self.detached and self._is_held else self._due_boot_s

    def tick(self, now_boot_s: float) -> None:
        """Make an attempt, or let go, when that is due."""
        due_boot_s = self.due_boot_s()
        if due_boot_s is None or now_boot_s < due_boot_s:
            return
        self._is_in_call = True
        if self.detached:
            self._runner.detach(self._let_go)
        else:
            self._due_boot_s = None
            self.in_progress = self._is_held = True
            self._runner.attach(self._finished)

    def _attach_soon(self) -> None:
        self.in_progress = True
        self._due_boot_s = self._clock()
        self._retry_s = _FIRST_RETRY_S

    def _let_go(self) -> None:
        self._is_in_call = self._is_held = False
        journal.log(journal.NOTICE, "let go of the driver")

    def _finished(self, result: AttachResult) -> None:
        self._is_in_call = False
        if self.detached:  # ordered while the attempt was under way
            return
        self.in_progress = False
        self._due_boot_s = None
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


def _told(why: str) -> str:
    return f"{why}; `powerctl attach` ends it"
