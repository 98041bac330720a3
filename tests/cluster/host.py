"""One host of the rack: its GPUs, clocks, disk, guard and daemon, and who of them is alive."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from powerd.core.leases.leases import Promise
from powerd.core.leases.place import entitlement_mw
from powerd.core.model import Plan
from powerd.core.state import Config
from powerd.daemon.controller import Report
from powerd.desk.order import OrderEntry
from powerd.files import runtime_file
from powerd.guard.client import PlanReport
from powerd.guard.keeper import PLAN_FILE
from tests.cluster.daemon import Daemon, Disk, StateReader
from tests.cluster.guard import GuardService
from tests.cluster.network import Broker
from tests.cluster.orders import Order
from tests.cluster.plant import Plant, PlantGpu
from tests.cluster.theorem import InForce, Theorem, worth_mw
from tests.cluster.world import HostClock, World


@dataclass(frozen=True, slots=True)
class HostPlan:
    """How one host is built.

    Attributes:
        period_s: of its control loop.
        guard_delay_s: returns how long a message between daemon and guard takes.
        budget_lease_s: the facility grants budgets for so long.
    """

    config: Config
    gpus: tuple[PlantGpu, ...]
    clock: HostClock
    directory: Path
    period_s: float
    call_deadline_s: float
    attach_s: float
    guard_delay_s: Callable[[], float]
    budget_lease_s: float


class RackHost:
    """One host. Watches what its daemon and guard do on behalf of the theorem.

    Attributes:
        iterations: of its controllers, all runs together.
        trouble_until_s: it has enough of it until then: what a guard must master in one bound is limited.
    """

    def __init__(
        self, world: World, plan: HostPlan, broker: Broker, reader: StateReader, theorem: Theorem
    ) -> None:
        self.name = plan.config.host
        self.config = plan.config
        self.clock = plan.clock
        self.daemon: Daemon | None = None
        self.iterations = 0
        self.trouble_until_s = 0.0
        self.on_report: Callable[[RackHost, Report], None] | None = None
        self.on_order: Callable[[OrderEntry], None] = lambda _entry: None
        self.plant = Plant(world, plan.gpus, plan.config.overhead_mw or 0, self._applied)
        self.watch = theorem.watch(self.name, self.plant.applied_mw)
        self.watch.counts_mw = self.counts_mw
        self.watch.lent_mw = self.lent_mw
        self.disk = Disk(plan.directory / "daemon")
        self.guard_directory = plan.directory / "guard"
        for directory in (self.disk.directory, self.guard_directory):
            directory.mkdir(parents=True)
        self.guard = GuardService(
            world,
            plan.clock,
            self.plant,
            self.guard_directory,
            name=self.name,
            attach_s=plan.attach_s,
            call_deadline_s=plan.call_deadline_s,
            fell_back=lambda: theorem.fell_back(self.watch),
        )
        self.client = broker.client(self.name)
        self._world = world
        self._plan = plan
        self._broker = broker
        self._reader = reader
        self._theorem = theorem
        self._boots = 1
        self._promises: tuple[Promise, ...] = ()
        self._is_lost = False
        self._in_force: dict[int, tuple[Plan, InForce]] = {}
        self._worths_mw: dict[tuple[int, int], int] = {}
        self._heard_s: dict[int | None, float] = {}
        # How long a budget may be in force after it was heard, by any clock.
        self._lease_s = plan.budget_lease_s * 1.002 + 0.1

    # What happens to it.

    def start_daemon(self) -> None:
        """Start the daemon, unless it runs."""
        if self.daemon is not None:
            return
        self._note("daemon starts")
        plan = self._plan
        self.daemon = Daemon(
            self._world,
            plan.clock,
            self.config,
            period_s=plan.period_s,
            disk=self.disk,
            guard=self.guard,
            guard_delay_s=plan.guard_delay_s,
            call_deadline_s=plan.call_deadline_s,
            client=self.client,
            reader=self._reader,
            watcher=self,
        )
        self._in_force.clear()
        self._remember(self.daemon)
        self.client.connect()

    def configure(self, config: Config) -> None:
        """Change the configuration: it counts from the next start of the daemon."""
        self.config = config

    def reload(self, config: Config) -> None:
        """Have the daemon go by another configuration while it runs; without one, from the next start on."""
        if self.daemon is None:
            self.configure(config)
        else:
            self.daemon.reload(config)

    def reloaded(self, config: Config) -> None:
        """Take in that another configuration is in force."""
        self._note("configuration reloaded")
        self.configure(config)

    def order(self, order: Order) -> None:
        """Give the daemon an order, if there is one."""
        if self.daemon is not None:
            self.daemon.order(order)

    def ordered(self, entry: OrderEntry) -> None:
        """Take in what became of an order."""
        self.on_order(entry)
        refused = "refused: " if entry.refused else ""
        self._note(f"order: {entry.order}: {refused}{entry.outcome}")

    def kill_daemon(self) -> None:
        """Kill the daemon; its limits and what the guard has armed stay."""
        if self.daemon is not None:
            self._note("daemon killed")
            self._remember(self.daemon)
            self.daemon.kill()
            self.daemon = None

    def lose_file(self, *, damage: bool) -> None:
        """Lose the runtime file, or have it damaged."""
        path = self.disk.directory / runtime_file.FILE_NAME
        if damage and path.exists():
            text = path.read_text(encoding="utf-8")
            path.write_text(text[: len(text) // 2], encoding="utf-8")
        else:
            path.unlink(missing_ok=True)

    def protect_guard_files(self, *, is_read_only: bool) -> None:
        """Let the guard's files be read, but not written: what it writes first is in the way."""
        obstacle = self.guard_directory / f"{PLAN_FILE}.new"
        if is_read_only:
            obstacle.unlink(missing_ok=True)
            obstacle.mkdir()
        elif obstacle.is_dir():  # else the host has booted meanwhile
            obstacle.rmdir()

    def boot(self) -> None:
        """Start the host again: GPUs at their floor, the boot clock near zero, the guard's files gone."""
        self.kill_daemon()
        self.guard.power_off()
        self._boots += 1
        self._note("host boots")
        shutil.rmtree(self.guard_directory)
        self.guard_directory.mkdir()
        for gpu in self.plant.gpus.values():
            gpu.limit_mw = gpu.min_mw
        self.plant.recount()
        self.clock.booted_s = self._world.now_s - 1.0
        self.disk.boot_id = f"boot-{self._boots}"
        self._is_lost = True
        self._theorem.booted(self.watch)
        self.guard.start()
        self.start_daemon()

    # What its daemon and guard do.

    def decided(self, daemon: Daemon, plan: Plan) -> None:
        """Take in what a plan rests on."""
        decision = daemon.controller.decided
        standing = decision.standing
        rack, floor_mw = self.config.rack, self.watch.floor_mw
        failsafe_cap_mw = max(rack.least_mw, min(decision.rack_cap_mw, rack.failsafe_mw))
        failsafe_mw = entitlement_mw(decision.place, decision.leases, failsafe_cap_mw)
        in_force = InForce(
            entitlement_mw=standing.entitlement_mw,
            limit_mw=max(floor_mw, standing.limit_mw),
            failsafe_entitlement_mw=failsafe_mw,
            failsafe_mw=max(floor_mw, failsafe_mw - standing.lent_mw),
            end_s=self.clock.true_s(plan.end_boot_s),
            used_mw={each.donor: each.mw for each in standing.borrowed if each.mw},
        )
        self._in_force[id(plan)] = (plan, in_force)
        self._remember(daemon)
        cap_mw = decision.rack_cap_mw
        self._theorem.follows(self.watch, cap_mw, self._may_follow_mw(daemon))
        self._theorem.decided(self.watch, in_force, self._worth_mw(cap_mw))

    def arrived(self, daemon: Daemon, plan: Plan, *, accepted: bool) -> None:
        """Take in that a plan has come to the guard."""
        known = self._in_force.get(id(plan))
        if known is None:
            return
        known[1].arrived = accepted
        if not accepted:
            self._note("plan refused")
            self._theorem.refused(self.watch, known[1])

    def done(self, daemon: Daemon, plan: Plan, report: PlanReport) -> None:
        """Take in that a plan was carried out."""
        known = self._in_force.pop(id(plan), None)
        if known is not None:
            self._theorem.confirmed(self.watch, known[1])

    def reported(self, daemon: Daemon, report: Report) -> None:
        """Take in the end of an iteration."""
        self.iterations += 1
        self._remember(daemon)
        if not daemon.controller.gate.may_write:
            decision = report.snapshot.decision
            self._theorem.follows(self.watch, decision.rack_cap_mw, self._may_follow_mw(daemon))
            self._theorem.stands(self.watch, decision.standing.entitlement_mw)
        self._theorem.check_counted(self.name)
        if self._world.history.on:
            self._tell(report)
        if self.on_report is not None:
            self.on_report(self, report)

    def heard_budget(self, mw: int | None) -> None:
        """Take in that a budget has come."""
        self._heard_s[mw] = self._world.now_s

    def counts_mw(self, borrower: str) -> int | None:
        """Return what it counts as lent, by what its daemon knew last; None if it has lost that."""
        if self.daemon is not None:
            self._remember(self.daemon)
        if self._is_lost:
            return None
        now_s, most_mw = self.clock.boot_s, 0
        for promise in self._promises:
            if promise.to == borrower and promise.mw > most_mw and promise.end_boot_s >= now_s:
                most_mw = promise.mw
        return most_mw

    def lent_mw(self) -> int:
        """Return what it counts as lent to all others."""
        now_s = self.clock.boot_s
        counted_mw: dict[str, int] = {}
        for promise in self._promises:
            if promise.end_boot_s >= now_s and promise.mw > counted_mw.get(promise.to, 0):
                counted_mw[promise.to] = promise.mw
        return sum(counted_mw.values())

    def _worth_mw(self, cap_mw: int) -> int:
        """Return what the host's share of a rack cap is worth, worked out anew."""
        rack = self.config.rack
        key = (id(rack), cap_mw)
        if key not in self._worths_mw:
            self._worths_mw[key] = worth_mw(rack, self.name, cap_mw)
        return self._worths_mw[key]

    def _remember(self, daemon: Daemon) -> None:
        leases = daemon.leases
        self._promises, self._is_lost = leases.promises, leases.is_lost

    def _may_follow_mw(self, daemon: Daemon) -> float:
        """Return the largest rack cap here: heard within a lease, or the failsafe, and what events leave."""
        rack = self.config.rack
        since_s = self._world.now_s - self._lease_s
        heard = [mw for mw, heard_s in self._heard_s.items() if heard_s >= since_s]
        known = [rack.hard_limit_mw if mw is None else mw for mw in heard]
        # Of what asks for less than the floors, the floors are left.
        by_events_mw = max(rack.least_mw, daemon.controller.event_cap_mw)
        return min(max(rack.failsafe_mw, rack.least_mw, *known), by_events_mw)

    def _applied(self, mw: int) -> None:
        if self._world.history.on:
            self._note(f"GPUs may draw {(mw - self.plant.overhead_mw) / 1000:g} W")
        self._theorem.applied(self.watch, mw)

    def _tell(self, report: Report) -> None:
        decision = report.snapshot.decision
        standing = decision.standing
        lent = " ".join(f"{p.to}:{p.mw // 1000}" for p in report.state.leases.promises)
        used = " ".join(f"{b.donor}:{b.mw // 1000}" for b in standing.borrowed if b.mw)
        said = "" if report.message is None else f" says {report.message.key.seq}"
        if report.message is not None and report.message.lends:
            said += " lends " + " ".join(f"{lend.to}:{lend.mw // 1000}" for lend in report.message.lends)
        self._note(
            f"{decision.phase} cap {decision.rack_cap_mw // 1000} e {standing.entitlement_mw // 1000} "
            f"limit {standing.limit_mw // 1000} lent [{lent}] used [{used}]{said}"
        )

    def _note(self, what: str) -> None:
        self._world.history.note(self.name, what)

    def errors(self) -> list[str]:
        """Return what failed in the daemon that should not have."""
        found = [] if self.daemon is None else self.daemon.errors()
        return [f"{self.name}: {error}" for error in found]
