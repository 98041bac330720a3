"""A bridge between a VTN of the tests' own and a real Mosquitto, under a clock that is moved by hand."""

import asyncio
import contextlib
import heapq
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from powerd.core.events.grid_event import GridEvent
from powerd.core.model import Notice, Now
from powerd.openadr.app import new_session
from powerd.openadr.bridge import Bridge, Outside
from powerd.openadr.client import VtnClient
from powerd.openadr.options import BridgeOptions, Program, ReportOptions, VtnOptions
from powerd.signals.bus import Bus
from powerd.signals.endpoint import BusOptions
from powerd.signals.grid_event import parse_event
from powerd.signals.topics import SiteTopics, event_id_of
from powerd.signatures.envelope import content
from tests.broker import Mosquitto
from tests.openadr.make import NOW, program
from tests.openadr.vtn import CLIENT, SECRET, Vtn
from tests.signals.stubs import until

TOPICS = SiteTopics("powerd/v1", "hel1")
# By name: a native event, as it was said last.
Said = dict[str, dict[str, Any]]
Start = Callable[..., contextlib.AbstractAsyncContextManager["Rig"]]


class HandClock:
    """A clock that is moved by hand, and sleeps that end by it."""

    def __init__(self) -> None:
        self._now = NOW
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> Now:
        return self._now

    def set_wall(self, wall_s: float) -> None:
        self._now = Now(self._now.boot_s, wall_s)

    @property
    def sleepers(self) -> int:
        return sum(1 for *_, future in self._sleepers if not future.done())

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now.boot_s + seconds, next(self._numbers), future))
        await future

    def advance_to(self, boot_s: float) -> None:
        passed_s = boot_s - self._now.boot_s
        self._now = Now(boot_s, self._now.wall_s + passed_s)
        while self._sleepers and self._sleepers[0][0] <= boot_s:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def next_s(self) -> float:
        """Return when the next sleep ends."""
        return min((at_s for at_s, _, future in self._sleepers if not future.done()), default=float("inf"))


class Rig:
    """What a test sees and moves.

    Args:
        sleeping: how many of the bridge's loops sleep when there is nothing to do.
    """

    def __init__(
        self, vtn: Vtn, broker: Mosquitto, clock: HandClock, state_dir: Path, options: BridgeOptions
    ) -> None:
        self.vtn = vtn
        self.broker = broker
        self.clock = clock
        self.notices = list[Notice]()
        self.sign: Callable[[bytes], str] | None = None
        self.messages: list[tuple[str, dict[str, Any] | None]] = []
        self._state_dir = state_dir
        self._options = options
        self._task: asyncio.Task[None] | None = None
        self._sleeping = 3 if options.reports.every_s else 2

    # The bridge

    @contextlib.asynccontextmanager
    async def bridge(self, **vtn_options: Any) -> AsyncIterator[None]:
        """Run a bridge until the block ends; wait until it has nothing more to do at once."""
        options = VtnOptions(
            **{"url": self.vtn.url, "client_id": CLIENT, "client_secret": SECRET, "ven_name": "ven-hel1"}
            | vtn_options
        )
        async with new_session(options) as session:
            bridge = Bridge(
                self._options,
                VtnClient(options, session, self.clock, self.notices.append),
                BusOptions(self.broker.url, "bridge", reconnect_min_s=0.01, reconnect_max_s=0.02),
                TOPICS,
                Outside(
                    self.clock,
                    self.notices.append,
                    self._state_dir,
                    self.clock.sleep,
                    random.Random(1),
                    self.sign,
                ),
                ven_name=options.ven_name,
            )
            connected = self.events().count("mqtt_connected")
            task = asyncio.create_task(bridge.run())
            try:
                await until(lambda: self.events().count("mqtt_connected") > connected)
                await self.settle()
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def settle(self) -> None:
        """Wait until every loop of the bridge sleeps."""
        await until(lambda: self.clock.sleepers >= self._sleeping)

    async def rest(self) -> None:
        """Let the seconds pass in which the VTN is not asked again, notified or not."""
        await self.pass_time(3)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and the bridge do what is due at each moment."""
        end_s = self.clock.now().boot_s + seconds
        await self.settle()
        while self.clock.next_s() <= end_s:
            self.clock.advance_to(self.clock.next_s())
            await self.settle()
        self.clock.advance_to(end_s)

    async def poll(self) -> None:
        """Let the bridge ask the VTN once more."""
        before = self.vtn.asked["/events"]
        while self.vtn.asked["/events"] == before:
            await self.pass_time(1)
        await self.settle()

    async def poll_fails(self) -> None:
        """Let the bridge ask the VTN until that fails."""
        before = self.events().count("vtn_unreachable")
        while self.events().count("vtn_unreachable") == before:
            await self.pass_time(1)

    # What it says

    def events(self) -> list[str]:
        """Return the names of all notices."""
        return [notice.event for notice in self.notices]

    def texts(self, event: str) -> list[str]:
        return [notice.text for notice in self.notices if notice.event == event]

    def natives(self) -> Said:
        """Return the last word on each native event."""
        prefix = TOPICS.grid_events.removesuffix("+")
        said = {event_id_of(topic): each for topic, each in self.messages if topic.startswith(prefix)}
        return {name: each for name, each in said.items() if each is not None}

    def last(self, topic: str) -> dict[str, Any]:
        """Return the last message of a topic."""
        return next(each for at, each in reversed(self.messages) if at == topic and each is not None)

    def read(self, name: str) -> GridEvent:
        """Return a native event as a rack reads it."""
        payload = json.dumps(self.natives()[name]).encode()
        now = self.clock.now()
        return parse_event(payload, event_id=name, hard_limit_mw=40_000_000, retained=False, received=now)

    async def says(
        self, name: str, status: str = "active", limit_watts: float | None = None
    ) -> dict[str, Any]:
        """Wait until an event is said, with that limit first; then return it."""

        def is_said() -> bool:
            said = self.natives().get(name, {})
            first = said.get("intervals", [{}])[0].get("action", {}).get("limit_watts")
            return said.get("status") == status and (limit_watts is None or first == limit_watts)

        await until(is_said)
        return self.natives()[name]

    def record(self, topic: str, payload: bytes, _retained: bool) -> None:
        self.messages.append((topic, json.loads(content(payload)) if payload else None))


@contextlib.asynccontextmanager
async def rig(
    tmp_path: Path, broker: Mosquitto, *, reports: ReportOptions | None = None, **options: Any
) -> AsyncIterator[Rig]:
    """Give a VTN with one program, and a rig that hears the broker; its `bridge` starts one."""
    clock = HandClock()
    chosen: dict[str, Any] = {
        "site": "hel1",
        "source": "vtn1",
        "others": Program(zone="hel1"),
        "use_notifier": False,
        "reports": reports or ReportOptions(every_s=0),
    }
    async with Vtn(lambda: clock.now().wall_s) as vtn:
        vtn.programs["44"] = program()
        made = Rig(vtn, broker, clock, tmp_path, BridgeOptions(**chosen | options))
        listener = Bus(
            BusOptions(broker.url, "listener", reconnect_min_s=0.01, reconnect_max_s=0.02),
            filters={f"{TOPICS.base}/#": 1},
            on_message=made.record,
            on_notice=lambda _: None,
        )
        task = asyncio.create_task(listener.run())
        await until(lambda: listener.status().connected)
        try:
            yield made
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    assert vtn.violations == []
