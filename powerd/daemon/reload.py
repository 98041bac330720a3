"""A configuration that is read again while the daemon runs: on SIGHUP (docs/reload.md).

    read -> validate -> what differs -> put in force between two iterations

Invariant: what cannot be used changes nothing. The old configuration stays in force, and that is told until
a reload works.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import NamedTuple, NoReturn

import structlog

from powerd.clock import Clock
from powerd.core.model import Notice, Severity
from powerd.core.state import Config
from powerd.daemon.ears import Sinks, ears
from powerd.errors import ConfigError
from powerd.history.happenings import Happening
from powerd.meters.listener import MeterListener
from powerd.metrics.exposition import Metrics
from powerd.notify import notify, notify_reloading
from powerd.settings.bus import bus_options, digest
from powerd.settings.loading import Loaded, Source, prove
from powerd.settings.model import Settings
from powerd.settings.reload import Change, changes, in_force, shown
from powerd.settings.rules import core_config, rack
from powerd.signals.endpoint import BusOptions
from powerd.signals.listener import Ear
from powerd.signals.topics import Topics
from powerd.signatures.rack_secret import RackSecret, read_rack_secret

log = structlog.get_logger()

# The log has all of them; a notice is one line.
MAX_TOLD = 5


class Reloader:
    """Reads the configuration again when it is asked to.

    Args:
        source: where the configuration comes from.
        settings: those in force.
        go_by: puts others in force, all or nothing. ConfigError: they cannot be used.
        happened: takes what history is to keep.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        *,
        go_by: Callable[[Settings], Awaitable[None]],
        metrics: Metrics,
        happened: Callable[[Happening], None],
        clock: Clock,
    ) -> None:
        self._source = source
        self._settings = settings
        self._go_by = go_by
        self._metrics = metrics
        self._happened = happened
        self._clock = clock
        self._refused: tuple[Notice, ...] = ()
        self._waiting: tuple[Notice, ...] = ()

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Return what is wrong, for as long as it is."""
        return self._refused + self._waiting

    async def run(self, asked: asyncio.Event) -> NoReturn:
        """Reload each time that `asked` is set, until cancelled."""
        while True:
            await asked.wait()
            asked.clear()
            await self.reload()

    async def reload(self) -> None:
        """Read the configuration once, and put in force what can be."""
        notify_reloading()
        try:
            # Reading takes a while: a cut must not wait for it.
            loaded, settings = await asyncio.to_thread(self._read)
            await self._go_by(settings)
        except (ConfigError, OSError) as error:
            self._refuse(str(error))
        else:
            self._take(changes(self._settings, loaded), settings)
        finally:
            notify("READY=1")

    def _read(self) -> tuple[Loaded, Settings]:
        loaded = self._source.load()
        settings = in_force(self._settings, loaded.settings)
        prove(self._source.path, settings)
        return loaded, settings

    def _refuse(self, problems: str) -> None:
        lines = problems.splitlines()
        for line in lines:
            log.error("config_problem", text=line)
        more = f"; and {len(lines) - MAX_TOLD} more" if len(lines) > MAX_TOLD else ""
        text = f"the old configuration stays in force: {'; '.join(lines[:MAX_TOLD])}{more}"
        self._refused = (Notice("config_not_reloaded", Severity.WARNING, text),)
        self._metrics.configuration_read(usable=False)

    def _take(self, found: tuple[Change, ...], settings: Settings) -> None:
        self._settings = settings
        for each in found:
            applies = "now" if each.is_live else "restart"
            log.info(
                "config_changed",
                key=each.key,
                old=shown(each.old),
                new=shown(each.new),
                origin=each.origin,
                applies=applies,
            )
        now, later = ([each for each in found if each.is_live is live] for live in (True, False))
        self._refused, self._waiting = (), _waiting(later)
        self._metrics.configuration_read(usable=True)
        text = f"changed: {_keys(now)}" + (f"; waits for a restart: {_keys(later)}" if later else "")
        log.info("config_reloaded", text=text)
        self._happened(Happening(self._clock.now().boot_s, "config_reloaded", Severity.INFO, text))


class Prepared(NamedTuple):
    """What other settings come to, with every file read.

    Attributes:
        secret: what the host's states are sealed with.
        connected_by: a digest of all that a connection is made with; empty without a broker.
    """

    config: Config
    ears: list[Ear]
    secret: RackSecret
    options: BusOptions
    connected_by: bytes


def prepared(
    settings: Settings, listening: tuple[Topics, Clock, Sinks], meters: MeterListener | None
) -> Prepared:
    """Make everything that settings need before they are put in force, and change nothing.

    Raises:
        ConfigError: something that they name cannot be used.
    """
    options = bus_options(settings.mqtt, settings.client_id)
    config = core_config(settings, rack(settings))
    heard = ears(settings, config, *listening, meters)
    secret = read_rack_secret(settings.rack.leases.key_file)
    return Prepared(config, heard, secret, options, digest(options) if settings.mqtt.url else b"")


def on_hang_up(reload: Callable[[], None], stop: Callable[[], None]) -> Callable[[], None]:
    """Return what SIGHUP does: reload, or stop where it means that the terminal is gone."""
    on_terminal = sys.stdin is not None and os.isatty(0)

    def hang_up() -> None:
        if on_terminal and not os.isatty(0):
            stop()
        else:
            reload()

    return hang_up


def _waiting(later: list[Change]) -> tuple[Notice, ...]:
    if not later:
        return ()
    units = {"powerd-guard" if _is_the_guards(each.key) else "powerd" for each in later}
    told = "; ".join(each.text for each in later[:MAX_TOLD])
    more = f"; and {len(later) - MAX_TOLD} more" if len(later) > MAX_TOLD else ""
    text = f"{told}{more}: restart {' and '.join(sorted(units | {'powerd'}))}"
    return (Notice("config_needs_restart", Severity.WARNING, text),)


def _is_the_guards(key: str) -> bool:
    return key.startswith(("guard.", "gpu."))


def _keys(found: list[Change]) -> str:
    return ", ".join(each.key for each in found) or "nothing"
