"""The broker and the ways to it: a message may be late, lost, doubled, overtaken, or come again later."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.cluster.world import World

# How many payloads an attacker, or a broken bridge, has to choose from.
REMEMBERED = 200


@dataclass(slots=True)
class Weather:
    """What the network does to a message, each way.

    Attributes:
        least_s, most_s: how long it takes.
        slow: the share of messages that take up to `slow_s`, and so are overtaken.
        lost, doubled, replayed: shares; a replay brings some message of before.
    """

    least_s: float = 0.001
    most_s: float = 0.001
    slow: float = 0.0
    slow_s: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    replayed: float = 0.0

    @property
    def is_fair(self) -> bool:
        """Return whether every message takes the same time, and none is lost."""
        return self.least_s == self.most_s and not (self.slow or self.lost or self.doubled or self.replayed)


class Client:
    """One daemon's connection to the broker.

    Args:
        deliver: called with topic, payload, and whether the broker had kept it.

    Attributes:
        is_connected: else what is published waits, the newest of each topic, and nothing arrives.
        is_mute, is_deaf: the network swallows what it sends, or what is sent to it.
    """

    def __init__(self, broker: "Broker", name: str) -> None:
        self.name = name
        self.deliver: Callable[[str, bytes, bool], None] | None = None
        self.is_connected = False
        self.is_mute = False
        self.is_deaf = False
        self._broker = broker
        self._waiting: dict[str, bytes] = {}

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message that the broker is to keep."""
        if self.is_connected:
            self._broker.send(self, topic, payload)
        else:
            self._waiting[topic] = payload

    def connect(self) -> None:
        """Connect, and get what the broker has kept."""
        if self.deliver is None or not self._broker.is_up:
            return
        self.is_connected = True
        for topic in sorted(self._broker.retained):
            self._broker.carry(self, topic, self._broker.retained[topic], retained=True)
        waiting, self._waiting = self._waiting, {}
        for topic, payload in waiting.items():
            self._broker.send(self, topic, payload)

    def disconnect(self) -> None:
        """Lose the connection."""
        self.is_connected = False

    def forget(self) -> None:
        """The daemon has died, and with it what waited."""
        self.is_connected = False
        self.deliver = None
        self._waiting = {}


class Broker:
    """Passes messages on to all clients, the sender's own included.

    Attributes:
        retained: the last message of each topic.
        counts: what the network did, by kind.
    """

    def __init__(self, world: World, random: Random, weather: Weather) -> None:
        self.weather = weather
        self.is_up = True
        self.retained: dict[str, bytes] = {}
        self.clients: list[Client] = []
        self.counts: Counter[str] = Counter()
        self._world = world
        self._random = random
        self._past: deque[tuple[str, bytes]] = deque(maxlen=REMEMBERED)

    def client(self, name: str) -> Client:
        """Return a new client."""
        client = Client(self, name)
        self.clients.append(client)
        return client

    def send(self, sender: Client | None, topic: str, payload: bytes) -> None:
        """Take a message from a client, or from somebody who only sends, unless it is lost on its way."""
        if (sender is not None and sender.is_mute) or self._is_lost():
            self.counts["message lost"] += 1
            return
        self._world.after(self._delay_s(), self.take, topic, payload)

    def take(self, topic: str, payload: bytes) -> bool:
        """Keep a message, and pass it on."""
        if not self.is_up:
            self.counts["message lost"] += 1
            return False
        self.retained[topic] = payload
        self._past.append((topic, payload))
        there = [client for client in self.clients if client.is_connected]
        if self.weather.is_fair:
            self._world.after(self.weather.least_s, self._arrive_everywhere, there, topic, payload)
        else:
            for client in there:
                self.carry(client, topic, payload, retained=False)
        return True

    def carry(self, client: Client, topic: str, payload: bytes, *, retained: bool) -> None:
        """Bring a message to a client: once, twice or never."""
        weather, random = self.weather, self._random
        if client.is_deaf or self._is_lost():
            self.counts["message lost"] += 1
            return
        self._world.after(self._delay_s(), self._arrive, client, topic, payload, retained)
        if weather.doubled and random.random() < weather.doubled:
            self.counts["message doubled"] += 1
            self._world.after(self._delay_s(), self._arrive, client, topic, payload, retained)
        if weather.replayed and random.random() < weather.replayed:
            self.counts["message replayed"] += 1
            self._world.after(self._delay_s(), self._arrive, client, *self._old(), random.random() < 0.5)

    def stop(self, *, keeps: bool) -> None:
        """Go down, with or without what is retained."""
        self.is_up = False
        for client in self.clients:
            client.disconnect()
        if not keeps:
            self.retained.clear()

    def _arrive(self, client: Client, topic: str, payload: bytes, retained: bool) -> bool:
        if client.deliver is None or not client.is_connected:
            return False
        client.deliver(topic, payload, retained)
        return True

    def _old(self) -> tuple[str, bytes]:
        """Return some message of before; one of late may still be believed."""
        among = min(len(self._past), self._random.choice((10, 40, REMEMBERED)))
        return self._past[-self._random.randint(1, among)]

    def _arrive_everywhere(self, clients: list[Client], topic: str, payload: bytes) -> None:
        for client in clients:
            if client.is_connected and not client.is_deaf and client.deliver is not None:
                client.deliver(topic, payload, False)

    def _is_lost(self) -> bool:
        return self.weather.lost > 0 and self._random.random() < self.weather.lost

    def _delay_s(self) -> float:
        weather, random = self.weather, self._random
        if weather.slow and random.random() < weather.slow:
            self.counts["message late"] += 1
            return random.uniform(weather.least_s, weather.slow_s)
        if weather.most_s == weather.least_s:
            return weather.least_s
        return random.uniform(weather.least_s, weather.most_s)
