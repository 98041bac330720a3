"""`powerd`: run | guard | bridge | demo | simulate | check-config | config.

Each command imports what it needs when it is called: the guard must stay small, and help must be quick.
"""

import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from powerd.errors import ConfigError, PowerdError
from powerd.mode import ModeName
from powerd.version import version_option

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2

DEFAULT_CONFIG = Path("/etc/powerd/powerd.toml")
DEFAULT_OPENADR_CONFIG = Path("/etc/powerd/openadr.toml")

app = typer.Typer(
    name="powerd",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Keeps a rack of GPUs inside the power budget that its facility or grid gives it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

bridges = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Connect the site's broker to a grid's own signals."
)
app.add_typer(bridges, name="bridge")

configs = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the configuration.")
app.add_typer(configs, name="config")

ConfigFile = Annotated[Path, typer.Option("--config", help="Main file; conf.d/*.toml beside it is read too.")]


class Accounting(StrEnum):
    """What an idle GPU is charged with."""

    PROVABLE = "provable"
    MEASURED = "measured"


@app.callback()
def powerd(*, version: Annotated[bool, version_option("powerd")] = False) -> None:
    """Take the options before the command."""


@app.command(epilog="Example: powerd run --config /etc/powerd/powerd.toml --mode dry-run")
def run(
    config: ConfigFile = DEFAULT_CONFIG,
    mode: Annotated[ModeName | None, typer.Option(help="Overrides host.mode.")] = None,
    spawn_guard: Annotated[
        bool, typer.Option("--spawn-guard", help="Start a guard of its own, as guard.spawn = true does.")
    ] = False,
) -> None:
    """Run the daemon of one host."""
    import asyncio  # noqa: PLC0415 - see the module's docstring

    from powerd import log, renewal  # noqa: PLC0415
    from powerd.daemon.app import serve  # noqa: PLC0415
    from powerd.settings.loading import Source  # noqa: PLC0415

    overrides = {"host.mode": mode.value if mode else None, "guard.spawn": spawn_guard or None}
    source = Source(config, overrides, os.environ)
    settings = source.load().settings
    log.configure(settings.log.format, settings.log.level)
    if asyncio.run(serve(settings, source)):
        renewal.start_again()


