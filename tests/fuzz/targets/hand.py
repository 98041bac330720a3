"""`powerctl` before a daemon that is no daemon, or not ours: nothing of what it says acts on the terminal."""

import copy
import json
import re
import socket
import threading
from functools import cache
from pathlib import Path
from typing import Any

from powerd.core.model import Now
from powerd.ctl import checks, reasons
from powerd.ctl.client import Daemon, Document, _harmless
from powerd.ctl.views import screen, top
from powerd.errors import PowerdError
from powerd.web import views
from tests.fuzz.oracle import accepted, check_lines
from tests.fuzz.place import directory
from tests.web import host

_NOW: Now = host.moment(0.0)
# A larger number than any that stands for anything.
_MOST = 1e15
# What rich itself writes where it may.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def http_answer(data: bytes) -> None:
    """Whatever answers on the socket, the client has a document or a reason, and ends."""
    daemon = Daemon(socket_path=_answering(data))
    document = accepted(lambda: daemon.get("/v1/status"), PowerdError, 2000)
    assert document is None or isinstance(document, dict)
    accepted(lambda: daemon.text("/metrics") or "-", PowerdError, 2000)
    accepted(lambda: list(daemon.stream()) or "-", PowerdError, 2000)


_SAID: list[bytes] = []


def _answering(data: bytes) -> Path:
    """Have the next connections answered with these bytes."""
    _SAID[:] = [data]
    return _listening()


@cache
def _listening() -> Path:
    path = directory() / "daemon.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(8)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(_SAID[0])

    threading.Thread(target=serve, daemon=True).start()
    return path


def status_screen(data: bytes) -> None:
    """A status with texts and numbers of anybody's choice is shown, and nothing in it acts on the terminal.

    The input is an object: what stands at a path like `gpus.0.name` becomes its value, if that is of the same
    kind as what a daemon says there.
    """
    status, explanation = copy.deepcopy(_documents())
    for path, value in _changes(data):
        if path[0] == "explain":
            _put(explanation, path[1:], value)
        else:
            _put(status, path, value)
    status, explanation = _harmless(status), _harmless(explanation)
    code, why_not = checks.grade(status)
    why = reasons.why(explanation, status)
    _check_shown(screen.status_screen(status, code, why_not, 120))
    _check_shown(screen.explanation(explanation, why))
    _check_shown(top.screen(status, code, why_not, top.Size(80, 24), ""))
    check_lines("\n".join(checks.differences(status)) or "-", 6000)


@cache
def _documents() -> tuple[Document, Document]:
    snapshot = host.snapshot(host.decided())
    status = json.loads(views.status(snapshot, _NOW).model_dump_json())
    return status, json.loads(views.explain(snapshot, "0", _NOW).model_dump_json())


def _changes(data: bytes) -> list[tuple[list[str], Any]]:
    try:
        changes = json.loads(data)
    except (ValueError, RecursionError):
        return []
    return [(path.split("."), value) for path, value in changes.items()] if isinstance(changes, dict) else []


def _put(document: Any, path: list[str], value: Any) -> None:
    """Replace a value by one of the same kind; a path that leads nowhere is passed over."""
    *above, last = path or ["-"]
    try:
        for name in above:
            document = document[int(name) if isinstance(document, list) else name]
        key: Any = int(last) if isinstance(document, list) else last
        if type(document[key]) is type(value) and (isinstance(value, str) or abs(value) < _MOST):
            document[key] = value
    except (LookupError, ValueError, TypeError):
        return


def _check_shown(shown: Any) -> None:
    """Prove that what is printed is text."""
    console = screen.console()
    with console.capture() as captured:
        console.print(shown)
    check_lines(_COLOUR.sub("", captured.get()) or "-", 100_000)
