"""Messages that nobody should believe, and a controller that is not as it should be."""

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.chaos.faults import Fault
from tests.chaos.stage import Stage
from tests.daemon.facility import BASE
from tests.daemon.grid import Bridge, Interval
from tests.daemon.host import Host
from tests.daemon.rack import HARD_LIMIT_WATTS, NAMES
from tests.signals.hostile import HOSTILE

# Everything that a host listens to, or might.
TOPICS = (
    f"{BASE}/budget",
    *(f"{BASE}/host/{name}/state" for name in NAMES),
    f"{BASE}/host/r17-n9/state",
    f"{BASE}/meter/a",
    "powerd/v1/hel1/grid/event/e1",
    "powerd/v1/hel1/signal/ghg/z1",
)
# Far more than any budget of the controller.
_TEMPTING_WATTS = 2.0 * HARD_LIMIT_WATTS
_LONG_S = 120.0
# Of events: from below the floors to what takes little away.
_EVENT_WATTS = (0, 3000, 4900, 5600, 6200)


class SignalFault(Fault):
    """Something wrong with what is said on the bus; only begun while there is a broker."""

    def say(self, payload: bytes | dict[str, Any], topic: str = "", *, retain: bool = False) -> None:
        """Publish; nothing is said to a broker that does not answer."""
        if self.can_speak():
            with contextlib.suppress(OSError):
                self.rack.facility.publish(payload, topic=topic, retain=retain)

    def can_speak(self) -> bool:
        """Say whether there is a broker that would take a message, and somebody to say one."""
        return self.rack.broker.running and not self.stage.controller.is_silent

    def tempting(self, **overrides: Any) -> dict[str, Any]:
        """Return a budget with far too many watts, and a long lease."""
        return self.rack.facility.budget(_TEMPTING_WATTS, _LONG_S, **overrides)

    def say_late(self, message: dict[str, Any], *, retain: bool = False) -> None:
        """Publish what is old by now, once every host is known to have had something newer.

        One that has missed all of that would be right to believe it.
        """
        if all(self._knows_newer(host, message) for host in self.stage.hosts.values()):
            self.say(message, retain=retain)

    def _knows_newer(self, host: Host, message: dict[str, Any]) -> bool:
        lease: dict[str, Any] = {}
        if self.stage.answers(host):
            with contextlib.suppress(OSError, http.client.HTTPException):
                lease = host.status()["budget"]["lease"] or {}
        return bool(lease) and (lease["epoch"], lease["seq"]) > (message["epoch"], message["seq"])


class Garbage(SignalFault):
    """On every topic: nothing of it is a message, all of it would be tempting."""

    kind = "garbage on all topics"
    lasts_s = (0.5, 3.0)

    def step(self) -> None:
        for topic in TOPICS:
            self.say(self.random.choice(list(self._payloads())), topic, retain=self.random.random() < 0.1)

    def _payloads(self) -> Iterator[bytes]:
        good = {
            "v": 1,
            "source": "facility-a",
            "epoch": 2**50,
            "seq": 1,
            "issued_at": "2026-11-21T17:00:00Z",
            "valid_until": "2036-11-21T17:00:00Z",
            "rack": "r17",
            "watts": _TEMPTING_WATTS,
        }
        yield from HOSTILE.values()
        yield from (
            b"",
            b"\0",
            b"null",
            b"20000",
            b"[" * 20_000,
            b"x" * 70_000,
            json.dumps(good).encode()[:-2],
        )
        bad: dict[str, Any] = {
            "v": 2,
            "watts": -1,
            "rack": "r18",
            "epoch": -1,
            "valid_until": "soon",
            "source": "",
        }
        for field, value in bad.items():
            yield json.dumps({**good, field: value}).encode()
        yield json.dumps(good).replace("20800.0", "NaN").encode()
        yield json.dumps(good).replace("20800.0", "1e999").encode()
        yield self.random.randbytes(200)


