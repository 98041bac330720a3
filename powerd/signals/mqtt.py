"""One connection to an MQTT broker. The only file that imports aiomqtt, so that the client can be replaced.

Works around what aiomqtt 2.5 leaves to its caller: an attempt that failed keeps its socket and a task, a
broker that hangs up instead of answering is noticed by time-out only, one that does so right after it is not
noticed at all, a socket that was closed is still waited for to be written to, every message costs two task
switches, a broker's refusal to publish goes unreported, and a cancellation can get lost.
Safety never rests on a connection: leases decide.
"""

import asyncio
import contextlib
import logging
import math
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial
from typing import NoReturn

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import DisconnectFlags, topic_matches_sub
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from powerd.errors import BrokerSilentError, BusError, PublishRefusedError
from powerd.signals.endpoint import BusOptions, Endpoint, endpoint
from powerd.signals.outbox import Outgoing

# Topic, payload, and whether it comes from the broker's store.
OnMessage = Callable[[str, bytes, bool], None]

# Longest wait for the broker to let a client in, and to subscribe: at one that all hosts come back to.
ANSWER_TIMEOUT_S = 5.0
# Longest wait for it to acknowledge a message. Nothing shows sooner that a connection leads nowhere any more.
ACK_TIMEOUT_S = 2.5
# Nobody subscribes to it.
_NO_TOPIC = "powerd/none"
# Longest wait for one address of a name to take a connection.
DIAL_TIMEOUT_S = 2.0

_VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}
# MQTT 5, section 2.4. paho reports return code 1 of a broker that only knows 3.1.1 as the same.
_UNSUPPORTED_PROTOCOL_VERSION = 0x84
_UNSPECIFIED_ERROR = 0x80
# Nothing that powerd reads is larger (`strict_json.MAX_BYTES`, and a topic): what is would be held in memory
# before it could be refused. A broker that speaks MQTT 5 keeps it to itself.
MAX_PACKET_BYTES = 256 * 1024
# Without it a state that follows an acknowledgement waits for the broker's delayed TCP ACK, up to 40 ms.
_SOCKET_OPTIONS = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)


def matches(topic_filter: str, topic: str) -> bool:
    """Say whether a filter with wildcards takes in a topic (MQTT 3.1.1, section 4.7)."""
    return topic_matches_sub(topic_filter, topic)


class Session:
    """An established connection.

    Attributes:
        protocol: "5" or "3.1.1".
        certificate_end_wall_s: until when the broker's certificate is good; None without one.
    """

    def __init__(self, client: "_Client", url: str, protocol: str) -> None:
        self._client = client
        self._url = url
        self.protocol = protocol
        self.certificate_end_wall_s = client.certificate_end_wall_s()

    async def subscribe(self, filters: Mapping[str, int]) -> list[str]:
        """Subscribe to filters, each at its QoS.

        Returns:
            The filters that the broker refused. Some brokers grant what they never deliver.

        Raises:
            BusError: the connection broke, or the broker does not answer.
        """
        with _as_bus_error(self._url):
            codes = await self._client.subscribe(list(filters.items()))
        return [
            each
            for each, code in zip(filters, codes, strict=True)
            if isinstance(code, ReasonCode) and code.is_failure
        ]

    async def publish(self, message: Outgoing) -> None:
        """Publish, and wait until the broker has it (QoS 1, 2) or it was sent (QoS 0). One at a time.

        Raises:
            PublishRefusedError: the broker does not allow it; only brokers that speak MQTT 5 say so.
            BrokerSilentError: the broker does not answer.
            BusError: the connection broke.
        """
        properties = None
        if message.expiry_s is not None and self.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho declares no types
            properties.MessageExpiryInterval = message.expiry_s
        self._client.refusal = ""
        await self._answered(
            self._client.publish(
                message.topic, message.payload, message.qos, message.retain, properties, timeout=math.inf
            )
        )
        if self._client.lost:
            raise BusError(f"{self._url}: the connection ended before the broker had the message")
        if self._client.refusal:
            raise PublishRefusedError(
                f"{self._url}: publishing on {message.topic} was refused ({self._client.refusal}): "
                "check the broker's access list"
            )

    async def probe(self) -> None:
        """Have the broker answer something that changes nothing.

        Raises:
            BrokerSilentError: it does not answer.
            BusError: the connection broke.
        """
        await self._answered(self._client.unsubscribe(_NO_TOPIC, timeout=math.inf))

    async def _answered(self, call: Awaitable[None]) -> None:
        try:
            with _as_bus_error(self._url):
                async with asyncio.timeout(ACK_TIMEOUT_S):
                    await call
        except TimeoutError:
            text = f"{self._url}: no acknowledgement for {ACK_TIMEOUT_S:g} s; the connection is given up"
            raise BrokerSilentError(text) from None

    async def closed(self) -> NoReturn:
        """Wait for the end of the connection.

        Raises:
            BusError: always; the text says why it ended.
        """
        try:
            async for _ in self._client.messages:
                pass  # it yields nothing, see _delivering_queue, and raises when the connection ends
        except aiomqtt.MqttError as error:
            cause = error.__cause__
            if not isinstance(cause, aiomqtt.MqttCodeError) or cause.rc != _UNSPECIFIED_ERROR:
                raise BusError(f"{self._url}: the connection ended: {cause or error}") from error
        raise BusError(f"{self._url}: the connection ended")


