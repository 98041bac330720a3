"""Kills processes of a running rack at random, and does for each what systemd would do.

Meanwhile loads change, and budgets are renewed, raised and lowered. What is done, to whom and after which
time follows from a seed; at which moment of an iteration it strikes does not.
"""

import contextlib
import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from tests.daemon.host import Host
from tests.daemon.processes import Process
from tests.daemon.rack import LeaseTimes, Rack, entitlement_mw, stop_action
from tests.daemon.waiting import boot_s

# Leases, and plans that rest on them, outlast the restart of a process: only then is it of interest what that
# remembers. Guards have time to come down although everything starts at once.
TIMES = LeaseTimes(ttl_s=4.0, max_ttl_s=4.0, guard_bound_s=2.5, silent_s=2.0)
TABLES = {"control": {"hold_s": 4.0}}
# What the rack is given in turn. Nearly always more than before, so that the newest budget is the bound.
BUDGETS_WATTS = (6400, 6800, 7200, 7600, 8000)
BUDGET_LEASE_S = 10.0
RENEWED_EVERY_S = 1.0
STEP_EVERY_S = 10.0

_SHARE_OF_STOP_ACTIONS_THAT_WORK = 0.5
_LONGEST_PAUSE_S = 6.0
_LONGEST_OUTAGE_S = 4.0
_TICK_S = 0.01
_LOOK_EVERY_S = 0.1


class Kind(StrEnum):
    """What is done to a running rack."""

    DAEMON = "daemon killed"
    GUARD = "guard killed"
    BOTH = "daemon and guard of a host killed"
    BROKER = "broker killed"
    PAUSE = "daemon stopped and continued"


_WEIGHTS = {Kind.DAEMON: 4, Kind.GUARD: 2, Kind.BOTH: 2, Kind.BROKER: 1, Kind.PAUSE: 3}


@dataclass
class Kills:
    """A run of so many kills over a rack that is ready.

    Attributes:
        done: how often each kind was done.
        on_lease: kills while some host used watts of another.
        begun_boot_s: from when on the observer may judge.
    """

    rack: Rack
    seed: int
    done: Counter[Kind] = field(default_factory=Counter)
    on_lease: int = 0
    begun_boot_s: float = 0.0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._watts = float(BUDGETS_WATTS[0])
        # Hosts whose daemon or guard is down or stopped; the broker's name is its own.
        self._struck: set[str] = set()

    def run(self, kills: int) -> None:
        """Strike so many times, then let everything come back."""
        self.begun_boot_s = boot_s()
        self._after(0.0, self._renew_budget)
        self._after(0.0, self._change_loads)
        self._after(0.0, self._look)
        self._after(0.5, lambda: self._strike(kills))
        while self.done.total() < kills or self._struck:
            self._do_what_is_due()
            time.sleep(_TICK_S)

    def _do_what_is_due(self) -> None:
        now_s = boot_s()
        while self._due and self._due[0][0] <= now_s:
            heapq.heappop(self._due)[2]()

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (boot_s() + delay_s, self._order, action))

    def _strike(self, kills: int) -> None:
        if self.done.total() >= kills:
            return
        kind = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        whole = [host for name, host in self.rack.hosts.items() if name not in self._struck]
        if kind is Kind.BROKER and self.rack.broker.running:
            self._note(kind)
            self._kill_broker()
        elif kind is not Kind.BROKER and whole:
            self._note(kind)
            self._strike_host(kind, self._random.choice(whole))
        self._after(self._random.uniform(0.2, 2.0), lambda: self._strike(kills))

    def _note(self, kind: Kind) -> None:
        self.done[kind] += 1
        own_mw = entitlement_mw(self._watts)
        self.on_lease += any(self.rack.worst_mw(name) > own_mw for name in self.rack.hosts)

    def _kill_broker(self) -> None:
        self.rack.broker.kill()
        self._struck.add("broker")
        self._after(self._random.uniform(0.1, _LONGEST_OUTAGE_S), self._start_broker)

    def _start_broker(self) -> None:
        self.rack.broker.start()
        self._struck.discard("broker")

    def _strike_host(self, kind: Kind, host: Host) -> None:
        self._struck.add(host.name)
        delay_s = self._random.uniform(0.1, 1.0)
        if kind is Kind.PAUSE:
            host.daemon.freeze()
            self._after(self._random.uniform(0.1, _LONGEST_PAUSE_S), lambda: self._thaw(host))
            return
        if kind in (Kind.DAEMON, Kind.BOTH):
            host.daemon.kill()
        if kind in (Kind.GUARD, Kind.BOTH):
            host.guard.kill()
        # The stop action of a guard always runs; that of a daemon may fail, and is then without effect.
        action = None
        if kind is not Kind.DAEMON or self._random.random() < _SHARE_OF_STOP_ACTIONS_THAT_WORK:
            action = stop_action(host)
            action.start()
        self._after(delay_s, lambda: self._restart(host, action))

    def _thaw(self, host: Host) -> None:
        host.daemon.thaw()
        self._struck.discard(host.name)

    def _restart(self, host: Host, action: Process | None) -> None:
        """Start what is down, once the stop action has ended; a daemon does not wait for its guard."""
        if action is not None and action.running:
            self._after(_TICK_S, lambda: self._restart(host, action))
            return
        for process in (host.guard, host.daemon):
            if not process.running:
                process.start()
        self._await(host)

    def _await(self, host: Host) -> None:
        """Strike a host again only when it is ready."""
        if _is_ready(host):
            self._struck.discard(host.name)
        else:
            self._after(_LOOK_EVERY_S, lambda: self._await(host))

    def _change_loads(self) -> None:
        """Let one host or two be busy, so that there is always somebody to lend, and to borrow."""
        names = list(self.rack.hosts)
        busy = self._random.sample(names, self._random.choice((1, 1, 2)))
        self.rack.busy(*busy)
        self.rack.idle(*(name for name in names if name not in busy))
        self._after(self._random.uniform(1.0, 4.0), self._change_loads)

    def _renew_budget(self) -> None:
        elapsed_s = boot_s() - self.begun_boot_s
        self._watts = BUDGETS_WATTS[int(elapsed_s / STEP_EVERY_S) % len(BUDGETS_WATTS)]
        # Without a broker it is said again when there is one.
        with contextlib.suppress(OSError):
            self.rack.facility.grant(self._watts, BUDGET_LEASE_S)
        self._after(RENEWED_EVERY_S, self._renew_budget)

    def _look(self) -> None:
        """See who follows the newest budget; who is down or stopped is not asked."""
        for name, host in self.rack.hosts.items():
            if name not in self._struck:
                with contextlib.suppress(OSError):
                    self.rack.follows(host)
        self._after(_LOOK_EVERY_S, self._look)


def _is_ready(host: Host) -> bool:
    try:
        return host.guard_listens() and host.is_ready()
    except OSError:
        return False
