"""Somebody who speaks for one host of the rack by hand: a liar, a stranger, an old version."""

import json
import time
from typing import Any

from tests.daemon.facility import BASE
from tests.daemon.rack import Rack


class Impostor:
    """Says what a host of the rack would say, but for some fields. Begins with the last that it really said.

    Args:
        name: of the host; its daemon has spoken, and does not run.
    """

    def __init__(self, rack: Rack, name: str) -> None:
        self._rack = rack
        self._topic = f"{BASE}/host/{name}/state"
        self._said_s = 0.0
        self._fields: dict[str, Any] = json.loads(rack.broker.retained(self._topic) or b"{}")
        if not self._fields:
            raise LookupError(f"{name} has not said anything")

    @property
    def epoch(self) -> int:
        """Return the epoch of what was said last."""
        return int(self._fields["epoch"])

    def say(self, **fields: Any) -> None:
        """Publish the next message; `fields` replace others from now on, and `...` takes one away."""
        self._fields |= {"seq": self._fields["seq"] + 1} | fields
        self._said_s = time.monotonic()
        message = {name: value for name, value in self._fields.items() if value is not ...}
        self._rack.facility.publish(message, topic=self._topic)

    def go_on(self) -> bool:
        """Say the same again if a message is due, as a daemon would; true, for use in conditions."""
        if time.monotonic() - self._said_s >= self._rack.times.publish_s:
            self.say()
        return True
