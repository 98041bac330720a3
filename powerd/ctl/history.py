"""`powerctl history`: what was given and drawn of late, and what happened meanwhile."""

from typing import Annotated
from urllib.parse import quote

import typer

from powerd.ctl import options
from powerd.ctl.client import DEFAULT_URL, Daemon, Document, RequestFailedError
from powerd.ctl.options import Json, Socket, Url, new_app, print_json

app = new_app()


@app.command(
    epilog="""\b
Example:
  powerctl history --since 1h
  powerctl history --since 2026-11-21T03:00:00Z --gpu 3"""
)
def history(
    since: Annotated[
        str, typer.Option(help="15m, 2h, 1d, or a time like 2026-11-21T17:00:00Z.", metavar="WHEN")
    ] = "1h",
    gpu: Annotated[
        str,
        typer.Option(
            help="Of one GPU: index or UUID, or the beginning of a UUID.",
            metavar="GPU",
            autocompletion=options.gpus,
        ),
    ] = "",
    *,
    url: Url = DEFAULT_URL,
    socket_path: Socket = None,
    as_json: Json = False,
) -> None:
    """Show budget, draw and limits of the last hours, and what happened.

    The daemon keeps a day of it in memory, and begins anew when it is started.
    """
    document = Daemon(url, socket_path).get(f"/v1/history?since={quote(since, safe='')}")
    if gpu:
        document = of_gpu(document, gpu)
    if as_json:
        print_json(document)
        return
    from powerd.ctl.views import history as view_history  # noqa: PLC0415 -- rich is not needed for JSON
    from powerd.ctl.views import screen as view  # noqa: PLC0415 -- rich is not needed for JSON

    view.console().print(view_history.history(document, is_of_one=bool(gpu)))


def of_gpu(document: Document, name: str) -> Document:
    """Return what is about one GPU, or about no GPU in particular.

    Raises:
        RequestFailedError: no GPU, or several, go by that name.
    """
    gpus = document["gpus"]
    found = [gpu for gpu in gpus if name in (str(gpu["index"]), gpu["uuid"])]
    found = found or [gpu for gpu in gpus if gpu["uuid"].startswith(name)]
    if len(found) != 1:
        known = ", ".join(f"{gpu['index']} {gpu['uuid']}" for gpu in gpus) or "none"
        raise RequestFailedError(f"{name[:64]!r} is not one GPU of the history; known: {known}")
    others = {gpu["uuid"] for gpu in gpus} - {found[0]["uuid"]}
    happenings = [each for each in document["happenings"] if each["subject"] not in others]
    return {**document, "gpus": found, "happenings": happenings}
