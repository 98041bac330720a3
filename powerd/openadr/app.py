"""The bridge's composition root: settings -> objects -> tasks -> orderly stop."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import aiohttp
import structlog

from powerd import __version__
from powerd.clock import SystemClock, boot_s
from powerd.core.model import Notice, Severity
from powerd.notify import notify
from powerd.openadr.bridge import Bridge, Outside
from powerd.openadr.client import VtnClient
from powerd.openadr.notices import Once
from powerd.openadr.options import VtnOptions
from powerd.openadr.settings import Settings, SiteSettings, bridge_options, vtn_options
from powerd.openadr.web import tls_context
from powerd.settings.bus import bus_options
from powerd.signals.topics import SiteTopics

log = structlog.get_logger()


def _signing(site: SiteSettings) -> Callable[[bytes], str] | None:
    if not site.signing_kid:
        return None
    from powerd.signatures.jws import Signer  # noqa: PLC0415 - large

    return Signer(site.signing_kid, site.signing_key_file).sign


async def serve(settings: Settings) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    Raises:
        ConfigError: something that the configuration names cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    options = vtn_options(settings)
    clock, on_notice = SystemClock(), Once(_log, boot_s)
    async with new_session(options) as session:
        bridge = Bridge(
            bridge_options(settings),
            VtnClient(options, session, clock, on_notice),
            bus_options(settings.mqtt, settings.client_id),
            SiteTopics(settings.mqtt.prefix, settings.site.name),
            Outside(clock, on_notice, Path(settings.site.state_dir), sign=_signing(settings.site)),
            ven_name=options.ven_name,
            allow_plaintext=options.allow_plaintext,
        )
        running = asyncio.create_task(bridge.run())
        stopping = asyncio.create_task(stop.wait())
        log.info("bridge_started", site=settings.site.name, source=settings.site.source, vtn=options.url)
        notify("READY=1")
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        for task in (running, stopping):
            task.cancel()
        results = await asyncio.gather(running, stopping, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    log.info("bridge_stopped")


def new_session(options: VtnOptions) -> aiohttp.ClientSession:
    """Return a session to a VTN.

    Raises:
        ConfigError: the file of authorities cannot be used.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls_context(options.ca_file), limit=4),
        timeout=aiohttp.ClientTimeout(total=options.timeout_s),
        headers={"User-Agent": f"powerd/{__version__}", "Accept": "application/json"},
    )


def _log(notice: Notice) -> None:
    level = {Severity.INFO: "info", Severity.WARNING: "warning"}.get(notice.severity, "error")
    details = {"subject": notice.subject} if notice.subject else {}
    getattr(log, level)(notice.event, text=notice.text, **details)