class Flood(SignalFault):
    """Thousands of messages a second on the budget's topic, none of which is one."""

    kind = "flood of the budget's topic"
    weight = 1
    lasts_s = (0.5, 2.0)
    _client: mqtt.Client | None = None

    def begin(self) -> None:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        with contextlib.suppress(OSError):
            if self.can_speak():
                client.connect("127.0.0.1", self.rack.broker.port, keepalive=0)
                client.loop_start()
                self._client = client

    def step(self) -> None:
        if self._client:
            payload = json.dumps(self.tempting(source="")).encode()
            for _ in range(200):
                self._client.publish(f"{BASE}/budget", payload)

    def end(self) -> None:
        if self._client:
            self._client.disconnect()
            self._client.loop_stop()


class Replayed(SignalFault):
    """The controller's own messages of before, in any order, kept by the broker too."""

    kind = "old budgets replayed"
    weight = 3
    lasts_s = (0.2, 3.0)

    def step(self) -> None:
        if len(self.stage.controller.said) > 1:
            message = self.random.choice(self.stage.controller.said[:-1])
            self.say_late(message, retain=self.random.random() < 0.3)


class OutOfOrder(SignalFault):
    """A message with more watts is overtaken by the one after it."""

    kind = "budgets out of order"
    lasts_s = (0.5, 2.0)

    def begin(self) -> None:
        self._late = self.tempting()
        self.stage.controller.publish()

    def step(self) -> None:
        self.say_late(self._late)


class Expired(SignalFault):
    kind = "expired budgets"
    lasts_s = (0.0, 0.0)

    def begin(self) -> None:
        self.say(self.tempting(issued_s=time.time() - 1.5 * _LONG_S))


class Stranger(SignalFault):
    """A second controller, which nobody was told to believe, offers more."""

    kind = "a second controller"
    lasts_s = (0.5, 5.0)

    def step(self) -> None:
        self.say(self.tempting(source="facility-b", priority=1), retain=self.random.random() < 0.2)


class Failover(SignalFault):
    """A new run of the controller takes over; the old one goes on for a while, with more watts."""

    kind = "the controller fails over"
    lasts_s = (0.5, 4.0)
    _old_epoch = 0

    def __init__(self, stage: Stage, random: Random) -> None:
        super().__init__(stage, random)
        self.claims = frozenset({"controller"})

    def begin(self) -> None:
        self._old_epoch = self.rack.facility.fail_over()
        self.stage.controller.publish()

    def step(self) -> None:
        self.say_late(self.tempting(epoch=self._old_epoch))


class Silent(SignalFault):
    """Until budgets end."""

    kind = "the controller is silent"
    lasts_s = (2.0, 20.0)

    def __init__(self, stage: Stage, random: Random) -> None:
        super().__init__(stage, random)
        self.claims = frozenset({"controller", "broker"})

    def begin(self) -> None:
        self.stage.controller.is_silent = True

    def end(self) -> None:
        self.stage.controller.is_silent = False


class GridEvent(SignalFault):
    """The grid asks the rack for less, at once or soon, and takes it back; else it ends by itself."""

    kind = "grid event"
    weight = 4
    lasts_s = (1.0, 8.0)
    _ends_after_s = 12.0

    def begin(self) -> None:
        self._name = f"e{self.random.randrange(10**9)}"
        self._bridge = Bridge(self.rack.facility)
        self._is_asked = False
        self._is_over = False

    def step(self) -> None:
        if not self._is_asked and self.can_speak():
            begin_s = self.random.choice((0.0, 0.5))
            down = Interval(begin_s, self._ends_after_s, {"limit_watts": self.random.choice(_EVENT_WATTS)})
            with contextlib.suppress(OSError):
                self._bridge.ask(self._name, down)
                self._is_asked = True

    def is_over(self) -> bool:
        if self._is_asked and not self._is_over and self.can_speak():
            with contextlib.suppress(OSError):
                self._bridge.cancel(self._name)
                self._is_over = True
        return self._is_over or not self._is_asked


class SquareWave(SignalFault):
    """Budgets that jump up and down, below the floors too, five times a second."""

    kind = "budgets jump up and down"
    lasts_s = (0.5, 4.0)

    def __init__(self, stage: Stage, random: Random) -> None:
        super().__init__(stage, random)
        self.claims = frozenset({"controller"})

    def step(self) -> None:
        self.stage.controller.change(self.random)
        self.stage.controller.renew_when_due()
