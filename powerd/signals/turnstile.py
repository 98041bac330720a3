"""An inbox at work: hands on what may pass, keeps the rest for its time, and tells of floods."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from powerd.core.model import Notice, Severity
from powerd.signals.fields import printable
from powerd.signals.inbox import Inbox
from powerd.signals.listener import MAX_TOPIC_CHARACTERS, Ear

Item = TypeVar("Item")


class Turnstile(Generic[Item]):
    """Lets messages pass, of each key no more than its inbox allows.

    Args:
        deliver: gets what passes, from the event loop.
        on_notice: told once about each flood.
        inbox: how much is let through.
    """

    def __init__(
        self,
        deliver: Callable[[Item], None],
        on_notice: Callable[[Notice], None],
        inbox: Inbox[Item] | None = None,
    ) -> None:
        self._deliver = deliver
        self._on_notice = on_notice
        self._inbox = inbox or Inbox()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def dropped(self) -> int:
        """Return how many messages came to nothing, as there were too many of their key."""
        return self._inbox.dropped

    def take(self, key: str, item: Item) -> None:
        """Take one message."""
        loop = asyncio.get_running_loop()
        if self._inbox.offer(key, item, loop.time()):
            self._deliver(item)
        elif self._timer is None:
            self._wait(loop)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = self._inbox.next_due_s
        self._timer = loop.call_at(due_s, self._release) if due_s is not None else None
        self._tell()

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        for _, item in self._inbox.due(loop.time()):
            loop.call_soon(self._deliver, item)  # one that fails keeps no other from its way
        self._wait(loop)

    def _tell(self) -> None:
        for key in self._inbox.new_floods():
            shown = printable(key[:MAX_TOPIC_CHARACTERS])
            text = f"{shown}: more messages than are read; only the latest counts"
            self._on_notice(Notice("signal_flood", Severity.WARNING, text, shown))


_Raw = tuple[str, bytes, bool]


@dataclass(frozen=True)
class Thinned:
    """An ear that is spared a flood: of each topic it hears no more than an inbox allows, unread.

    For what may be missed, and costs more to read than to drop. Two of them are the same if their ears are.
    """

    ear: Ear
    turnstile: Turnstile[_Raw] = field(compare=False)

    @property
    def filters(self) -> Mapping[str, int]:
        """Return what it listens to, and at which QoS."""
        return self.ear.filters

    @property
    def rejected(self) -> int:
        """Return how many messages it could not use."""
        return self.ear.rejected

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        self.turnstile.take(topic, (topic, payload, retained))


def thinned(ear: Ear, on_notice: Callable[[Notice], None]) -> Thinned:
    """Return an ear that is spared floods."""

    def hear(message: _Raw) -> None:
        ear.on_message(*message)

    return Thinned(ear, Turnstile(hear, on_notice))
