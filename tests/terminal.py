"""A terminal of a given size, as a program has it that is started by hand or over ssh."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from types import TracebackType
from typing import Self

_WITHIN_S = 20.0
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|\(B)")


class Terminal:
    """A program in a terminal of its own; what it writes is kept.

    Args:
        command: the program and its arguments.
        columns, lines: the size of the terminal.
        environment: further variables.
    """

    def __init__(self, command: list[str], *, columns: int = 80, lines: int = 24, **environment: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        variables = {**os.environ, "TERM": "xterm-256color", **environment}
        variables.pop("COLUMNS", None)
        variables.pop("LINES", None)
        self._slave = slave
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=variables, start_new_session=True
        )
        self.raw = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._slave)
        os.close(self._master)

    @property
    def text(self) -> str:
        """Return all that was written, without colours and movements."""
        return _ESCAPE.sub("", self.raw).replace("\r", "")

    @property
    def settings(self) -> list[object]:
        """Return how the terminal is set now; `before` is how it was."""
        return list(termios.tcgetattr(self._slave))

    def type(self, keys: str) -> None:
        """Type on the keyboard."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the program has written something.

        Raises:
            AssertionError: it did not in time.
        """
        deadline_s = time.monotonic() + _WITHIN_S
        while text not in self.text:
            assert time.monotonic() < deadline_s, f"{text!r} is not in {self.text}"
            self._read(0.1)

    def ended(self) -> int:
        """Wait for the program's end and return its exit code."""
        deadline_s = time.monotonic() + _WITHIN_S
        while self._process.poll() is None:
            assert time.monotonic() < deadline_s, f"it goes on: {self.text}"
            self._read(0.05)
        self._read(0.0)
        return self._process.returncode

    def _read(self, within_s: float) -> None:
        if select.select([self._master], [], [], within_s)[0]:
            self.raw += os.read(self._master, 65536).decode(errors="replace")
