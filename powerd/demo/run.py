"""`powerd demo`: a whole rack on this machine, from start to summary.

Real hosts in processes of their own, a broker, a facility; only the GPUs are simulated. What is measured
comes from outside the hosts: their status streams. Invariant: whatever happens, every process and file is
gone afterwards.
"""

import asyncio
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from rich.console import Console
from rich.live import Live

from powerd.clock import SystemClock, boot_s
from powerd.demo import embedded_broker
from powerd.demo.facility import Facility
from powerd.demo.grid_bridge import GridBridge
from powerd.demo.host_stream import follow, total
from powerd.demo.live_table import Display
from powerd.demo.processes import Processes, rack_processes, writes_are_forbidden
from powerd.demo.rack import (
    LEASE_TTL_S,
    MAX_GPUS,
    MAX_HOSTS,
    PERIOD_S,
    TIME_FACTOR,
    DemoRack,
)
from powerd.demo.scenario import LEASE_S, named
from powerd.demo.scoreboard import Scoreboard
from powerd.demo.summary import FORBIDDEN, Summary
from powerd.errors import ConfigError, PowerdError, innermost
from powerd.signals.endpoint import endpoint

_READY_WITHIN_S = 30.0
_POLL_S = 0.02
_DRAW_EVERY_S = 0.25
_PLAIN_LINE_EVERY_S = 1.0
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for.

    Attributes:
        duration_s: 0 = until interrupted.
        port: of the first host's page.
        broker_url: empty = an embedded one.
    """

    hosts: int
    gpus: int
    duration_s: float
    port: int
    broker_url: str
    scenario: str
    seed: int

    def check(self) -> None:
        """Check what can be checked before anything is started.

        Raises:
            ConfigError: names the option.
        """
        _in_range("--hosts", self.hosts, 1, MAX_HOSTS)
        _in_range("--gpus", self.gpus, 1, MAX_GPUS)
        _in_range("--port", self.port, 1, _HIGHEST_PORT + 1 - self.hosts)
        scenario = named(self.scenario)
        if self.duration_s:
            scenario.phases(self.duration_s)
        if not self.broker_url and not embedded_broker.is_installed():
            raise ConfigError(
                "the embedded broker is not installed: pip install 'powerd[demo]', or name one with --broker"
            )


def _in_range(option: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise ConfigError(f"{option} {value} is not between {lowest} and {highest}")


async def run(options: Options, console: Console) -> Summary:
    """Run the demo to its end, or until SIGINT, SIGTERM or SIGHUP.

    Raises:
        ConfigError: the options cannot be used.
        PowerdError: a part of the rack failed, or it was stopped before the rack was up.
    """
    options.check()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    rack = _rack(options)
    _check_ports(rack)
    return await _Demo(options, rack, console).run(stop)


def _rack(options: Options) -> DemoRack:
    own_url = f"mqtt://127.0.0.1:{_free_port()}"
    rack = DemoRack(
        # A broker that others use too may have a rack of another demo.
        name=f"demo-{secrets.token_hex(3)}",
        hosts=options.hosts,
        gpus=options.gpus,
        port=options.port,
        seed=options.seed,
        broker_url=options.broker_url or own_url,
        protocol="auto" if options.broker_url else embedded_broker.PROTOCOL,
        start_boot_s=boot_s(),
        pace=named(options.scenario).pace(options.duration_s),
    )
    try:
        endpoint(rack.bus_options("check"))
    except ConfigError as error:
        raise ConfigError(f"--broker: {str(error).replace('mqtt.url', 'the URL')}") from None
    return rack


def _check_ports(rack: DemoRack) -> None:
    """Make sure that whoever answers on the ports of the hosts will be the hosts.

    Raises:
        PowerdError: something else listens on one of them.
    """
    for port in range(rack.port, rack.port + rack.hosts):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise PowerdError(
                    f"port {port} of {rack.port} to {rack.port + rack.hosts - 1} cannot be used: "
                    f"{error.strerror}; choose others with --port"
                ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Demo:
    """One run of the scenario, on a rack that is yet to be started."""

    def __init__(self, options: Options, rack: DemoRack, console: Console) -> None:
        self._options = options
        self._rack = rack
        self._console = console
        self._board = Scoreboard(rack.host_names, rack.failsafe_watts, rack.work)
        self._scenario = named(options.scenario)
        self._facility = Facility(rack, self._scenario, SystemClock(), self._said)
        self._bridge = GridBridge(rack, self._scenario, SystemClock(), self._board.announce)
        self._display = Display(console, rack, self._facility, self._bridge, self._board)
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, stop: asyncio.Event) -> Summary:
        """Start everything, let the facility go through its scenario, sum up, and end everything.

        Raises:
            PowerdError: a part of the rack failed, or it was stopped before the rack was up.
        """
        self._announce()
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http,
                rack_processes(
                    self._rack, own_broker=not self._options.broker_url, said=self._bridge.topics
                ) as processes,
                asyncio.TaskGroup() as group,
            ):
                try:
                    return await self._go_through(stop, http, processes, group)
                finally:
                    for task in self._tasks:
                        task.cancel()
        except* PowerdError as errors:
            raise PowerdError(innermost(errors)) from None

    async def _go_through(
        self,
        stop: asyncio.Event,
        http: aiohttp.ClientSession,
        processes: Processes,
        group: asyncio.TaskGroup,
    ) -> Summary:
        def run(part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            self._tasks.append(group.create_task(part))
            return self._tasks[-1]

        if processes.broker is not None:
            run(processes.broker.ended())
        for host, child in processes.hosts.items():
            run(follow(http, self._rack.url(host), child, self._board.add))
        await self._wait_for(self._is_ready, stop)
        run(self._show())
        if self._scenario.calls:
            opening = run(self._facility.open())
            await self._wait_for(self._is_free, stop)
            opening.cancel()
        run(self._bridge.run(self._options.duration_s))
        facility, stopping = run(self._facility.run(self._options.duration_s)), run(_is_set(stop))
        await asyncio.wait([facility, stopping], return_when=asyncio.FIRST_COMPLETED)
        return await self._sum_up(http)

    def _announce(self) -> None:
        rack = self._rack
        first = rack.host_names[0]
        say = partial(self._console.print, soft_wrap=True)
        say(f"page: {rack.url(first)}/ of host {first}; the others are on the next ports")
        say(f"rack {rack.name}: {rack.hosts} hosts x {rack.gpus} simulated GPUs, broker {rack.broker_url}")
        say(f"budgets: nominal {rack.nominal_watts:,} W, failsafe {rack.failsafe_watts:,} W")
        say(
            f"time is compressed: period {PERIOD_S:g} s, budgets valid for {LEASE_S:g} s, leases between "
            f"hosts {LEASE_TTL_S:g} s, raises {rack.pace.ramp_pct_per_min:g} %/min, loads x {TIME_FACTOR}"
        )
        say(f"scenario {self._scenario.name}: {self._scenario.about}")
        if self._scenario.calls:
            say(f"grid events x {self._factor:g}: an hour of them takes {3600 / self._factor:.1f} s")
        if rack.idle_hosts:
            say(f"without work, so that others can use their watts: {', '.join(rack.idle_hosts)}")
        if writes_are_forbidden():
            say(FORBIDDEN)

    async def _wait_for(self, condition: Callable[[str], bool], stop: asyncio.Event) -> None:
        """Wait until something is so of every host."""
        deadline_s = boot_s() + _READY_WITHIN_S
        while waiting := [host for host in self._rack.host_names if not condition(host)]:
            if stop.is_set():
                raise PowerdError("stopped before the rack was up")
            if boot_s() > deadline_s:
                names = ", ".join(waiting)
                raise PowerdError(f"not up within {_READY_WITHIN_S:g} s: {names}; is the machine overloaded?")
            await asyncio.sleep(_POLL_S)

    def _is_ready(self, host: str) -> bool:
        """Say whether a host has its GPUs, shows what they draw under its limits, and hears the broker."""
        view = self._board.latest.get(host)
        if view is None or not view.connected or len(view.gpus) != self._rack.gpus:
            return False
        return view.writes_forbidden or view.draw_watts <= self._rack.failsafe_watts / self._rack.hosts

    def _is_free(self, host: str) -> bool:
        """Say whether a host may leave its floor: what it drew there would be no measure for later."""
        return self._board.latest[host].waits_s is None

    @property
    def _factor(self) -> float:
        return self._scenario.factor(self._options.duration_s)

    def _said(self, watts: float) -> None:
        self._board.publish(boot_s(), watts, LEASE_S)

    async def _show(self) -> None:
        if not self._console.is_terminal:
            while True:
                line = f"{self._display.line(boot_s())}   {self._display.counts()}"
                self._console.print(line, soft_wrap=True)
                await asyncio.sleep(_PLAIN_LINE_EVERY_S)
        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                live.update(self._display.screen(boot_s()), refresh=True)
                await asyncio.sleep(_DRAW_EVERY_S)

    async def _sum_up(self, http: aiohttp.ClientSession) -> Summary:
        end_boot_s = boot_s()
        urls = [self._rack.url(host) for host in self._rack.host_names]
        writes = [await total(http, url, "powerd_limit_writes_total", "applied", "clamped") for url in urls]
        rejected = [await total(http, url, "powerd_signal_rejected_total") for url in urls]
        return Summary(
            rack=self._rack,
            scenario=self._options.scenario,
            factor=self._factor,
            end_boot_s=end_boot_s,
            own_broker=not self._options.broker_url,
            scoreboard=self._board,
            limit_writes=sum(writes),
            messages_rejected=sum(rejected),
            writes_forbidden=any(view.writes_forbidden for view in self._board.latest.values()),
        )


async def _is_set(event: asyncio.Event) -> None:
    await event.wait()
