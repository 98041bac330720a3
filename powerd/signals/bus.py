"""The host's standing connection to its site: keeps it, listens, and publishes in the background.

Receiving never waits for publishing: messages are handed on as they are read from the socket, while one
task works off the outbox. Being connected proves nothing about the facility and is only ever a hint.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from powerd.core.model import Notice, Severity
from powerd.errors import BrokerSilentError, BusError, ConfigError, PublishRefusedError
from powerd.signals.backoff import Backoff
from powerd.signals.endpoint import BusOptions, endpoint
from powerd.signals.mqtt import OnMessage, Session, connect
from powerd.signals.outbox import Outbox, Outgoing
from powerd.snapshot import BusStatus

# Longest wait for "offline" to be taken when the daemon stops; the will does it otherwise.
_FAREWELL_S = 1.0
# Longest wait before a broker is asked again to let a client hear what it did not let it hear before.
_ASK_AGAIN_S = 30.0
# After so long without an acknowledgement the broker is asked for one: who seldom publishes would not notice
# else that the connection leads nowhere any more.
PROBE_AFTER_S = 1.0
# QoS 2: not all brokers have it.
_EXACTLY_ONCE = 2


@dataclass(frozen=True, slots=True)
class Presence:
    """How the host shows that it is there: a retained topic that is also the last will.

    Attributes:
        payload: makes it, for being there (True) or not.
    """

    topic: str
    payload: Callable[[bool], bytes]

    def message(self, *, online: bool) -> Outgoing:
        """Return what to publish, or to leave as will."""
        return Outgoing(self.topic, self.payload(online), qos=1, retain=True)


class Bus:
    """A connection that is made again whenever it breaks.

    Args:
        options: where the broker is.
        filters: what to listen to, and at which QoS.
        on_message: gets topic, payload, and whether the broker had it stored. Called from the event loop,
            straight from the socket, so it must be quick.
        on_notice: told once about each change: connected, lost, refused.
        presence: the host's online topic; None for a client that is no host.
        outbox: where messages wait; of another size for a client that has much to say.
        rng, sleep: for tests.

    Raises:
        ConfigError: the options cannot be used.
    """

    def __init__(
        self,
        options: BusOptions,
        *,
        filters: Mapping[str, int],
        on_message: OnMessage,
        on_notice: Callable[[Notice], None],
        presence: Presence | None = None,
        outbox: Outbox | None = None,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        endpoint(options)
        self._options = options
        self._filters = filters
        self._on_message = on_message
        self._on_notice = on_notice
        self._presence = presence
        self._sleep = sleep
        self._rng = rng or random.SystemRandom()
        self._backoff = self._fresh_backoff()
        self._renewed = asyncio.Event()
        self._outbox = outbox or Outbox()
        self._max_qos = _EXACTLY_ONCE
        self._to_publish = asyncio.Event()
        self._session: Session | None = None
        self._protocol = ""
        self._error = ""
        self._certificate_end_wall_s: float | None = None
        self._received = 0
        self._published = 0
        self._acknowledged = 0

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Publish as soon as possible, without waiting; see `Outbox` for what is kept while disconnected.

        At a broker that does not know QoS 2, messages of it are published at QoS 1.
        """
        self._outbox.put(Outgoing(topic, payload, qos, retain), connected=self._session is not None)
        self._to_publish.set()

    def renew(self, options: BusOptions, filters: Mapping[str, int]) -> None:
        """Say goodbye and connect anew at once: with other credentials, or to hear of other topics.

        What the broker has stored is heard again; what it is sent in that moment, and does not store, is not.
        """
        self._options, self._filters, self._protocol = options, filters, ""
        self._backoff = self._fresh_backoff()
        self._renewed.set()

    def status(self, *, rejected: int = 0) -> BusStatus:
        """Return how the connection stands.

        Args:
            rejected: messages that the caller could not use, for the record.
        """
        return BusStatus(
            url=self._options.url,
            connected=self._session is not None,
            protocol=self._session.protocol if self._session else "",
            error="" if self._session else self._error,
            received=self._received,
            rejected=rejected,
            published=self._published,
            certificate_end_wall_s=self._certificate_end_wall_s,
        )

    async def run(self) -> NoReturn:
        """Connect, serve, and connect again, until cancelled. Then say goodbye, without the will."""
        loop = asyncio.get_running_loop()
        while True:
            begun_s = loop.time()
            try:
                await self._serve()
            except BrokerSilentError as error:
                self._lost(str(error))
                await self._pause(self._backoff.silent())
            except (BusError, ConfigError) as error:
                self._lost(str(error))
                await self._pause(self._backoff.failed(lasted_s=loop.time() - begun_s))

    async def _serve(self) -> None:
        """Hold one connection for as long as it lasts; return when another one is asked for.

        Raises:
            BusError: it broke, or could not be made.
        """
        self._renewed.clear()
        will = self._presence.message(online=False) if self._presence else None
        # A version that worked is tried alone next time; if that fails, all are.
        protocol, self._protocol = self._protocol, ""
        async with connect(self._options, on_message=self._arrived, will=will, protocol=protocol) as session:
            self._protocol = session.protocol
            # Listening comes first: whoever sees "online" may take it that this host hears.
            refused = await session.subscribe(self._filters) if self._filters else []
            if self._presence:
                await session.publish(self._presence.message(online=True))
            self._gained(session, refused)
            try:
                await self._until_broken(session, refused)
            except asyncio.CancelledError:
                await self._farewell(session)
                raise
            await self._farewell(session)
        self._session = None
        self._outbox.disconnected()

    async def _until_broken(self, session: Session, refused: Sequence[str]) -> None:
        """Wait until another connection is asked for.

        Raises:
            BusError: this one broke.
        """
        parts = self._work_off(session), self._ask_again(session, refused), self._probe(session)
        for result in await _first_of(*parts, session.closed(), self._renewed.wait()):
            if isinstance(result, Exception):
                raise result

    async def _probe(self, session: Session) -> NoReturn:
        while True:
            acknowledged = self._acknowledged
            await asyncio.sleep(PROBE_AFTER_S)
            if self._acknowledged == acknowledged:
                await session.probe()

    async def _ask_again(self, session: Session, refused: Sequence[str]) -> None:
        """Subscribe to what was refused until it is granted: a cluster without leaders refuses too."""
        waits = Backoff(self._options.reconnect_min_s, _ASK_AGAIN_S, self._rng)
        while refused:
            await self._sleep(waits.failed(lasted_s=0.0))
            asked, refused = refused, await session.subscribe({each: self._filters[each] for each in refused})
            self._tell_refused(refused)
            for each in sorted({*asked} - {*refused}):
                text = f"{self._options.url}: subscribing to {each} is allowed by now"
                self._on_notice(Notice("mqtt_subscribed", Severity.INFO, text, each))
        await asyncio.get_running_loop().create_future()  # for as long as the others run

    async def _pause(self, seconds: float) -> None:
        await _first_of(self._sleep(seconds), self._renewed.wait())

    async def _work_off(self, session: Session) -> NoReturn:
        while True:
            message = self._outbox.head()
            if message is None:
                self._to_publish.clear()
                await self._to_publish.wait()
                continue
            try:
                await session.publish(replace(message, qos=min(message.qos, self._max_qos)))
            except PublishRefusedError as error:
                self._on_notice(Notice("mqtt_publish_refused", Severity.WARNING, str(error), message.topic))
            except BusError:
                self._lower_qos(message)
                raise
            else:
                self._published += 1
                self._acknowledged += message.qos > 0
            self._outbox.done(message)

    def _fresh_backoff(self) -> Backoff:
        return Backoff(self._options.reconnect_min_s, self._options.reconnect_max_s, self._rng)

    def _lower_qos(self, message: Outgoing) -> None:
        """Go on at QoS 1: a broker without QoS 2 ends the connection, and would at every further attempt."""
        if message.qos < _EXACTLY_ONCE or self._max_qos < _EXACTLY_ONCE:
            return
        self._max_qos = _EXACTLY_ONCE - 1
        text = f"{self._options.url}: the connection ended at a message of QoS 2; from now on QoS 1 is used"
        self._on_notice(Notice("mqtt_qos_lowered", Severity.INFO, text))

    async def _farewell(self, session: Session) -> None:
        if self._presence:
            with contextlib.suppress(BusError, TimeoutError):  # then the will says it
                async with asyncio.timeout(_FAREWELL_S):
                    await session.publish(self._presence.message(online=False))

    def _gained(self, session: Session, refused: Sequence[str]) -> None:
        self._session = session
        self._certificate_end_wall_s = session.certificate_end_wall_s
        self._error = ""
        self._on_notice(
            Notice("mqtt_connected", Severity.INFO, f"{self._options.url}: MQTT {session.protocol}")
        )
        self._tell_refused(refused)

    def _tell_refused(self, refused: Sequence[str]) -> None:
        for each in refused:
            text = f"{self._options.url}: subscribing to {each} was refused: check the broker's access list"
            self._on_notice(Notice("mqtt_subscription_refused", Severity.CRITICAL, text, each))

    def _lost(self, error: str) -> None:
        self._session = None
        self._outbox.disconnected()
        if not self._error:  # one notice per outage, not one per attempt; status has the latest
            self._on_notice(Notice("mqtt_disconnected", Severity.WARNING, error))
        self._error = error

    def _arrived(self, topic: str, payload: bytes, retained: bool) -> None:
        self._received += 1
        try:
            self._on_message(topic, payload, retained)
        except Exception as error:  # noqa: BLE001 - reported below; one message must not end the connection
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"handling a message on {topic} failed", "exception": error}
            )


async def _first_of(*parts: Awaitable[object]) -> list[object]:
    """Run until one of several ends, cancel the others, and return what came of each."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    return list(results)
