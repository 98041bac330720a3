"""What waits to be published: the present state of every retained topic, some notices, fresh numbers.

A broker that comes back after an hour gets the latest state and the last notices, not an hour of history.
Invariant: memory is bounded whatever the broker does.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish.

    Attributes:
        qos: 0, 1 or 2; see `Bus.publish` for brokers without 2.
        retain: the broker keeps it for those who come later.
        expiry_s: the broker forgets it after this long, if it speaks MQTT 5; None = never.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    expiry_s: int | None = None


class Outbox:
    """Keeps messages until each was handed to the broker.

    Retained messages: the latest of each topic, for as long as it takes. Without retain (notices): in order,
    the oldest dropped when full. QoS 0 (telemetry): the latest of each topic, only while connected.

    Attributes:
        dropped: messages given up unsent; replaced telemetry and states do not count.
    """

    def __init__(self, *, max_messages: int = 256) -> None:
        self._max = max_messages
        self._retained: dict[str, Outgoing] = {}
        self._events: deque[Outgoing] = deque()
        self._fresh: dict[str, Outgoing] = {}
        self.dropped = 0

    def put(self, message: Outgoing, *, connected: bool) -> None:
        """Take one message in."""
        if message.retain:
            self._put_latest(self._retained, message)
        elif message.qos:
            self._events.append(message)
            if len(self._events) > self._max:
                self._events.popleft()
                self.dropped += 1
        elif connected:
            self._put_latest(self._fresh, message)
        else:
            self.dropped += 1

    def head(self) -> Outgoing | None:
        """Return the message to publish next, without removing it; None if nothing waits."""
        for message in self._retained.values():
            return message
        if self._events:
            return self._events[0]
        return next(iter(self._fresh.values()), None)

    def done(self, message: Outgoing) -> None:
        """Forget a message that `head` returned, unless a newer one has taken its place."""
        for latest in (self._retained, self._fresh):
            if latest.get(message.topic) is message:
                del latest[message.topic]
        if self._events and self._events[0] is message:
            self._events.popleft()

    def disconnected(self) -> None:
        """Drop what will be stale when the broker is back."""
        self.dropped += len(self._fresh)
        self._fresh.clear()

    def _put_latest(self, latest: dict[str, Outgoing], message: Outgoing) -> None:
        if message.topic not in latest and len(latest) >= self._max:
            del latest[next(iter(latest))]
            self.dropped += 1
        latest[message.topic] = message
