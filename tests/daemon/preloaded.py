"""Daemons that start in a moment: forked from a process that has imported powerd already.

Imports are most of a daemon's start, and the tests make some hundreds of starts. Each daemon is a process of
its own all the same, with its own environment, files and signals. What it shares is its command line as
others see it, and what only a new program heeds, such as `LD_PRELOAD`: who needs these starts a new one.
"""

import atexit
import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from powerd.__main__ import main

# What `powerd run` imports only when it is called; what these import comes with them.
_IMPORTED_BY_A_DAEMON = ("powerd.cli", "powerd.daemon.app", "powerd.log", "powerd.renewal")
_MAX_REQUEST_BYTES = 1 << 20


class Preloaded:
    """A running daemon; has what is used of `subprocess.Popen`.

    Args:
        command: the path of `powerd`, and its arguments.
        log: where its standard output and error go.
        environment: its variables, all of them.
    """

    def __init__(self, command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]) -> None:
        self._command = command
        self._code: int | None = None
        self._report, theirs = socket.socketpair()
        with theirs:
            request = json.dumps({"command": command, "environment": dict(environment)}).encode()
            socket.send_fds(_parent(), [request], [theirs.fileno(), log.fileno()])
        self.pid = self._number()

    def poll(self) -> int | None:
        """Return its exit code, as `Popen.poll`; None while it runs."""
        return self._ended(within_s=0.0)

    def wait(self, within_s: float) -> int:
        """Return its exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        code = self._ended(within_s)
        if code is None:
            raise subprocess.TimeoutExpired(self._command, within_s)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, within_s: float) -> int | None:
        if self._code is None:
            self._report.settimeout(within_s)
            try:
                self._code = self._number()
            except (BlockingIOError, TimeoutError):
                return None
            self._report.close()
        return self._code

    def _number(self) -> int:
        told = self._report.recv(4)
        if not told:
            raise RuntimeError(f"nobody tells what became of {self._command}")
        return int.from_bytes(told, "big", signed=True)


@functools.cache
def _parent() -> socket.socket:
    """Start the process that all of them are forked from; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(requests: socket.socket) -> None:
    """Fork an attendant for each request, until nobody is left who could make one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C it is the tests that end what they started
    while True:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for attendants
        request, descriptors, _, _ = socket.recv_fds(requests, _MAX_REQUEST_BYTES, 2)
        if not request:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            _attend(json.loads(request), *descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _attend(request: dict[str, Any], report: int, log: int) -> None:
    """Fork the daemon, tell its process id, and in the end its exit code. Returns in the daemon alone."""
    pid = os.fork()
    if pid == 0:
        os.close(report)
        _become(request["command"], request["environment"], log)
        return
    os.close(log)
    os.write(report, pid.to_bytes(4, "big"))
    _, status = os.waitpid(pid, 0)
    os.write(report, os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
    os._exit(0)


def _become(command: list[str], environment: dict[str, str], log: int) -> None:
    """Take up what a new program would have been given."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    sys.orig_argv = [sys.executable, *command]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


if __name__ == "__main__":
    for module in _IMPORTED_BY_A_DAEMON:
        importlib.import_module(module)
    _serve(socket.socket(fileno=int(sys.argv[1])))
