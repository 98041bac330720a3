"""A rack whose every part can be broken, and what systemd would do about it.

Each host reaches the broker through a door of its own, and goes by a wall clock of its own. Who breaks
something says so here, since the observer does not hold against powerd what is not its doing.
"""

import contextlib
import http.client
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.chaos.controller import Controller
from tests.chaos.proxy import Door, Network
from tests.daemon.host import Host, Tables, merged
from tests.daemon.processes import Process
from tests.daemon.rack import GPUS, LeaseTimes, Rack, stop_action
from tests.daemon.waiting import boot_s
from tests.daemon.wall_clock import WallClock

# Leases, and plans that rest on them, outlast the restart of a process: only then is it of interest what that
# remembers. Guards have time to come down although everything starts at once, on a machine that does more.
TIMES = LeaseTimes(ttl_s=4.0, max_ttl_s=4.0, guard_bound_s=6.0, silent_s=2.0)
SOURCE = "facility-a"
TABLES: Tables = {
    "control": {"hold_s": 4.0, "other_writer_hold_s": 2.0, "brake_hold_s": 1.0},
    "mqtt": {"keepalive_s": 2},
    "signals": {"native": {"sources": [SOURCE]}},
}
PARTS = ("daemon", "guard")
# A guard that is back has its GPUs at their fallback so soon, in any case.
_MARGIN_S = 1.0


@dataclass
class Span:
    """A time, open as long as its end is not known."""

    begin_boot_s: float = field(default_factory=boot_s)
    end_boot_s: float = math.inf

    def end(self) -> None:
        """End it now."""
        self.end_boot_s = boot_s()


