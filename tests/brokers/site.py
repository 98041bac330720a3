"""A rack of two hosts, guards and daemons all real, that is moved from broker to broker."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from tests.brokers.client import Client
from tests.brokers.kinds import Kind
from tests.daemon.facility import BASE, Facility, Grant
from tests.daemon.host import GUARD_BAND, OVERHEAD_WATTS, Host, roster
from tests.daemon.rack import LeaseTimes
from tests.daemon.waiting import wait_until

_Value = TypeVar("_Value")

NAMES: Final = ("r17-n1", "r17-n2")
GPUS = 2
HARD_LIMIT_WATTS, FAILSAFE_WATTS = 3300, 2200
BUDGET_WATTS = 2600
LONG_S = 120.0
BUSY_WATTS, IDLE_WATTS = 500, 0
# GPUs are judged soon, so that what idles is seen to idle.
_CONTROL = {"idle_after_s": 0.4, "warmup_s": 0.4, "hold_s": 4.0}
# A daemon that a busy machine holds up for a moment is no dead one.
TIMES = LeaseTimes(ttl_s=4.0, max_ttl_s=4.0, guard_bound_s=2.5, silent_s=2.0)
# Limits are whole watts, and a raise below the dead-band is not written.
_ROUNDING_WATTS = len(NAMES) * GPUS * 5 + 1


class Hosts:
    """Two hosts without a broker: guards run, daemons do not. A context manager.

    Args:
        directory: short, since it holds Unix sockets; exists.
        library: the fake NVML library.
        enter: what commands of daemons begin with.
    """

    def __init__(self, directory: Path, library: Path, enter: Sequence[str] = ()) -> None:
        self.all = {name: self._made(directory / name, library, name) for name in NAMES}
        for host in self.all.values():
            host.daemon.command = (*enter, *host.daemon.command)

    def __enter__(self) -> Self:
        for host in self.all.values():
            host.start_guard()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.all.values():
            host.end_processes()

    @staticmethod
    def _made(directory: Path, library: Path, name: str) -> Host:
        directory.mkdir()
        rack = {
            "hard_limit_watts": HARD_LIMIT_WATTS,
            "failsafe_watts": FAILSAFE_WATTS,
            "hosts": roster(NAMES, GPUS),
            "leases": TIMES._asdict(),
        }
        return Host(directory, library, broker_port=0, name=name, gpus=GPUS, rack=rack, tables={})


class Site:
    """The hosts at one broker, and a facility that publishes budgets through it. A context manager.

    Attributes:
        first, second: the hosts.
        facility: publishes budgets.
        grid: publishes grid events.
    """

    def __init__(self, hosts: Hosts, kind: Kind, *, facility: Facility | None = None) -> None:
        self.kind = kind
        self.hosts = hosts.all
        self.first, self.second = hosts.all.values()
        self.facility = facility or Facility(kind.server.port, kind.login("facility").prepare)
        self.grid = Facility(kind.server.port, kind.login("vtn1").prepare)

    def __enter__(self) -> Self:
        for host in self.hosts.values():
            login = self.kind.login(host.name).table(host.directory)
            mqtt = {"url": self.kind.url, **login, **(self.kind.mqtt or {})}
            host.configure({"control": _CONTROL, "mqtt": mqtt})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts.values():
            host.daemon.close()
        self.facility.close()
        self.grid.close()
        self.kind.server.kill()

    def start(self) -> None:
        """Start the daemons that do not run, and wait until both are ready and connected."""
        for host in self.hosts.values():
            if not host.daemon.running:
                host.daemon.start()
        self.wait_for(lambda: all(host.is_ready() for host in self.hosts.values()), what="both ready")

    def calm(self) -> None:
        """Have both hosts idle under a long budget, and ready to deal."""
        self.start()
        self.demand(self.first, IDLE_WATTS)
        self.obey(BUDGET_WATTS)
        self.wait_for(lambda: all(map(_deals, self.hosts.values())), what="both ready to deal")

    def client(self, name: str, *filters: str, client_id: str = "", qos: int = 1) -> Client:
        """Return a client by the name of somebody of the site, to be entered; filters are below the rack."""
        topics = [each if each.startswith("powerd/") else f"{BASE}/{each}" for each in filters]
        login = self.kind.login(name)
        return Client(self.kind.server.port, login, *topics, client_id=client_id, qos=qos)

    def demand(self, host: Host, watts: float) -> None:
        """Give all GPUs of a host so much work."""
        for index in range(GPUS):
            host.gpus.set_demand(index, watts)

    def obey(self, watts: float, lease_s: float = LONG_S, **fields: Any) -> Grant:
        """Publish a budget in good order and wait until both hosts follow it."""
        grant = self.facility.grant(watts, lease_s, **fields)
        self.wait_for(lambda: self.obeyed(watts), what=f"{watts} W obeyed")
        return grant

    def obeyed(self, watts: float) -> bool:
        """Say whether the limits use this budget, and no more than it, but for rounding."""
        usable = watts * (1 - GUARD_BAND)
        return usable - _ROUNDING_WATTS < self.worst_watts() <= usable

    def worst_watts(self) -> float:
        """Return what both hosts may draw together."""
        return sum(self.worst_of(host) for host in self.hosts.values())

    def worst_of(self, host: Host) -> float:
        """Return what a host may draw."""
        return OVERHEAD_WATTS + host.sum_mw() / 1000

    def wait_for(
        self, condition: Callable[[], _Value | None], within_s: float = 60.0, *, what: str = ""
    ) -> _Value:
        """Wait until the condition is true and return its value; no answer from a daemon counts as false.

        Raises:
            AssertionError: it did not come true in time; shows what all wrote last.
        """
        value = wait_until(condition, within_s, what=what, evidence=self._evidence)
        assert value is not None
        return value

    def _evidence(self) -> str:
        broker = "\n".join(self.kind.server.log.splitlines()[-15:])
        return "\n".join((f"--- broker\n{broker}", *(host.last_lines(8) for host in self.hosts.values())))


def _deals(host: Host) -> bool:
    status = host.status()
    return bool(
        status["lending"]["taking_part"]
        and all(peer["taking_part"] and peer["live"] for peer in status["peers"])
    )