@app.command(epilog="Example: powerd demo --hosts 4 --gpus 8 --duration 60")
def demo(
    hosts: Annotated[int, typer.Option(help="Hosts of the rack.")] = 4,
    gpus: Annotated[int, typer.Option(help="Simulated GPUs on each host.")] = 8,
    duration: Annotated[float, typer.Option(help="Seconds; 0: until Ctrl-C.", metavar="SECONDS")] = 60.0,
    port: Annotated[int, typer.Option(help="Page of the first host; the others use the next ports.")] = 9780,
    broker: Annotated[str, typer.Option(help="URL of a broker; default: an embedded one.")] = "",
    scenario: Annotated[
        str,
        typer.Option(
            help="What facility and grid do: default, phoenix, london, caiso-two-peaks or lost-controller."
        ),
    ] = "default",
    seed: Annotated[int, typer.Option(help="Which loads the GPUs have.", min=0)] = 0,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Run a whole rack on this machine, without GPUs, and show what powerd does with it.

    Real daemons and a real broker; only the GPUs are simulated, from measured curves and load traces. A
    facility publishes 100, 70, 50 and 85 percent of the rack's budget and then falls silent. The other
    scenarios are grid events, with hours made seconds:

    phoenix: 25 percent less for three hours, down in 15 minutes and back in 10.

    london: 30 percent less within 30 seconds, without notice.

    caiso-two-peaks: less on the morning and the evening peak, and most at the height of that.

    lost-controller: the facility dies during an event.

    Ends with a summary.
    """
    import asyncio  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415

    from powerd.demo import run as rack_demo  # noqa: PLC0415

    options = rack_demo.Options(hosts, gpus, duration, port, broker, scenario, seed)
    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console.width = 120  # there is none to ask for
    summary = asyncio.run(rack_demo.run(options, console))
    if as_json:
        typer.echo(json.dumps(summary.document(), indent=2))
    else:
        console.print("", summary.table())


@app.command(
    epilog="Example: powerd simulate --rack helios:vc8Sj --gpus 64 --budget 60% --seeds 5 --hours 24"
)
def simulate(
    rack: Annotated[str, typer.Option(help='Which loads; "list" prints them.')] = "helios:vc8Sj",
    gpus: Annotated[int, typer.Option(help="How many GPUs.")] = 64,
    racks: Annotated[
        int, typer.Option(help="They stand in as many racks; each keeps its part of the budget by itself.")
    ] = 1,
    budget: Annotated[str, typer.Option(help="Percentage of what all GPUs can draw.")] = "60%",
    step: Annotated[
        list[str] | None, typer.Option(help="The budget changes: SECONDS:PERCENT; can be given again.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help='Which policies, joined by commas; "all", or "list" to print them.')
    ] = "all",
    seeds: Annotated[
        int, typer.Option(help="Each takes another stretch of the traces, and places anew.")
    ] = 5,
    hours: Annotated[float, typer.Option(help="Simulated hours.")] = 24.0,
    period: Annotated[float, typer.Option(help="Seconds between two decisions.")] = 1.0,
    data: Annotated[
        Path | None, typer.Option(help="Directory of measured data; default: powerd's own.")
    ] = None,
    model: Annotated[str, typer.Option(help="GPU model; default: A100-SXM if the data has it.")] = "",
    start: Annotated[
        float | None, typer.Option(help="Hours from the start of the traces; default: by the seed.")
    ] = None,
    accounting: Annotated[
        Accounting, typer.Option(help="measured: powerd that charges idle GPUs with their draw is shown too.")
    ] = Accounting.PROVABLE,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the first seed, its first rack, as a PNG file.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare powerd with other policies on measured curves and traces, in virtual time.

    The real core decides; the rack is simulated. Needs the extra "simulate" of the package.
    """
    try:
        from powerd.study import command  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(f"powerd simulate needs {error.name}: pip install 'powerd[simulate]'") from None

    options = command.Options(
        rack,
        gpus,
        budget,
        tuple(step or ()),
        policy,
        seeds,
        hours,
        period,
        data,
        model,
        start,
        with_measured=accounting is Accounting.MEASURED,
        racks=racks,
    )
    typer.echo(command.simulate(options, plot, as_json=as_json))


@app.command("check-config", epilog="Example: powerd check-config /etc/powerd/powerd.toml")
def check_config(
    file: Annotated[Path, typer.Argument(help="Main file; conf.d/*.toml beside it is read too.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Validate a configuration; show the effective failsafe, the feasibility sum and every value's origin."""
    from powerd import check  # noqa: PLC0415

    report = check.check(file, environment=os.environ)
    typer.echo(json.dumps(check.as_dict(report), indent=2) if as_json else check.render(report))
    if not report.ok:
        raise typer.Exit(EXIT_CONFIGURATION)


@configs.command(epilog="Example: powerd config show --origin --changed")
def show(
    config: ConfigFile = DEFAULT_CONFIG,
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value stands.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not as by default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with origins.")] = False,
) -> None:
    """Print the configuration in force, defaults and drop-ins included, as TOML that loads as the same.

    Variables of this shell count; those of the daemon's unit, and flags that it was started with, do not.
    """
    from powerd.settings import effective  # noqa: PLC0415
    from powerd.settings.loading import load  # noqa: PLC0415

    loaded = load(config, environment=os.environ)
    if as_json:
        typer.echo(json.dumps(effective.as_dict(loaded, changed=changed), indent=2))
    else:
        typer.echo(effective.as_toml(loaded, origins=origin, changed=changed), nl=False)


@configs.callback()
def _configs() -> None:
    """Make `config` a group, though it has one command."""


@app.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: powerd guard --config /etc/powerd/powerd.toml",
)
def guard(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Run the privileged process: the only one that writes limits. Unix socket only."""
    # `powerd.__main__` takes a shorter way; this is for help, and for callers of `main`.
    from powerd.guard.__main__ import main as guard_main  # noqa: PLC0415

    raise typer.Exit(guard_main(arguments or []))


@bridges.command(epilog="Example: powerd bridge openadr --config /etc/powerd/openadr.toml")
def openadr(
    config: Annotated[
        Path, typer.Option("--config", help="The bridge's own file; nothing else is read.")
    ] = DEFAULT_OPENADR_CONFIG,
    *,
    check: Annotated[bool, typer.Option("--check", help="Validate the file, and do nothing else.")] = False,
) -> None:
    """Run the VEN of one site: OpenADR 3.1 events become grid events, and reports go back."""
    import asyncio  # noqa: PLC0415

    from powerd import log  # noqa: PLC0415
    from powerd.openadr import settings  # noqa: PLC0415
    from powerd.openadr.app import serve  # noqa: PLC0415

    loaded = settings.load(config)
    if check:
        typer.echo(f"{config}: valid")
        return
    log.configure(loaded.log.format, loaded.log.level)
    asyncio.run(serve(loaded))


@bridges.callback()
def _bridges() -> None:
    """Make `bridge` a group, though it has one command."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line, and turn every expected error into one line and an exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        app(arguments)
    except ConfigError as error:
        _fail(error, EXIT_CONFIGURATION)
    except PowerdError as error:
        _fail(error, EXIT_FAILED)


def _fail(error: PowerdError, code: int) -> None:
    for line in str(error).splitlines():
        typer.echo(f"powerd: {line}", err=True)
    sys.exit(code)