class Stage:
    """A rack with doors, clocks and a controller. A context manager that ends all processes and threads.

    Args:
        directory: for state, sockets and logs; short, since it holds Unix sockets.
        library: the fake NVML library; None builds it.
        tables: merged into the configuration of every host, over `TABLES`.
        restart_s: how long after the death of a process it is started again: the shortest and the longest.

    Attributes:
        down: processes that somebody has ended on purpose, by host and part.
        frozen: processes that somebody has stopped, likewise.
        stuck: by host and GPU, times at which a limit could not be set.
        troubled: by host, times at which something was wrong there.
        cut_off: by host, times at which the broker could not be reached.
        claimed: what is broken now, by whichever fault.
        late: by host, times at which a guard should have been back, had the machine given it time.
    """

    def __init__(
        self,
        directory: Path,
        library: Path | None = None,
        *,
        times: LeaseTimes = TIMES,
        tables: Tables | None = None,
        restart_s: tuple[float, float] = (0.1, 1.0),
    ) -> None:
        self._tables = merged(TABLES, tables or {})
        self.rack = Rack(directory, library, times=times, tables=self._tables)
        self.hosts = self.rack.hosts
        self.restart_s = restart_s
        self.network = Network()
        self.doors: dict[str, Door] = {}
        self.clocks: dict[str, WallClock] = {}
        for name, host in self.hosts.items():
            self.doors[name] = self.network.door(self.rack.broker.port)
            self.clocks[name] = WallClock(directory / f"{name}-clock")
            host.daemon.environment |= self.clocks[name].environment()
            self.configure(host)
        self.controller = Controller(self.rack)
        self.down: set[tuple[str, str]] = set()
        self.frozen: set[tuple[str, str]] = set()
        self.stuck: dict[tuple[str, int], list[Span]] = {
            (name, gpu): [] for name in self.hosts for gpu in range(GPUS)
        }
        self.troubled: dict[str, list[Span]] = {name: [] for name in self.hosts}
        self.cut_off: dict[str, list[Span]] = {name: [] for name in self.hosts}
        self.claimed: set[str] = set()
        self.late: dict[str, list[Span]] = {name: [] for name in self.hosts}
        self._guard_left_boot_s: dict[str, float] = {}
        self._revivals: list[Revival] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for revival in self._revivals:
            revival.close()
        self.rack.__exit__(kind, error, trace)
        self.network.close()

    def configure(self, host: Host, tables: Tables | None = None) -> None:
        """Write one host's configuration anew: as it was, and `tables` over it."""
        door: dict[str, dict[str, Any]] = {"mqtt": {"url": f"mqtt://127.0.0.1:{self.doors[host.name].port}"}}
        self.rack.configure(host, merged(door, tables or {}))

    def answers(self, host: Host) -> bool:
        """Say whether a host can be asked without waiting for what is down or frozen."""
        return not any((host.name, part) in self.down | self.frozen for part in PARTS)

    def is_ready(self, host: Host) -> bool:
        """Say whether guard and daemon of a host serve, and the daemon is connected."""
        if not self.answers(host):
            return False
        with contextlib.suppress(OSError, http.client.HTTPException):
            return host.guard_listens() and host.is_ready()
        return False

    def kill(self, host: Host, part: str) -> None:
        """End a process."""
        self.leaves(host, part)
        self.down.add((host.name, part))
        self.frozen.discard((host.name, part))
        process_of(host, part).kill()

    def freeze(self, host: Host, part: str) -> None:
        """Stop a process."""
        self.leaves(host, part)
        self.frozen.add((host.name, part))
        process_of(host, part).freeze()

    def thaw(self, host: Host, part: str) -> None:
        """Let a stopped process go on."""
        process_of(host, part).thaw()
        self.frozen.discard((host.name, part))
        self.returns(host, part)

    def leaves(self, host: Host, part: str) -> None:
        """Remember since when a process cannot do its work."""
        if part == "guard":
            self._guard_left_boot_s.setdefault(host.name, boot_s())

    def returns(self, host: Host, part: str) -> None:
        """Note that a process can do its work again."""
        if part == "guard":
            self.look_at_the_clock()
            self._guard_left_boot_s.pop(host.name, None)
            for span in self.late[host.name]:
                span.end_boot_s = min(span.end_boot_s, boot_s())

    def look_at_the_clock(self) -> None:
        """Note whose guard is away for longer than a guard may be: that is the machine's doing."""
        for name, left_boot_s in self._guard_left_boot_s.items():
            due_boot_s = left_boot_s + self.rack.times.guard_bound_s - _MARGIN_S
            if boot_s() > due_boot_s and not (self.late[name] and math.isinf(self.late[name][-1].end_boot_s)):
                self.late[name].append(Span(due_boot_s))

    def revive(self, host: Host, parts: tuple[str, ...], *, action: bool, restart_s: float) -> "Revival":
        """Begin to do what systemd does for processes of a host that have ended."""
        revival = Revival(self, host, parts, action=action, restart_s=restart_s)
        self._revivals = [each for each in self._revivals if not each.is_done] + [revival]
        return revival


class Revival:
    """What systemd does when processes of a host have ended: the stop action, and after a while the start.

    Args:
        parts: which of `PARTS` are down.
        action: whether the stop action of the unit works; that of a daemon may fail.
        restart_s: RestartSec=, counted from the end of the processes.
    """

    def __init__(
        self, stage: Stage, host: Host, parts: tuple[str, ...], *, action: bool, restart_s: float
    ) -> None:
        self._stage = stage
        self._host = host
        self._parts = parts
        self._due_boot_s = boot_s() + restart_s
        self._action: Process | None = None
        self.is_done = False
        if action:
            self._action = stop_action(host)
            self._action.start()

    def goes_on(self) -> bool:
        """Do what can be done by now, and say whether all is as it was."""
        if (self._action and self._action.running) or boot_s() < self._due_boot_s:
            return False
        for part in reversed(self._parts):
            if (self._host.name, part) in self._stage.down:
                process_of(self._host, part).start()
                self._stage.down.discard((self._host.name, part))
        if "guard" in self._parts and "driver attached" in self._host.guard.log_of_run:
            self._stage.returns(self._host, "guard")
        self.is_done = self._stage.is_ready(self._host)
        if self.is_done:
            for part in self._parts:
                self._stage.returns(self._host, part)
        return self.is_done

    def close(self) -> None:
        """End what is under way."""
        if self._action:
            self._action.close()


def process_of(host: Host, part: str) -> Process:
    """Return the daemon or the guard of a host."""
    return host.daemon if part == "daemon" else host.guard
