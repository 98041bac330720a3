"""The commands of `powerctl` that change what the daemon does. Each is told who asks and why, and logs it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from powerd.ctl import options
from powerd.ctl.client import Daemon, Document
from powerd.ctl.options import DEFAULT_SOCKET, Json, new_app, print_json, seconds
from powerd.errors import ConfigError
from powerd.mode import ModeName

app = new_app()

# A detach or release first gives back what was lent and borrowed, which takes up to a lease.
ORDER_WITHIN_S = 120.0

OrderSocket = Annotated[Path, typer.Option("--socket", help="The daemon's socket.", metavar="PATH")]
Reason = Annotated[str, typer.Option(help="Why, in one line; it is logged with your name.", metavar="TEXT")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_ENTRY = "Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not reachable."


@app.command(
    epilog=f"""{_ENTRY}

\b
Example:
  powerctl override --gpu 3 --watts 500 --ttl 30m --reason "benchmark of ann"
  powerctl override --gpu 3 --end --reason "benchmark is done\""""
)
def override(
    gpu: Annotated[
        str,
        typer.Option(
            help="Index or UUID, or the beginning of a UUID.", metavar="GPU", autocompletion=options.gpus
        ),
    ],
    reason: Reason,
    watts: Annotated[float | None, typer.Option(help="What it shall have.", metavar="W", min=0)] = None,
    ttl: Annotated[str, typer.Option(help="How long, 60s to 24h.", metavar="DURATION")] = "",
    *,
    end: Annotated[bool, typer.Option("--end", help="End its override.")] = False,
    socket_path: OrderSocket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Give one GPU the watts that you say, for a while.

    It is served before all others of its host, and gets no more than that. The budget holds: its watts are
    taken from the others, as far as the budget reaches.
    """
    if end and (watts is not None or ttl):
        raise typer.BadParameter("--end takes neither --watts nor --ttl")
    if not end and (watts is None or not ttl):
        raise typer.BadParameter("--watts and --ttl are needed, or --end")
    body: Document = {"gpu": gpu, "watts": watts, "reason": reason}
    if not end:
        body["ttl_s"] = seconds("--ttl", ttl)
    give(socket_path, "/v1/override", body, as_json=as_json)


@app.command(epilog=f'{_ENTRY} Example: powerctl release --reason "the rack is leaving the program"')
def release(
    reason: Reason,
    *,
    yes: Yes = False,
    socket_path: OrderSocket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Put back the limits that powerd found, and write none any more.

    The GPUs may then draw what they could before powerd came, whatever the budget is. powerctl mode enforce
    takes control again; so does a restart of the daemon, if host.mode is enforce.
    """
    confirm("Every GPU gets back the limit that powerd found, whatever the budget is. Go on?", yes=yes)
    give(socket_path, "/v1/release", {"reason": reason}, as_json=as_json)


@app.command(epilog=f'{_ENTRY} Example: powerctl detach --reason "driver upgrade"')
def detach(
    reason: Reason,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also where this host's watts do not cover what may be drawn.")
    ] = False,
    socket_path: OrderSocket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Let go of the driver, so that a GPU can be reset or the driver replaced.

    Until powerctl attach the GPUs count at the most they may draw with a new driver. Refused if this host's
    watts do not cover that.
    """
    give(socket_path, "/v1/detach", {"reason": reason, "force": force}, as_json=as_json)


@app.command(epilog=f'{_ENTRY} Example: powerctl attach --reason "driver 570 is in"')
def attach(reason: Reason, *, socket_path: OrderSocket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Take the driver up again after powerctl detach."""
    give(socket_path, "/v1/attach", {"reason": reason}, as_json=as_json)


@app.command(epilog=f'{_ENTRY} Example: powerctl mode enforce --reason "looked at it for a week"')
def mode(
    to: Annotated[ModeName, typer.Argument(help="What shall hold until the next start.", metavar="MODE")],
    reason: Reason,
    *,
    socket_path: OrderSocket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Change how far powerd goes, until its next start: monitor, dry-run or enforce.

    To keep it, set host.mode.
    """
    give(socket_path, "/v1/mode", {"mode": to.value, "reason": reason}, as_json=as_json)


def give(socket_path: Path, path: str, body: Document, *, as_json: bool) -> None:
    """Give an order and print what was done."""
    document = Daemon(socket_path=socket_path).post(path, body, within_s=ORDER_WITHIN_S)
    if as_json:
        print_json(document)
        return
    typer.echo(document["done"])


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person; only who answers yes comes back.

    Raises:
        ConfigError: nobody is there to be asked.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("nobody is there to be asked: say --yes")
    typer.confirm(question, abort=True)
