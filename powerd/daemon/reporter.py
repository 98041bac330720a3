"""Tells everyone about a finished iteration: endpoint, metrics, bus, runtime file, service manager.

Invariant: nothing here blocks, and nothing here decides. What a host promises to its peers is written down
before it is said. The watchdog is fed by finished iterations and by nothing else, so a loop that stands still
is restarted.
"""

from collections.abc import Callable

from powerd.core.leases import memory
from powerd.core.leases.duty import on_duty
from powerd.core.state import State
from powerd.core.topology import Rack
from powerd.daemon.controller import Report
from powerd.files.runtime_file import Keeper, Remembered
from powerd.notify import notify
from powerd.signals.bus import Bus
from powerd.signals.report import HostReport
from powerd.signals.topics import Topics
from powerd.signatures.rack_secret import RackSecret
from powerd.snapshot import Snapshot

# How often people are told of the whole rack.
SUMMARY_EVERY_S = 5.0


class BusReporter:
    """Publishes what the host says of itself.

    Args:
        keeper: writes promises down before they are sent.

    Attributes:
        secret: what states are sealed with, so that peers believe them.
    """

    def __init__(
        self, bus: Bus, topics: Topics, host_report: HostReport, keeper: Keeper, secret: RackSecret
    ) -> None:
        self._bus = bus
        self._topics = topics
        self._host_report = host_report
        self._keeper = keeper
        self.secret = secret
        self._summary_boot_s = 0.0

    def __call__(self, report: Report) -> None:
        """Publish the state when there is one to be said, telemetry after each sample, notices at once."""
        snapshot = report.snapshot
        if report.message is not None:
            state = self._host_report.state(snapshot, report.message)
            self._say(self.secret.sealed(self._topics.state, state), report)
        self._sum_up(snapshot)
        if report.sampled:
            telemetry = self._host_report.telemetry(snapshot)
            self._bus.publish(self._topics.telemetry, telemetry, qos=0, retain=False)
        for notice in report.notices:
            payload = self._host_report.notice(notice, wall_s=snapshot.now.wall_s)
            self._bus.publish(self._topics.notice, payload, qos=1, retain=False)

    def _say(self, payload: bytes, report: Report) -> None:
        def send() -> None:
            self._bus.publish(self._topics.state, payload, qos=1, retain=True)

        self._keeper.say(_remembered(report), send)

    def _sum_up(self, snapshot: Snapshot) -> None:
        """Tell people how the rack stands, if that is this host's duty."""
        place, boot_s = snapshot.decision.place, snapshot.now.boot_s
        # Where several hosts do not hear each other, nobody knows how the rack stands.
        knows_all = place.has_peers or len(place.rack.hosts) == 1
        if not knows_all or boot_s < self._summary_boot_s + SUMMARY_EVERY_S:
            return
        leases, rules = snapshot.decision.leases, snapshot.lease_rules
        if on_duty(place.rack, snapshot.host, leases, rules, boot_s) == snapshot.host:
            self._summary_boot_s = boot_s
            payload = self._host_report.summary(snapshot)
            self._bus.publish(self._topics.summary, payload, qos=1, retain=True)


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
        self._keeper.keep(_remembered(report))
        for listener in self._listeners:
            listener(report)


def remembered(state: State, rack: Rack) -> Remembered:
    """Return what must outlive the daemon."""
    leases = memory.keep(state.leases, rack)
    return Remembered(state.timeline, state.known_cap_mw, leases, trim_mw=state.meter.trim_mw)


def _remembered(report: Report) -> Remembered:
    return remembered(report.state, report.snapshot.decision.place.rack)
