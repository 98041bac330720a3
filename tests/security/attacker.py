"""Somebody who hears everything on the broker, may publish everything, and has no key.

What he says is chosen by a seed, and made of what he has heard: the same attack can be tried again.
"""

import json
import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.daemon.facility import BASE, rfc3339
from tests.daemon.grid import EVENT_TOPIC, Interval, target
from tests.daemon.host import RACK, SITE
from tests.daemon.rack import HARD_LIMIT_WATTS, NAMES
from tests.dsx.keys import ISV
from tests.dsx.messages import envelope
from tests.security import forge

BUDGET_TOPIC: Final = f"{BASE}/budget"
TARGET_TOPIC: Final = f"grid/v1/isv/{ISV}/loadtarget/set"
HUGE: Final = 2**60

_WITHIN_S = 10.0
_HUNGRY_WATTS = (None, HARD_LIMIT_WATTS, 10 * HARD_LIMIT_WATTS, 1e7)


class Shot(NamedTuple):
    """One message."""

    topic: str
    payload: bytes
    retain: bool = True


class Attacker:
    """One client that listens, and publishes. A context manager.

    Args:
        port: of the broker on the loopback interface.
        seed: decides what he says.

    Attributes:
        heard: all that others published, oldest first.
    """

    def __init__(self, port: int, seed: int) -> None:
        self.heard: list[Shot] = []
        self._own: set[bytes] = set()
        self._random = random.Random(seed)
        self._port = port
        self._listens = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.on_subscribe = lambda *_: self._listens.set()
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(1000)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._client.subscribe("#", qos=1)
        if not self._listens.wait(_WITHIN_S):
            raise ConnectionError(f"the broker on port {self._port} does not answer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def shoot(self, *shots: Shot) -> None:
        """Publish, and return when the broker has it all."""
        self._own.update(shot.payload for shot in shots)
        sent = [self._client.publish(*shot[:2], qos=1, retain=shot.retain) for shot in shots]
        for each in sent:
            each.wait_for_publish(_WITHIN_S)

    def salvo(self, count: int) -> None:
        """Publish so many messages of any kind."""
        kinds = self._kinds()
        self.shoot(*(self._random.choice(kinds)() for _ in range(count)))

    def leave_a_will(self, shot: Shot) -> None:
        """Have the broker say something, by a client that breaks off."""
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.will_set(shot.topic, shot.payload, qos=1, retain=shot.retain)
        self._own.add(shot.payload)
        self._connect(client)
        connection = client.socket()
        if connection is not None:
            connection.close()

    def take_the_place_of(self, client_id: str) -> None:
        """Connect under the name of a daemon: the broker throws that one off."""
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._connect(client)
        client.disconnect()
        client.loop(0.01)

    def has_heard_all(self) -> bool:
        """Say whether there is something to make messages of: of the facility, and of every host."""
        return all(map(self.recorded, (BUDGET_TOPIC, *map(state_topic, NAMES))))

    def recorded(self, topic: str) -> list[bytes]:
        """Return what others have said on a topic, oldest first."""
        return [shot.payload for shot in [*self.heard] if shot.topic == topic and shot.payload]

    def budget(self, watts: float | None, **fields: Any) -> dict[str, Any]:
        """Return a budget of this moment in the name of the facility, newer than anything it ever says."""
        now_s = time.time()
        return {
            "v": 1,
            "source": forge.SOURCE,
            "epoch": HUGE,
            "seq": self._random.randrange(HUGE),
            "issued_at": rfc3339(now_s),
            "valid_until": rfc3339(now_s + 300),
            "rack": RACK,
            "watts": watts,
            "priority": 0,
            **fields,
        }

    def _connect(self, client: mqtt.Client) -> None:
        client.connect("127.0.0.1", self._port)
        deadline_s = time.monotonic() + _WITHIN_S
        while not client.is_connected() and time.monotonic() < deadline_s:
            client.loop(0.01)

    def _hear(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        if payload not in self._own:
            self.heard.append(Shot(message.topic, payload, message.retain))

    def _kinds(self) -> list[Callable[[], Shot]]:
        often = [self._forged_budget, self._forged_state, self._lie, self._old_budget, self._old_state]
        seldom = [self._plain_budget, self._event, self._target, self._cleared, self._junk, self._moved]
        return [*often, *often, *seldom, self._hearsay_of_all]

    def _forged_budget(self) -> Shot:
        genuine = self._random.choice(self.recorded(BUDGET_TOPIC)).decode()
        forged = forge.budgets(self.budget(self._random.choice(_HUNGRY_WATTS)), genuine)
        raw, _ = self._random.choice([*forged.values()])
        return Shot(BUDGET_TOPIC, raw, self._random.random() < 0.5)

    def _plain_budget(self) -> Shot:
        """Return an unsigned budget: it may lower, and the facility's next word ends that."""
        watts = self._random.choice((*_HUNGRY_WATTS, 0, 6000))
        fields = {"default_watts": HARD_LIMIT_WATTS, "failsafe_watts": HARD_LIMIT_WATTS}
        return Shot(BUDGET_TOPIC, _encoded(self.budget(watts, **fields)))

    def _old_budget(self) -> Shot:
        return Shot(
            BUDGET_TOPIC, self._random.choice(self.recorded(BUDGET_TOPIC)), self._random.random() < 0.5
        )

    def _forged_state(self) -> Shot:
        name, other = self._random.sample(NAMES, 2)
        topic = state_topic(name)
        forged = forge.states(self._last(topic), self._false_state(name), topic, state_topic(other))
        raw, _ = self._random.choice([*forged.values()])
        return Shot(topic, raw, self._random.random() < 0.5)

    def _lie(self) -> Shot:
        name = self._random.choice(NAMES)
        return Shot(state_topic(name), self._false_state(name))

    def _old_state(self) -> Shot:
        topic = state_topic(self._random.choice(NAMES))
        return Shot(topic, self._random.choice(self.recorded(topic)), self._random.random() < 0.5)

    def _moved(self) -> Shot:
        """Return what somebody has said, on a topic where it does not belong."""
        said, elsewhere = self._random.sample([*self.heard], 2)
        return Shot(elsewhere.topic, said.payload)

    def _hearsay_of_all(self) -> Shot:
        now_s = time.time()
        summary = {"v": 1, "rack": RACK, "host": NAMES[0], "rack_cap_watts": 1e6, "ts": rfc3339(now_s)}
        online = {"v": 1, "host": NAMES[0], "online": False, "epoch": HUGE, "ts": rfc3339(now_s)}
        topics = (f"{BASE}/summary", f"{BASE}/host/{self._random.choice(NAMES)}/online")
        return Shot(self._random.choice(topics), _encoded(self._random.choice((summary, online))))

    def _event(self) -> Shot:
        now_s = time.time()
        interval = Interval(0.0, self._random.choice((None, 60.0)), {"limit_watts": 0})
        message = {
            "v": 1,
            "source": "vtn1",
            "epoch": HUGE,
            "seq": self._random.randrange(HUGE),
            "issued_at": rfc3339(now_s),
            "event_id": "e1",
            "class": "emergency",
            "status": self._random.choice(("active", "cancelled")),
            "scope": {"level": "rack", "targets": [RACK]},
            "intervals": [interval.message(now_s)],
        }
        return Shot(f"{EVENT_TOPIC}/e1", _encoded(message))

    def _target(self) -> Shot:
        return Shot(TARGET_TOPIC, _encoded(envelope(target(0.0), time=rfc3339(time.time()))), retain=False)

    def _cleared(self) -> Shot:
        return Shot(self._random.choice([*self.heard]).topic, b"")

    def _junk(self) -> Shot:
        junk = (b"[" * 70_000, b"{}", self._random.randbytes(100), b"eyJ" + b"." * 60_000, b" " * 300_000)
        topics = (BUDGET_TOPIC, *map(state_topic, NAMES), f"{EVENT_TOPIC}/e1", TARGET_TOPIC)
        return Shot(self._random.choice(topics), self._random.choice(junk), retain=False)

    def _false_state(self, name: str) -> bytes:
        """Return what a host would say, but newer than all, and generous: it lends everybody all it could."""
        fields = json.loads(self._last(state_topic(name)))
        fields.pop("mac", None)
        epoch = self._random.choice((fields["epoch"], fields["epoch"] + 1, HUGE))
        others = [other for other in NAMES if other != name]
        lends = [{"to": other, "watts": 2000, **self._key_of(other)} for other in others]
        holds = [{"from": other, "watts": 0, **self._key_of(other)} for other in others]
        fields |= {"epoch": epoch, "seq": fields["seq"] + self._random.randrange(1, 1000), "leasing": True}
        fields |= {
            "lends": lends,
            "holds": holds,
            "spare_watts": 6000,
            "rack_cap_watts": 0,
            "demand_watts": 0,
        }
        return _encoded(fields)

    def _key_of(self, name: str) -> dict[str, int]:
        """Return the number of the newest message of a host, or a later one still."""
        said = json.loads(self._last(state_topic(name)))
        return {"epoch": said["epoch"], "seq": said["seq"] + self._random.choice((0, 0, 1, 1000))}

    def _last(self, topic: str) -> bytes:
        return self.recorded(topic)[-1]


def state_topic(name: str) -> str:
    """Return where a host says how it stands."""
    return f"{BASE}/host/{name}/state"


def client_id(name: str) -> str:
    """Return what a daemon calls itself at the broker."""
    return f"powerd-{SITE}-{RACK}-{name}"


def _encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
