"""`powerctl publish flex-target`: what an energy service would ask for on the topics of DSX Flex."""

from typing import Annotated

import typer

from powerd.ctl.broker import (
    DEFAULT_BROKER,
    AllowPlaintext,
    AsJson,
    Broker,
    CaFile,
    CertFile,
    KeyFile,
    PasswordFile,
    Username,
    bus_options,
    say,
    seconds,
)
from powerd.ctl.publish_event import when
from powerd.signals.fields import MAX_SITE_WATTS

EXAMPLE = """\b
Example:
  powerctl publish flex-target --isv acme --feed main-a --watts 3000000 --duration 1h \\
    --kid acme-1 --signing-key acme.key
  powerctl publish flex-target --isv acme --feed main-a --watts none --kid acme-1 --signing-key acme.key"""


def flex_target(
    isv: Annotated[str, typer.Option(help="Identifier of the energy service.")],
    watts: Annotated[
        str, typer.Option(help="For the whole feed; none: back to the default.", metavar="W|none")
    ],
    feed: Annotated[
        list[str] | None, typer.Option(help="Feed tag; may be repeated. Default: all feeds.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="now, in 10m, or a time like 2026-11-21T17:00:00Z.", metavar="WHEN")
    ] = "now",
    duration: Annotated[
        str, typer.Option(help="How long; default: until replaced.", metavar="DURATION")
    ] = "",
    kid: Annotated[str, typer.Option(help="Name of the signing key, as powerd knows it.")] = "",
    signing_key: Annotated[
        str,
        typer.Option(help="Private EC P-256 or RSA key, PEM or JWK, for its owner alone.", metavar="FILE"),
    ] = "",
    broker: Broker = DEFAULT_BROKER,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    username: Username = "",
    password_file: PasswordFile = None,
    *,
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="Said to powerd, which says it back.")
    ] = False,
    allow_plaintext: AllowPlaintext = False,
    as_json: AsJson = False,
) -> None:
    """Publish a DSX Flex load target.

    Without --kid and --signing-key its data is not signed, which powerd takes only if it is configured to.
    """
    # Imported here: the other commands shall wait neither for the MQTT client nor for the signatures.
    from powerd.clock import SystemClock  # noqa: PLC0415
    from powerd.dsx.jws import Signer  # noqa: PLC0415
    from powerd.dsx.target_publisher import FlexTarget, FlexTargetPublisher  # noqa: PLC0415

    if bool(kid) != bool(signing_key):
        raise typer.BadParameter("--kid and --signing-key belong together")
    signer = Signer(kid, signing_key) if kid else None
    clock = SystemClock()
    try:
        begins_s = when(start, clock.now().wall_s)
        said = FlexTarget(
            watts=None if watts == "none" else _watts(watts),
            feeds=tuple(feed or ()),
            start_s=begins_s,
            end_s=begins_s + seconds("--duration", duration) if duration else None,
            is_best_effort=best_effort,
        )
        publisher = FlexTargetPublisher(isv=isv, clock=clock, signer=signer)
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
    say(publisher, options, said, every_s=None, stopped="the target may have been sent", as_json=as_json)


def _watts(text: str) -> float:
    """Return watts.

    Raises:
        ValueError: `text` says none.
    """
    try:
        watts = float(text)
    except ValueError:
        raise ValueError(f'--watts "{text}" is neither a number of watts nor none') from None
    if not 0 <= watts <= MAX_SITE_WATTS:
        raise ValueError(f"--watts {text} is not between 0 and {MAX_SITE_WATTS}")
    return watts
