"""Processes that are killed, frozen, or started again in place."""

import re
import signal
from collections.abc import Iterable
from random import Random
from typing import ClassVar

from powerd import renewal
from tests.chaos.faults import Fault, HostFault
from tests.chaos.stage import Revival, Stage

# When systemd kills a guard that hangs, less than WatchdogSec= as the guard's bound is less than usual too.
WATCHDOG_S = 2.0


class Killed(HostFault):
    """Processes of a host die of SIGKILL; systemd starts them again.

    Attributes:
        action: whether the stop action of a unit comes to run.
    """

    lasts_s: ClassVar[tuple[float, float]] = (0.0, 0.0)
    action: ClassVar[bool] = True
    _revival: Revival | None = None

    def begin(self) -> None:
        for part in self.needs:
            self.stage.kill(self.host, part)
        restart_s = self.random.uniform(*self.stage.restart_s)
        self._revival = self.stage.revive(self.host, self.needs, action=self.action, restart_s=restart_s)

    def is_over(self) -> bool:
        return self._revival is None or self._revival.goes_on()


class DaemonKilled(Killed):
    kind = "daemon killed"
    weight = 4
    needs = ("daemon",)


class DaemonKilledWithoutAction(Killed):
    kind = "daemon killed, its stop action fails"
    weight = 4
    needs = ("daemon",)
    action = False


class GuardKilled(Killed):
    kind = "guard killed"
    weight = 3
    needs = ("guard",)


class GuardKilledWithoutAction(Killed):
    kind = "guard killed, its stop action fails"
    needs = ("guard",)
    action = False


class BothKilled(Killed):
    kind = "daemon and guard killed"
    weight = 3
    needs = ("daemon", "guard")


class BothKilledWithoutAction(Killed):
    kind = "daemon and guard killed, stop actions fail"
    needs = ("daemon", "guard")
    action = False


class DaemonFrozen(HostFault):
    kind = "daemon frozen"
    weight = 4
    needs = ("daemon",)
    lasts_s = (0.1, 8.0)

    def begin(self) -> None:
        self.stage.freeze(self.host, "daemon")

    def end(self) -> None:
        self.stage.thaw(self.host, "daemon")


class GuardFrozen(HostFault):
    kind = "guard frozen"
    needs = ("guard",)
    lasts_s = (0.1, 0.75 * WATCHDOG_S)

    def begin(self) -> None:
        self.stage.freeze(self.host, "guard")

    def end(self) -> None:
        self.stage.thaw(self.host, "guard")


class GuardHung(Killed):
    """It hangs until the watchdog kills it."""

    kind = "guard hung, killed by its watchdog"
    needs = ("guard",)
    lasts_s = (WATCHDOG_S, WATCHDOG_S)

    def begin(self) -> None:
        self.stage.freeze(self.host, "guard")

    def end(self) -> None:
        super().begin()


class Upgraded(HostFault):
    """Guard and daemon start again in place, as an upgrade of the package has them do."""

    kind = "started again in place"
    needs = ("daemon", "guard", "config")
    lasts_s = (0.0, 0.0)
    _before = (0, 0)

    def begin(self) -> None:
        self._before = self._starts()
        self.stage.leaves(self.host, "guard")
        for process in (self.host.guard, self.host.daemon):
            process.signal(renewal.SIGNAL)

    def is_over(self) -> bool:
        serve = all(now > then for now, then in zip(self._starts(), self._before, strict=True))
        if not serve or not self.stage.is_ready(self.host):
            return False
        self.stage.returns(self.host, "guard")
        return True

    def _starts(self) -> tuple[int, int]:
        """Return how often guard and daemon have begun to serve in this run of theirs."""
        guard, daemon = self.host.guard.log_of_run, self.host.daemon.log_of_run
        return guard.count("listening on"), len(re.findall(r"\bstarted\b", daemon))


class Reloaded(HostFault):
    """A configuration that lowers this host alone, for a while, by SIGHUP."""

    kind = "reloaded"
    needs = ("daemon", "guard", "config")
    lasts_s = (1.0, 5.0)
    _before = 0

    def begin(self) -> None:
        self._reload({"gpu": {"overrides": {self.host.gpus.gpus[0].uuid.decode(): {"ceiling_watts": 150}}}})

    def end(self) -> None:
        self._before = self._reloads()
        self._reload({})

    def is_over(self) -> bool:
        return self._reloads() > self._before

    def _reload(self, tables: dict[str, dict[str, object]]) -> None:
        self.stage.configure(self.host, tables)
        self.host.daemon.signal(signal.SIGHUP)

    def _reloads(self) -> int:
        return self.host.daemon.log.count("config_reloaded")


class ReloadedInvalid(Reloaded):
    """One that cannot be used, and is refused."""

    kind = "reloaded with an invalid configuration"

    def begin(self) -> None:
        self._reload({"rack": {"failsafe_wats": 1.0}})


class BrokerFault(Fault):
    """Something wrong with the broker."""

    def __init__(self, stage: Stage, random: Random) -> None:
        super().__init__(stage, random)
        self.claims = frozenset({"broker"})

    def hosts(self) -> Iterable[str]:
        return tuple(self.stage.hosts)


class BrokerKilled(BrokerFault):
    """What it comes back with is its store as of the last time that it ended in order, if it has one."""

    kind = "broker killed"
    lasts_s = (0.1, 5.0)

    def begin(self) -> None:
        self.rack.broker.kill()

    def end(self) -> None:
        self.rack.broker.start()


class BrokerStalled(BrokerFault):
    """It keeps its connections and says nothing. Nobody tells it anything new meanwhile."""

    kind = "broker stalled"
    lasts_s = (0.3, 8.0)

    def begin(self) -> None:
        self.stage.controller.is_silent = True
        self.rack.broker.stall()

    def end(self) -> None:
        self.rack.broker.resume()
        self.stage.controller.is_silent = False


class BrokerForgot(BrokerFault):
    kind = "broker restarted without its store"
    lasts_s = (0.0, 0.0)

    def begin(self) -> None:
        self.rack.broker.restart(persistence=False)


class BrokerStale(BrokerFault):
    """Ends in order, goes on for a while, and comes back with its store of before."""

    kind = "broker restarted with a stale store"
    lasts_s = (2.0, 6.0)

    def begin(self) -> None:
        self.rack.broker.restart(persistence=True)
        self.rack.broker.restart(persistence=True)

    def end(self) -> None:
        self.rack.broker.kill()
        self.rack.broker.start()
