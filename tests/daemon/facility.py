"""A facility controller made by hand: whatever is asked for is published, right or wrong."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.daemon.host import RACK, SITE
from tests.daemon.waiting import boot_s

# Topics of the rack are below it.
BASE = f"powerd/v1/{SITE}/rack/{RACK}"
# The shortest that hosts grant (docs/signals.md, Rack budget).
LEASE_S = 5.0

_ANSWER_WITHIN_S = 5.0


class Grant(NamedTuple):
    """A budget that was published: what powerd may rest a raise on, on the boot clock."""

    published_boot_s: float
    watts: float | None
    end_boot_s: float


class Facility:
    """Publishes on the budget topic of the rack, from the calling thread, over one connection.

    Args:
        port: of the broker on the loopback interface.
        prepare: gives a client what it needs to be let in, before it connects.
        address: of the broker.

    Attributes:
        address: where the next connection goes to, should this one end: to another node of a cluster, say.
        topic: where budgets go.
        grants: what `grant` published, oldest first.
        seq: of the last message that was made.
    """

    def __init__(
        self,
        port: int,
        prepare: Callable[[mqtt.Client], None] = lambda _client: None,
        address: str = "127.0.0.1",
    ) -> None:
        self.topic = f"{BASE}/budget"
        self.grants: list[Grant] = []
        self._port = port
        self._prepare = prepare
        self.address = address
        self._epoch = int(time.time() * 1000)
        self.seq = 0
        self._client: mqtt.Client | None = None

    def budget(self, watts: float | None, lease_s: float, **overrides: Any) -> dict[str, Any]:
        """Return the next message; `overrides` replace or add fields, and `...` as a value takes one away."""
        self.seq += 1
        issued_s = overrides.pop("issued_s", time.time())
        message = {
            "v": 1,
            "source": "facility-a",
            "epoch": self._epoch,
            "seq": self.seq,
            "issued_at": rfc3339(issued_s),
            "valid_until": rfc3339(issued_s + lease_s),
            "rack": RACK,
            "watts": watts,
        }
        return {name: value for name, value in {**message, **overrides}.items() if value is not ...}

    def grant(self, watts: float | None, lease_s: float = LEASE_S, **overrides: Any) -> Grant:
        """Publish a budget in good order, retained, and remember it as a grant.

        Args:
            watts: for the rack; None = no limit.
            overrides: fields of the message to replace or add, as in `budget`.
        """
        now_s = boot_s()
        grant = Grant(now_s, watts, now_s + lease_s)
        self.grants.append(grant)
        self.publish(self.budget(watts, lease_s, **overrides))
        return grant

    def fail_over(self) -> int:
        """Go on as another run of the controller would, and return the epoch of the one before."""
        before = self._epoch
        self._epoch = max(before + 1, int(time.time() * 1000))
        return before

    def publish(self, payload: bytes | dict[str, Any], *, topic: str = "", retain: bool = True) -> None:
        """Publish at QoS 1 and return when the broker has it; connects again if the connection is gone.

        Raises:
            ConnectionError: no broker, or no answer from it.
        """
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        if self._client is None or not self._send(self._client, raw, topic, retain=retain):
            self._client = self._connected()
            if not self._send(self._client, raw, topic, retain=retain):
                raise ConnectionError(f"the broker on port {self._port} did not take the message")

    def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop(0)
            self._client = None

    def _connected(self) -> mqtt.Client:
        # Keepalive 0: nobody would send the pings, since no thread is running.
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._prepare(client)
        client.connect(self.address, self._port, keepalive=0)
        deadline_s = time.monotonic() + _ANSWER_WITHIN_S
        while not client.is_connected():
            if client.loop(0.01) != mqtt.MQTT_ERR_SUCCESS or time.monotonic() > deadline_s:
                raise ConnectionError(f"the broker on port {self._port} does not answer")
        return client

    def _send(self, client: mqtt.Client, raw: bytes, topic: str, *, retain: bool) -> bool:
        sent = client.publish(topic or self.topic, raw, qos=1, retain=retain)
        deadline_s = time.monotonic() + _ANSWER_WITHIN_S
        while sent.rc == mqtt.MQTT_ERR_SUCCESS and not sent.is_published():
            if client.loop(0.01) != mqtt.MQTT_ERR_SUCCESS or time.monotonic() > deadline_s:
                return False
        return sent.rc == mqtt.MQTT_ERR_SUCCESS


def rfc3339(unix_s: float) -> str:
    """Return a time stamp with its offset."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
