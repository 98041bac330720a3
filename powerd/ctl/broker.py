"""What the commands of `powerctl publish` share: where the broker is, who speaks, when, and how often."""

import asyncio
import contextlib
import inspect
import os
import socket
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from powerd.ctl.options import seconds
from powerd.errors import BusError, ConfigError
from powerd.files.secret_file import problem_of_secret, secret
from powerd.signals import rfc3339

if TYPE_CHECKING:  # imported when needed: the other commands shall not wait for the MQTT client
    from powerd.facility.publish import Publisher
    from powerd.signals.endpoint import BusOptions
    from powerd.signals.outbox import Outgoing
    from powerd.signatures.jws import Signer

_MAX_SOURCE_CHARACTERS = 64

DEFAULT_PREFIX = "powerd/v1"

Site = Annotated[str, typer.Option(help="Site of the rack.", metavar="NAME")]
Every = Annotated[str, typer.Option(help="Say it again this often, until stopped.", metavar="DURATION")]
Source = Annotated[str, typer.Option(help="Name of the sender; default: powerctl-HOSTNAME.", metavar="NAME")]
Prefix = Annotated[str, typer.Option(help="Of all topics, above the site.", metavar="TOPIC")]
Start = Annotated[str, typer.Option(help="now, in 10m, or a time like 2026-11-21T17:00:00Z.", metavar="WHEN")]
Kid = Annotated[str, typer.Option(help="Name of the signing key, as powerd knows it.")]
SigningKey = Annotated[
    str, typer.Option(help="Private EC P-256 or RSA key, PEM or JWK, for its owner alone.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print each message as JSON.")]

Said = TypeVar("Said")


def sender(source: str) -> str:
    """Return the name to speak under."""
    return source or f"powerctl-{socket.gethostname().lower()}"[:_MAX_SOURCE_CHARACTERS]


def signer(kid: str, signing_key: str) -> "Signer | None":
    """Return what signs; None: nothing does.

    Raises:
        ConfigError: the key file cannot be used.
    """
    if bool(kid) != bool(signing_key):
        raise typer.BadParameter("--kid and --signing-key belong together")
    if not kid:
        return None
    from powerd.signatures.jws import Signer  # noqa: PLC0415 - large

    return Signer(kid, signing_key)


def bus_options(
    *,
    broker: Annotated[
        str, typer.Option(help="mqtt:// or mqtts:// URL.", metavar="URL")
    ] = "mqtt://127.0.0.1:1883",
    ca_file: Annotated[str, typer.Option(help="PEM file of the authorities to trust.", metavar="FILE")] = "",
    cert_file: Annotated[str, typer.Option(help="PEM file of the client certificate.", metavar="FILE")] = "",
    key_file: Annotated[str, typer.Option(help="PEM file of its key.", metavar="FILE")] = "",
    username: Annotated[str, typer.Option(help="MQTT user.", metavar="NAME")] = "",
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password, for its owner alone.", metavar="FILE")
    ] = None,
    allow_plaintext: Annotated[
        bool, typer.Option("--allow-plaintext", help="Allow mqtt:// to another machine.")
    ] = False,
) -> "BusOptions":
    """Return how to reach the broker.

    Raises:
        ConfigError: the password cannot be read, or by others too.
    """
    from powerd.signals.endpoint import BusOptions  # noqa: PLC0415

    return BusOptions(
        url=broker,
        client_id=f"powerctl-{socket.gethostname().lower()}-{os.getpid()}",
        username=username,
        password=_password(password_file),
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        allow_plaintext=allow_plaintext,
    )


def at_a_broker(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `bus_options` besides its own; what they say is its argument `bus`."""
    shared = inspect.signature(bus_options).parameters
    own = inspect.signature(command).parameters
    together = [*(each for name, each in own.items() if name != "bus"), *shared.values()]

    @wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - whatever the two take
        bus = bus_options(**{name: given.pop(name) for name in shared})
        command(bus=bus, **given)

    # Typer reads both.
    run.__signature__ = inspect.Signature(together)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in together}
    return run


def say(
    publisher: "Publisher[Said]",
    options: "BusOptions",
    said: Said,
    *,
    every_s: float | None,
    for_s: float | None = None,
    stopped: str,
    as_json: bool,
) -> None:
    """Publish once, or again and again until stopped, and print what the broker has taken.

    Args:
        every_s: None = once.
        for_s: stop by itself after this long; None = do not.
        stopped: what to print when a person stops it.

    Raises:
        BusError: the broker was not reached, or refused.
        ConfigError: the options cannot be used.
    """

    def tell(message: "Outgoing") -> None:
        payload = message.payload.decode()
        typer.echo(payload if as_json else f"published on {message.topic}: {payload}")

    def complain(error: BusError) -> None:
        typer.echo(f"powerctl: {error}; trying again", err=True)

    async def publish() -> None:
        if every_s is None:
            tell(await publisher.publish_once(options, said))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await publisher.publish_every(
                    options, lambda: said, every_s=every_s, on_published=tell, on_trouble=complain
                )

    try:
        asyncio.run(publish())
    except KeyboardInterrupt:
        typer.echo(f"stopped: {stopped}", err=True)


def when(text: str, now_s: float) -> float:
    """Return a moment in Unix seconds.

    Raises:
        ValueError: `text` says none.
    """
    if text == "now":
        return now_s
    try:
        return now_s + seconds("--start", text)
    except typer.BadParameter:
        try:
            return rfc3339.parse(text)
        except ValueError:
            raise ValueError(
                f'--start "{text}" is neither now, nor 10m for in ten minutes, nor like 2026-11-21T17:00:00Z'
            ) from None


def watts_or_none(text: str) -> float | None:
    """Return watts; None for the word none.

    Raises:
        BadParameter: it is neither.
    """
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f'--watts "{text}" is neither a number of watts nor none') from None


def _password(path: Path | None) -> str | None:
    file = "" if path is None else str(path)
    if problem := problem_of_secret(file):
        raise ConfigError(f"--password-file {problem}")
    return secret(file)
