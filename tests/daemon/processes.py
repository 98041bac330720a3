"""One real process of powerd under test: started, signalled by its id, its lines kept in a file."""

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.daemon.preloaded import Preloaded

_END_WITHIN_S = 10.0
# What the system and Python look at when a program begins: to have others than the tests, one has to begin.
_FOR_LOADERS = ("LD_PRELOAD", "PYTHONPATH")
PYTHON = (sys.executable, "-m")
POWERD = str(Path(sysconfig.get_path("scripts"), "powerd"))


class Process:
    """A command that can be started again after it ended.

    Args:
        command: the program and its arguments. In tests one that begins with `POWERD` is forked, see
            `Preloaded`; put `sys.executable` before it where it has to be a new program.
        log: where its standard output and error go; runs append.
        environment: its variables, all of them.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.command = tuple(command)
        self.environment = dict(environment)
        self._log = log
        self._log_begins = 0
        self._process: subprocess.Popen[bytes] | Preloaded | None = None

    @property
    def running(self) -> bool:
        """Return whether the process is there, stopped by SIGSTOP or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the process id of the last run."""
        return self._started().pid

    @property
    def log(self) -> str:
        """Return what all runs wrote so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    @property
    def log_of_run(self) -> str:
        """Return what the last run wrote so far."""
        return self.log[self._log_begins :]

    def start(self, *extra: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it, with further arguments and variables for this run; does not wait until it serves."""
        if self.running:
            raise RuntimeError(f"{self.command} is already running")
        self._log_begins = len(self.log)
        command = [*self.command, *extra]
        variables = {**self.environment, **(environment or {})}
        with self._log.open("ab") as log:
            if command[0] == POWERD and all(
                variables.get(name) == os.environ.get(name) for name in _FOR_LOADERS
            ):
                self._process = Preloaded(command, log, variables)
            else:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=variables
                )

    def kill(self) -> None:
        """End it with SIGKILL, which it cannot see coming."""
        self.signal(signal.SIGKILL)
        self._started().wait(_END_WITHIN_S)

    def freeze(self) -> None:
        """Stop it with SIGSTOP: alive, and doing nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self.signal(signal.SIGCONT)

    def terminate(self, within_s: float = _END_WITHIN_S) -> int:
        """End it with SIGTERM and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        self.signal(signal.SIGTERM)
        return self.wait(within_s)

    def wait(self, within_s: float = _END_WITHIN_S) -> int:
        """Return its exit code, once it has ended by itself.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        return self._started().wait(within_s)

    def close(self) -> None:
        """End it whatever its state."""
        if self.running:
            self.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send any signal."""
        self._started().send_signal(number)

    def _started(self) -> subprocess.Popen[bytes] | Preloaded:
        if self._process is None:
            raise RuntimeError(f"{self.command} was never started")
        return self._process


def _may_be_forked(environment: Mapping[str, str]) -> bool:
    # Benchmarks and the soak start whole programs, as systemd does: how long that takes is what they measure.
    is_test = "PYTEST_VERSION" in os.environ
    return is_test and all(environment.get(name) == os.environ.get(name) for name in _FOR_LOADERS)


def clean_environment(**variables: str) -> dict[str, str]:
    """Return this process's variables without any that configure powerd, plus some more."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("POWERD_")}
    return {**kept, **variables}
