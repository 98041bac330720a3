"""A client of any broker, for tests: it listens, and publishes what it is told to."""

import threading
from types import TracebackType
from typing import NamedTuple, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.brokers.login import Login

_ANSWER_WITHIN_S = 10.0


class Heard(NamedTuple):
    """A message as it was delivered."""

    topic: str
    payload: bytes
    retain: bool
    qos: int


class Client:
    """Connected from the beginning of its `with` until the connection ends.

    Args:
        port: of the broker.
        filters: what to listen to, at QoS 1.
        client_id: empty = one that the broker makes up.

    Attributes:
        heard: what came, oldest first.
        granted: what the broker answered to each filter: a QoS, or 128 and more for a refusal.
        lost: set once the connection has ended.
    """

    def __init__(
        self,
        port: int,
        login: Login | None = None,
        *filters: str,
        address: str = "127.0.0.1",
        client_id: str = "",
        qos: int = 1,
    ) -> None:
        self.heard: list[Heard] = []
        self.granted: list[int] = []
        self.lost = threading.Event()
        self._filters = [(each, qos) for each in filters]
        self._listens = threading.Event()
        self._where = (address, port)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, reconnect_on_failure=False)
        (login or Login()).prepare(self._client)
        self._client.on_message = lambda _client, _data, message: self.heard.append(
            Heard(message.topic, bytes(message.payload), message.retain, message.qos)
        )
        self._client.on_connect = lambda _client, _data, _flags, code, _more: self._connected(code.is_failure)
        self._client.on_disconnect = lambda *_: self._ended()
        self._client.on_subscribe = lambda _client, _data, _mid, codes, _more: self._subscribed(codes)

    def __enter__(self) -> Self:
        self._client.connect(*self._where)
        self._client.loop_start()
        if not self._listens.wait(_ANSWER_WITHIN_S) or self.lost.is_set():
            self.__exit__(None, None, None)
            raise ConnectionError(f"the broker at {self._where} does not let this client in")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client._reset_sockets()  # paho leaves this to chance

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Publish; say whether the broker has acknowledged it, which not all brokers mean."""
        sent = self._client.publish(topic, payload, qos=qos, retain=retain)
        sent.wait_for_publish(_ANSWER_WITHIN_S)
        return sent.is_published()

    def round_trip(self) -> None:
        """Return when the broker has dealt with all that was published, and all it had sent by then is heard.

        It subscribes anew for that: what the broker has kept may come again.

        Raises:
            ConnectionError: it does not answer.
        """
        self._listens.clear()
        self._client.subscribe(self._filters)
        if not self._listens.wait(_ANSWER_WITHIN_S) or self.lost.is_set():
            raise ConnectionError(f"the broker at {self._where} does not answer")

    def payloads(self, topic: str) -> list[bytes]:
        """Return what came on a topic."""
        return [each.payload for each in [*self.heard] if each.topic == topic]

    def _connected(self, is_failure: bool) -> None:
        if is_failure:
            return
        if self._filters:
            self._client.subscribe(self._filters)
        else:
            self._listens.set()

    def _ended(self) -> None:
        self.lost.set()
        self._listens.set()

    def _subscribed(self, codes: list[ReasonCode]) -> None:
        self.granted = [code.value for code in codes]
        self._listens.set()
