"""`powerctl publish`: what a facility controller or a grid would send, correctly enveloped."""

from typing import Annotated

import typer

from powerd.ctl import publish_event, publish_flex
from powerd.ctl.broker import (
    DEFAULT_BROKER,
    DEFAULT_PREFIX,
    AllowPlaintext,
    AsJson,
    Broker,
    CaFile,
    CertFile,
    Every,
    KeyFile,
    PasswordFile,
    Prefix,
    Site,
    Source,
    Username,
    bus_options,
    say,
    seconds,
    sender,
)

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def publish() -> None:
    """Publish what a facility controller or a grid would send."""


@app.command(epilog="Example: powerctl publish budget --site hel1 --rack r17 --watts 30000 --every 20s")
def budget(
    site: Site,
    rack: Annotated[str, typer.Option(help="Rack that the budget is for.")],
    watts: Annotated[str, typer.Option(help="For the rack at its meter; none: no limit.", metavar="W|none")],
    lease: Annotated[str, typer.Option(help="How long it holds, 5s to 300s.", metavar="DURATION")] = "60s",
    every: Every = "",
    broker: Broker = DEFAULT_BROKER,
    source: Source = "",
    priority: Annotated[int, typer.Option(help="Of several sources the lowest governs.", min=0)] = 100,
    prefix: Prefix = DEFAULT_PREFIX,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    username: Username = "",
    password_file: PasswordFile = None,
    *,
    allow_plaintext: AllowPlaintext = False,
    as_json: AsJson = False,
) -> None:
    """Publish a budget for a rack.

    Once, or with --every again and again until stopped.

    A budget is a lease. When it is not said again in time the rack falls to its failsafe budget.
    """
    # Imported here: the other commands shall not wait for the MQTT client.
    from powerd.clock import SystemClock  # noqa: PLC0415
    from powerd.publish import Budget, BudgetPublisher  # noqa: PLC0415
    from powerd.signals.topics import RackTopics  # noqa: PLC0415

    try:
        said = Budget(_watts(watts), seconds("--lease", lease), priority)
        topics = RackTopics(prefix, site, rack)
        publisher = BudgetPublisher(topics, source=sender(source), clock=SystemClock())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    options = bus_options(
        broker,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        username=username,
        password_file=password_file,
        allow_plaintext=allow_plaintext,
    )
    every_s = seconds("--every", every) if every else None
    if every_s is not None and not 0 < every_s < said.lease_s:
        raise typer.BadParameter(f"--every {every} must be more than zero and less than --lease {lease}")
    stopped = f"the budget holds until its lease of {said.lease_s:g} s is over"
    say(publisher, options, said, every_s=every_s, stopped=stopped, as_json=as_json)


app.command(epilog=publish_event.EXAMPLE)(publish_event.event)
app.command(epilog=publish_flex.EXAMPLE)(publish_flex.flex_target)


def _watts(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f'--watts "{text}" is neither a number of watts nor none') from None