@contextlib.asynccontextmanager
async def connect(
    options: BusOptions,
    *,
    on_message: OnMessage | None = None,
    will: Outgoing | None = None,
    protocol: str = "",
) -> AsyncIterator[Session]:
    """Connect once, with a clean start: the broker keeps no old commands for this client.

    Args:
        options: where and who.
        on_message: called from the event loop for each message, as it is read from the socket.
        will: what the broker publishes when the connection breaks.
        protocol: one that is known to work; empty = as in the options.

    Raises:
        BusError: no connection. Nothing of the attempt is left behind.
        ConfigError: the options cannot be used.
    """
    where = await asyncio.to_thread(endpoint, options)
    wanted = protocol or options.protocol
    versions = list(_VERSIONS) if wanted == "auto" else [wanted]
    with _as_bus_error(options.url):
        client, spoken = await _negotiate(options, where, versions, on_message, will)
    try:
        yield Session(client, options.url, spoken)
    finally:
        await client.leave()


async def _negotiate(
    options: BusOptions,
    where: Endpoint,
    versions: Sequence[str],
    on_message: OnMessage | None,
    will: Outgoing | None,
) -> tuple["_Client", str]:
    for version in versions[:-1]:
        with contextlib.suppress(_NotUnderstoodError):
            return await _enter(_client(options, where, version, on_message, will)), version
    version = versions[-1]
    return await _enter(_client(options, where, version, on_message, will)), version


async def _enter(client: "_Client") -> "_Client":
    try:
        await client.enter()
    except BaseException:
        client.close_socket()
        raise
    return client


class _NotUnderstoodError(aiomqtt.MqttError):
    """The broker refuses this version of MQTT, or hangs up or keeps silent instead of saying so."""


