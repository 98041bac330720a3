"""The commands of `powerctl` that ask once: for the host, why a GPU has its limit, and whether it has it."""

from typing import Annotated
from urllib.parse import quote

import typer

from powerd.ctl import checks, options, reasons
from powerd.ctl.checks import ExitCode
from powerd.ctl.client import DEFAULT_URL, Daemon
from powerd.ctl.options import Json, Socket, Url, new_app, print_json

app = new_app()

# `view` is imported where it is needed: JSON shall not wait for rich.


@app.command(
    epilog="Exit codes: 0 ok, 1 degraded, 3 not reachable, 4 in failsafe. Example: powerctl status --json"
)
def status(*, url: Url = DEFAULT_URL, socket_path: Socket = None, as_json: Json = False) -> None:
    """Show the host on one screen."""
    document = Daemon(url, socket_path).get("/v1/status")
    code, reasons = checks.grade(document)
    if as_json:
        print_json(document)
    else:
        from powerd.ctl.views import screen as view  # noqa: PLC0415

        console = view.console()
        console.print(view.status_screen(document, code, reasons, console.width))
    raise typer.Exit(code)


@app.command(epilog="Example: powerctl explain 0")
def explain(
    gpu: Annotated[
        str,
        typer.Argument(
            help="Index or UUID, or the beginning of a UUID.", metavar="GPU", autocompletion=options.gpus
        ),
    ],
    *,
    url: Url = DEFAULT_URL,
    socket_path: Socket = None,
    as_json: Json = False,
) -> None:
    """Show why a GPU has its limit, and what would give it more.

    First in one paragraph: the rule that binds, whose it is, until when, and what to do. Then every rule that
    made the limit, in order.
    """
    daemon = Daemon(url, socket_path)
    document = daemon.get(f"/v1/explain?gpu={quote(gpu, safe='')}")
    why = reasons.why(document, daemon.get("/v1/status"))
    if as_json:
        print_json({**document, "why": why._asdict()})
        return
    from powerd.ctl.views import screen as view  # noqa: PLC0415

    view.console().print(view.explanation(document, why))


@app.command(epilog="Example: powerctl verify && echo as decided")
def verify(*, url: Url = DEFAULT_URL, socket_path: Socket = None, as_json: Json = False) -> None:
    """Check that limits are as decided.

    For every GPU the requested limit must equal the target, and the enforced one must not be above it, both
    as read back. Exit code 1 with the list of those that differ.
    """
    document = Daemon(url, socket_path).get("/v1/status")
    differences = checks.differences(document)
    if as_json:
        print_json({"verified": not differences, "mode": document["mode"], "differences": differences})
    elif differences:
        if document["mode"] != "enforce":
            typer.echo(f"mode is {document['mode']}: powerd writes no limits")
        typer.echo("\n".join(differences))
    else:
        typer.echo(f"{len(document['gpus'])} GPUs: requested as decided, enforced at most that")
    raise typer.Exit(ExitCode.DEGRADED if differences else ExitCode.OK)
