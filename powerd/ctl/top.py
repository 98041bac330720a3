"""`powerctl top`: the host as it changes, from the daemon's stream; off a terminal, one document a line."""

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from powerd.ctl import checks
from powerd.ctl.client import DEFAULT_URL, Daemon, Document
from powerd.ctl.options import Json, Socket, Url, new_app, print_json
from powerd.errors import DaemonUnreachableError, PowerdError

app = new_app()

_LOOK_EVERY_S = 0.1
_CONNECT_AGAIN_S = 1.0
# Longer than any control period: no news for this long is a stalled or stopped daemon.
_NEWS_WITHIN_S = 15.0
_LEAVE = (b"q", b"Q", b"\x03", b"\x04")


@app.command(
    epilog="""Exit codes: 0, or 3 if the daemon cannot be reached at the start.

\b
Example:
  powerctl top
  powerctl top --json --count 10 --interval 5 | jq .budget.draw_watts"""
)
def top(
    interval: Annotated[
        float, typer.Option(help="Draw no more often than this.", metavar="SECONDS", min=0, max=3600)
    ] = 1.0,
    count: Annotated[int, typer.Option(help="Stop after so many; 0: do not.", metavar="N", min=0)] = 0,
    *,
    url: Url = DEFAULT_URL,
    socket_path: Socket = None,
    as_json: Json = False,
) -> None:
    """Watch the host: budget and draw, and a bar for each GPU.

    q leaves. Off a terminal, and with --json, every status is printed as one line of JSON.
    """
    daemon = Daemon(url, socket_path)
    with contextlib.suppress(KeyboardInterrupt):
        if as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
            _print(daemon, interval, count)
        else:
            _watch(daemon, interval, count)


def _print(daemon: Daemon, interval_s: float, count: int) -> None:
    for printed, document in enumerate(_paced(daemon.stream(within_s=_NEWS_WITHIN_S), interval_s), start=1):
        print_json(document, on_one_line=True)
        if printed == count:
            return
    raise DaemonUnreachableError(f"{daemon.where} has closed the stream")


def _paced(documents: Iterator[Document], interval_s: float) -> Iterator[Document]:
    """Yield the documents that come so long after the one before, or later."""
    due_s = 0.0
    for document in documents:
        if time.monotonic() >= due_s:
            yield document
            due_s = time.monotonic() + interval_s


class _News:
    """The latest status, read by a thread of its own, so that a key is heard while nothing comes."""

    def __init__(self, daemon: Daemon, first: Document) -> None:
        self.latest = first
        self.number = 0
        self.trouble = ""
        self._daemon = daemon
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                for document in self._daemon.stream(within_s=_NEWS_WITHIN_S):
                    self.latest, self.trouble = document, ""
                    self.number += 1
                self.trouble = "the daemon has closed the stream"
            except PowerdError as error:
                self._poll(str(error))
            self.number += 1
            time.sleep(_CONNECT_AGAIN_S)

    def _poll(self, trouble: str) -> None:
        """Ask for the status instead: the stream is for a few listeners only."""
        try:
            self.latest, self.trouble = self._daemon.get("/v1/status"), ""
        except PowerdError:
            self.trouble = trouble


def _watch(daemon: Daemon, interval_s: float, count: int) -> None:
    """Draw until a person leaves, in what the terminal keeps apart from its scroll-back."""
    first = daemon.get("/v1/status")  # an absent daemon is an error, not an empty screen
    from rich.console import Console  # noqa: PLC0415 -- not needed for JSON
    from rich.live import Live  # noqa: PLC0415

    from powerd.ctl.views import top as view_top  # noqa: PLC0415

    news = _News(daemon, first)
    console = Console(highlight=False, markup=False, emoji=False)

    def drawn() -> object:
        size = view_top.Size(console.size.width, console.size.height)
        return view_top.screen(news.latest, *checks.grade(news.latest), size, news.trouble)

    seen, drawings, due_s, size = -1, 0, 0.0, console.size
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while pressed(_LOOK_EVERY_S) not in _LEAVE:
            is_new = news.number != seen and time.monotonic() >= due_s
            if not is_new and console.size == size:
                continue
            seen, size, due_s = news.number, console.size, time.monotonic() + interval_s
            live.update(drawn(), refresh=True)  # type: ignore[arg-type] # rich is imported late
            drawings += 1
            if drawings == count:
                return


@contextlib.contextmanager
def _keys() -> "Iterator[_Pressed]":
    """Give a function that waits for a key, as the terminal sends it, without echo or line end."""
    import termios  # noqa: PLC0415 -- only where there is a terminal
    import tty  # noqa: PLC0415

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield _Pressed(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class _Pressed:
    """The keys of a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, within_s: float) -> bytes:
        """Return what was typed within so long, else nothing. The end of input is a wish to leave."""
        if not select.select([self._descriptor], [], [], within_s)[0]:
            return b""
        return os.read(self._descriptor, 1) or _LEAVE[0]
