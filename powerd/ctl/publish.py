"""`powerctl publish`: what a facility controller or a grid would send, correctly enveloped."""

from typing import TYPE_CHECKING, Annotated

import typer

from powerd.ctl import publish_event, publish_flex
from powerd.ctl.broker import (
    DEFAULT_PREFIX,
    AsJson,
    Every,
    Kid,
    Prefix,
    SigningKey,
    Site,
    Source,
    at_a_broker,
    say,
    sender,
    signer,
    watts_or_none,
)
from powerd.ctl.options import seconds

if TYPE_CHECKING:  # imported when needed: the other commands shall not wait for it
    from powerd.signals.endpoint import BusOptions

app = typer.Typer(
    name="publish",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: powerctl publish budget --help",
)


@app.callback()
def publish() -> None:
    """Publish what a facility controller or a grid would send."""


@app.command(epilog="Example: powerctl publish budget --site hel1 --rack r17 --watts 30000 --every 20s")
@at_a_broker
def budget(
    site: Site,
    rack: Annotated[str, typer.Option(help="Rack that the budget is for.")],
    watts: Annotated[str, typer.Option(help="For the rack at its meter; none: no limit.", metavar="W|none")],
    lease: Annotated[str, typer.Option(help="How long it holds, 5s to 300s.", metavar="DURATION")] = "60s",
    every: Every = "",
    source: Source = "",
    priority: Annotated[int, typer.Option(help="Of several sources the lowest governs.", min=0)] = 100,
    prefix: Prefix = DEFAULT_PREFIX,
    kid: Kid = "",
    signing_key: SigningKey = "",
    *,
    bus: "BusOptions",
    as_json: AsJson = False,
) -> None:
    """Publish a budget for a rack.

    Once, or with --every again and again until stopped.

    A budget is a lease. When it is not said again in time the rack falls to its failsafe budget.

    With --kid and --signing-key it is signed; a rack with keys raises nothing on one that is not.
    """
    # Imported here: the other commands shall not wait for the MQTT client.
    from powerd.clock import SystemClock  # noqa: PLC0415
    from powerd.facility.publish import Budget, BudgetPublisher  # noqa: PLC0415
    from powerd.signals.topics import RackTopics  # noqa: PLC0415

    try:
        said = Budget(watts_or_none(watts), seconds("--lease", lease), priority)
        topics = RackTopics(prefix, site, rack)
        signing = signer(kid, signing_key)
        publisher = BudgetPublisher(
            topics,
            source=sender(source),
            clock=SystemClock(),
            sign=signing.sign if signing else None,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    every_s = seconds("--every", every) if every else None
    if every_s is not None and not 0 < every_s < said.lease_s:
        raise typer.BadParameter(f"--every {every} must be more than zero and less than --lease {lease}")
    stopped = f"the budget holds until its lease of {said.lease_s:g} s is over"
    say(publisher, bus, said, every_s=every_s, stopped=stopped, as_json=as_json)


app.command(epilog=publish_event.EXAMPLE)(publish_event.event)
app.command(epilog=publish_flex.EXAMPLE)(publish_flex.flex_target)
