"""`powerctl`: the operator's hand. Here are the commands that read, and how every command fails.

Invariant: a user's mistake is one line on stderr and an exit code, never a traceback; and nothing here
imports a package that the command at hand does not need.
"""

import json
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from powerd.ctl import checks, publish, report
from powerd.ctl.checks import ExitCode
from powerd.ctl.client import DEFAULT_URL, Daemon, Document
from powerd.errors import ConfigError, DaemonUnreachableError, PowerdError

app = typer.Typer(
    name="powerctl",
    help="Look at powerd on this host, and talk to a rack as its facility would.",
    epilog="Example: powerctl status; powerctl explain 0; powerctl publish --help",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(publish.app, name="publish")
report.register(app)

Url = Annotated[str, typer.Option("--url", help="Endpoint of the daemon.", metavar="URL")]
Socket = Annotated[
    Path | None, typer.Option("--socket", help="Its Unix socket, instead of --url.", metavar="PATH")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command(
    epilog="Exit codes: 0 ok, 1 degraded, 3 not reachable, 4 in failsafe. Example: powerctl status --json"
)
def status(*, url: Url = DEFAULT_URL, socket_path: Socket = None, as_json: Json = False) -> None:
    """Show the host on one screen."""
    document = Daemon(url, socket_path).get("/v1/status")
    code, reasons = checks.grade(document)
    if as_json:
        _print_json(document)
    else:
        from powerd.ctl import view  # noqa: PLC0415 -- rich is not needed for JSON

        view.console().print(view.status_screen(document, code, reasons))
    raise typer.Exit(code)


@app.command(epilog="Example: powerctl explain 0")
def explain(
    gpu: Annotated[str, typer.Argument(help="Index or UUID, or the beginning of a UUID.", metavar="GPU")],
    *,
    url: Url = DEFAULT_URL,
    socket_path: Socket = None,
    as_json: Json = False,
) -> None:
    """Show why a GPU has its limit.

    Every rule that made it, whose number it is, and until when it holds.
    """
    document = Daemon(url, socket_path).get(f"/v1/explain?gpu={quote(gpu, safe='')}")
    if as_json:
        _print_json(document)
        return
    from powerd.ctl import view  # noqa: PLC0415 -- rich is not needed for JSON

    view.console().print(view.explanation(document))


@app.command(epilog="Example: powerctl verify && echo as decided")
def verify(*, url: Url = DEFAULT_URL, socket_path: Socket = None, as_json: Json = False) -> None:
    """Check that limits are as decided.

    For every GPU the requested limit must equal the target, and the enforced one must not be above it, both
    as read back. Exit code 1 with the list of those that differ.
    """
    document = Daemon(url, socket_path).get("/v1/status")
    differences = checks.differences(document)
    if as_json:
        _print_json({"verified": not differences, "mode": document["mode"], "differences": differences})
    elif differences:
        if document["mode"] != "enforce":
            typer.echo(f"mode is {document['mode']}: powerd writes no limits")
        typer.echo("\n".join(differences))
    else:
        typer.echo(f"{len(document['gpus'])} GPUs: requested as decided, enforced at most that")
    raise typer.Exit(ExitCode.DEGRADED if differences else ExitCode.OK)


def main() -> None:
    """Run `powerctl`."""
    try:
        app()
    except DaemonUnreachableError as error:
        _fail(error, ExitCode.UNREACHABLE)
    except ConfigError as error:
        _fail(error, ExitCode.USAGE)
    except PowerdError as error:
        _fail(error, ExitCode.DEGRADED)


def _fail(error: PowerdError, code: ExitCode) -> None:
    typer.echo(f"powerctl: {error}", err=True)
    sys.exit(code)


def _print_json(document: Document) -> None:
    typer.echo(json.dumps(document, indent=2))
