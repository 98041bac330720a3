"""Has events and the rack's draw written down, iteration by iteration: `core.proof.recording` decides what.

Invariant: nothing here waits. A ledger that cannot be written is told, and control goes on.
"""

from collections.abc import Callable

from powerd import __version__
from powerd.core.model import Notice, Severity
from powerd.core.proof.ledger_entry import Began, Entry
from powerd.core.proof.recording import Recording, flush, record
from powerd.core.proof.stretch import Look
from powerd.daemon.controller import Report
from powerd.ledger.writer import Ledger, LedgerStatus
from powerd.snapshot import STALE_PERIODS, Snapshot

# An attempt that takes longer is worth a notice, and so is every attempt that failed.
STALLED_S = 5.0
TELL_EVERY_S = 10.0


class Recorder:
    """Feeds a ledger from finished iterations. One of the reporter's listeners.

    Args:
        ledger: started.
        on_notice: told while entries cannot be written.
        on_dropped: told how many more entries are lost.
    """

    def __init__(
        self, ledger: Ledger, on_notice: Callable[[Notice], None], on_dropped: Callable[[int], None]
    ) -> None:
        self._ledger = ledger
        self._on_notice = on_notice
        self._on_dropped = on_dropped
        self._recording = Recording()
        self._begun_in = ""  # the mode
        self._dropped = 0
        self._set_aside = ""
        self._told_boot_s = -TELL_EVERY_S

    def __call__(self, report: Report) -> None:
        """Take in one finished iteration."""
        snapshot = report.snapshot
        gap_s = STALE_PERIODS * snapshot.period_s
        self._recording, entries = record(self._recording, self._look(snapshot), gap_s)
        if entries and self._begun_in != snapshot.mode:
            self._begun_in = snapshot.mode
            entries = (_began(snapshot), *entries)
        if entries:
            self._ledger.put(entries)
        self._watch(self._ledger.status(), snapshot.now.boot_s)

    def close(self) -> bool:
        """Write what is left; say whether that worked. Takes a second at the most."""
        if self._recording.tracked or self._begun_in:
            self._recording, entries = flush(self._recording)
            self._ledger.put(entries)
        return self._ledger.close()

    def _look(self, snapshot: Snapshot) -> Look:
        decision = snapshot.decision
        held = decision.schedule.held
        cancelled = frozenset(
            key for key in self._recording.tracked if key in held and held[key].cancelled_s is not None
        )
        return Look(snapshot.now, decision.draw, decision.rack_cap_mw, decision.events, cancelled)

    def _watch(self, status: LedgerStatus, boot_s: float) -> None:
        """Tell what is wrong with the ledger: at once, and again while it lasts."""
        if status.dropped > self._dropped:
            self._on_dropped(status.dropped - self._dropped)
            self._dropped = status.dropped
        if status.set_aside != self._set_aside:
            self._set_aside = status.set_aside
            text = f"the ledger was damaged and is now {status.set_aside}; a new one is begun: find out why"
            self._on_notice(Notice("ledger_set_aside", Severity.WARNING, text))
        trouble = _trouble(status)
        if trouble and boot_s >= self._told_boot_s + TELL_EVERY_S:
            self._told_boot_s = boot_s
            self._on_notice(Notice("ledger_not_written", Severity.WARNING, trouble))


def _began(snapshot: Snapshot) -> Entry:
    body = Began(snapshot.site, snapshot.rack, snapshot.host, snapshot.mode, __version__)
    return Entry(snapshot.now.wall_s, "", body)


def _trouble(status: LedgerStatus) -> str:
    """Return what keeps entries from being written; empty if nothing does."""
    if status.error:
        why = status.error
    elif status.stalled_s > STALLED_S:
        why = f"the disk has not taken an entry for {status.stalled_s:.0f} s"
    else:
        return ""
    lost = f", {status.dropped} are lost" if status.dropped else ""
    return f"{why}; {status.waiting} entries about grid events wait{lost}; control goes on"
