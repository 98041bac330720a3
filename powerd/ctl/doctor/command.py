"""`powerctl doctor`: everything that has to be right for power to be capped, and the fix where it is not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from powerd.ctl.checks import ExitCode
from powerd.ctl.client import DEFAULT_URL, Daemon, Document
from powerd.ctl.doctor import daemon as doctor_daemon
from powerd.ctl.doctor import host as doctor_host
from powerd.ctl.doctor.check import Check, Verdict, failed, not_checked, ok
from powerd.ctl.options import Json, Socket, Url, new_app, print_json
from powerd.errors import DaemonUnreachableError, PowerdError

app = new_app()

DEFAULT_CONFIG = Path("/etc/powerd/powerd.toml")
_MARKS = {
    Verdict.OK: ("ok", "green"),
    Verdict.WARNING: ("warning", "bold yellow"),
    Verdict.FAILED: ("FAILED", "bold white on red"),
    Verdict.NOT_CHECKED: ("not checked", "dim"),
}


@app.command(
    epilog="""Exit codes: 0 nothing failed, 1 something did.

\b
Example:
  sudo powerctl doctor
  powerctl doctor --json | jq '.checks[] | select(.verdict != "ok")'"""
)
def doctor(
    config: Annotated[
        Path, typer.Option("--config", help="Main file of the daemon.", metavar="FILE")
    ] = DEFAULT_CONFIG,
    *,
    url: Url = DEFAULT_URL,
    socket_path: Socket = None,
    as_json: Json = False,
) -> None:
    """Look at all that has to be right, and say how to mend what is not.

    Daemon, guard, GPUs, rivals, driver, clock, units, configuration, and the way to the broker and back.
    Changes nothing. What cannot be looked at, for want of rights or because it is not there, is said to be
    not checked.
    """
    checks = sorted(examined(config, Daemon(url, socket_path)), key=lambda check: _AREAS.index(_area(check)))
    counts = {each.name.lower(): sum(check.verdict is each for check in checks) for each in Verdict}
    if as_json:
        print_json({**counts, "checks": [check._asdict() for check in checks]})
    else:
        _print(checks)
    raise typer.Exit(ExitCode.DEGRADED if counts["failed"] else ExitCode.OK)


_AREAS = ("daemon", "gpu", "rack", "machine", "config", "broker")


def examined(config: Path, daemon: Daemon) -> Iterator[Check]:
    """Yield everything that was looked at, in no particular order."""
    # Imported here: settings and MQTT are slow to import, and nothing else needs them.
    from powerd.ctl.doctor import broker as doctor_broker  # noqa: PLC0415
    from powerd.ctl.doctor import config as doctor_config  # noqa: PLC0415

    status, check = _status(daemon)
    yield check
    if status is not None:
        for look in (doctor_daemon.daemon, doctor_daemon.gpus, doctor_daemon.rack):
            yield from look(status)
    settings, check = doctor_config.loaded(config)
    yield check
    yield from doctor_host.machine(is_clock_trusted=settings is not None and settings.host.trust_wall_clock)
    if settings is None:
        yield not_checked("broker.reach", "it is not known where the broker is: see config.file")
        return
    yield doctor_config.state_dir(Path(settings.host.state_dir))
    if status is not None:
        yield from doctor_config.drift(config, settings, status, daemon.text("/metrics"))
    yield from doctor_broker.broker(settings)


def _status(daemon: Daemon) -> tuple[Document | None, Check]:
    name = "daemon.answers"
    try:
        return daemon.get("/v1/status"), ok(name, f"{daemon.where} answers")
    except DaemonUnreachableError as error:
        return None, failed(name, str(error), "systemctl start powerd; journalctl -u powerd -n 50")
    except PowerdError as error:
        return None, failed(name, str(error), "journalctl -u powerd -n 50")


def _area(check: Check) -> str:
    return check.name.partition(".")[0]


def _print(checks: list[Check]) -> None:
    """Print a line for each check, wrapped below itself on a terminal, whole off one."""
    from rich.table import Table  # noqa: PLC0415 -- not needed for JSON
    from rich.text import Text  # noqa: PLC0415

    from powerd.ctl.views import screen as view  # noqa: PLC0415

    console = view.console()
    for check in checks:
        mark, style = _MARKS[check.verdict]
        lines = [
            (Text(f"{mark:<11}", style=style), Text(f"{check.name:<27}"), Text(check.text, overflow="fold"))
        ]
        if check.fix and check.verdict is not Verdict.OK:
            lines.append((Text(f"{'':<11}"), Text(f"{'':<27}"), Text(f"fix: {check.fix}")))
        for line in lines:
            if not console.is_terminal:
                console.print(Text(" ").join(line), soft_wrap=True)
                continue
            table = Table.grid(padding=(0, 1))
            table.add_row(*line)
            console.print(table)
    counts = [f"{sum(check.verdict is each for check in checks)} {each}" for each in Verdict]
    console.print(Text(", ".join(counts), style="bold"))
