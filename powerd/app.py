"""The composition root: settings -> objects -> tasks -> orderly stop. The only place that builds.

Stopping writes no limit: the guard's dead-man's switch lowers to the fallback when the plans stop, whether
the daemon was stopped, was killed, or hangs.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import structlog

from powerd import runtime_file
from powerd import settings as configuration
from powerd.clock import SystemClock, boot_id
from powerd.controller import Controller, Options, Report
from powerd.core import memory
from powerd.core.admission import AdmissionRules
from powerd.core.demand import DemandRules
from powerd.core.failsafe import FailsafeRules
from powerd.core.host_state import HostState
from powerd.core.model import Notice, Severity
from powerd.core.observed import ObservedRules
from powerd.core.overhead import OverheadSample
from powerd.core.plan import DeadBand
from powerd.core.ramp import RampRules
from powerd.core.state import Config, State, initial_state
from powerd.core.timeline import BudgetMessage
from powerd.core.topology import Rack
from powerd.core.units import milliwatts
from powerd.errors import ConfigError, innermost
from powerd.guard.client import GuardClient
from powerd.guard.spawn import spawn_guard
from powerd.host_gpus import HostGpus
from powerd.metrics import Metrics
from powerd.notify import notify
from powerd.overhead_sensor import OverheadSampler, overhead_sensor
from powerd.reporter import BusReporter, Reporter, remembered
from powerd.runtime_file import Keeper, Remembered
from powerd.settings import Settings
from powerd.signals.bus import Bus, Presence
from powerd.signals.endpoint import BusOptions
from powerd.signals.listener import BudgetListener, Hooks, Inbound, PeerListener
from powerd.signals.report import HostReport
from powerd.signals.topics import Topics
from powerd.snapshot import BusStatus
from powerd.web.server import WebServer

log = structlog.get_logger()


async def serve(settings: Settings, config_path: Path) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Args:
        config_path: handed to the guard where this daemon starts one of its own.

    Raises:
        ConfigError: something that the configuration names cannot be used, or `enforce` must not start.
        GuardError: the guard that this daemon started did not come up.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        if settings.guard.spawn:
            await stack.enter_async_context(await spawn_guard(config_path, settings.guard.socket))
        daemon = Daemon(settings)
        await stack.enter_async_context(daemon.web)
        # What the imports left behind stays for good: looking through it again would hold up a cut.
        gc.collect()
        gc.freeze()
        log.info("started", host=settings.host.name, rack=settings.host.rack, mode=settings.host.mode)
        await daemon.run(stop)
        notify("STOPPING=1")
    log.info("stopped")


class Daemon:
    """All parts of one daemon, connected.

    Attributes:
        web: to be entered before `run`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock(assume_synced=settings.host.trust_wall_clock)
        self._rack = configuration.rack(settings)
        self._config = core_config(settings, self._rack)
        host = settings.host
        self._metrics = Metrics(host.rack, host.name, self._clock)
        self._topics = Topics(settings.mqtt.prefix, host.site, host.rack, host.name)
        state, damage = self._first_state()
        self._host_report = HostReport(host=host.name, rack=host.rack, epoch=state.leases.epoch)
        self._keeper = Keeper(Path(host.state_dir), boot_id(), self._on_runtime_file)
        # Before anything is said: a start after this one must not take an older file for the truth.
        self._keeper.keep(remembered(state, self._rack))
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
        self._inbound = self._make_inbound()
        self._bus = self._make_bus() if settings.signals.native.enabled else None
        self._reporter = Reporter(self._listeners(), self._keeper, self._rack)
        self._controller = self._make_controller(state, damage)
        self.web = WebServer(
            lambda: self._reporter.latest,
            self._clock,
            self._metrics,
            listen=settings.http.listen,
            socket_path=Path(settings.http.socket) if settings.http.socket else None,
            socket_group=settings.http.socket_group,
            names=(host.name,),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run all parts until `stop` is set, or one of them fails.

        Raises:
            ConfigError: `enforce` must not start.
        """
        parts = [self._controller.run(), self._keeper.run()]
        parts += [part.run() for part in (self._bus, self._sampler) if part is not None]
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(part) for part in parts]
                await stop.wait()
                for task in running:
                    task.cancel()
        except* ConfigError as group:
            raise ConfigError(innermost(group)) from None

    def _make_sampler(self) -> OverheadSampler | None:
        read = overhead_sensor(self._settings.host.overhead_sensor)
        if read is None:
            return None

        def on_error(text: str) -> None:
            self._notice(Notice("overhead_sensor_failed", Severity.WARNING, text))

        def gpu_draw_mw() -> int:
            return sum(reading.draw_mw or 0 for reading in self._gpus.readings)

        return OverheadSampler(read, gpu_draw_mw, on_error, self._settings.control.period_s)

    def _make_inbound(self) -> Inbound:
        count = self._metrics.signal_rejected
        budgets = BudgetListener(
            topics=self._topics,
            hard_limit_mw=self._rack.hard_limit_mw,
            sources=self._settings.signals.native.sources,
            clock=self._clock,
            hooks=Hooks(self._submit, self._notice, count),
        )
        hooks = Hooks(self._submit_state, self._notice, count)
        peers = PeerListener(topics=self._topics, rack=self._rack, clock=self._clock, hooks=hooks)
        return Inbound(budgets, *([peers] if self._config.has_peers else []))

    def _make_bus(self) -> Bus:
        presence = Presence(
            self._topics.online,
            lambda online: self._host_report.online(online=online, wall_s=self._clock.now().wall_s),
        )
        return Bus(
            _bus_options(self._settings),
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

        if self._bus is None:
            return [observe, publish]
        to_bus = BusReporter(self._bus, self._topics, self._host_report, self._keeper, self._config)
        return [observe, publish, to_bus]

    def _first_state(self) -> tuple[State, str]:
        """Return what is known at the start, and why no more is."""
        known, damage = _remembered(Path(self._settings.host.state_dir))
        now, of_this_boot = self._clock.now(), known.of_this_boot
        leases = memory.recall(known.leases, self._rack, self._config.leases, now, of_this_boot=of_this_boot)
        return initial_state(now, known.timeline, known.cap_mw, leases), damage

    def _make_controller(self, state: State, damage: str) -> Controller:
        host, control = self._settings.host, self._settings.control
        controller = Controller(
            Options(
                site=host.site,
                rack=host.rack,
                host=host.name,
                mode=host.mode,
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
        )
        if damage:
            controller.notice(Notice("runtime_file_unusable", Severity.WARNING, damage))
        return controller

    # The parts below are made before the controller that they report to.

    def _submit(self, message: BudgetMessage) -> None:
        self._controller.submit(message)

    def _submit_state(self, state: HostState) -> None:
        self._controller.submit_state(state)

    def _notice(self, notice: Notice) -> None:
        self._controller.notice(notice)

    def _bus_status(self) -> BusStatus:
        if self._bus is not None:
            return self._bus.status(rejected=self._inbound.rejected)
        return BusStatus("", error="signals.native.enabled = false")

    def _overhead(self) -> OverheadSample | None:
        return self._sampler.latest if self._sampler else None

    def _on_runtime_file(self, error: OSError | None) -> None:
        if error is not None:
            text = f"{error}: a restart will not know the budget in force, and nothing is lent meanwhile"
            self._notice(Notice("runtime_file_not_written", Severity.WARNING, text))


def core_config(settings: Settings, rack: Rack) -> Config:
    """Return the configuration as the core reads it."""
    control, host = settings.control, settings.host
    return Config(
        rack=rack,
        host=host.name,
        admission=AdmissionRules(
            hard_limit_mw=rack.hard_limit_mw,
            max_skew_s=settings.signals.native.max_skew_s,
            lower_only_hold_s=control.failsafe_hold_s,
        ),
        ramp=RampRules(
            mw_per_s=rack.hard_limit_mw * control.raise_ramp_pct_per_min / 100 / 60,
            jitter_s=control.raise_jitter_s * _own_fraction(host.name),
        ),
        policies=configuration.gpu_policies(settings),
        overhead_mw=None if host.overhead_watts is None else milliwatts(host.overhead_watts),
        failsafe=FailsafeRules(control.failsafe_hold_s, control.raise_dwell_s),
        demand=DemandRules(control.idle_after_s, control.warmup_s),
        observed=ObservedRules(ceiling_hold_s=control.other_writer_hold_s),
        dead_band=DeadBand(milliwatts(control.deadband_watts), control.deadband_pct),
        leases=configuration.lease_rules(settings),
        hold_s=control.hold_s,
        brake_hold_s=control.brake_hold_s,
    )


def _own_fraction(name: str) -> float:
    """Return a number in 0..1 that is this host's own and always the same."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) / 2**64


def _bus_options(settings: Settings) -> BusOptions:
    mqtt = settings.mqtt
    return BusOptions(
        url=mqtt.url,
        client_id=settings.client_id,
        username=mqtt.username,
        password=configuration.secret(mqtt.password_file),
        ca_file=mqtt.ca_file,
        cert_file=mqtt.cert_file,
        key_file=mqtt.key_file,
        keepalive_s=mqtt.keepalive_s,
        protocol=mqtt.protocol,
        reconnect_min_s=mqtt.reconnect_min_s,
        reconnect_max_s=mqtt.reconnect_max_s,
        allow_plaintext=mqtt.allow_plaintext,
    )


def _remembered(state_dir: Path) -> tuple[Remembered, str]:
    """Return what was remembered, and why nothing could be; a damaged file never stops the start."""
    try:
        return runtime_file.load(state_dir, boot_id()), ""
    except (OSError, ValueError) as error:
        path = state_dir / runtime_file.FILE_NAME
        return runtime_file.NOTHING, f"{path}: {error}; starting as if for the first time"
