"""Somebody on the network of a simulated rack who has recorded what hosts said, and says it again.

He cannot make anything up, since states are sealed. But he may send any of them, of any time, to anybody, as
often as he likes, live or as if the broker had kept it.
"""

from collections import Counter, defaultdict
from random import Random

from tests.cluster.daemon import BUDGET_TOPIC, EVENT_TOPICS
from tests.cluster.faults import Adversary
from tests.cluster.network import Client
from tests.cluster.rack import SimulatedRack

# Of a host's messages, so many in a row at most.
MOST_IN_A_ROW = 12


class Recorder:
    """Listens from the start, and replays until the end.

    Args:
        every_s: mean time between two replays.

    Attributes:
        counts: messages replayed, by kind.
    """

    def __init__(self, rack: SimulatedRack, adversary: Adversary, every_s: float = 0.1) -> None:
        self._rack = rack
        self._world = rack.world
        self._random = Random(f"recorder {rack.scenario.seed}")
        self._every_s = every_s
        self._states: dict[str, list[bytes]] = defaultdict(list)
        self._known: set[bytes] = set()
        self.counts: Counter[str] = adversary.counts
        self._client = rack.broker.client("recorder")
        self._client.deliver = self._hear
        self._listen()
        self._later()

    def _listen(self) -> None:
        """Stay connected, as a broker that starts again loses its clients."""
        if not self._client.is_connected:
            self._client.connect()
        self._world.after(0.5, self._listen)

    def _hear(self, topic: str, payload: bytes, _retained: bool) -> None:
        if topic != BUDGET_TOPIC and not topic.startswith(EVENT_TOPICS) and payload not in self._known:
            self._known.add(payload)
            self._states[topic].append(payload)

    def _later(self) -> None:
        self._world.after(self._random.expovariate(1 / self._every_s), self._replay)

    def _replay(self) -> None:
        random = self._random
        if self._states:
            topic = random.choice([*self._states])
            said = self._states[topic]
            first = random.randrange(len(said))
            if random.random() < 0.3:  # what a host says of its leases may still be believed if it is of late
                first = max(0, len(said) - random.randint(1, 5))
            row = said[first : first + random.choice((1, 1, MOST_IN_A_ROW))]
            victims = self._victims()
            for payload in row:
                self._send(victims, topic, payload)
        self._later()

    def _victims(self) -> list[Client]:
        """Return whom to tell; none: all, and the broker is to keep it."""
        clients = [host.client for host in self._rack.hosts if host.client.is_connected]
        if not clients or self._random.random() < 0.4:
            return []
        return [self._random.choice(clients)]

    def _send(self, victims: list[Client], topic: str, payload: bytes) -> None:
        broker = self._rack.broker
        if not victims:
            self.counts["state replayed to all, and kept"] += 1
            broker.send(None, topic, payload)
        for client in victims:
            self.counts["state replayed to one"] += 1
            broker.carry(client, topic, payload, retained=self._random.random() < 0.5)
