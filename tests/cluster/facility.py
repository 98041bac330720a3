"""The facility controller: says the rack's budget again and again, and changes it when it is to."""

import json

from powerd.signals.rfc3339 import utc
from tests.cluster.daemon import BUDGET_TOPIC, EPOCH_S, RACK
from tests.cluster.network import Broker
from tests.cluster.theorem import Theorem
from tests.cluster.world import World


class Facility:
    """Publishes budgets; always there, but may fall silent.

    Args:
        every_s: it says the same again this often.
        lease_s: what it says holds for so long.

    Attributes:
        cap_mw: what it says; None = no limit.
        is_silent: it says nothing.
    """

    def __init__(
        self,
        world: World,
        broker: Broker,
        theorem: Theorem,
        hard_limit_mw: int,
        *,
        every_s: float,
        lease_s: float,
    ) -> None:
        self.cap_mw: int | None = None
        self.is_silent = False
        self._world = world
        self._broker = broker
        self._theorem = theorem
        self._hard_limit_mw = hard_limit_mw
        self._every_s = every_s
        self._lease_s = lease_s
        self._epoch = int(EPOCH_S * 1000)
        self._seq = 0

    def run(self) -> None:
        """Say it, now and for ever."""
        self.say()
        self._world.after(self._every_s, self.run)

    def change(self, cap_mw: int | None) -> None:
        """Say something else, at once."""
        self.cap_mw = cap_mw
        self._world.history.note("facility", "no limit" if cap_mw is None else f"budget {cap_mw / 1000:g} W")
        self.say()

    def restart(self) -> None:
        """Begin a new epoch."""
        self._epoch += 1_000
        self._seq = 0

    def say(self) -> None:
        """Publish the budget."""
        if self.is_silent:
            return
        self._seq += 1
        cap_mw = self._hard_limit_mw if self.cap_mw is None else self.cap_mw
        self._theorem.issued(cap_mw)
        issued_s = EPOCH_S + self._world.now_s
        budget = {
            "v": 1,
            "source": "facility-a",
            "epoch": self._epoch,
            "seq": self._seq,
            "issued_at": utc(issued_s),
            "valid_until": utc(issued_s + self._lease_s),
            "rack": RACK,
            "watts": None if self.cap_mw is None else self.cap_mw / 1000,
        }
        self._broker.send(None, BUDGET_TOPIC, json.dumps(budget).encode())
