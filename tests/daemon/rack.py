"""A rack under test: several hosts, each with GPUs, guard and daemon of its own; one broker, one facility.

Lease times are short, so that what has to be waited for is. Everything else is as on a real rack: the guards
and daemons are the real ones, and no host knows of another but through the broker.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from tests.broker import Mosquitto
from tests.daemon.facility import Facility, Grant
from tests.daemon.host import GUARD_BAND, OVERHEAD_WATTS, Host, Tables, floor_watts, merged, roster
from tests.daemon.processes import PYTHON, Process
from tests.daemon.waiting import boot_s, wait_until
from tests.fake_nvml import build

_Value = TypeVar("_Value")

NAMES = ("r17-n1", "r17-n2", "r17-n3", "r17-n4")
GPUS = 4
HARD_LIMIT_WATTS = 10_400
FAILSAFE_WATTS = 5_200
# Every host's part of it keeps its GPUs at some 240 of their 400 W: busy ones want more, idle ones less.
BUDGET_WATTS = 7_200
BUSY_WATTS = 500
IDLE_WATTS = 0
PERIOD_S = 0.2
LONG_S = 120.0

_WITHIN_S = 60.0


class LeaseTimes(NamedTuple):
    """The `[rack.leases]` of the rack, in seconds; docs/leases.md says what they mean."""

    ttl_s: float = 2.0
    max_ttl_s: float = 2.0
    guard_bound_s: float = 1.5
    publish_s: float = 0.25
    lead_s: float = 0.5
    silent_s: float = 1.2

    @property
    def count_s(self) -> float:
        """Return for how long at most a donor counts a lease; a little more, for drift."""
        return self.max_ttl_s + self.guard_bound_s + 0.1

    @property
    def memory_s(self) -> float:
        """Return how long a budget that is over may still matter: X of theorem B."""
        return self.count_s + self.guard_bound_s


class Rack:
    """Everything that one test, or a group of them, needs. A context manager that ends all its processes.

    Args:
        directory: for state, sockets and logs; short, since it holds Unix sockets.
        library: the fake NVML library; None builds it into `directory`.
        tables: merged into the configuration of every host.

    Attributes:
        broker, facility, hosts: nothing is started.
        followed: by host, moments at which it was seen to follow the newest budget, and the number of
            budgets published by then.
    """

    def __init__(
        self,
        directory: Path,
        library: Path | None = None,
        *,
        times: LeaseTimes = LeaseTimes(),  # noqa: B008 - it cannot be changed
        tables: Tables | None = None,
    ) -> None:
        self.times = times
        self.broker = Mosquitto(directory / "broker")
        self.facility = Facility(self.broker.port)
        self.grants = self.facility.grants
        self._directory = directory
        self._library = library or build(directory / "lib")
        self._tables = merged({"control": _CONTROL}, tables or {})
        self.hosts = {name: self.make_host(name) for name in NAMES}
        self.followed: dict[str, list[tuple[float, int]]] = {name: [] for name in NAMES}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts.values():
            host.end_processes()
        self.facility.close()
        self.broker.kill()

    def make_host(self, name: str, directory: str = "") -> Host:
        """Return a host that goes by `name`, with GPUs of its own; its directory may have another name."""
        place = self._directory / (directory or name)
        place.mkdir()
        return Host(
            place,
            self._library,
            broker_port=self.broker.port,
            name=name,
            gpus=GPUS,
            rack={
                "hard_limit_watts": HARD_LIMIT_WATTS,
                "failsafe_watts": FAILSAFE_WATTS,
                "hosts": roster(NAMES, GPUS),
                "leases": self.times._asdict(),
            },
            tables=self._tables,
        )

    def configure(self, host: Host, tables: Tables | None = None) -> None:
        """Write one host's configuration anew: the rack's, and `tables` over it."""
        host.configure(merged(self._tables, tables or {}))

    def start(self) -> None:
        """Start everything that does not run, and wait until every daemon is ready."""
        if not self.broker.running:
            self.broker.start()
        for host in self.hosts.values():
            if not host.guard.running:
                host.guard.start()
        self.wait_for(lambda: all(host.guard_listens() for host in self.hosts.values()), what="the guards")
        for host in self.hosts.values():
            if not host.daemon.running:
                host.daemon.start()
        self.wait_for(lambda: all(host.is_ready() for host in self.hosts.values()), what="all hosts ready")

    def calm(self, watts: float = BUDGET_WATTS) -> None:
        """Have all hosts idle under a long budget, at their entitlements, and ready to deal."""
        self.start()
        self.idle(*self.hosts)
        self.obey(watts)
        self.wait_for(lambda: all(map(self.is_at_rest, self.hosts.values())), what="rest")

    def is_at_rest(self, host: Host) -> bool:
        """Say whether a host deals with all others, needs nothing of them, and is at its entitlement."""
        status = host.status()
        return (
            status["lending"]["taking_part"]
            and not status["leases"]
            and all(peer["taking_part"] and peer["live"] for peer in status["peers"])
            and self.is_at(host.name, entitlement_mw(status["budget"]["rack_watts"]))
        )

    def busy(self, *names: str) -> None:
        """Give all GPUs of these hosts more work than any limit lets them do."""
        self._demand(names, BUSY_WATTS)

    def idle(self, *names: str) -> None:
        """Take the work from all GPUs of these hosts."""
        self._demand(names, IDLE_WATTS)

    def _demand(self, names: tuple[str, ...], watts: float) -> None:
        for name in names:
            for index in range(GPUS):
                self.hosts[name].gpus.set_demand(index, watts)

    def obey(self, watts: float, lease_s: float = LONG_S) -> Grant:
        """Publish a budget in good order, and wait until every host follows it."""
        grant = self.facility.grant(watts, lease_s)
        self.wait_for(lambda: all(map(self.follows, self.hosts.values())), what=f"{watts} W followed")
        return grant

    def follows(self, host: Host) -> bool:
        """Say whether a host follows the newest budget, and remember when it was seen to.

        Raises:
            OSError: it does not answer.
        """
        now_s, lease = boot_s(), host.status()["budget"]["lease"]
        if lease is None or lease["seq"] != self.facility.seq:
            return False
        self.followed[host.name].append((now_s, len(self.grants)))
        return True

    def worst_mw(self, name: str) -> int:
        """Return the most that a host may draw now."""
        return OVERHEAD_WATTS * 1000 + self.hosts[name].sum_mw()

    def is_at(self, name: str, mw: int) -> bool:
        """Say whether a host may draw so much, and no more, but for rounding: a watt per GPU, dead-band."""
        return mw - _ROUNDING_MW < self.worst_mw(name) <= mw

    def lent(self, donor: str, borrower: str) -> float:
        """Return the watts that one host says it lends to another."""
        return sum(
            float(lease["watts"])
            for lease in self.hosts[donor].status()["leases"]
            if lease["direction"] == "lent" and lease["host"] == borrower
        )

    def wait_for(
        self, condition: Callable[[], _Value], within_s: float = _WITHIN_S, *, what: str = ""
    ) -> _Value:
        """Wait until the condition is true and return its value; no answer from a daemon counts as false.

        Raises:
            AssertionError: it did not come true in time; shows the processes' last lines.
        """
        return wait_until(condition, within_s, what=what, evidence=self._last_lines)

    def _last_lines(self) -> str:
        return "\n".join(host.last_lines(6) + self._leases_of(host) for host in self.hosts.values())

    def _leases_of(self, host: Host) -> str:
        with suppress(OSError):
            status = host.status()
            return f"\n    {status['lending']} {status['leases']}"
        return ""


# GPUs are judged soon, so that what idles is seen to idle.
_CONTROL: Mapping[str, Any] = {"period_s": PERIOD_S, "idle_after_s": 0.4, "warmup_s": 0.4}
# Limits are whole watts, and a raise below the dead-band is not written.
_ROUNDING_MW = GPUS * 5_000 + 1_000


def usable_mw(watts: float) -> int:
    """Return what the hosts may draw together under a rack budget, worked out by hand."""
    return round(max(min(watts, HARD_LIMIT_WATTS) * (1 - GUARD_BAND), len(NAMES) * floor_watts(GPUS)) * 1000)


def entitlement_mw(watts: float) -> int:
    """Return what each of the hosts may draw under a rack budget without a lease; their shares are equal."""
    return usable_mw(watts) // len(NAMES)


def stop_action(host: Host) -> Process:
    """Return what the unit of a guard does whenever that has ended, not started."""
    command = (*PYTHON, "powerd.guard", "--config", str(host.config), "--apply-fallback")
    return Process(command, host.directory / "stop.log", host.environment)
