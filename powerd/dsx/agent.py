"""Speaks for the rack on the topics of a DSX Flex agent: power state, and breaches (docs/dsx-flex.md).

Every host of the rack follows what is to be said; the first live one of the roster says it. Nobody's safety
rests on it: for a moment two may speak, or none.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from powerd.core.dsx import breach as breaches
from powerd.core.dsx import flex
from powerd.core.dsx.breach import Breach, BreachPhase, BreachRules
from powerd.core.dsx.flex import Flex, FlexEvent, Told
from powerd.core.leases.duty import on_duty
from powerd.core.state import Config
from powerd.core.units import MilliWatts
from powerd.daemon.controller import Report
from powerd.dsx import breach as alerts
from powerd.dsx import status
from powerd.dsx.breach import BreachView, HostLoad, breach_data
from powerd.dsx.cloud_event import AGENT_ROLE, NAMESPACE, build, source_of
from powerd.dsx.outlook import FeedOutlook, Targets, feed_now, feed_view, outlooks
from powerd.dsx.status import status_data
from powerd.dsx.traces import Traces
from powerd.signals.strict_json import JsonObject
from powerd.signals.summary import host_summary
from powerd.signals.wire import encode, total_mw
from powerd.signatures.jws import Signer
from powerd.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How powerd speaks as a DSX Flex agent.

    Attributes:
        identifier: of this agent, unique on the broker: one per rack.
        role: in topics; `source` always has the one that the schema allows.
        status_every_s: a status is published at least this often.
        status_qos, breach_qos: the schema asks for 1 and 2.
        actions: what infrastructure agents may do about a breach, from least to most disruptive.
    """

    identifier: str
    role: str = AGENT_ROLE
    status_every_s: float = 60.0
    status_qos: int = 1
    breach_qos: int = 2
    breach: BreachRules = field(default_factory=BreachRules)
    actions: tuple[str, ...] = alerts.DEFAULT_ACTIONS

    @property
    def status_topic(self) -> str:
        """Return where power states are published."""
        return f"{NAMESPACE}/{self.role}/{self.identifier}/powerstate/status"

    @property
    def breach_topic(self) -> str:
        """Return where breaches are published."""
        return f"{NAMESPACE}/{self.role}/{self.identifier}/powerbreach"


