"""How often one sender is listened to: at most 20 times a second, and its last word is never lost.

What exceeds the rate is not queued. Only the newest message of a key waits, since where messages carry the
whole present state it makes the older ones worthless; it is due as soon as the rate allows. So the last word
of every key arrives, at most 1 / rate seconds late, and a flood costs a look-up per message. Whoever shares a
key with a flood is drowned in it: see docs/signals.md, Floods, for what is a key where.

The rate is judged by the generic cell rate algorithm (ITU-T I.371, annex A): one number per key, the time
at which the key would be back to no use at all.
"""

import math
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Stands for the keys that are too many to be remembered.
OTHER_KEYS = "(more than are remembered)"


class Inbox(Generic[Item]):
    """Decides for each message whether it passes now, later, or never.

    Args:
        rate_per_s: messages per second and key, in the long run.
        burst: messages that a key may bring at once after a pause.
        max_keys: keys remembered at most. Senders can make up topics and names; messages of one too many are
            dropped.

    Attributes:
        dropped: messages that came to nothing.
    """

    def __init__(self, *, rate_per_s: float = 20.0, burst: int = 20, max_keys: int = 4096) -> None:
        self._interval_s = 1 / rate_per_s
        self._tolerance_s = (burst - 1) * self._interval_s
        self._max_keys = max_keys
        self._idle_at_s: dict[str, float] = {}
        self._waiting: dict[str, Item] = {}
        self._full_until_s = -math.inf
        self._flooding: set[str] = set()
        self._new_floods: list[str] = []
        self.dropped = 0

    def offer(self, key: str, item: Item, now_s: float) -> bool:
        """Take one message.

        Returns:
            Whether it may pass now. If not, it waits for `due` unless a newer one takes its place.
        """
        if key in self._waiting:
            self._waiting[key] = item
            self._drop(key)
            return False
        idle_at_s = self._idle_at_s.get(key, now_s)
        if idle_at_s <= now_s:
            if key not in self._idle_at_s and not self._room_for_another(now_s):
                self._drop(OTHER_KEYS)
                return False
            self._flooding.discard(key)
        if idle_at_s - self._tolerance_s > now_s:
            self._waiting[key] = item
            return False
        self._idle_at_s[key] = max(idle_at_s, now_s) + self._interval_s
        return True

    def due(self, now_s: float) -> list[tuple[str, Item]]:
        """Return, once, the messages that have waited long enough."""
        ready = [key for key in self._waiting if self._due_s(key) <= now_s]
        for key in ready:
            self._idle_at_s[key] += self._interval_s
        return [(key, self._waiting.pop(key)) for key in ready]

    @property
    def next_due_s(self) -> float | None:
        """Return when the next waiting message is due; None if none waits."""
        return min(map(self._due_s, self._waiting), default=None)

    def new_floods(self) -> list[str]:
        """Return, once, the keys that began to lose messages; again only after a pause of theirs."""
        floods, self._new_floods = self._new_floods, []
        return floods

    def _due_s(self, key: str) -> float:
        return self._idle_at_s[key] - self._tolerance_s

    def _drop(self, key: str) -> None:
        self.dropped += 1
        if key not in self._flooding:
            self._flooding.add(key)
            self._new_floods.append(key)

    def _room_for_another(self, now_s: float) -> bool:
        if len(self._idle_at_s) < self._max_keys:
            return True
        if now_s < self._full_until_s:
            return False
        self._flooding &= self._idle_at_s.keys()
        self._idle_at_s = {key: idle for key, idle in self._idle_at_s.items() if idle > now_s}
        self._full_until_s = min(self._idle_at_s.values(), default=-math.inf)
        return len(self._idle_at_s) < self._max_keys
