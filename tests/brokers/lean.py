"""A lean MQTT 3.1.1 client for crowds: one process holds hundreds, and reads thousands of messages a second.

It knows what a host of powerd needs and nothing else: connect with a will, subscribe, publish, count what
comes. With a whole client library per host, a benchmark of a broker would be one of the library.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

_CONNECT, _PUBACK, _SUBSCRIBE = 0x10, 0x40, 0x82
_CONNACK, _PUBLISH, _SUBACK = 2, 3, 9
_CLEAN, _WILL, _WILL_QOS_1, _WILL_RETAIN = 0x02, 0x04, 0x08, 0x20


class Said(NamedTuple):
    """A message to publish.

    Attributes:
        qos: 0 or 1.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool


class LeanClient(asyncio.Protocol):
    """One connection.

    Args:
        client_id: of this client.
        keepalive_s: the broker gives it up after 1.5 of these without a message.
        will: at QoS 1.
        filters: what to listen to, and at which QoS.
        on_message: gets topic, payload, and whether the broker had it stored.

    Attributes:
        listens: done once the broker has granted the filters.
        ended: done once the connection has ended.
    """

    def __init__(
        self,
        client_id: str,
        keepalive_s: int,
        will: Said,
        filters: Mapping[str, int],
        on_message: Callable[[bytes, bytes, bool], None],
    ) -> None:
        self._hello = _connect(client_id, keepalive_s, will)
        self._filters = filters
        self._on_message = on_message
        self._transport: asyncio.WriteTransport | None = None
        self._unread = bytearray()
        self._packet_id = 0
        loop = asyncio.get_running_loop()
        self.listens: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for future in (self.listens, self.ended):
            if not future.done():
                future.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        at = 0
        while (packet := _bounds(self._unread, at)) is not None:
            begin, end = packet
            self._take(self._unread[at], memoryview(self._unread)[begin:end].tobytes())
            at = end
        del self._unread[:at]

    def publish(self, said: Said) -> None:
        """Send a message, if connected; nobody waits for an acknowledgement."""
        if self._transport is not None:
            head = _PUBLISH << 4 | said.qos << 1 | said.retain
            body = _text(said.topic) + (self._next_id() if said.qos else b"") + said.payload
            self._transport.write(_packet(head, body))

    def close(self) -> None:
        """Hang up without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, head: int, body: bytes) -> None:
        kind = head >> 4
        if kind == _PUBLISH:
            self._heard(head, body)
        elif kind == _CONNACK:
            asked = b"".join(_text(each) + bytes([qos]) for each, qos in self._filters.items())
            self._write(_packet(_SUBSCRIBE, self._next_id() + asked))
        elif kind == _SUBACK and not self.listens.done():
            self.listens.set_result(None)

    def _heard(self, head: int, body: bytes) -> None:
        end = 2 + int.from_bytes(body[:2], "big")
        topic = body[2:end]
        if head & 0x06:
            self._write(bytes([_PUBACK, 2]) + body[end : end + 2])
            end += 2
        self._on_message(topic, body[end:], bool(head & 1))

    def _write(self, raw: bytes) -> None:
        if self._transport is not None:
            self._transport.write(raw)

    def _next_id(self) -> bytes:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id.to_bytes(2, "big")


def _connect(client_id: str, keepalive_s: int, will: Said) -> bytes:
    flags = _CLEAN | _WILL | _WILL_QOS_1 | (_WILL_RETAIN if will.retain else 0)
    head = b"\x00\x04MQTT\x04" + bytes([flags]) + keepalive_s.to_bytes(2, "big")
    body = _text(client_id) + _text(will.topic) + len(will.payload).to_bytes(2, "big") + will.payload
    return _packet(_CONNECT, head + body)


def _packet(head: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, low = divmod(rest, 128)
        length.append(low | (0x80 if rest else 0))
        if not rest:
            return bytes([head]) + length + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _bounds(raw: Sequence[int], at: int) -> tuple[int, int] | None:
    """Return where the body of the packet at `at` begins and ends; None if not all of it is there."""
    length, shift, begin = 0, 0, at + 1
    while begin < len(raw):
        byte = raw[begin]
        begin += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (begin, begin + length) if begin + length <= len(raw) else None
    return None
