"""`powerctl drill`: tries an emergency on a host that is well, and says whether it went as it should."""

import time
from enum import StrEnum
from typing import Annotated

import typer

from powerd.ctl.checks import ExitCode
from powerd.ctl.client import Daemon, Document, RequestFailedError
from powerd.ctl.drill_course import CONTROLLED, Course, Entry
from powerd.ctl.options import DEFAULT_SOCKET, Json, new_app, print_json, seconds
from powerd.ctl.order import ORDER_WITHIN_S, OrderSocket, Reason, Yes, confirm
from powerd.errors import ConfigError

app = new_app()

_LOOK_EVERY_S = 0.2
_INTERRUPTED = 130


class Kind(StrEnum):
    """What can be tried."""

    LOST_CONTROLLER = "lost-controller"


@app.command(
    epilog="""Exit codes: 0 passed, 1 failed or refused, 2 wrong usage, 3 not reachable.

\b
Example:
  powerctl drill lost-controller --for 90s --reason "game day" """
)
def drill(
    kind: Annotated[Kind, typer.Argument(help="What is tried.", metavar="KIND")],
    reason: Reason,
    duration: Annotated[
        str, typer.Option("--for", help="How long, 10s to 1h; longer than the lease.", metavar="DURATION")
    ] = "90s",
    *,
    yes: Yes = False,
    socket_path: OrderSocket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Try what happens when the controller is lost, on this host alone.

    For a while no budget is heard. The lease runs out, the failsafe budget holds, limits are read back, and
    then budgets are heard again. Nothing can rise by it. Ctrl-C ends it.
    """
    duration_s = seconds("--for", duration)
    daemon = Daemon(socket_path=socket_path)
    status = daemon.get("/v1/status")
    course = planned(status, duration_s)
    lowers = (
        f"this host falls to its share of the failsafe budget in {course.failsafe_by_s:.0f} s at the latest"
    )
    confirm(f"For {duration_s:.0f} s no budget is heard, and {lowers}. Go on?", yes=yes)
    body = {"drill": kind.value, "duration_s": duration_s, "reason": reason}
    done = daemon.post("/v1/drill", body, within_s=ORDER_WITHIN_S)
    timeline = [Entry(0.0, "drill_begun", str(done["done"]))]
    try:
        _follow(daemon, course, timeline, as_json=as_json)
    except KeyboardInterrupt:
        daemon.post("/v1/drill", {**body, "duration_s": 0}, within_s=ORDER_WITHIN_S)
        typer.echo("powerctl: the drill is ended: budgets are heard again", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    _conclude(course, timeline, as_json=as_json)


def planned(status: Document, duration_s: float) -> Course:
    """Return what to expect.

    Raises:
        ConfigError: it would show nothing.
        RequestFailedError: the host has no controller that could be lost.
    """
    lease = status["budget"]["lease"]
    if status["state"] not in CONTROLLED or lease is None:
        raise RequestFailedError(
            f"the host is in {status['state']}: a controller that is not heard cannot be lost"
        )
    course = Course(lease["remaining_s"], status["period_s"])
    if duration_s < course.failsafe_by_s:
        least_s = f"{course.failsafe_by_s + 1:.0f}s"
        raise ConfigError(
            f"the lease has {lease['remaining_s']:.0f} s left: --for {least_s} or more shows failsafe"
        )
    return course


def _follow(daemon: Daemon, course: Course, timeline: list[Entry], *, as_json: bool) -> None:
    """Look at the host until the drill is over and control is back."""
    begun_s = time.monotonic()
    if not as_json:
        _print(timeline[0])
    after_s = 0.0
    while not course.is_over(after_s):
        time.sleep(_LOOK_EVERY_S)
        status = daemon.get("/v1/status")
        after_s = time.monotonic() - begun_s
        for entry in course.take(after_s, status):
            timeline.append(entry)
            if not as_json:
                _print(entry)


def _conclude(course: Course, timeline: list[Entry], *, as_json: bool) -> None:
    failures = course.failures()
    if as_json:
        lines = [entry._asdict() for entry in timeline]
        print_json({"passed": not failures, "verdict": course.verdict(), "timeline": lines})
    else:
        typer.echo(course.verdict())
    raise typer.Exit(ExitCode.DEGRADED if failures else ExitCode.OK)


def _print(entry: Entry) -> None:
    typer.echo(f"{entry.after_s:8.1f} s  {entry.text}")
