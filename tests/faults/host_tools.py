"""What the tests of a host's faults need: a service manager, mounts that go by themselves, a memory limit."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.daemon.host import Host
from tests.daemon.processes import PYTHON, Process
from tests.daemon.waiting import boot_s

_Value = TypeVar("_Value")

INSIDE = Path(__file__).parent / "inside"
PAGE_BYTES = 4096
# Within what a machine with other things to do obeys.
WITHIN_S = 20.0
_CGROUPS = Path("/sys/fs/cgroup")


class Unit:
    """What systemd does for one process: hears it, ends it when it is silent, starts it again.

    `look` has to be called often: nothing happens in between.

    Args:
        host: whose processes they are.
        process: a new run of it is begun by `look`.
        watchdog_s: what was not heard for so long is ended with SIGABRT; it is told a tenth of it, so
            that only one that feeds nothing at all is ended on a machine that does other things.
        name: of the process, for the socket on which it is heard.

    Attributes:
        starts: runs begun.
        feeds: how often the watchdog was fed.
        codes: how the runs ended.
        on_stop: called after the stop action of a run that has ended.
        action: what is done then, always the same.
    """

    def __init__(
        self, host: Host, process: Process, *, watchdog_s: float = 20.0, name: str = "daemon"
    ) -> None:
        self.starts = self.feeds = 0
        self.codes: list[int] = []
        self.on_stop: Callable[[], None] = lambda: None
        self._host = host
        self._process = process
        self._watchdog_s = watchdog_s
        self._fed_boot_s = 0.0
        self._address = host.directory / f"{name}.notify"
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._heard.bind(str(self._address))
        self._heard.setblocking(False)
        self.action = Process(
            (*PYTHON, "powerd.guard", "--config", str(host.config), "--apply-fallback"),
            host.directory / "stop.log",
            host.environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.action.close()
        self._heard.close()

    def look(self) -> None:
        """Do what is due."""
        self._listen()
        if not self._process.running:
            self._end()
            self._start()
        elif self._fed_boot_s and boot_s() > self._fed_boot_s + self._watchdog_s:
            self._process.signal(signal.SIGABRT)

    def until(self, condition: Callable[[], _Value], *, what: str) -> _Value:
        """Look until the condition is true, and return its value.

        Raises:
            AssertionError: it did not come true in time.
        """

        def look() -> _Value:
            self.look()
            return condition()

        return self._host.wait_for(look, 60.0, what=what)

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                if b"WATCHDOG=1" in self._heard.recv(256):
                    self._fed_boot_s = boot_s()
                    self.feeds += 1

    def _end(self) -> None:
        if not self.starts:
            return
        self.codes.append(self._process.wait())
        self.action.start()
        self.action.wait()
        self.on_stop()

    def _start(self) -> None:
        self.starts += 1
        self._fed_boot_s = 0.0
        watchdog = {"WATCHDOG_USEC": str(round(self._watchdog_s * 1e5))}
        self._process.start(environment={"NOTIFY_SOCKET": str(self._address), **watchdog})


class Mounts:
    """Mounts that only processes see which are put inside; they are gone with the test, however that ends."""

    def __enter__(self) -> Self:
        self._flags = ("-m",) if os.geteuid() == 0 else ("-r", "-m")
        self._keeper = subprocess.Popen(
            ("unshare", *self._flags, "sh", "-c", "echo ready; exec cat"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.communicate()

    def put_inside(self, *processes: Process) -> None:
        """Have the next runs of processes see the mounts."""
        for process in processes:
            process.command = (*self._enter(), *process.command)

    def disk(self, path: Path, size: int) -> "Disk":
        """Mount a disk of so many bytes on a directory, which is made."""
        path.mkdir(exist_ok=True)
        self.run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(path))
        return Disk(self, path)

    def put_over(self, path: Path, text: str) -> None:
        """Let a file, also one of the kernel's, be another one."""
        source = f"/dev/shm/powerd-{self._keeper.pid}-{path.name}"
        put = 'umask 077; echo "$1" > "$2"; mount --bind "$2" "$3"; status=$?; rm "$2"; exit $status'
        self.run("sh", "-c", put, "sh", text, source, str(path))

    def run(self, *command: str) -> None:
        """Run a command inside.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        subprocess.run((*self._enter(), *command), check=True, timeout=20, capture_output=True)

    def seen(self, path: Path) -> Path:
        """Return where the tests find what is at a path inside."""
        return Path(f"/proc/{self._keeper.pid}/root{path}")

    def _enter(self) -> tuple[str, ...]:
        user = () if os.geteuid() == 0 else ("-U", "--preserve-credentials")
        return ("nsenter", "-t", str(self._keeper.pid), "-m", *user, "--")


class Disk:
    """A disk that runs full, and may only be read from, on order."""

    def __init__(self, mounts: Mounts, path: Path) -> None:
        self.path = path
        self._mounts = mounts
        self._filler = mounts.seen(path) / "of-somebody-else"

    def fill(self) -> None:
        """Take all that is free, and what becomes free meanwhile."""
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(PAGE_BYTES))

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)

    def allow_writing(self, *, allowed: bool) -> None:
        """Mount it again, read-only or not."""
        self._mounts.run("mount", "-o", f"remount,{'rw' if allowed else 'ro'}", str(self.path))


@contextlib.contextmanager
def short_of_memory(host: Host, mebibytes: int) -> Iterator[None]:
    """Let the daemon's next runs have so much memory and no more, and the kernel end them beyond that.

    Where control groups cannot be made, its address space is limited: then it hears that there is none.
    """
    group = _memory_group(mebibytes << 20)
    if group is None:
        host.daemon.command = ("prlimit", f"--as={mebibytes << 20}", *host.daemon.command)
        yield
        return
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    host.daemon.command = ("sh", "-c", enter, "sh", *host.daemon.command)
    try:
        yield
    finally:
        host.daemon.close()
        group.rmdir()


def _memory_group(limit_bytes: int) -> Path | None:
    for parent, limit in ((_CGROUPS, "memory.max"), (_CGROUPS / "memory", "memory.limit_in_bytes")):
        group = parent / f"powerd-test.{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            if (group / limit).exists():
                (group / limit).write_text(str(limit_bytes), encoding="ascii")
                return group
        with contextlib.suppress(OSError):
            group.rmdir()
    return None


def breakable(host: Host) -> Callable[[str], None]:
    """Have the daemon's next runs fail from within on order; return what orders it (see `inside`)."""
    told = host.directory / "fault"
    path = os.pathsep.join((str(INSIDE), *filter(None, (os.environ.get("PYTHONPATH"),))))
    host.daemon.environment.update(PYTHONPATH=path, INSIDE_FAULT=str(told))

    def order(fault: str) -> None:
        told.write_text(fault, encoding="utf-8")
        host.daemon.signal(signal.Signals(signal.SIGRTMIN))

    return order
