"""A real server process of a test: started, stopped, killed and stalled from outside."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

_START_TIMEOUT_S = 60.0
_POLL_S = 0.005


class Service(ABC):
    """Runs from the beginning of its `with` to the end."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @abstractmethod
    def start(self) -> None:
        """Start what does not run, and wait until it serves."""

    @abstractmethod
    def kill(self) -> None:
        """End it with SIGKILL."""


class Server(Service):
    """One process of a server, again and again the same.

    Args:
        program: what is run; also the name of its log.
        directory: for its files; is made when it starts.
    """

    # What its command begins with, such as the way into a network namespace.
    prefix: tuple[str, ...] = ()

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Return whether the process is there, stalled or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the process id."""
        if self._process is None:
            raise RuntimeError(f"{self._program} is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """Return what the server wrote since its first start."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @abstractmethod
    def configuration(self) -> str:
        """Return the text of its configuration file."""

    @abstractmethod
    def knock(self) -> None:
        """Connect and hang up; OSError if nobody is there."""

    def launch(self) -> None:
        """Start the server, without waiting until it serves."""
        if self.running:
            raise RuntimeError(f"{self._program} is already running")
        self._directory.mkdir(parents=True, exist_ok=True)
        file = self._directory / f"{self._program}.conf"
        file.write_text(self.configuration(), encoding="utf-8")
        command = [*self.prefix, executable(self._program), "-c", str(file)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self.launch()
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if not self.running:
                raise RuntimeError(f"{self._program} did not start: {self.log}")
            with contextlib.suppress(OSError):
                return self.knock()
            time.sleep(_POLL_S)
        raise TimeoutError(f"{self._program} does not accept connections: {self.log}")

    def stop(self) -> None:
        """End it with SIGTERM: it says goodbye to its clients and saves its store."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL: sockets break, unsaved changes are lost."""
        self._end(signal.SIGKILL)

    def stall(self) -> None:
        """Freeze it with SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stalled server go on."""
        self._signal(signal.SIGCONT)

    @property
    def _log(self) -> Path:
        return self._directory / f"{self._program}.log"

    def _end(self, number: signal.Signals) -> None:
        if not self._process:
            return
        self._signal(number)
        self._signal(signal.SIGCONT)  # a stopped process takes SIGTERM only when it goes on
        self._process.wait(timeout=10)
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)


def executable(name: str) -> str:
    """Find a program; Debian installs servers where only root's PATH leads."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not path:
        raise RuntimeError(f"{name} is not installed: make setup")
    return path
