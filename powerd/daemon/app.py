"""The composition root: settings -> objects -> tasks -> orderly stop. The only place that builds.

Stopping writes no limit: the guard's dead-man's switch lowers to the fallback when the plans stop, whether
the daemon was stopped, was killed, or hangs.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from powerd import renewal
from powerd.certificates import Certificates
from powerd.clock import SystemClock, boot_id
from powerd.core.events.schedule import Schedule
from powerd.core.gpus.overhead import OverheadSample
from powerd.core.model import Notice, Severity
from powerd.core.state import State
from powerd.daemon.controller import Controller, Options, Report
from powerd.daemon.ears import Sinks, ears, listened_to, meter_ear, named_senders
from powerd.daemon.first_state import first_state
from powerd.daemon.host_gpus import HostGpus
from powerd.daemon.intake import Intake
from powerd.daemon.overhead_sensor import OverheadSampler, overhead_sensor
from powerd.daemon.recorder import Recorder
from powerd.daemon.reload import Reloader, on_hang_up, prepared
from powerd.daemon.reporter import BusReporter, Reporter, remembered
from powerd.desk.desk import Desk
from powerd.desk.hands import Hands
from powerd.desk.memory import OrderMemory
from powerd.dsx.traces import Traces
from powerd.errors import ConfigError, innermost
from powerd.files import events_file
from powerd.files.latest_file import LatestFile
from powerd.files.runtime_file import Keeper
from powerd.guard.client import GuardClient
from powerd.guard.spawn import spawn_guard
from powerd.history.history import History
from powerd.ledger.file import FILE_NAME as LEDGER_FILE
from powerd.ledger.reader import LedgerReader
from powerd.ledger.writer import Ledger, LedgerOptions
from powerd.log import configure as configure_log
from powerd.metrics.exposition import Metrics
from powerd.notify import notify
from powerd.settings.bus import bus_options, digest
from powerd.settings.loading import Source
from powerd.settings.model import Settings
from powerd.settings.rules import core_config, rack
from powerd.signals.bus import Bus, Presence
from powerd.signals.listener import Inbound
from powerd.signals.report import HostReport
from powerd.signals.topics import Topics
from powerd.signatures.rack_secret import read_rack_secret
from powerd.snapshot import BusStatus
from powerd.web.server import WebServer

if TYPE_CHECKING:  # cryptography is only for those who need it
    from powerd.dsx.agent import DsxReporter

log = structlog.get_logger()


async def serve(settings: Settings, source: Source) -> bool:
    """Run the daemon until SIGTERM or SIGINT, or SIGUSR2: then return true, to be started again in place.

    Args:
        source: where the settings are from, and are read again from at SIGHUP.

    Raises:
        ConfigError: something that the configuration names cannot be used, or `enforce` must not start.
        GuardError: the guard that this daemon started did not come up.
    """
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, on_hang_up(reload.set, stop.set))
    renewed = asyncio.Event()

    def renew() -> None:
        renewed.set()
        stop.set()

    loop.add_signal_handler(renewal.SIGNAL, renew)
    async with contextlib.AsyncExitStack() as stack:
        if settings.guard.spawn:
            await stack.enter_async_context(await spawn_guard(source.path, settings.guard.socket))
        daemon = Daemon(settings, source)
        await stack.enter_async_context(daemon.web)
        # What the imports left behind stays for good: looking through it again would hold up a cut.
        gc.collect()
        gc.freeze()
        log.info("started", host=settings.host.name, rack=settings.host.rack, mode=settings.host.mode)
        await daemon.run(stop, reload)
        if renewed.is_set():
            daemon.leave_mode()
        else:
            notify("STOPPING=1")
    log.info("stopped")
    return renewed.is_set()


class Daemon:
    """All parts of one daemon, connected.

    Attributes:
        web: to be entered before `run`.
    """

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings = settings
        self._clock = SystemClock(assume_synced=settings.host.trust_wall_clock)
        self._rack = rack(settings)
        self._config = core_config(settings, self._rack)
        host = settings.host
        self._certificates = Certificates(_certificate_files(settings))
        named = named_senders(settings)
        self._metrics = Metrics(host.rack, host.name, self._clock, named, self._certificates.ends)
        self._topics = Topics(settings.mqtt.prefix, host.site, host.rack, host.name)
        self._history = History()
        self._reloader = Reloader(
            source,
            settings,
            go_by=self._go_by,
            metrics=self._metrics,
            happened=self._history.add,
            clock=self._clock,
        )
        state, damages = first_state(settings, self._config, self._clock.now())
        self._host_report = HostReport(host=host.name, rack=host.rack, epoch=state.leases.epoch)
        self._events_file = LatestFile[Schedule](
            lambda schedule: events_file.save(Path(host.state_dir), schedule), self._on_events_file
        )
        self._keeper = Keeper(Path(host.state_dir), boot_id(), self._on_runtime_file)
        # Before anything is said: a start after this one must not take an older file for the truth.
        self._keeper.keep(remembered(state, self._rack))
        self._orders = OrderMemory(Path(host.state_dir), boot_id(), host.mode, self._notice)
        deadline_s = settings.guard.call_deadline_s
        self._gpus = HostGpus(
            GuardClient(settings.guard.socket),
            self._clock,
            # The guard answers soon after that deadline whatever its GPUs do. With the defaults a guard that
            # hangs is given up before the loop has been waiting for it for three periods.
            read_within_s=deadline_s + 0.6,
            plan_within_s=2 * deadline_s + 1,
        )
        self._sampler = self._make_sampler()
        self._traces = Traces()
        self._intake = Intake(
            lambda message: self._controller.submit(message),  # noqa: PLW0108
            lambda event: self._controller.submit_event(event),  # noqa: PLW0108
            self._notice,
        )
        self._sinks = self._make_sinks()
        self._listening = (self._topics, self._clock, self._sinks)
        self._meters = meter_ear(settings, self._config, *self._listening)
        self._inbound = Inbound(*ears(settings, self._config, *self._listening, self._meters))
        self._connected_by = b""
        self._bus = self._make_bus() if settings.mqtt.url else None
        ledger_path = Path(host.state_dir) / LEDGER_FILE
        self._recorder = self._make_recorder(ledger_path) if settings.ledger.enabled else None
        self._to_grid = self._make_to_grid()
        self._bus_reporter = self._make_bus_reporter()
        self._reporter = Reporter(self._listeners(), self._keeper)
        self._controller = self._make_controller(state, damages)
        self.web = WebServer(
            lambda: self._reporter.latest,
            self._clock,
            self._metrics,
            listen=settings.http.listen,
            socket_path=Path(settings.http.socket) if settings.http.socket else None,
            socket_group=settings.http.socket_group,
            names=(host.name,),
            ledger=LedgerReader(ledger_path) if settings.ledger.enabled else None,
            history=self._history,
            desk=self._make_desk(),
        )

    async def run(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        """Run all parts until `stop` is set, or one of them fails; reload whenever `reload` is set.

        Raises:
            ConfigError: `enforce` must not start.
        """
        parts = [self._controller.run(), self._keeper.run(), self._events_file.run()]
        parts += [self._reload(reload), self._orders.run()]
        parts += [part.run() for part in (self._bus, self._sampler) if part is not None]
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(part) for part in parts]
                await stop.wait()
                for task in running:
                    task.cancel()
        except* ConfigError as group:
            raise ConfigError(innermost(group)) from None
        finally:
            if self._recorder is not None:
                self._recorder.close()

    def leave_mode(self) -> None:
        """Leave the mode that an operator has ordered to the code that takes over."""
        renewal.leave_mode(self._settings.host.mode, self._controller.gate.mode)

    def _make_recorder(self, path: Path) -> Recorder:
        ledger = Ledger(path, LedgerOptions(max_mb=self._settings.ledger.max_mb))
        ledger.start()
        return Recorder(ledger, self._notice, self._metrics.ledger_dropped)

    def _make_sampler(self) -> OverheadSampler | None:
        read = overhead_sensor(self._settings.host.overhead_sensor)
        if read is None:
            return None

        def on_error(text: str) -> None:
            self._notice(Notice("overhead_sensor_failed", Severity.WARNING, text))

        def gpu_draw_mw() -> int:
            return sum(reading.draw_mw or 0 for reading in self._gpus.readings)

        return OverheadSampler(read, gpu_draw_mw, on_error, self._settings.control.period_s)

    def _make_sinks(self) -> Sinks:
        # The controller is made after what listens for it.
        return Sinks(
            budget=self._intake.budget,
            event=self._intake.event,
            state=lambda state: self._controller.submit_state(state),  # noqa: PLW0108
            meter=lambda heard: self._controller.submit_meter(heard),  # noqa: PLW0108
            signal=lambda signal: self._controller.submit_signal(signal),  # noqa: PLW0108
            notice=self._notice,
            rejected=self._metrics.signal_rejected,
            traces=self._traces,
        )

    async def _reload(self, asked: asyncio.Event) -> None:
        await self._controller.changes.next_iteration()  # until then it is not ready, and must not say so
        await self._reloader.run(asked)

    async def _go_by(self, settings: Settings) -> None:
        """Put other settings in force, between two iterations and all at once.

        Raises:
            ConfigError: something that they name cannot be used, or `enforce` must not go on with them.
        """
        # What reads files takes a while: a cut must not wait for it.
        new = await asyncio.to_thread(prepared, settings, self._listening, self._meters)
        async with self._controller.iterating:
            mode = settings.host.mode
            is_other = mode != self._settings.host.mode  # else an operator's order holds on
            listens_to = partial(listened_to, settings)
            self._controller.replace_config(new.config, listens_to, mode if is_other else None)
            self._settings, self._rack, self._config = settings, new.config.rack, new.config
            filters = self._inbound.filters
            self._inbound.replace(*new.ears)
            if self._bus_reporter is not None:
                self._bus_reporter.secret = new.secret
            if self._meters is not None:
                self._meters.judge_by(new.config.rack.hard_limit_mw)
            if self._to_grid is not None:
                self._to_grid.go_by(new.config)
        is_new = (new.connected_by, self._inbound.filters) != (self._connected_by, filters)
        if self._bus is not None and is_new:
            self._bus.renew(new.options, self._inbound.filters)
        self._connected_by = new.connected_by
        self._metrics.name(named_senders(settings))
        self._certificates.watch(_certificate_files(settings))
        configure_log(settings.log.format, settings.log.level)

    def _make_bus(self) -> Bus:
        presence = Presence(
            self._topics.online,
            lambda online: self._host_report.online(online=online, wall_s=self._clock.now().wall_s),
        )
        options = bus_options(self._settings.mqtt, self._settings.client_id)
        self._connected_by = digest(options)
        return Bus(
            options,
            filters=self._inbound.filters,
            on_message=self._inbound.on_message,
            on_notice=self._notice,
            presence=presence,
        )

    def _listeners(self) -> list[Callable[[Report], None]]:
        def observe(report: Report) -> None:
            self._metrics.observe(report.snapshot)

        def publish(report: Report) -> None:
            self.web.publish(report.snapshot)

        def keep_events(report: Report) -> None:
            self._events_file.keep(report.state.schedule)
            self._orders.keep(report.snapshot.orders)

        def believe(report: Report) -> None:
            self._intake.believed = report.state.timeline.seen

        def keep_history(report: Report) -> None:
            self._history.take(report.snapshot, report.notices, is_sampled=report.sampled)

        listeners: list[Callable[[Report], None]] = [observe, publish, believe, keep_events, keep_history]
        if self._recorder is not None:
            listeners.append(self._recorder)
        if self._bus_reporter is not None:
            listeners.append(self._bus_reporter)
        if self._to_grid is not None:
            listeners.append(self._to_grid)
        return listeners

    def _make_bus_reporter(self) -> BusReporter | None:
        if self._bus is None:
            return None
        secret = read_rack_secret(self._settings.rack.leases.key_file)
        return BusReporter(self._bus, self._topics, self._host_report, self._keeper, secret)

    def _make_to_grid(self) -> "DsxReporter | None":
        if self._bus is None or not self._settings.signals.dsx.enabled:
            return None
        from powerd.dsx.wiring import dsx_reporter  # noqa: PLC0415 - as in `ears`

        return dsx_reporter(self._settings, self._config, self._bus.publish, self._traces)

    def _make_controller(self, state: State, damages: Iterable[Notice]) -> Controller:
        host, control = self._settings.host, self._settings.control
        controller = Controller(
            Options(
                site=host.site,
                rack=host.rack,
                host=host.name,
                mode=renewal.mode_left(host.mode),
                period_s=control.period_s,
                persistence_needed=not host.allow_without_persistence_mode,
            ),
            self._config,
            state,
            clock=self._clock,
            gpus=self._gpus,
            report=self._reporter,
            bus_status=self._bus_status,
            overhead=self._overhead,
            may_remember=lambda: self._keeper.works,
            orders=self._orders.orders,
            lasting=lambda: self._reloader.notices,
        )
        orders_lost = self._orders.damage
        for damage in (*damages, *((orders_lost,) if orders_lost else ())):
            controller.notice(damage)
        return controller

    def _make_desk(self) -> Desk:
        loop, orders = self._controller, self._orders.orders
        hands = Hands(loop.changes, loop.gate, orders, self._gpus, self._clock, lambda: loop.config)
        return Desk(hands, lambda entry: self._history.add(entry.happening))

    # The parts below are made before the controller that they report to.

    def _notice(self, notice: Notice) -> None:
        self._controller.notice(notice)

    def _bus_status(self) -> BusStatus:
        if self._bus is not None:
            return self._bus.status(rejected=self._inbound.rejected)
        return BusStatus("", error="mqtt.url is not set")

    def _overhead(self) -> OverheadSample | None:
        return self._sampler.latest if self._sampler else None

    def _on_events_file(self, _: Schedule, error: OSError | None) -> None:
        if error is not None:
            text = f"{error}: a restart will not know the grid events that are not sent again"
            self._notice(Notice("events_file_not_written", Severity.WARNING, text))

    def _on_runtime_file(self, error: OSError | None) -> None:
        if error is not None:
            text = f"{error}: a restart will not know the budget in force, and nothing is lent meanwhile"
            self._notice(Notice("runtime_file_not_written", Severity.WARNING, text))


def _certificate_files(settings: Settings) -> dict[str, str]:
    return {"ca": settings.mqtt.ca_file, "client": settings.mqtt.cert_file}