class Publish(Protocol):
    """Publishes one message without waiting, as `Bus.publish` does."""

    def __call__(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Publish."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A breach, and what it is of.

    Attributes:
        breach_id: new with each breach; empty while there is none.
    """

    state: Breach = breaches.NO_BREACH
    breach_id: str = ""
    target_mw: MilliWatts = 0
    correlation_id: str = ""


class DsxReporter:
    """Publishes the power state of the rack's feeds, and their breaches.

    Args:
        signer: None = data is published plain.
        traces: of the targets that came in.
    """

    def __init__(
        self, options: AgentOptions, config: Config, publish: Publish, traces: Traces, signer: Signer | None
    ) -> None:
        self._options = options
        self._config = config
        self._publish = publish
        self._traces = traces
        self._signer = signer
        self._targets = Targets()
        self._flex = Flex()
        self._breaches: dict[str, _Known] = {}

    def go_by(self, config: Config) -> None:
        """Speak of the rack as another configuration has it."""
        self._config = config

    def __call__(self, report: Report) -> None:
        """Follow one iteration, and say of it what is due."""
        snapshot = report.snapshot
        decision, now = snapshot.decision, snapshot.now
        self._targets.follow(decision.schedule, self._config.events.feeds)
        found = outlooks(decision, self._targets)
        seen = {feed: feed_now(each, decision, self._targets.names[feed]) for feed, each in found.items()}
        self._flex, statuses = flex.step(self._flex, seen, now, self._options.status_every_s)
        if not self._speaks(snapshot):
            self._breaches.clear()  # whoever speaks now finds it out anew
            return
        for told in statuses:
            self._say_status(found, told, snapshot)
        if snapshot.mode != "enforce":
            return  # nothing was limited: nobody is to switch off racks for that
        for feed, outlook in found.items():
            self._watch(feed, outlook, snapshot)

    def _speaks(self, snapshot: Snapshot) -> bool:
        config = self._config
        if not config.has_peers:  # nobody is heard: the first of the roster, alive or not
            return config.rack.hosts[0].name == config.host
        leases, boot_s = snapshot.decision.leases, snapshot.now.boot_s
        return on_duty(config.rack, config.host, leases, config.leases, boot_s) == config.host

    def _say_status(self, found: dict[str, FeedOutlook], told: dict[str, Told], snapshot: Snapshot) -> None:
        wall_s, config = snapshot.now.wall_s, self._config
        views = [(feed, feed_view(each, snapshot, config, told[feed])) for feed, each in found.items()]
        followed = (_cause(found[feed], each.event) for feed, each in told.items())
        self._say(
            self._options.status_topic,
            status_data(views, wall_s),
            kind=status.KIND,
            subject=status.SUBJECT,
            qos=self._options.status_qos,
            correlation_id=next(filter(None, followed), ""),
            wall_s=wall_s,
        )

    def _watch(self, feed: str, outlook: FeedOutlook, snapshot: Snapshot) -> None:
        """Judge the draw by the target in force, and tell what is new."""
        now, draw_mw, limit_mw = snapshot.now, snapshot.decision.draw.mw, outlook.limit_mw
        before = self._breaches.get(feed, _Known())
        state, alert = breaches.step(before.state, draw_mw, limit_mw, now, self._options.breach)
        known = replace(before, state=state)
        if outlook.governing is not None and limit_mw is not None:
            # A breach that outlives its target goes on under its name.
            known = replace(known, target_mw=limit_mw, correlation_id=outlook.governing.event.correlation_id)
        if alert is None or draw_mw is None:
            self._breaches[feed] = known
            return
        known = replace(known, breach_id=known.breach_id or str(uuid.uuid4()))
        view = BreachView(
            breach_id=known.breach_id,
            feed=feed,
            detected_s=(before.state.begun or now).wall_s,
            target_mw=known.target_mw,
            correlation_id=known.correlation_id,
            draw_mw=draw_mw,
            hosts=tuple(self._hosts(snapshot)),
        )
        self._say(
            self._options.breach_topic,
            breach_data(view, alert, self._options.actions, now.wall_s),
            kind=alerts.KIND,
            subject=alerts.SUBJECT,
            qos=self._options.breach_qos,
            correlation_id=known.correlation_id,
            wall_s=now.wall_s,
        )
        is_over = alert.phase is BreachPhase.RESOLVED
        self._breaches[feed] = replace(known, breach_id="") if is_over else known

    def _hosts(self, snapshot: Snapshot) -> Iterator[HostLoad]:
        decision = snapshot.decision
        for host in self._config.rack.hosts:
            if host.name == snapshot.host:
                draw_mw = total_mw((gpu.draw_mw for gpu in snapshot.readings), decision.overhead_mw)
                yield HostLoad(host.name, draw_mw, decision.cap_mw, host.floor_mw)
            else:
                peer = decision.leases.peers.get(host.name)
                heard = host_summary(host.name, peer, is_live=snapshot.is_live(peer, snapshot.now))
                yield HostLoad(host.name, heard.measured_mw, heard.cap_mw, host.floor_mw)

    def _say(
        self,
        topic: str,
        data: JsonObject,
        *,
        kind: str,
        subject: str,
        qos: int,
        correlation_id: str,
        wall_s: float,
    ) -> None:
        payload = build(
            kind=kind,
            subject=subject,
            source=source_of(AGENT_ROLE, self._options.identifier),
            data=data if self._signer is None else self._signer.sign(encode(data)),
            wall_s=wall_s,
            correlation_id=correlation_id,
            trace=self._traces.of(correlation_id),
        )
        self._publish(topic, payload, qos=qos, retain=False)


def _cause(outlook: FeedOutlook, event: FlexEvent) -> str:
    """Return the correlation of the target that a status follows from; empty if it is none."""
    if event is FlexEvent.PERIODIC:
        return ""
    if event is not FlexEvent.TARGET_SET and outlook.governing is not None:
        return outlook.governing.event.correlation_id
    return outlook.newest.correlation_id if outlook.newest is not None else ""
