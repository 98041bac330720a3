"""Protects the control loop from a flood (docs/signals.md, Verdicts): at most 20 messages a second per topic.

What exceeds the rate is not queued. Only the newest message of a topic waits, since on topics that carry
the whole present state it makes the older ones worthless; it is due as soon as the rate allows. So the
last word of every sender arrives, at most 1 / rate seconds late, and a flood costs a look-up per message.

The rate is judged by the generic cell rate algorithm (ITU-T I.371, annex A): one number per topic, the time
at which the topic would be back to no use at all.
"""

import math
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Stands for the topics that are too many to be remembered.
OTHER_TOPICS = "(more topics than are remembered)"


class Inbox(Generic[Item]):
    """Decides for each message whether it is read now, later, or never.

    Args:
        rate_per_s: messages per second and topic, in the long run.
        burst: messages that a topic may deliver at once after a pause.
        max_topics: topics remembered at most. Behind a wildcard subscription a sender can make up topics;
            the messages of one topic too many are dropped.

    Attributes:
        dropped: messages that were never read.
    """

    def __init__(self, *, rate_per_s: float = 20.0, burst: int = 20, max_topics: int = 4096) -> None:
        self._interval_s = 1 / rate_per_s
        self._tolerance_s = (burst - 1) * self._interval_s
        self._max_topics = max_topics
        self._idle_at_s: dict[str, float] = {}
        self._waiting: dict[str, Item] = {}
        self._full_until_s = -math.inf
        self._flooding: set[str] = set()
        self._new_floods: list[str] = []
        self.dropped = 0

    def offer(self, topic: str, item: Item, now_s: float) -> bool:
        """Take one message.

        Returns:
            Whether it is to be read now. If not, it waits for `due` unless a newer one takes its place.
        """
        if topic in self._waiting:
            self._waiting[topic] = item
            self._drop(topic)
            return False
        idle_at_s = self._idle_at_s.get(topic, now_s)
        if idle_at_s <= now_s:
            if topic not in self._idle_at_s and not self._room_for_another(now_s):
                self._drop(OTHER_TOPICS)
                return False
            self._flooding.discard(topic)
        if idle_at_s - self._tolerance_s > now_s:
            self._waiting[topic] = item
            return False
        self._idle_at_s[topic] = max(idle_at_s, now_s) + self._interval_s
        return True

    def due(self, now_s: float) -> list[tuple[str, Item]]:
        """Return, once, the messages that have waited long enough."""
        ready = [topic for topic in self._waiting if self._due_s(topic) <= now_s]
        for topic in ready:
            self._idle_at_s[topic] += self._interval_s
        return [(topic, self._waiting.pop(topic)) for topic in ready]

    @property
    def next_due_s(self) -> float | None:
        """Return when the next waiting message is due; None if none waits."""
        return min(map(self._due_s, self._waiting), default=None)

    def new_floods(self) -> list[str]:
        """Return, once, the topics that began to lose messages; again only after a pause of theirs."""
        floods, self._new_floods = self._new_floods, []
        return floods

    def _due_s(self, topic: str) -> float:
        return self._idle_at_s[topic] - self._tolerance_s

    def _drop(self, topic: str) -> None:
        self.dropped += 1
        if topic not in self._flooding:
            self._flooding.add(topic)
            self._new_floods.append(topic)

    def _room_for_another(self, now_s: float) -> bool:
        if len(self._idle_at_s) < self._max_topics:
            return True
        if now_s < self._full_until_s:
            return False
        self._flooding &= self._idle_at_s.keys()
        self._idle_at_s = {topic: idle for topic, idle in self._idle_at_s.items() if idle > now_s}
        self._full_until_s = min(self._idle_at_s.values(), default=-math.inf)
        return len(self._idle_at_s) < self._max_topics
