"""`powerctl publish flex-target`: what an energy service would ask for on the topics of DSX Flex."""

from typing import TYPE_CHECKING, Annotated

import typer

from powerd.ctl.broker import AsJson, Kid, SigningKey, Start, at_a_broker, say, signer, watts_or_none, when
from powerd.ctl.options import seconds
from powerd.signals.fields import MAX_SITE_WATTS

if TYPE_CHECKING:  # imported when needed: the other commands shall not wait for it
    from powerd.signals.endpoint import BusOptions

EXAMPLE = """\b
Example:
  powerctl publish flex-target --isv acme --feed main-a --watts 3000000 --duration 1h \\
    --kid acme-1 --signing-key acme.key
  powerctl publish flex-target --isv acme --feed main-a --watts none --kid acme-1 --signing-key acme.key"""


@at_a_broker
def flex_target(
    isv: Annotated[str, typer.Option(help="Identifier of the energy service.")],
    watts: Annotated[
        str, typer.Option(help="For the whole feed; none: back to the default.", metavar="W|none")
    ],
    feed: Annotated[
        list[str] | None, typer.Option(help="Feed tag; may be repeated. Default: all feeds.")
    ] = None,
    start: Start = "now",
    duration: Annotated[
        str, typer.Option(help="How long; default: until replaced.", metavar="DURATION")
    ] = "",
    kid: Kid = "",
    signing_key: SigningKey = "",
    *,
    bus: "BusOptions",
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="Said to powerd, which says it back.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a DSX Flex load target.

    Without --kid and --signing-key its data is not signed, which powerd takes only if it is configured to.
    """
    # Imported here: the other commands shall wait neither for the MQTT client nor for the signatures.
    from powerd.clock import SystemClock  # noqa: PLC0415
    from powerd.dsx.target_publisher import FlexTarget, FlexTargetPublisher  # noqa: PLC0415

    clock = SystemClock()
    try:
        begins_s = when(start, clock.now().wall_s)
        said = FlexTarget(
            watts=_within_a_site(watts_or_none(watts)),
            feeds=tuple(feed or ()),
            start_s=begins_s,
            end_s=begins_s + seconds("--duration", duration) if duration else None,
            is_best_effort=best_effort,
        )
        publisher = FlexTargetPublisher(isv=isv, clock=clock, signer=signer(kid, signing_key))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    say(publisher, bus, said, every_s=None, stopped="the target may have been sent", as_json=as_json)


def _within_a_site(watts: float | None) -> float | None:
    """Return what is asked for.

    Raises:
        ValueError: no site draws that.
    """
    if watts is not None and not 0 <= watts <= MAX_SITE_WATTS:
        raise ValueError(f"--watts {watts} is not between 0 and {MAX_SITE_WATTS}")
    return watts
