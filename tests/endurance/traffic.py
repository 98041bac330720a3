"""All that one host of eighteen hears, at its own pace or faster, and what that does to its processes."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, mean

from benchmarks.footprint import resident_mib
from benchmarks.peers import BUDGET_WATTS, LEASE_S, RENEW_S, Rack
from tests.daemon.facility import BASE
from tests.endurance.flooder import connected, packet

PEERS = 17
# States of the peers: one a second from each of them. A daemon that is this far behind is waited for.
MESSAGES_PER_DAY = PEERS * 86_400
_MOST_BEHIND = 1000
_LOOK_EVERY_S = 5.0
_TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Look:
    """What the kernel knows of a process.

    Attributes:
        messages: that were sent to the daemon by then.
        file_bytes: of what the host keeps in its directory, logs left out.
    """

    at_s: float
    messages: int
    daemon_mib: float
    guard_mib: float
    descriptors: int
    threads: int
    file_bytes: int


class TalkingRack(Rack):
    """One real host; what the other seventeen say goes to it as fast as is asked for."""

    def talk(self, messages: int, rate_per_s: float) -> Iterator[Look]:
        """Send so many states, and budgets in the right proportion; yield a look every few seconds."""
        sender = connected(self._broker.port, "peers")
        before = self._received()
        begun_s = looked_s = granted_s = time.monotonic()
        budget_every_s = RENEW_S * PEERS / max(PEERS, rate_per_s)
        sent = pause = 0
        while sent < messages:
            now_s = time.monotonic()
            due = min(messages, int((now_s - begun_s) * rate_per_s) - pause) - sent
            for _ in range(min(due, int(5 * _TICK_S * rate_per_s) + 1)):
                sender.sendall(self._next(sent))
                sent += 1
            if now_s > granted_s + max(0.1, budget_every_s):
                granted_s = now_s
                self._facility.grant(BUDGET_WATTS - (sent // 1000) % 2 * 100, LEASE_S)
            if now_s > looked_s + _LOOK_EVERY_S:
                looked_s = now_s
                yield self.look(sent)
                self._wait_for(before + sent - _MOST_BEHIND)
                pause = int((time.monotonic() - begun_s) * rate_per_s) - sent
            time.sleep(_TICK_S)
        sender.close()
        yield self.look(sent)

    def look(self, sent: int) -> Look:
        """Look at the processes now."""
        daemon, guard = self._host.daemon.pid, self._host.guard.pid
        return Look(
            at_s=time.monotonic(),
            messages=sent,
            daemon_mib=resident_mib(daemon),
            guard_mib=resident_mib(guard),
            descriptors=_entries(daemon, "fd") + _entries(guard, "fd"),
            threads=_entries(daemon, "task") + _entries(guard, "task"),
            file_bytes=_file_bytes(self._host.directory),
        )

    def _next(self, number: int) -> bytes:
        others = self._others
        name = others.names[number % len(others.names)]
        others._seq[name] += 1
        return packet(f"{BASE}/host/{name}/state", others._state(name))

    def _wait_for(self, messages: int) -> None:
        """Wait until the daemon has had so many, or all that the broker has not dropped."""
        received = -1
        while received < (received := self._received()) < messages:
            time.sleep(10 * _TICK_S)

    def _received(self) -> int:
        return int(self._host.wait_for(self._host.status, 30)["bus"]["received"])


def _file_bytes(directory: Path) -> int:
    """Return the size of what a host keeps: not its log, and not the fake GPUs, which log every write."""
    total = 0
    for name in ("state", "g"):
        for path in (directory / name).iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has just been put in the place of another
                total += path.stat().st_size
    return total


def _entries(pid: int, what: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/{what}").iterdir())


@dataclass(frozen=True, slots=True)
class Slope:
    """By how much something grows, by regression.

    Attributes:
        per_unit: the slope.
        error: twice its standard error: less than that cannot be seen.
    """

    per_unit: float
    error: float


def slope(x: list[float], y: list[float]) -> Slope:
    """Return how fast y grows with x."""
    line = linear_regression(x, y)
    residuals = [b - line.intercept - line.slope * a for a, b in zip(x, y, strict=True)]
    centre = mean(x)
    spread = sum((a - centre) ** 2 for a in x)
    variance = sum(r * r for r in residuals) / max(1, len(x) - 2)
    return Slope(line.slope, 2 * (variance / spread) ** 0.5)
