"""From a topic to the controller: well-formed, allowed messages go on, all else is counted and told."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

from powerd.clock import Clock
from powerd.core.host_state import HostState
from powerd.core.model import Notice, Severity
from powerd.core.timeline import BudgetMessage
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts
from powerd.errors import SignalRejectedError
from powerd.signals.fields import printable
from powerd.signals.host_state import parse_host_state
from powerd.signals.native import parse_budget
from powerd.signals.reasons import Reason
from powerd.signals.topics import RackTopics, host_of

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
            self._hooks.notice(Notice("signal_rejected", Severity.WARNING, text, subject))
        else:
            self._hooks.submit(message)


class BudgetListener(Listener[BudgetMessage]):
    """Reads the budget topic of one rack.

    Args:
        sources: senders that are listened to; empty = all that the broker lets through.
    """

    def __init__(
        self,
        *,
        rack: str,
        hard_limit_mw: MilliWatts,
        sources: Collection[str],
        clock: Clock,
        hooks: Hooks[BudgetMessage],
    ) -> None:
        super().__init__(hooks)
        self._rack = rack
        self._hard_limit_mw = hard_limit_mw
        self._sources = frozenset(sources)
        self._clock = clock

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        self._take(topic, lambda: self._read(payload, retained=retained))

    def _read(self, payload: bytes, *, retained: bool) -> BudgetMessage:
        message = parse_budget(
            payload,
            rack=self._rack,
            hard_limit_mw=self._hard_limit_mw,
            retained=retained,
            received=self._clock.now(),
        )
        if self._sources and message.source not in self._sources:
            text = f'source "{message.source}" is not in signals.native.sources'
            raise SignalRejectedError(Reason.SOURCE, text, message.source)
        return message


class PeerListener(Listener[HostState]):
    """Reads what the hosts of one rack say, this one included: somebody else may speak under its name.

    Refusals are counted by host, and as of "unknown" where the roster has no such host, so that nobody can
    fill memory with names.
    """

    def __init__(self, *, rack: Rack, clock: Clock, hooks: Hooks[HostState]) -> None:
        super().__init__(hooks)
        self._rack = rack.name
        self._hard_limit_mw = rack.hard_limit_mw
        self._hosts = frozenset(host.name for host in rack.hosts)
        self._clock = clock

    def on_message(self, topic: str, payload: bytes) -> None:
        """Take one message from the bus; what the broker had in store counts as heard now."""
        self._take(topic, lambda: self._read(topic, payload))

    def _read(self, topic: str, payload: bytes) -> HostState:
        return parse_host_state(
            payload,
            host=host_of(topic),
            rack=self._rack,
            hosts=self._hosts,
            hard_limit_mw=self._hard_limit_mw,
            received_boot_s=self._clock.now().boot_s,
        )


class Inbound:
    """Hands every message to the listener of its topic.

    Args:
        peers: None where hosts do not lend each other watts.

    Attributes:
        filters: what to listen to, and at which QoS. States are said again every second, each of them
            complete, so the broker is not told that one has arrived.
    """

    def __init__(
        self, topics: RackTopics, budgets: BudgetListener, peers: PeerListener | None = None
    ) -> None:
        self.filters = {topics.budget: 1, **({topics.states: 0} if peers else {})}
        self._budget_topic = topics.budget
        self._budgets = budgets
        self._peers = peers

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        if topic == self._budget_topic or self._peers is None:
            self._budgets.on_message(topic, payload, retained)
        else:
            self._peers.on_message(topic, payload)

    @property
    def rejected(self) -> int:
        """Return how many messages could not be used."""
        return self._budgets.rejected + (self._peers.rejected if self._peers else 0)
