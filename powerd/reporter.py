"""Tells everyone about a finished iteration: endpoint, metrics, bus, runtime file, service manager.

Invariant: nothing here blocks, and nothing here decides. The watchdog is fed by finished iterations and by
nothing else, so a loop that stands still is restarted.
"""

from collections.abc import Callable, Hashable

from powerd.controller import Report
from powerd.notify import notify
from powerd.runtime_file import Keeper, Remembered
from powerd.signals.bus import Bus
from powerd.signals.report import HostReport
from powerd.signals.topics import Topics
from powerd.snapshot import Snapshot

# The state is retained for peers and people: said on every change, and this often without one.
STATE_EVERY_S = 10.0


class BusReporter:
    """Publishes what the host says of itself."""

    def __init__(self, bus: Bus, topics: Topics, host_report: HostReport) -> None:
        self._bus = bus
        self._topics = topics
        self._host_report = host_report
        self._said: Hashable = None
        self._said_boot_s = 0.0

    def __call__(self, report: Report) -> None:
        """Publish state when it changed or is due, telemetry after each sample, notices at once."""
        snapshot = report.snapshot
        essence = _essence(snapshot)
        if essence != self._said or snapshot.now.boot_s - self._said_boot_s >= STATE_EVERY_S:
            self._said, self._said_boot_s = essence, snapshot.now.boot_s
            self._bus.publish(self._topics.state, self._host_report.state(snapshot), qos=1, retain=True)
        if report.sampled:
            telemetry = self._host_report.telemetry(snapshot)
            self._bus.publish(self._topics.telemetry, telemetry, qos=0, retain=False)
        for notice in report.notices:
            payload = self._host_report.notice(notice, wall_s=snapshot.now.wall_s)
            self._bus.publish(self._topics.notice, payload, qos=1, retain=False)


def _essence(snapshot: Snapshot) -> Hashable:
    """Return what makes a state worth saying again; draw and age change all the time and do not count."""
    decision = snapshot.decision
    statement = decision.statement
    return (
        decision.phase,
        decision.cap_mw,
        decision.infeasible_mw,
        decision.compliant,
        statement and (statement.source, statement.mw),
        tuple((r.uuid, r.state, r.worst_case_mw) for r in snapshot.readings),
    )


class Reporter:
    """Hands each report to every listener, and feeds the watchdog.

    Attributes:
        latest: the last finished iteration; None before the first.
    """

    def __init__(self, listeners: list[Callable[[Report], None]], keeper: Keeper) -> None:
        self._listeners = listeners
        self._keeper = keeper
        self.latest: Snapshot | None = None

    def __call__(self, report: Report) -> None:
        """Take in one finished iteration."""
        if self.latest is None:
            notify("READY=1")
        self.latest = report.snapshot
        notify("WATCHDOG=1")
        self._keeper.keep(Remembered(report.state.timeline, report.state.ramp.cap_mw))
        for listener in self._listeners:
            listener(report)
