"""One run of a host's daemon: real controller, runtime file and messages, put together as `app` does it."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from powerd.core.decide import Decision
from powerd.core.events.schedule import Schedule
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import Leases
from powerd.core.leases.memory import recall
from powerd.core.model import Now, Plan
from powerd.core.state import Config, initial_state
from powerd.daemon.controller import Controller, Options, Report
from powerd.daemon.host_gpus import HostGpus
from powerd.daemon.reporter import remembered
from powerd.desk.desk import Desk
from powerd.desk.hands import Hands
from powerd.desk.in_force import InForce
from powerd.desk.order import OrderEntry
from powerd.errors import PowerdError, SignalRejectedError
from powerd.files import events_file, runtime_file
from powerd.files.latest_file import LatestFile
from powerd.guard.client import PlanReport
from powerd.signals.grid_event import parse_event
from powerd.signals.host_state import parse_host_state
from powerd.signals.native import parse_budget
from powerd.signals.report import HostReport
from powerd.signals.topics import event_id_of
from powerd.snapshot import BusStatus
from tests.cluster.event_caps import EventCaps
from tests.cluster.guard import GuardService, SimGuard
from tests.cluster.network import Client
from tests.cluster.orders import Order
from tests.cluster.world import HostClock, Process, World

SITE, RACK = "s", "r"
BUDGET_TOPIC = "budget"
EVENT_TOPICS = "event/"
_BUS = BusStatus("simulated", connected=True)


@dataclass(slots=True)
class Disk:
    """Where the runtime file is.

    Attributes:
        latency_s: how long writing takes.
        is_read_only: writing fails.
    """

    directory: Path
    boot_id: str = "boot-1"
    latency_s: float = 0.0
    is_read_only: bool = False


class StateReader:
    """Reads each payload once for all receivers: they would all come to the same record.

    Args:
        config: of any host of the rack.
    """

    def __init__(self, config: Config) -> None:
        self._names = [host.name for host in config.rack.hosts]
        self._hard_limit_mw = config.rack.hard_limit_mw
        self._last: dict[str, tuple[bytes, HostState]] = {}

    def read(self, host: str, payload: bytes, received_boot_s: float) -> HostState:
        """Return what a host says."""
        known = self._last.get(host)
        if known is None or known[0] is not payload:  # the same object: comparing the texts would cost more
            state = parse_host_state(
                payload,
                host=host,
                rack=RACK,
                hosts=self._names,
                hard_limit_mw=self._hard_limit_mw,
                received_boot_s=received_boot_s,
            )
            known = self._last[host] = (payload, state)
        if known[1].received_boot_s != received_boot_s:
            known = self._last[host] = (payload, replace(known[1], received_boot_s=received_boot_s))
        return known[1]


class Watcher(Protocol):
    """Who looks on."""

    def decided(self, daemon: "Daemon", plan: Plan) -> None:
        """A plan is about to be sent."""

    def arrived(self, daemon: "Daemon", plan: Plan, *, accepted: bool) -> None:
        """A plan has come to the guard."""

    def done(self, daemon: "Daemon", plan: Plan, report: PlanReport) -> None:
        """A plan was carried out."""

    def reported(self, daemon: "Daemon", report: Report) -> None:
        """An iteration has ended."""

    def heard_budget(self, mw: int | None) -> None:
        """A budget has come in."""

    def reloaded(self, config: Config) -> None:
        """Another configuration is in force."""

    def ordered(self, entry: OrderEntry) -> None:
        """An order was carried out, or refused."""


class WatchedController(Controller):
    """The real one, which also shows what it decided last.

    Attributes:
        event_caps: what it knows of grid events.
        event_cap_mw: the most that these let the rack draw when it decided last; infinity = as much as it
            likes.
    """

    decided: Decision
    event_caps: EventCaps
    event_cap_mw: float

    def _decide(self, now: Now, *args: Any, **named: Any) -> Decision:
        heard = args[1]
        for event in heard.events:
            self.event_caps.hear(event)
        self.event_cap_mw = self.event_caps.cap_mw(now)
        self.decided = super()._decide(now, *args, **named)
        return self.decided


class Daemon:
    """One run of the daemon, from its start until it is killed.

    Attributes:
        controller: the real one.
        pause_before_plan_s: the next plan that raises waits for so long between being decided and being
            sent, with everything else in the process; 0 = it does not.
    """

    def __init__(
        self,
        world: World,
        clock: HostClock,
        config: Config,
        *,
        period_s: float,
        disk: Disk,
        guard: GuardService,
        guard_delay_s: Callable[[], float],
        call_deadline_s: float,
        client: Client,
        reader: StateReader,
        watcher: Watcher,
    ) -> None:
        self.process = Process(world, clock)
        self.process.loop.executor = self._in_thread
        self.pause_before_plan_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._changes: list[asyncio.Task[None]] = []
        self._world = world
        self._clock = clock
        self._config = config
        self._disk = disk
        self._client = client
        self._reader = reader
        self._watcher = watcher
        self._guard = SimGuard(world, guard, self.process, guard_delay_s, self)
        state = initial_state(*self._memory())
        self._events_file = LatestFile[Schedule](
            lambda schedule: events_file.save(disk.directory, schedule), lambda _schedule, _error: None
        )
        self._host_report = HostReport(host=config.host, rack=RACK, epoch=state.leases.epoch)
        self.keeper = runtime_file.Keeper(disk.directory, disk.boot_id, self._on_file)
        self.keeper.keep(remembered(state, config.rack))
        gpus = HostGpus(
            self._guard, self, read_within_s=call_deadline_s + 0.6, plan_within_s=2 * call_deadline_s + 1
        )
        orders = InForce("enforce")
        self.controller = WatchedController(
            Options(SITE, RACK, config.host, "enforce", period_s),
            config,
            state,
            clock=self,
            gpus=gpus,
            report=self._report,
            bus_status=lambda: _BUS,
            may_remember=lambda: self.keeper.works,
            orders=orders,
        )
        loop = self.controller
        hands = Hands(loop.changes, loop.gate, orders, gpus, self, lambda: self._config)
        self._desk = Desk(hands, watcher.ordered)
        self.controller.event_caps = EventCaps(state.schedule, config.rack)
        client.deliver = partial(self.process.call, self._on_message)
        self.process.call(self._begin)

    def now(self) -> Now:
        """Return the present by the host's clocks."""
        clock = self._clock
        wall_s = EPOCH_S + self._world.now_s + clock.wall_offset_s
        return Now(clock.boot_s, wall_s, clock.wall_synced)

    @property
    def leases(self) -> Leases:
        """Return what the daemon knows of its dealings."""
        return self.controller._state.leases

    def kill(self) -> None:
        """End it, in whatever it does; what it has sent is on its way."""
        self._client.forget()
        self.process.kill()
        self._guard.abandon()

    def reload(self, config: Config) -> None:
        """Have it go by another configuration, as soon as it is awake and between two iterations."""
        self._change(lambda: self._reload(config))

    def order(self, order: Order) -> None:
        """Give it an order, as soon as it is awake."""
        self._change(lambda: self._carry_out(order))

    def _change(self, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.process.call(lambda: self._changes.append(self.process.loop.create_task(change())))

    async def _carry_out(self, order: Order) -> None:
        with contextlib.suppress(PowerdError):  # who was refused is told so, as the watcher is
            await order(self._desk)

    async def _reload(self, config: Config) -> None:
        async with self.controller.iterating:
            self.controller.replace_config(config, lambda timeline: timeline)
            self._config = config
            self._watcher.reloaded(config)

    def errors(self) -> list[str]:
        """Return what failed in it that should not have."""
        ended = [repr(task.exception()) for task in self._tasks if task.done()]
        ended += [repr(task.exception()) for task in self._changes if task.done() and task.exception()]
        return ended + [repr(error) for error in self.process.loop.errors]

    async def before_plan(self, plan: Plan) -> None:
        """Let a plan be noted, and perhaps have the process stand still before it is sent."""
        self._watcher.decided(self, plan)
        if plan.raises and self.pause_before_plan_s:
            self.process.pause()
            self._world.after(self.pause_before_plan_s, self.process.resume)
            self.pause_before_plan_s = 0.0
            await asyncio.sleep(0)

    def plan_arrived(self, plan: Plan, *, accepted: bool) -> None:
        """Note that the guard has a plan, or refuses it."""
        self._watcher.arrived(self, plan, accepted=accepted)

    def plan_done(self, plan: Plan, report: PlanReport) -> None:
        """Note that the guard has carried out a plan."""
        self._watcher.done(self, plan, report)

    def _begin(self) -> None:
        for part in (self.controller.run(), self.keeper.run(), self._events_file.run()):
            self._tasks.append(self.process.loop.create_task(part))

    def _memory(self) -> tuple[Any, ...]:
        """Return what the daemon starts with: as `app` has it."""
        try:
            known = runtime_file.load(self._disk.directory, self._disk.boot_id)
        except (OSError, ValueError):
            known = runtime_file.NOTHING
        now, config = self.now(), self._config
        leases = recall(known.leases, config.rack, config.leases, now, of_this_boot=known.of_this_boot)
        return now, known.timeline, known.cap_mw, leases, events_file.load(self._disk.directory)

    def _in_thread(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Do what the daemon hands to a thread: writing its file. A killed one may have done it or not."""
        future: asyncio.Future[Any] = self.process.loop.create_future()
        disk = self._disk

        def write() -> None:
            if not self.process.is_alive:
                return
            if disk.is_read_only:
                answer: Any = OSError("read-only file system")
            else:
                answer = work()
            self._world.after(disk.latency_s / 2, self.process.call, _settle, future, answer)

        self._world.after(disk.latency_s / 2, write)
        return future

    def _on_file(self, error: OSError | None) -> None:
        self._world.history.note(self._config.host, f"runtime file: {error or 'works'}")

    def _report(self, report: Report) -> None:
        if not self.process.is_alive:
            return
        self._watcher.reported(self, report)
        if report.state.schedule.held:
            self._events_file.keep(report.state.schedule)
        memory = remembered(report.state, self._config.rack)
        if report.message is None:
            self.keeper.keep(memory)
            return
        payload = self._host_report.state(report.snapshot, report.message)
        self.keeper.say(memory, partial(self._client.publish, self._config.host, payload))

    def _on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        if topic.startswith(EVENT_TOPICS):
            self._on_event(topic, payload, retained)
            return
        if topic != BUDGET_TOPIC:
            self.controller.submit_state(self._reader.read(topic, payload, self._clock.boot_s))
            return
        hard_limit_mw = self._config.rack.hard_limit_mw
        try:
            message = parse_budget(
                payload, rack=RACK, hard_limit_mw=hard_limit_mw, retained=retained, received=self.now()
            )
        except SignalRejectedError as error:
            raise AssertionError(f"the facility's budget was rejected: {error}") from error
        self._watcher.heard_budget(message.mw)
        self.controller.submit(message)

    def _on_event(self, topic: str, payload: bytes, retained: bool) -> None:
        hard_limit_mw = self._config.rack.hard_limit_mw
        event = parse_event(
            payload,
            event_id=event_id_of(topic),
            hard_limit_mw=hard_limit_mw,
            retained=retained,
            received=self.now(),
        )
        self.controller.submit_event(event)


# When the world began, on a wall clock that is right.
EPOCH_S = 1_763_690_000.0


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
