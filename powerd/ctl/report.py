"""The commands of `powerctl` about grid events: which there are, and what came of one, with its proof."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from powerd.ctl.checks import ExitCode
from powerd.ctl.client import DEFAULT_URL, Daemon, Document
from powerd.ctl.options import Json, Socket, Url, new_app, print_json
from powerd.errors import ConfigError

# Reading years of entries may take a while; status has to be instant.
_WITHIN_S = 60.0

Csv = Annotated[bool, typer.Option("--csv", help="Print the intervals as CSV instead of text.")]


app = new_app()
reports = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, epilog="Example: powerctl report event facility-a/curtail-7"
)
app.add_typer(reports, name="report")


@app.command(epilog="Exit code 1 if the past cannot be read. Example: powerctl events")
def events(*, url: Url = DEFAULT_URL, socket_path: Socket = None, as_json: Json = False) -> None:
    """List grid events: those in force, those to come, and those of the past."""
    document = Daemon(url, socket_path).get("/v1/events", within_s=_WITHIN_S)
    if as_json:
        print_json(document)
    else:
        from powerd.ctl.views import events as view_events  # noqa: PLC0415 -- rich is not needed for JSON
        from powerd.ctl.views import screen as view  # noqa: PLC0415 -- rich is not needed for JSON

        view.console().print(view_events.event_list(document))
    if document["ledger_error"]:
        typer.echo(f"powerctl: {document['ledger_error']}", err=True)
        raise typer.Exit(ExitCode.DEGRADED)


@reports.callback()
def report() -> None:
    """Say what came of something that was asked for."""


@reports.command(
    name="event",
    epilog="Exit code 1 if the event is not known, or the ledger was changed. "
    "Example: powerctl report event facility-a/curtail-7 --csv",
)
def report_event(
    event: Annotated[str, typer.Argument(help="source/event_id, or event_id alone.", metavar="ID")],
    *,
    url: Url = DEFAULT_URL,
    socket_path: Socket = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show what came of a grid event, interval by interval.

    Target, measured power, time to target, what was missed, and what proves it.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other")
    document = Daemon(url, socket_path).get(f"/v1/events/{quote(event, safe='')}/report", within_s=_WITHIN_S)
    if as_json:
        print_json(document)
    elif as_csv:
        typer.echo(as_table(document), nl=False)
    else:
        from powerd.ctl.views import events as view_events  # noqa: PLC0415 -- rich is not needed for JSON and CSV
        from powerd.ctl.views import screen as view  # noqa: PLC0415 -- rich is not needed for JSON and CSV

        view.console().print(view_events.event_report(document))
    if not document["ledger"]["intact"]:
        typer.echo("powerctl: the ledger is not as it was written: this report proves nothing", err=True)
        raise typer.Exit(ExitCode.DEGRADED)


@app.command(
    name="verify-ledger",
    epilog="Exit code 1 if it is not. Example: powerctl verify-ledger /var/lib/powerd/ledger.sqlite3",
)
def verify_ledger(
    path: Annotated[Path, typer.Argument(help="The ledger, or a copy of it.", metavar="FILE")],
    *,
    digest: Annotated[
        str, typer.Option(help="That of an earlier report: it has to be in the chain.", metavar="HEX")
    ] = "",
    as_json: Json = False,
) -> None:
    """Check that a ledger is whole.

    Works without a daemon: nothing in it may have been changed, left out or put in since it was written.
    """
    verdict = _verdict(path, digest.lower())
    if as_json:
        print_json(verdict)
    else:
        typer.echo(verdict["text"])
    raise typer.Exit(ExitCode.OK if verdict["whole"] else ExitCode.DEGRADED)


def as_table(document: Document) -> str:
    """Return the intervals as CSV (RFC 4180): one row each, the event's id first; empty = not known."""
    rows: Sequence[Document] = document["intervals"]
    text = io.StringIO()
    columns = _COLUMNS
    writer = csv.writer(text)
    writer.writerow(["event", "site", "rack", *columns])
    about = [document["id"], document["site"], document["rack"]]
    for row in rows:
        writer.writerow([*map(_cell, about), *(_cell(row[name]) for name in columns)])
    return text.getvalue()


_COLUMNS = (
    "index",
    "scheduled_start",
    "scheduled_end",
    "start",
    "end",
    "over",
    "target_watts",
    "baseline_watts",
    "mean_watts",
    "measured_by",
    "known_pct",
    "time_to_target_s",
    "late_s",
    "overshoot_watt_seconds",
    "missed_watts",
    "missed_pct",
    "within_pct",
    "compliant",
    "shed_kwh",
)


def _cell(value: object) -> object:
    """Return a cell: true and false as JSON has them, and no text that a spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _verdict(path: Path, digest: str) -> dict[str, Any]:
    import sqlite3  # noqa: PLC0415 -- not needed to ask a daemon
    from contextlib import closing  # noqa: PLC0415

    from powerd.ledger.file import open_to_read, verify  # noqa: PLC0415

    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        with closing(open_to_read(path)) as connection:
            found = verify(connection)
            find: Callable[..., Any] = connection.execute
            known = find("SELECT number FROM entries WHERE hex(digest) = upper(?)", (digest,)).fetchone()
    except (sqlite3.Error, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    text = f"{path}: {found.head.number} entries, digest {found.head.digest.hex()}"
    if found.broken_at is not None:
        text = f"{path}: changed at entry {found.broken_at}; those before it are as they were written"
    elif digest and known is None:
        text = f"{path}: whole, but no entry has the digest {digest}: what it was taken of is not in here"
    is_whole = found.broken_at is None and (not digest or known is not None)
    return {
        "whole": is_whole,
        "entries": found.head.number,
        "digest": found.head.digest.hex(),
        "broken_at": found.broken_at,
        "text": text,
    }
