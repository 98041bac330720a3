"""The bridge itself: asks the VTN, says what it asks for on the site's bus, and reports back.

A VTN that is down, slow or wrong ends nothing and extends nothing: what was published runs on to its end.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from powerd.clock import Clock
from powerd.core.events.grid_event import ActionKind, EventClass
from powerd.core.model import Notice, Severity
from powerd.errors import SignalRejectedError
from powerd.notify import notify
from powerd.openadr import memory, reports
from powerd.openadr.advice import Advice
from powerd.openadr.announcer import Announcer, Wanted
from powerd.openadr.client import Binding, VtnClient
from powerd.openadr.errors import VtnError
from powerd.openadr.held import MAX_EVENTS, Held
from powerd.openadr.mapping import Mapped
from powerd.openadr.notifier import Notifier
from powerd.openadr.options import BridgeOptions
from powerd.signals import rfc3339, strict_json
from powerd.signals.backoff import Backoff
from powerd.signals.bus import Bus, Presence
from powerd.signals.endpoint import BusOptions
from powerd.signals.outbox import Outbox
from powerd.signals.strict_json import JsonObject
from powerd.signals.topics import SiteTopics, event_id_of
from powerd.signals.turnstile import Turnstile
from powerd.signals.wire import encode
from powerd.signatures.envelope import content

HEARTBEAT_S = 10.0
# However many notifications come, the VTN is asked no more often.
LEAST_POLL_S = 1.0
MAX_BACKOFF_S = 60.0
# Each event may come to a few native ones, and all may have to be said at once.
MAX_WAITING = 8 * MAX_EVENTS
_FORBIDDEN, _NOT_FOUND, _NOT_IMPLEMENTED = 403, 404, 501

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outside:
    """What the bridge needs from outside.

    Attributes:
        sign: returns a payload and its signature in compact serialisation; None: nothing is signed.
        sleep, rng: for tests.
    """

    clock: Clock
    on_notice: Callable[[Notice], None]
    state_dir: Path
    sleep: Sleep = asyncio.sleep
    rng: random.Random = random.SystemRandom()  # noqa: RUF009 - it has no state
    sign: Callable[[bytes], str] | None = None


class Bridge:
    """One VEN of one site.

    Args:
        client: at the VTN.
        broker: the site's.
        ven_name: our name at the VTN, in reports.
        allow_plaintext: of the VTN's own broker.
    """

    def __init__(
        self,
        options: BridgeOptions,
        client: VtnClient,
        broker: BusOptions,
        topics: SiteTopics,
        outside: Outside,
        *,
        ven_name: str,
        allow_plaintext: bool = False,
    ) -> None:
        self._options = options
        self._client = client
        self._topics = topics
        self._outside = outside
        self._clock = outside.clock
        self._ven_name = ven_name
        self._allow_plaintext = allow_plaintext
        self._memory = self._remembered()
        self._announcer = Announcer(self._memory, options.source, self._clock.now().wall_s)
        self._advice = Advice(options, topics, self._announcer)
        self._held = Held(self._memory, options, outside.on_notice)
        self._site = reports.Site(options.reports.racks)
        turnstile = Turnstile[tuple[str, bytes, bool]](
            lambda message: self._on_message(*message), outside.on_notice
        )
        self._bus = Bus(
            broker,
            filters={topics.grid_events: 1, topics.summaries: 0},
            on_message=lambda *message: turnstile.take(message[0], message),
            on_notice=self._on_bus_notice,
            presence=Presence(topics.bridge_online(options.source), self._online),
            outbox=Outbox(max_messages=MAX_WAITING),
            rng=outside.rng,
        )
        self._wake = asyncio.Event()
        self._registered = asyncio.Event()
        self._announcing = asyncio.Lock()
        self._ven_id = ""
        self._vtn_error = "not asked yet"
        self._was_heard = False
        self._broker_is_new = False
        self._saved = ""
        self._mapped: dict[str, Mapped] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        parts: list[Coroutine[Any, Any, NoReturn]] = [self._bus.run(), self._poll_on(), self._beat_on()]
        if self._options.use_notifier:
            parts.append(self._make_notifier().run())
        if self._options.reports.every_s:
            parts.append(self._report_on())
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part)

    # From the VTN

    async def _poll_on(self) -> NoReturn:
        backoff = self._new_backoff()
        while True:
            self._wake.clear()
            try:
                await self._poll()
            except VtnError as error:
                self._heard(error)
                await self._outside.sleep(max(backoff.failed(lasted_s=0.0), error.retry_after_s))
                continue
            self._heard(None)
            backoff = self._new_backoff()
            await self._outside.sleep(LEAST_POLL_S)
            await self._until_woken(self._options.poll_s - LEAST_POLL_S)

    async def _poll(self) -> None:
        """Ask for everything once.

        Raises:
            VtnError: something could not be learned; what was learned before that is in force.
        """
        await self._register()
        programs = await self._client.objects("/programs")
        events = await self._client.objects("/events")
        now = self._clock.now()
        self._held.take_programs(programs, now)
        self._held.take_events(events, now)
        problem: VtnError | None = None
        for event_id in self._held.absent({str(event.get("id")) for event in events}):
            try:
                await self._look_for(event_id)
            except VtnError as error:
                problem = error
        self._was_heard = True
        await self._announce()
        if problem is not None:
            raise problem

    async def _register(self) -> None:
        if self._ven_id:
            return
        try:
            self._ven_id = await self._client.register()
        except VtnError as error:
            if error.status not in (_FORBIDDEN, _NOT_FOUND, _NOT_IMPLEMENTED):
                raise
            # Its operator registers VENs by hand; events come all the same.
            self._notice("vtn_not_registered", Severity.INFO, f"the VTN does not register us: {error}")
            return
        self._registered.set()

    async def _look_for(self, event_id: str) -> None:
        """Ask for an event that was not in the list: only the VTN's word that it is gone ends it."""
        try:
            found = await self._client.find(f"/events/{event_id}")
        except VtnError as error:
            if error.status != _FORBIDDEN:
                raise
            text = f"event {event_id} may not be read any more: it runs on to its end"
            self._notice("vtn_event_forbidden", Severity.WARNING, text, event_id)
            return
        if found is None:
            self._held.drop(event_id)
        else:
            self._held.take_events([found], self._clock.now())

    def _heard(self, error: VtnError | None) -> None:
        if error is not None:
            text = f"{error}: what was published runs on to its end"
            self._notice("vtn_unreachable", Severity.WARNING, text)
        elif self._vtn_error:
            self._notice("vtn_reachable", Severity.INFO, "the VTN was asked for its events")
        self._vtn_error = str(error) if error else ""

    async def _discover(self) -> tuple[Binding, str] | None:
        await self._registered.wait()
        binding = await self._client.notifier(self._ven_id)
        return None if binding is None else (binding, await self._client.token())

    def _make_notifier(self) -> Notifier:
        return Notifier(
            self._discover,
            self._wake.set,
            self._outside.on_notice,
            client_id=f"powerd-{self._options.source}",
            allow_plaintext=self._allow_plaintext,
            rng=self._outside.rng,
            sleep=self._outside.sleep,
        )

    def _new_backoff(self) -> Backoff:
        return Backoff(LEAST_POLL_S, MAX_BACKOFF_S, self._outside.rng)

    async def _until_woken(self, seconds: float) -> None:
        waits = [
            asyncio.ensure_future(self._outside.sleep(max(0.0, seconds))),
            asyncio.ensure_future(self._wake.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    # To the site

    async def _beat_on(self) -> NoReturn:
        while True:
            await self._announce()
            # The last thing: whoever waits for the heartbeat finds the rest said.
            self._publish(self._topics.bridge_online(self._options.source), self._online(online=True))
            notify("WATCHDOG=1")
            await self._outside.sleep(HEARTBEAT_S)

    async def _announce(self) -> None:
        """Publish what is due of events, signals and budgets."""
        async with self._announcing:
            now = self._clock.now()
            self._mapped = self._held.mapped(now)
            payloads = {}
            if self._broker_is_new:
                self._broker_is_new = False
                payloads = self._announcer.again(now.wall_s)
            payloads |= self._announcer.due(
                self._wanted(), self._held.refused, now.wall_s, may_cancel=self._was_heard
            )
            await self._save()
            for name, payload in payloads.items():
                self._publish(self._topics.grid_event(name), self._signed(payload))
            for topic, payload in self._advice.due(self._mapped.values(), now).items():
                # Prices and emissions raise nothing, and are not signed.
                is_budget = topic.endswith("/budget")
                self._publish(topic, self._signed(payload) if is_budget else payload)

    def _wanted(self) -> dict[str, Wanted]:
        return {
            event.event_id: Wanted(event_id, event)
            for event_id, mapped in self._mapped.items()
            for event in mapped.events
        }

    def _publish(self, topic: str, payload: bytes) -> None:
        self._bus.publish(topic, payload, qos=1, retain=True)

    def _signed(self, payload: bytes) -> bytes:
        sign = self._outside.sign
        return payload if sign is None or not payload else sign(payload).encode()

    def _online(self, online: bool) -> bytes:
        return encode(
            {
                "v": 1,
                "bridge": self._options.source,
                "online": online,
                "epoch": self._announcer.epoch,
                "ts": rfc3339.utc(self._clock.now().wall_s),
                "peer": {
                    "kind": "openadr3.1",
                    "reachable": not self._vtn_error,
                    "error": self._vtn_error[:200],
                },
                "events": sum(1 for each in self._memory.said.values() if not each.is_cancelled),
            }
        )

    def _on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        is_event = topic.startswith(self._topics.grid_events.removesuffix("+"))
        if not payload or (is_event and not retained):
            return
        try:
            fields = strict_json.loads(content(payload))
        except SignalRejectedError:
            return
        if is_event:
            self._announcer.overheard(event_id_of(topic), fields)
        elif not retained:  # a stored one may be of any age
            self._site.hear(str(fields.get("rack")), fields, self._clock.now().boot_s)

    def _on_bus_notice(self, notice: Notice) -> None:
        self._broker_is_new |= notice.event == "mqtt_connected"
        self._outside.on_notice(notice)

    # Back to the VTN

    async def _report_on(self) -> NoReturn:
        options = self._options.reports
        while True:
            start_s = self._clock.now().wall_s
            await self._outside.sleep(options.every_s)
            now = self._clock.now()
            reading = self._site.reading(
                start_s, options.every_s, now.boot_s, is_curtailed=self._is_curtailed(now.wall_s)
            )
            try:
                for content in self._reports(reading, now.wall_s):
                    await self._client.send("POST", "/reports", content)
            except VtnError as error:
                self._notice("vtn_report_failed", Severity.WARNING, str(error))

    def _reports(self, reading: reports.Reading, wall_s: float) -> list[JsonObject]:
        """Return a report for each event that wants one, until the one that covers its end."""
        options = self._options.reports
        found = []
        for event_id, mapped in self._mapped.items():
            kinds = mapped.reports or (reports.UNASKED if options.unasked and mapped.events else ())
            is_over = mapped.end_s is not None and mapped.end_s <= wall_s - options.every_s
            if not kinds or (mapped.has_intervals and is_over):
                continue
            name = options.resource_name
            found.append(
                reports.report(reading, event_id=event_id, client=self._ven_name, resource=name, kinds=kinds)
            )
        return [each for each in found if each is not None]

    def _is_curtailed(self, wall_s: float) -> bool:
        return any(
            interval.start_s <= wall_s
            and (interval.end_s is None or wall_s < interval.end_s)
            and (interval.action.kind is not ActionKind.SHED_LEVEL or interval.action.level > 0)
            for mapped in self._mapped.values()
            for event in mapped.events
            if event.event_class is not EventClass.ADVISORY
            for interval in event.intervals
        )

    # Memory

    def _remembered(self) -> memory.Memory:
        try:
            return memory.load(self._outside.state_dir)
        except (OSError, ValueError) as error:
            path = self._outside.state_dir / memory.FILE_NAME
            text = f"{path}: {error}; starting as if for the first time"
            self._notice("state_file_unusable", Severity.WARNING, text)
            return memory.Memory()

    async def _save(self) -> None:
        text = memory.encode(self._memory)
        if text == self._saved:
            return
        try:
            await asyncio.to_thread(memory.save, self._outside.state_dir, text)
        except OSError as error:
            text = f"{error}: a restart will not know what to cancel"
            self._notice("state_file_not_written", Severity.WARNING, text)
            return
        self._saved = text

    def _notice(self, event: str, severity: Severity, text: str, subject: str = "") -> None:
        self._outside.on_notice(Notice(event, severity, text, subject))
