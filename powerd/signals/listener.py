"""From a topic to the controller: well-formed, allowed messages go on, all else is counted and told."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from powerd.clock import Clock
from powerd.core.events.grid_event import GridEvent
from powerd.core.leases.host_state import HostState
from powerd.core.model import Notice, Severity
from powerd.core.rack.advisory import AdvisorySignal
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.rack.trust import Trust
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts
from powerd.errors import SignalRejectedError
from powerd.signals.advisory import parse_signal
from powerd.signals.fields import printable
from powerd.signals.grid_event import parse_event
from powerd.signals.host_state import parse_host_state
from powerd.signals.mqtt import OnMessage, matches
from powerd.signals.native import parse_budget
from powerd.signals.reasons import Reason
from powerd.signals.topics import (
    RackTopics,
    SiteTopics,
    Topics,
    event_id_of,
    has_wildcard,
    host_of,
    signal_and_zone_of,
)
from powerd.signatures.envelope import PLAIN, Envelopes
from powerd.signatures.rack_secret import NO_SECRET, RackSecret

# A budget with all its fields at their longest, and signed, has less. What a grid event may have takes a
# hundred times as long to read, and budgets are read however many come.
MAX_BUDGET_BYTES = 8 * 1024
# Of a topic that somebody made up, people are shown so much.
MAX_TOPIC_CHARACTERS = 128

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class Hooks(Generic[Message]):
    """Where messages go.

    Attributes:
        submit: takes a message that can be used.
        notice: takes what people should hear about.
        rejected: counts a refusal, by source and reason.
    """

    submit: Callable[[Message], None]
    notice: Callable[[Notice], None]
    rejected: Callable[[str, str], None]


class Listener(Generic[Message]):
    """What reads one kind of message.

    Attributes:
        rejected: messages that could not be used.
    """

    def __init__(self, hooks: Hooks[Message]) -> None:
        self._hooks = hooks
        self.rejected = 0

    def _take(self, topic: str, read: Callable[[], Message]) -> None:
        """Hand on what `read` returns; count and tell what it refuses."""
        try:
            message = read()
        except SignalRejectedError as error:
            self.rejected += 1
            self._hooks.rejected(error.source, error.reason)
            text = f"{printable(topic[:MAX_TOPIC_CHARACTERS])}: {error}"
            subject = f"{error.source}:{error.reason}"
            # Whoever clears a retained message means no harm.
            severity = Severity.INFO if error.reason == Reason.EMPTY else Severity.WARNING
            self._hooks.notice(Notice("signal_rejected", severity, text, subject))
        else:
            self._hooks.submit(message)


class BudgetListener(Listener[BudgetMessage]):
    """Reads the budget topic of one rack.

    Args:
        sources: senders that are listened to; empty = all that the broker lets through.
        envelopes: who signs.
        unsigned: what becomes of what nobody has signed: `accept`, `lower_only` or `refuse`.

    Attributes:
        filters: what to listen to, and at which QoS.
    """

    def __init__(
        self,
        *,
        topics: RackTopics,
        hard_limit_mw: MilliWatts,
        sources: Collection[str],
        clock: Clock,
        hooks: Hooks[BudgetMessage],
        envelopes: Envelopes = PLAIN,
        unsigned: str = "accept",
    ) -> None:
        super().__init__(hooks)
        self.filters = {topics.budget: 1}
        self._rack = topics.rack
        self._hard_limit_mw = hard_limit_mw
        self._sources = frozenset(sources)
        self._clock = clock
        self._envelopes = envelopes
        self._unsigned = unsigned

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        self._take(topic, lambda: self._read(payload, retained=retained))

    def _read(self, payload: bytes, *, retained: bool) -> BudgetMessage:
        if len(payload) > MAX_BUDGET_BYTES:
            text = f"payload has {len(payload)} bytes, more than {MAX_BUDGET_BYTES}"
            raise SignalRejectedError(Reason.TOO_LARGE, text)
        now = self._clock.now()
        opened = self._envelopes.open(payload, now.wall_s)
        message = parse_budget(
            opened.raw, rack=self._rack, hard_limit_mw=self._hard_limit_mw, retained=retained, received=now
        )
        _check_source(message.source, self._sources, "signals.native.sources")
        return replace(message, trust=self._trust(message.source, opened.signer))

    def _trust(self, source: str, signer: str | None) -> Trust:
        if signer is not None:
            _check_signer(signer, source)
            return Trust.SIGNED
        if self._unsigned == "refuse":
            raise SignalRejectedError(Reason.UNSIGNED, "it is not signed", source)
        # Who could sign and has not is somebody else, as far as anybody can tell.
        may_all = self._unsigned == "accept" and source not in self._envelopes.signers
        return Trust.BROKER if may_all else Trust.NONE


class PeerListener(Listener[HostState]):
    """Reads what the hosts of one rack say, this one included: somebody else may speak under its name.

    Refusals are counted by host, and as of "unknown" where the roster has no such host, so that nobody can
    fill memory with names.

    Args:
        secret: what tells the states of hosts from what others say in their name.

    Attributes:
        filters: what to listen to, and at which QoS. States are said again every second, each of them
            complete, so the broker is not told that one has arrived.
    """

    def __init__(
        self,
        *,
        topics: RackTopics,
        rack: Rack,
        clock: Clock,
        hooks: Hooks[HostState],
        secret: RackSecret = NO_SECRET,
    ) -> None:
        super().__init__(hooks)
        self.filters = {topics.states: 0}
        self._rack = rack.name
        self._hard_limit_mw = rack.hard_limit_mw
        self._hosts = frozenset(host.name for host in rack.hosts)
        self._clock = clock
        self._secret = secret

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: ARG002
        """Take one message from the bus; what the broker had in store counts as heard now."""
        self._take(topic, lambda: self._read(topic, payload))

    def _read(self, topic: str, payload: bytes) -> HostState:
        host = host_of(topic)
        if host in self._hosts:
            self._secret.check(topic, payload, host)
        return parse_host_state(
            payload,
            host=host,
            rack=self._rack,
            hosts=self._hosts,
            hard_limit_mw=self._hard_limit_mw,
            received_boot_s=self._clock.now().boot_s,
        )


class EventListener(Listener[GridEvent]):
    """Reads the grid events of a site, those of other racks too: which are its own is for the core to judge.

    Args:
        hard_limit_mw: of this rack, to tell a wrong unit.
        sources: senders that are listened to; empty = all that the broker lets through.
        envelopes: who signs; what others send needs no signature, since an event only lowers.

    Attributes:
        filters: what to listen to, and at which QoS.
    """

    def __init__(
        self,
        *,
        topics: Topics,
        hard_limit_mw: MilliWatts,
        sources: Collection[str],
        clock: Clock,
        hooks: Hooks[GridEvent],
        envelopes: Envelopes = PLAIN,
    ) -> None:
        super().__init__(hooks)
        self.filters = {topics.grid_events: 1}
        self._own = (topics.rack, topics.host)
        self._hard_limit_mw = hard_limit_mw
        self._sources = frozenset(sources)
        self._clock = clock
        self._envelopes = envelopes

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        self._take(topic, lambda: self._read(topic, payload, retained=retained))

    def _read(self, topic: str, payload: bytes, *, retained: bool) -> GridEvent:
        now = self._clock.now()
        opened = self._envelopes.open(payload, now.wall_s)
        event = parse_event(
            opened.raw,
            event_id=event_id_of(topic),
            hard_limit_mw=self._hard_limit_mw,
            retained=retained,
            received=now,
            own=self._own,
        )
        _check_source(event.source, self._sources, "signals.events.sources")
        if opened.signer is not None:
            _check_signer(opened.signer, event.source)
        elif event.source in self._envelopes.signers:
            # Else anybody could call off, in its name, what it asked for.
            raise SignalRejectedError(
                Reason.UNSIGNED, "it is not signed, and its source has a key", event.source
            )
        return event


class AdvisoryListener(Listener[AdvisorySignal]):
    """Reads prices and emissions, of all zones.

    Args:
        sources: senders that are listened to; empty = all that the broker lets through.

    Attributes:
        filters: what to listen to, and at which QoS.
    """

    def __init__(self, *, topics: SiteTopics, sources: Collection[str], hooks: Hooks[AdvisorySignal]) -> None:
        super().__init__(hooks)
        self.filters = {topics.signals: 1}
        self._sources = frozenset(sources)

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: ARG002
        """Take one message from the bus; how old it is, its own stamps say."""
        self._take(topic, lambda: self._read(topic, payload))

    def _read(self, topic: str, payload: bytes) -> AdvisorySignal:
        signal, zone = signal_and_zone_of(topic)
        heard = parse_signal(payload, signal=signal, zone=zone)
        _check_source(heard.source, self._sources, "signals.advisory.sources")
        return heard


def _check_source(source: str, allowed: Collection[str], key: str) -> None:
    if allowed and source not in allowed:
        raise SignalRejectedError(Reason.SOURCE, f'source "{source}" is not in {key}', source)


def _check_signer(signer: str, source: str) -> None:
    if signer != source:
        text = f"signed with the key of {signer}, but sent as {printable(source)}"
        raise SignalRejectedError(Reason.SOURCE, text, signer)


class Ear(Protocol):
    """What listens to some topics."""

    @property
    def filters(self) -> Mapping[str, int]:
        """Return what it listens to, and at which QoS."""

    @property
    def rejected(self) -> int:
        """Return how many messages it could not use."""

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""


class Inbound:
    """Hands every message to the one that listens to its topic.

    Args:
        ears: where filters of several take in a topic, one without wildcards gets the message, else the first
            in this order. So the busiest come first.

    Attributes:
        filters: what to listen to, and at which QoS.
    """

    def __init__(self, *ears: Ear) -> None:
        self._rejected_before = 0
        self._listen(ears)

    def replace(self, *ears: Ear) -> None:
        """Have others listen from now on; what could not be used before still counts."""
        self._rejected_before += sum(ear.rejected for ear in self._ears if ear not in ears)
        self._listen(ears)

    def _listen(self, ears: tuple[Ear, ...]) -> None:
        self._ears = ears
        self.filters: dict[str, int] = {}
        self._by_topic: dict[str, OnMessage] = {}
        self._by_filter: dict[str, OnMessage] = {}
        for ear in ears:
            for topic_filter, qos in ear.filters.items():
                self.filters[topic_filter] = max(qos, self.filters.get(topic_filter, 0))
                table = self._by_filter if has_wildcard(topic_filter) else self._by_topic
                table.setdefault(topic_filter, ear.on_message)

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        take = self._by_topic.get(topic) or self._matching(topic)
        if take is not None:
            take(topic, payload, retained)

    @property
    def rejected(self) -> int:
        """Return how many messages could not be used."""
        return self._rejected_before + sum(ear.rejected for ear in self._ears)

    def _matching(self, topic: str) -> OnMessage | None:
        for topic_filter, take in self._by_filter.items():
            if matches(topic_filter, topic):
                return take
        return None