class _Client(aiomqtt.Client):
    """aiomqtt's client, with what it knows and keeps to itself.

    Attributes:
        refusal: why the broker refused the last publication; empty if it did not.
        lost: the connection was made, and ended.
    """

    refusal = ""
    lost = False
    _entered = False

    async def enter(self) -> None:
        """Connect.

        Raises:
            aiomqtt.MqttError: no connection, or one that was closed as soon as it was made.
        """
        try:
            await self.__aenter__()
        except aiomqtt.MqttCodeError as error:
            if error.rc != _UNSUPPORTED_PROTOCOL_VERSION:
                raise
            raise _NotUnderstoodError("the broker refuses this version of MQTT") from None
        except aiomqtt.MqttError:
            if self._client.socket() is None:  # not even a connection
                raise
            raise _NotUnderstoodError("the broker does not answer") from None
        self._entered = True
        if self.lost:
            raise aiomqtt.MqttError("the broker closed the connection as soon as it was made")

    def _on_disconnect(
        self,
        client: PahoClient,
        userdata: object,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():
            # aiomqtt would go on waiting for the answer.
            self._connected.set_exception(_NotUnderstoodError("the broker hung up without an answer"))
            return
        self.lost = self._connected.exception() is None
        # aiomqtt would let calls wait for their answers until they time out.
        for answered in self._pending_publishes.values():
            answered.set()
        for answer in self._pending_subscribes.values():
            answer.set_exception(aiomqtt.MqttError("the connection ended without an answer"))
        # aiomqtt would forget an end before its beginning is complete, and never notice it: see `enter`.
        if self._entered:
            super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_socket_register_write(
        self,
        client: PahoClient,
        userdata: object,  # noqa: ARG002 - paho's to give
        sock: socket.socket,
    ) -> None:
        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001 - whatever it is, the connection is over
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def register() -> None:
            # aiomqtt would go by the number alone, which may be nobody's or another socket's by now.
            if sock.fileno() != -1:
                self._loop.add_writer(sock, write)

        self._loop.call_soon_threadsafe(register)

    def _on_publish(
        self, client: PahoClient, userdata: object, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        if reason_code.is_failure:
            self.refusal = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def certificate_end_wall_s(self) -> float | None:
        """Return until when the broker's certificate is good; None without one."""
        transport = self._client.socket()
        shown = transport.getpeercert() if isinstance(transport, ssl.SSLSocket) else None
        return float(ssl.cert_time_to_seconds(str(shown["notAfter"]))) if shown else None

    async def leave(self) -> None:
        """Disconnect, without the will; a broker that does not answer is left anyway."""
        try:
            with contextlib.suppress(aiomqtt.MqttError):
                await self.__aexit__(None, None, None)
        finally:
            self.close_socket()
            # Nobody may have asked yet why the connection ended, and asyncio would tell of that as an error.
            if self._disconnected.done() and not self._disconnected.cancelled():
                self._disconnected.exception()

    def close_socket(self) -> None:
        """Close the socket and end its task, which aiomqtt leaves behind when connecting fails."""
        # No public call does this: disconnect() waits for a broker that may never answer.
        self._client._sock_close()  # noqa: SLF001


def _client(
    options: BusOptions, where: Endpoint, version: str, on_message: OnMessage | None, will: Outgoing | None
) -> _Client:
    limits = None
    if version == "5":
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho declares no types
        limits.MaximumPacketSize = MAX_PACKET_BYTES
    client = _Client(
        where.host,
        where.port,
        identifier=options.client_id,
        username=options.username or None,
        password=options.password,
        protocol=_VERSIONS[version],
        will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain) if will else None,
        queue_type=_delivering_queue(on_message or _ignore),
        timeout=ANSWER_TIMEOUT_S,
        keepalive=options.keepalive_s,
        properties=limits,
        tls_context=where.tls,
        socket_options=_SOCKET_OPTIONS,
        logger=_silent_logger(),
    )
    # paho has no public hook for this, and would try the addresses of a name in one order, 5 s each.
    client._client._create_socket_connection = partial(_dial, where)  # type: ignore[method-assign] # noqa: SLF001
    return client


def _dial(where: Endpoint) -> socket.socket:
    """Connect to one of the addresses of a name, whichever takes it first in random order.

    So hosts spread over the nodes of a cluster, and leave a node that takes connections and does not answer.

    Raises:
        OSError: none takes it; says why the last one did not.
    """
    found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    addresses = random.SystemRandom().sample([str(address[0]) for *_, address in found], len(found))
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, where.port), DIAL_TIMEOUT_S)
    return socket.create_connection((addresses[-1], where.port), DIAL_TIMEOUT_S)


def _delivering_queue(on_message: OnMessage) -> type["asyncio.Queue[aiomqtt.Message]"]:
    """Return a queue that never holds anything: putting a message into it calls `on_message`.

    This is aiomqtt's public hook nearest to the socket. Its own iterator makes a task per message.
    """

    class DeliveringQueue(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            on_message(item.topic.value, bytes(item.payload), item.retain)

    return DeliveringQueue


def _ignore(_topic: str, _payload: bytes, _retained: bool) -> None:
    """Take a message that nobody asked for."""


def _silent_logger() -> logging.Logger:
    """Return a logger without output: paho logs as errors what is raised as `BusError` anyway."""
    logger = logging.getLogger("powerd.signals.paho")
    logger.disabled = True
    return logger


@contextlib.contextmanager
def _as_bus_error(url: str) -> Generator[None]:
    try:
        yield
    except (aiomqtt.MqttError, ValueError) as error:  # ValueError: a host name that cannot be encoded
        raise BusError(f"{url}: {error.__cause__ or error}") from error
    # In Python 3.11 asyncio.wait_for, which aiomqtt uses, loses a cancellation that comes with the answer.
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError
