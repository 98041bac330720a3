"""Listens to the VTN's own broker, so that a changed event is known at once instead of at the next poll.

A notification says only that there is something to ask for. What the VTN says by REST is what counts, since a
broker delivers without promise of order or completeness, and may let anybody publish.
"""

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from powerd.core.model import Notice, Severity
from powerd.errors import BusError, ConfigError
from powerd.openadr.client import Binding
from powerd.openadr.errors import VtnError
from powerd.signals.backoff import Backoff
from powerd.signals.endpoint import BusOptions
from powerd.signals.mqtt import connect

# A VTN without a broker is asked again whether it has one.
ASK_AGAIN_S = 3600.0
_MIN_S, _MAX_S = 1.0, 60.0

# What to connect to, and the bearer token; None if the VTN has no broker for us.
Discover = Callable[[], Awaitable[tuple[Binding, str] | None]]


class Notifier:
    """A connection to the VTN's broker that is made again whenever it breaks.

    Args:
        discover: asked before each attempt, since addresses, topics and tokens change.
        on_change: called after each (re)connection, when anything may have been missed, and for each message.
        client_id: ours at that broker.
        allow_plaintext: allow mqtt:// to another machine.
    """

    def __init__(
        self,
        discover: Discover,
        on_change: Callable[[], None],
        on_notice: Callable[[Notice], None],
        *,
        client_id: str,
        allow_plaintext: bool = False,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._discover = discover
        self._on_change = on_change
        self._on_notice = on_notice
        self._client_id = client_id
        self._allow_plaintext = allow_plaintext
        self._backoff = Backoff(_MIN_S, _MAX_S, rng or random.SystemRandom())
        self._sleep = sleep

    async def run(self) -> NoReturn:
        """Listen until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            begun_s = loop.time()
            try:
                found = await self._discover()
                if found is None:
                    text = "the VTN offers no MQTT notifications: it is polled only"
                    self._on_notice(Notice("vtn_notifier_none", Severity.INFO, text))
                    await self._sleep(ASK_AGAIN_S)
                    continue
                await self._listen(*found)
            except (BusError, ConfigError, VtnError) as error:
                text = f"no notifications of the VTN, it is polled only: {error}"
                self._on_notice(Notice("vtn_notifier_lost", Severity.WARNING, text))
            await self._sleep(self._backoff.failed(lasted_s=loop.time() - begun_s))

    async def _listen(self, binding: Binding, token: str) -> None:
        async with (
            self._options(binding, token) as options,
            connect(options, on_message=lambda *_: self._on_change()) as session,
        ):
            refused = await session.subscribe(dict.fromkeys(binding.topics, 1))
            if refused:
                raise BusError(f"{binding.url}: subscribing to {', '.join(refused)} was refused")
            self._on_notice(Notice("vtn_notifier_connected", Severity.INFO, binding.url))
            self._on_change()
            await session.closed()

    @contextlib.asynccontextmanager
    async def _options(self, binding: Binding, token: str) -> AsyncIterator[BusOptions]:
        """Give the options of a connection; what must be in files is in files as long as it is needed."""
        options = BusOptions(binding.url, self._client_id, allow_plaintext=self._allow_plaintext)
        if binding.method == "ANONYMOUS":
            yield options
        elif binding.method == "OAUTH2_BEARER_TOKEN":
            yield replace(options, username=binding.username, password=token)
        elif binding.method == "CERTIFICATE":
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                yield replace(
                    options,
                    ca_file=_private_file(folder / "ca.pem", binding.ca_pem),
                    cert_file=_private_file(folder / "cert.pem", binding.cert_pem),
                    key_file=_private_file(folder / "key.pem", binding.key_pem),
                )
        else:
            raise BusError(f"{binding.url}: authentication by {binding.method!a} is not known")


def _private_file(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return str(path)
