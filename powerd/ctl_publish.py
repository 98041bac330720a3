"""`powerctl publish`: what a facility controller would send, correctly enveloped."""

import asyncio
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from powerd.errors import BusError, ConfigError

if TYPE_CHECKING:  # imported when needed: the other commands shall not wait for the MQTT client
    from powerd.publish import Budget, BudgetPublisher
    from powerd.signals.endpoint import BusOptions
    from powerd.signals.outbox import Outgoing

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_OTHERS = 0o077
_MAX_SOURCE_CHARACTERS = 64

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def publish() -> None:
    """Publish what a facility controller would send."""


@app.command(epilog="Example: powerctl publish budget --site hel1 --rack r17 --watts 30000 --every 20s")
def budget(
    site: Annotated[str, typer.Option(help="Site of the rack.")],
    rack: Annotated[str, typer.Option(help="Rack that the budget is for.")],
    watts: Annotated[str, typer.Option(help="For the rack at its meter; none: no limit.", metavar="W|none")],
    lease: Annotated[str, typer.Option(help="How long it holds, 5s to 300s.", metavar="DURATION")] = "60s",
    every: Annotated[
        str, typer.Option(help="Say it again this often, until stopped.", metavar="DURATION")
    ] = "",
    broker: Annotated[str, typer.Option(help="mqtt:// or mqtts:// URL.")] = "mqtt://127.0.0.1:1883",
    source: Annotated[str, typer.Option(help="Name of the sender; default: powerctl-HOSTNAME.")] = "",
    priority: Annotated[int, typer.Option(help="Of several sources the lowest governs.", min=0)] = 100,
    prefix: Annotated[str, typer.Option(help="Of all topics, above the site.")] = "powerd/v1",
    ca_file: Annotated[str, typer.Option(help="PEM file of the authorities to trust.")] = "",
    cert_file: Annotated[str, typer.Option(help="PEM file of the client certificate.")] = "",
    key_file: Annotated[str, typer.Option(help="PEM file of its key.")] = "",
    username: Annotated[str, typer.Option(help="MQTT user.")] = "",
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password, for its owner alone.")
    ] = None,
    *,
    allow_plaintext: Annotated[
        bool, typer.Option("--allow-plaintext", help="Allow mqtt:// to another machine.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each message as JSON.")] = False,
) -> None:
    """Publish a budget for a rack.

    Once, or with --every again and again until stopped.

    A budget is a lease. When it is not said again in time the rack falls to its failsafe budget.
    """
    # Imported here: the other commands shall not wait for the MQTT client.
    from powerd.clock import SystemClock  # noqa: PLC0415
    from powerd.publish import Budget, BudgetPublisher  # noqa: PLC0415
    from powerd.signals.endpoint import BusOptions  # noqa: PLC0415
    from powerd.signals.topics import RackTopics  # noqa: PLC0415

    host = socket.gethostname().lower()
    try:
        said = Budget(_watts(watts), _seconds("--lease", lease), priority)
        name = source or f"powerctl-{host}"[:_MAX_SOURCE_CHARACTERS]
        publisher = BudgetPublisher(RackTopics(prefix, site, rack), source=name, clock=SystemClock())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    options = BusOptions(
        url=broker,
        client_id=f"powerctl-{host}-{os.getpid()}",
        username=username,
        password=_password(password_file),
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        allow_plaintext=allow_plaintext,
    )
    every_s = _seconds("--every", every) if every else None
    if every_s is not None and not 0 < every_s < said.lease_s:
        raise typer.BadParameter(f"--every {every} must be more than zero and less than --lease {lease}")
    try:
        asyncio.run(_publish(publisher, options, said, every_s, as_json=as_json))
    except KeyboardInterrupt:
        typer.echo(f"stopped: the budget holds until its lease of {said.lease_s:g} s is over", err=True)


async def _publish(
    publisher: "BudgetPublisher",
    options: "BusOptions",
    said: "Budget",
    every_s: float | None,
    *,
    as_json: bool,
) -> None:
    def tell(message: "Outgoing") -> None:
        payload = message.payload.decode()
        typer.echo(payload if as_json else f"published on {message.topic}: {payload}")

    def complain(error: BusError) -> None:
        typer.echo(f"powerctl: {error}; trying again", err=True)

    if every_s is None:
        tell(await publisher.publish_once(options, said))
        return
    await publisher.publish_every(
        options, lambda: said, every_s=every_s, on_published=tell, on_trouble=complain
    )


def _seconds(option: str, text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f'{option} "{text}" is not a duration like 60s or 5m')
    return float(match[1]) * _UNITS_S[match[2]]


def _watts(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f'--watts "{text}" is neither a number of watts nor none') from None


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigError(f"--password-file {path}: others than its owner may use it: chmod 600 it")
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(f"--password-file {path}: {why}") from None
