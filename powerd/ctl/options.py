"""What the commands of `powerctl` share: where the daemon is, how answers are printed, and durations."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from powerd.ctl.client import DEFAULT_URL, Daemon, Document
from powerd.errors import PowerdError

DEFAULT_SOCKET = Path("/run/powerd/powerd.sock")

Url = Annotated[str, typer.Option("--url", help="Endpoint of the daemon.", metavar="URL")]
Socket = Annotated[
    Path | None, typer.Option("--socket", help="Its Unix socket, instead of --url.", metavar="PATH")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

# A person waits for a completion with a finger on the key.
_COMPLETED_WITHIN_S = 0.5
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def new_app() -> typer.Typer:
    """Return what a module registers its commands with."""
    return typer.Typer(rich_markup_mode=None, add_completion=False)


def print_json(document: Document, *, on_one_line: bool = False) -> None:
    """Print a document as JSON."""
    typer.echo(json.dumps(document, indent=None if on_one_line else 2))


def seconds(option: str, text: str) -> float:
    """Return a duration like 60s or 5m.

    Raises:
        BadParameter: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f'{option} "{text}" is not a duration like 60s or 5m')
    return float(match[1]) * _UNITS_S[match[2]]


def gpus(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the GPUs that a shell may offer, index and name, as the daemon knows them; none without it."""
    given = context.params
    daemon = Daemon(given.get("url") or DEFAULT_URL, given.get("socket_path"))
    try:
        status = daemon.get("/v1/status", within_s=_COMPLETED_WITHIN_S)
    except PowerdError:
        return []
    names = {str(gpu["index"]): f"{gpu['name']} {gpu['uuid']}" for gpu in status["gpus"]}
    return [(index, name) for index, name in names.items() if index.startswith(incomplete)]
