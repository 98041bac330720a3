"""The guard of a host: the real one without sockets and threads, its stop action, and the daemon's way to it.

It may be killed in the middle of a driver call, or stand still; then its service manager runs the stop action
and starts it again, as `systemd/` has it.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from powerd.core.model import Outcome, Plan
from powerd.errors import GuardRefusedError, GuardUnreachableError
from powerd.guard.client import GuardReport, PlanReport
from powerd.guard.config import GuardConfig
from powerd.guard.keeper import Keeper
from powerd.guard.plans import RefusedError
from tests.cluster.plant import DriverCalls, Plant
from tests.cluster.world import LATE_S, HostClock, Process, World

Reply = Callable[[dict[str, Any] | Exception], None]


class GuardProcess:
    """One run of the guard, or of its stop action.

    Args:
        after_turn: called whenever it has done something.
    """

    def __init__(
        self,
        world: World,
        clock: HostClock,
        plant: Plant,
        config: GuardConfig,
        *,
        attach_s: float,
        after_turn: Callable[["GuardProcess"], None],
    ) -> None:
        self._world = world
        self._clock = clock
        self._after_turn = after_turn
        self.calls = DriverCalls(world, clock, plant, self.turn, attach_s)
        self.keeper = Keeper(config, self.calls, lambda: clock.boot_s)
        self._kept: list[Callable[[], None]] = []
        self._due_s = float("inf")

    def request(self, call: Callable[[], None]) -> None:
        """Take a request from a client, now or when it runs again."""
        if self.calls.is_dead:
            return
        if self.calls.is_stalled:
            self._kept.append(call)
            return
        call()
        self.turn()

    def turn(self) -> None:
        """Do what is due, and wait for what is next."""
        if self.calls.is_dead or self.calls.is_stalled:
            return
        self.keeper.tick(self._clock.boot_s)
        self._after_turn(self)
        due_boot_s = self.keeper.due_boot_s()
        if due_boot_s is None:
            return
        due_s = max(self._world.now_s, self._clock.true_s(due_boot_s)) + LATE_S
        if due_s < self._due_s:
            self._due_s = due_s
            self._world.at(due_s, self._timer, due_s)

    def go_on(self) -> None:
        """Run again, and take in what came meanwhile."""
        if self.calls.is_dead or not self.calls.is_stalled:
            return
        self.calls.go_on()
        kept, self._kept = self._kept, []
        for call in kept:
            call()
        self._due_s = float("inf")
        self.turn()

    def _timer(self, due_s: float) -> bool:
        if due_s != self._due_s or self.calls.is_dead:
            return False
        self._due_s = float("inf")
        self.turn()
        return True


class GuardService:
    """What the service manager sees to: that there is a guard, and that a dead one falls back.

    Args:
        directory: where the guard keeps its files.
        fell_back: called when GPUs have come down to a fallback without a plan.

    Attributes:
        process: None while there is none.
        connections: of clients; ended with the process.
    """

    def __init__(
        self,
        world: World,
        clock: HostClock,
        plant: Plant,
        directory: Path,
        *,
        name: str,
        attach_s: float,
        call_deadline_s: float,
        fell_back: Callable[[], None],
    ) -> None:
        self._world = world
        self._clock = clock
        self._plant = plant
        self._config = GuardConfig(state_dir=str(directory), call_deadline_s=call_deadline_s)
        self._name = name
        self._attach_s = attach_s
        self._fell_back = fell_back
        self._fired = 0
        self._boots = 0
        self._action: GuardProcess | None = None
        self.process: GuardProcess | None = None
        self.connections: list[GuardConnection] = []

    def start(self) -> None:
        """Start the guard."""
        if self.process is None:
            self._world.history.note(self._name, "guard starts")
            self._fired = 0
            self.process = self._run()
            self.process.turn()

    def kill(self, *, writes_land: bool, stop_after_s: float, start_after_s: float) -> None:
        """Kill the guard; run the stop action, then start it again.

        Args:
            writes_land: driver calls under way still take effect; the process is gone only after them.
        """
        if self.process is None:
            return
        gone_s = self.process.calls.die(writes_land=writes_land)
        self._world.history.note(self._name, f"guard killed, gone at {gone_s:.3f}")
        self.process = None
        connections, self.connections = self.connections, []
        for connection in connections:
            connection.end("the guard closed the connection")
        self._world.at(gone_s + stop_after_s, self._stop_action, start_after_s, self._boots)

    def power_off(self) -> None:
        """End at once, as the whole host does: no call takes effect any more, and no stop action runs."""
        self._boots += 1
        for process in (self.process, self._action):
            if process is not None:
                process.calls.die(writes_land=False)
        self.process = self._action = None

    def stall(self, seconds: float) -> None:
        """Let the guard stand still for a while."""
        process = self.process
        if process is not None:
            self._world.history.note(self._name, f"guard stands still for {seconds:.2f} s")
            process.calls.is_stalled = True
            self._world.after(seconds, process.go_on)

    def _run(self) -> GuardProcess:
        return GuardProcess(
            self._world,
            self._clock,
            self._plant,
            self._config,
            attach_s=self._attach_s,
            after_turn=self._watch,
        )

    def _watch(self, process: GuardProcess) -> None:
        deadman = process.keeper._deadman
        if deadman.fired > self._fired and not deadman.is_writing:
            self._fired = deadman.fired
            if deadman._old is None and deadman._new is None:  # no newer plan has come meanwhile
                self._world.history.note(self._name, "guard has fallen back")
                self._fell_back()

    def _stop_action(self, start_after_s: float, boots: int) -> None:
        if boots != self._boots:
            return
        self._world.history.note(self._name, "stop action")
        self._fired = 0
        action = self._action = self._run()

        def ended(_reply: dict[str, Any]) -> None:
            action.calls.is_dead = True
            self._action = None
            self._world.after(start_after_s, self.start)

        action.request(partial(action.keeper.fall_back, "the guard was stopped", ended))


class GuardConnection:
    """One connection of a daemon to a guard; ends with either."""

    def __init__(self, service: GuardService, process: GuardProcess, client: "SimGuard") -> None:
        self.is_open = True
        self.token = ""
        self._service = service
        self.process = process
        self._client = client
        service.connections.append(self)

    def end(self, why: str) -> None:
        """End it; who waits for an answer gets an error."""
        if self.is_open:
            self.is_open = False
            self._client.fail_all(self, GuardUnreachableError(why))


class Hooks(Protocol):
    """Who is told what becomes of a plan."""

    async def before_plan(self, plan: Plan) -> None:
        """It was handed over to be sent."""

    def plan_arrived(self, plan: Plan, *, accepted: bool) -> None:
        """It has come to the guard."""

    def plan_done(self, plan: Plan, report: PlanReport) -> None:
        """It was carried out; the answer is on its way."""


class SimGuard:
    """The daemon's side: implements `powerd.daemon.host_gpus.Guard` as `GuardClient` does.

    Args:
        daemon: the process that this is part of.
        delay_s: returns how long a request or an answer travels; they keep their order.
    """

    def __init__(
        self,
        world: World,
        service: GuardService,
        daemon: Process,
        delay_s: Callable[[], float],
        hooks: Hooks,
    ) -> None:
        self._world = world
        self._service = service
        self._daemon = daemon
        self._delay_s = delay_s
        self._hooks = hooks
        self._connection: GuardConnection | None = None
        self._number = 0
        self._waiting: dict[asyncio.Future[dict[str, Any]], GuardConnection] = {}
        self._last_there_s = self._last_back_s = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands."""
        return self._connection is not None and self._connection.is_open

    async def connect(self) -> None:
        """Connect, and get a token."""
        await self.close()
        self._number = 0
        process = self._service.process
        if process is None:
            raise GuardUnreachableError("is the guard running?")
        connection = GuardConnection(self._service, process, self)

        def accept(reply: Reply) -> None:
            connection.token = process.keeper.new_client()
            reply({})

        await self._ask(connection, accept)
        self._connection = connection

    async def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            self._connection.end("closed")
            self._connection = None

    async def read(self) -> GuardReport:
        """Read all GPUs."""
        connection = self._here()
        answer = await self._ask(connection, connection.process.keeper.read)
        return GuardReport(
            tuple(answer["readings"]),
            answer["generation"],
            answer["driver_error"],
            answer["writes_forbidden"],
            answer["fallback_count"],
            {},
            keeps_plans=answer["keeps_plans"],
            attachment=answer["attachment"],
        )

    async def release(self) -> tuple[Outcome, ...]:
        """Have the limits put back that were found."""
        connection = self._here()
        answer = await self._ask(
            connection, lambda reply: connection.process.keeper.release(connection.token, reply)
        )
        return tuple(answer["outcomes"])

    async def detach(self, why: str) -> None:
        """Have the driver given up."""
        connection = self._here()
        await self._ask(
            connection, lambda reply: connection.process.keeper.detach(connection.token, why, reply)
        )

    async def attach(self) -> None:
        """Have the driver attached again."""
        connection = self._here()
        await self._ask(connection, lambda reply: connection.process.keeper.attach(connection.token, reply))

    async def plan(self, plan: Plan) -> PlanReport:
        """Have a plan executed."""
        await self._hooks.before_plan(plan)
        self._number += 1
        number, connection = self._number, self._here()

        def carry_out(reply: Reply) -> None:
            def done(answer: dict[str, Any]) -> None:
                self._hooks.plan_done(plan, _plan_report(answer))
                reply(answer)

            # It is in force from here on, whatever the guard says in the end.
            self._hooks.plan_arrived(plan, accepted=True)
            try:
                connection.process.keeper.plan(connection.token, number, plan, done)
            except RefusedError as error:
                self._hooks.plan_arrived(plan, accepted=False)
                reply(GuardRefusedError(str(error)))

        return _plan_report(await self._ask(connection, carry_out))

    def abandon(self) -> None:
        """The daemon has died: nobody waits for answers any more."""
        if self._connection is not None:
            self._connection.is_open = False

    def fail_all(self, connection: GuardConnection, error: Exception) -> None:
        """Tell those who wait for answers of a connection that has ended."""
        for future, its in list(self._waiting.items()):
            if its is connection:
                self._daemon.call(_resolve, future, error)

    def _here(self) -> GuardConnection:
        if self._connection is None or not self._connection.is_open:
            raise GuardUnreachableError("not connected")
        return self._connection

    async def _ask(self, connection: GuardConnection, request: Callable[[Reply], None]) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = self._daemon.loop.create_future()
        self._waiting[future] = connection

        def reply(answer: dict[str, Any] | Exception) -> None:
            if connection.is_open:
                self._last_back_s = self._travel(
                    self._last_back_s, self._daemon.call, _resolve, future, answer
                )

        def arrive() -> None:
            # Also when the daemon has died meanwhile: it is in the socket.
            connection.process.request(partial(request, reply))

        if self._daemon.is_alive:  # else it is only being taken down
            self._last_there_s = self._travel(self._last_there_s, arrive)
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    def _travel(self, last_s: float, call: Callable[..., object], *args: Any) -> float:
        delay_s = self._delay_s()
        arrival_s = max(last_s, self._world.now_s + delay_s)
        if arrival_s <= self._world.now_s:
            call(*args)
        else:
            self._world.at(arrival_s, call, *args)
        return arrival_s


def _plan_report(answer: dict[str, Any]) -> PlanReport:
    return PlanReport(answer["outcomes"], answer["last_cut_boot_s"])


def _resolve(future: asyncio.Future[dict[str, Any]], answer: dict[str, Any] | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
