"""A throw-away Debian with a systemd of its own, in name spaces of this machine: for `make deb-test`."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

BOOT = Path(__file__).with_name("boot")
_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = ("env", "-i", _PATH, "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
_BOOT_WITHIN_S = 60.0
_POLL_S = 0.05


class Machine:
    """It runs from `with` to the end of `with`.

    Args:
        base: tar file of a root.
        root: where to unpack it; made, and deleted at the end.
        name: its host name.
    """

    def __init__(self, base: Path, root: Path, name: str) -> None:
        self.root = root
        self._name = name
        self._base = base
        self._group = _cgroups() / f"powerd-trial.{os.getpid()}"
        self._boot: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True)
        subprocess.run(["tar", "-C", self.root, "-xf", self._base, "--exclude=./dev/*"], check=True)
        (self.root / "etc/machine-id").write_text("", encoding="ascii")
        (self.root / "etc/hostname").write_text(f"{self._name}\n", encoding="ascii")
        self._group.mkdir()
        self._boot = subprocess.Popen(["sh", BOOT, self.root, self._group], stdin=subprocess.DEVNULL)
        wait_for(self._has_booted, _BOOT_WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._boot is not None
        self._boot.send_signal(signal.SIGKILL)
        self._boot.wait()
        shutil.rmtree(self.root, ignore_errors=True)
        wait_for(lambda: not (self._group / "cgroup.procs").read_text("ascii"))
        subprocess.run(["find", self._group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=True)

    def try_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root."""
        inside = ("nsenter", "--target", str(self._init), "--all", *_ENVIRONMENT, *command)
        return subprocess.run(
            inside, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=300
        )

    def run(self, *command: str) -> str:
        """Run a command that has to work, and return what it says."""
        done = self.try_run(*command)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def property(self, unit: str, name: str) -> str:
        """Return what systemd knows of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def _has_booted(self) -> bool:
        assert self._boot is not None
        assert self._boot.poll() is None, "the machine did not boot: make deb-test needs to be root"
        children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text("ascii").split()
        self._init = int(children[0]) if children else 0
        state = self.try_run("systemctl", "is-system-running").stdout.strip() if self._init else ""
        return state in ("running", "degraded")


def _cgroups() -> Path:
    mounts = ("findmnt", "--noheadings", "--first-only", "--output", "TARGET", "--types", "cgroup2")
    return Path(subprocess.run(mounts, capture_output=True, text=True, check=True).stdout.strip())


def wait_for(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait until it holds."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(_POLL_S)
