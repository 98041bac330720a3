"""What a facility controller sends: rack budgets (docs/signals.md, Rack budget), once or again and again.

A budget is a lease: it must be said again before it ends, and a facility that dies stops saying it. Then the
rack falls to its failsafe by itself. So nothing here outlives the process on purpose.

Grid events are sent by `publish_event`.
"""

import asyncio
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from powerd.clock import Clock
from powerd.errors import BusError, PublishRefusedError
from powerd.signals import rfc3339
from powerd.signals.backoff import Backoff
from powerd.signals.endpoint import BusOptions
from powerd.signals.fields import MAX_SOURCE_CHARACTERS, MAX_WATTS
from powerd.signals.mqtt import Session, connect
from powerd.signals.native import DEFAULT_PRIORITY, MAX_LABEL_CHARACTERS, VERSION
from powerd.signals.outbox import Outgoing
from powerd.signals.topics import RackTopics
from powerd.signals.wire import encode

# Said every 20 s, a lease of 60 s survives two lost messages.
DEFAULT_LEASE_S = 60.0
DEFAULT_EVERY_S = 20.0

# Hosts clamp leases to these bounds (docs/signals.md, Rack budget).
MIN_LEASE_S = 5.0
MAX_LEASE_S = 300.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What to tell the rack.

    Attributes:
        watts: total at the rack's meter; None = in control, no limit beyond the rack's own; 0 = zero watts.
        lease_s: how long it holds without being said again.
        priority: lower governs, between several sources.
        reason, correlation_id: for people and for the sender; hosts show them.

    Raises:
        ValueError: no host would accept it as it stands.
    """

    watts: float | None
    lease_s: float = DEFAULT_LEASE_S
    priority: int = DEFAULT_PRIORITY
    reason: str = ""
    correlation_id: str = ""

    def __post_init__(self) -> None:
        if self.watts is not None and not 0 <= self.watts <= MAX_WATTS:
            raise ValueError(f"watts {self.watts:g} is not between 0 and {MAX_WATTS}")
        if not MIN_LEASE_S <= self.lease_s <= MAX_LEASE_S:
            raise ValueError(
                f"a lease of {self.lease_s:g} s is not between {MIN_LEASE_S:g} and {MAX_LEASE_S:g} s"
            )
        if self.priority < 0:
            raise ValueError(f"priority {self.priority} is negative")
        for name, label in (("reason", self.reason), ("correlation_id", self.correlation_id)):
            if len(label) > MAX_LABEL_CHARACTERS:
                raise ValueError(f"{name} has {len(label)} characters, more than {MAX_LABEL_CHARACTERS}")


Said = TypeVar("Said")


class Publisher(ABC, Generic[Said]):
    """One sender of what a rack or a site is told, numbered within its lifetime.

    Args:
        source: the sender's name, stable across restarts.
        clock: stamps the messages; its wall time at the start is the epoch, which orders restarts.

    Raises:
        ValueError: `source` is empty or too long.
    """

    def __init__(self, *, source: str, clock: Clock) -> None:
        if not 0 < len(source) <= MAX_SOURCE_CHARACTERS:
            raise ValueError(f'source "{source}" does not have 1 to {MAX_SOURCE_CHARACTERS} characters')
        self._source = source
        self._clock = clock
        self._epoch = int(clock.now().wall_s * 1000)
        self._seq = 0

    @abstractmethod
    def message(self, said: Said) -> Outgoing:
        """Return the next message."""

    async def publish_once(self, options: BusOptions, said: Said) -> Outgoing:
        """Connect, publish, wait for the broker to have it, and leave.

        Returns:
            What was published.

        Raises:
            BusError: the broker was not reached, or refused.
            ConfigError: the options cannot be used.
        """
        async with connect(options) as session:
            return await self._publish(session, said)

    async def publish_every(
        self,
        options: BusOptions,
        said: Callable[[], Said],
        *,
        every_s: float = DEFAULT_EVERY_S,
        on_published: Callable[[Outgoing], None],
        on_trouble: Callable[[BusError], None],
    ) -> NoReturn:
        """Publish at once and every `every_s`, through lost connections, until cancelled.

        Args:
            options: where the broker is.
            said: asked before each message, so that it may change.
            every_s: of budgets less than a third of the lease, which survives two lost messages.
            on_published: told what the broker has taken.
            on_trouble: told why nothing can be published now; it is tried again.

        Raises:
            PublishRefusedError: the broker does not allow it.
            ConfigError: the options cannot be used.
        """
        loop = asyncio.get_running_loop()
        backoff = Backoff(options.reconnect_min_s, options.reconnect_max_s, random.SystemRandom())
        while True:
            begun_s = loop.time()
            try:
                async with connect(options) as session:
                    while True:
                        on_published(await self._publish(session, said()))
                        await _unless_closed(session, every_s)
            except PublishRefusedError:
                raise
            except BusError as error:
                on_trouble(error)
            await asyncio.sleep(backoff.failed(lasted_s=loop.time() - begun_s))

    async def _publish(self, session: Session, said: Said) -> Outgoing:
        message = self.message(said)
        await session.publish(message)
        return message


class BudgetPublisher(Publisher[Budget]):
    """One sender of budgets for one rack.

    Args:
        topics: of the rack.
        source, clock: as of every `Publisher`.
        sign: returns a payload and its signature in compact serialisation; None: budgets are not signed.

    Raises:
        ValueError: `source` is empty or too long.
    """

    def __init__(
        self, topics: RackTopics, *, source: str, clock: Clock, sign: Callable[[bytes], str] | None = None
    ) -> None:
        super().__init__(source=source, clock=clock)
        self._topics = topics
        self._sign = sign

    def message(self, said: Budget) -> Outgoing:
        """Return the next message: retained, and forgotten by an MQTT 5 broker when the lease is over."""
        self._seq += 1
        issued_at_s = self._clock.now().wall_s
        envelope: dict[str, object] = {
            "v": VERSION,
            "source": self._source,
            "epoch": self._epoch,
            "seq": self._seq,
            "issued_at": rfc3339.utc(issued_at_s),
            "valid_until": rfc3339.utc(issued_at_s + said.lease_s),
            "rack": self._topics.rack,
            "watts": said.watts,
            "priority": said.priority,
        }
        labels: dict[str, object] = {"reason": said.reason, "correlation_id": said.correlation_id}
        envelope |= {name: label for name, label in labels.items() if label}
        payload = encode(envelope)
        if self._sign is not None:
            payload = self._sign(payload).encode()
        return Outgoing(self._topics.budget, payload, qos=1, retain=True, expiry_s=math.ceil(said.lease_s))


async def _unless_closed(session: Session, duration_s: float) -> None:
    """Wait for `duration_s`.

    Raises:
        BusError: the connection ended meanwhile.
    """
    try:
        async with asyncio.timeout(duration_s):
            await session.closed()
    except TimeoutError:
        return
