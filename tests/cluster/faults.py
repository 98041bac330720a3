"""What goes wrong: seeded, counted by kind, and no more of it at once than the guard's bound is made for.

By the end of a plan + G all GPUs of a host are to be at their fallback. So what holds up a guard or a GPU is
short against G, and a host that had such trouble is left alone with more of it for two G.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, TypeVar

from powerd.core.topology import Rack
from powerd.desk.order import OrderEntry
from tests.cluster.host import RackHost
from tests.cluster.orders import any_order, enforce
from tests.cluster.plant import PlantGpu

if TYPE_CHECKING:
    from tests.cluster.rack import SimulatedRack

Fault = TypeVar("Fault", bound=Callable[..., None])

# Shares of G: how long each kind of trouble may hold up a guard, or one of its GPUs.
STALL, STOP_ACTION, HANG, REFUSAL, SLOW = 0.2, 0.15, 0.4, 0.15, 0.05
# Shares of faults that befall no single host, and that are followed by another of the same host.
ANYWHERE, AGAIN = 0.25, 0.4
# Somebody orders something once in so many faults.
ORDERS_EVERY_FAULTS = 3


class Adversary:
    """Does everything to a rack that it must survive.

    Attributes:
        counts: faults by kind.
        is_over: there are no new ones.
    """

    def __init__(self, rack: "SimulatedRack") -> None:
        self.counts: Counter[str] = Counter()
        self.is_over = False
        self._rack = rack
        self._world = rack.world
        self._scenario = rack.scenario
        self._bound_s = rack.scenario.rules.guard_bound_s
        self._random = Random(f"faults {rack.scenario.seed}")
        self._reloads = Random(f"reloads {rack.scenario.seed}")
        self._orders = Random(f"orders {rack.scenario.seed}")
        self._budget = 0
        self._has_changed_roster = False
        self._read_only: set[str] = set()
        anywhere: list[tuple[int, Callable[[], None]]] = [
            (3, self._restart_broker),
            (6, self._change_budget),
            (2, self._silence_facility),
            (1, self._restart_facility),
            (2, self._change_weather),
        ]
        at_a_host: list[tuple[int, Callable[[RackHost], None]]] = [
            (8, self._crash_daemon),
            (8, self._pause_daemon),
            (6, self._pause_before_plan),
            (6, self._partition),
            (3, self._disconnect),
            (2, self._break_disk),
            (2, self._slow_disk),
            (2, self._break_guard_disk),
            (2, self._set_wall_clock),
            (1, self._boot),
            (1, self._change_roster),
        ]
        troubles: list[tuple[int, Callable[[RackHost], None]]] = [
            (4, self._kill_guard),
            (3, self._kill_both),
            (3, self._stall_guard),
            (6, self._hang),
            (3, self._refuse),
            (2, self._unreadable),
            (2, self._slow),
        ]
        self._anywhere, self._at_a_host, self._troubles = anywhere, at_a_host, troubles

    def start(self) -> None:
        """Begin."""
        for host in self._rack.hosts if self._scenario.load_every_s else ():
            for gpu in host.plant.gpus.values():
                self._later(self._scenario.load_every_s, partial(self._change_load, host, gpu))
        if self._scenario.fault_every_s:
            self._later(self._scenario.fault_every_s, self._next_fault)
            for host in self._rack.hosts:
                host.on_order = self._count_order
            self._order_later()

    def _later(self, mean_s: float, call: Callable[[], None]) -> None:
        self._world.after(self._random.expovariate(1 / mean_s), call)

    def _count(self, kind: str, where: RackHost | None = None, detail: str = "") -> None:
        self.counts[kind] += 1
        self._world.history.note(where.name if where else "fault", f"{kind} {detail}".rstrip())

    def _next_fault(self) -> None:
        if self.is_over:
            return
        if self._random.random() < ANYWHERE:
            self._one_of(self._anywhere)()
        else:
            self._strike(self._random.choice(self._rack.hosts))
        self._later(self._scenario.fault_every_s, self._next_fault)

    def _strike(self, host: RackHost) -> None:
        """Do something to one host, and perhaps soon something else: misfortunes seldom come singly."""
        if self.is_over:
            return
        if self._random.random() < 0.5:
            self._one_of(self._at_a_host)(host)
        elif self._world.now_s >= host.trouble_until_s:
            host.trouble_until_s = self._world.now_s + 2.5 * self._bound_s
            self._one_of(self._troubles)(host)
        if self._random.random() < AGAIN:
            self._later(0.5, partial(self._strike, host))

    def _one_of(self, faults: list[tuple[int, Fault]]) -> Fault:
        return self._random.choices([each for _, each in faults], [weight for weight, _ in faults])[0]

    # Work

    def _change_load(self, host: RackHost, gpu: PlantGpu) -> None:
        """Wake a GPU, or let it go idle."""
        random = self._random
        is_idle = gpu.load_mw < gpu.min_mw
        load_mw = random.randrange(gpu.min_mw, int(1.2 * gpu.max_mw)) if is_idle else gpu.min_mw // 2
        self.counts["GPU wakes" if is_idle else "GPU goes idle"] += 1
        host.plant.set_load(gpu, load_mw)
        self._later(self._scenario.load_every_s, partial(self._change_load, host, gpu))

    # Operators

    def _order_later(self) -> None:
        mean_s = ORDERS_EVERY_FAULTS * self._scenario.fault_every_s
        self._world.after(self._orders.expovariate(1 / mean_s), self._order)

    def _order(self) -> None:
        """Have somebody at one host order something; limits that are not written soon are again."""
        if self.is_over:
            return
        random = self._orders
        host = random.choice(self._rack.hosts)
        host.order(any_order(random, list(host.plant.gpus.values())))
        self._world.after(random.uniform(0.5, 30.0), host.order, enforce)
        self._order_later()

    def _count_order(self, entry: OrderEntry) -> None:
        self.counts[f"order: {entry.order}{', refused' if entry.refused else ''}"] += 1

    # The facility and the network

    def _change_budget(self) -> None:
        budgets_mw = self._scenario.budgets_mw
        last = len(budgets_mw) - 1
        self._budget = (
            min(self._budget + 1, last) if self._scenario.never_falls else (self._budget + 1) % (last + 1)
        )
        before_mw, cap_mw = self._rack.facility.cap_mw, budgets_mw[self._budget]
        falls = cap_mw is not None and (before_mw is None or cap_mw < before_mw)
        if cap_mw != before_mw:
            self._count("budget falls" if falls else "budget rises")
            self._rack.facility.change(cap_mw)

    def _silence_facility(self) -> None:
        facility = self._rack.facility
        if not facility.is_silent:
            self._count("facility silent")
            facility.is_silent = True
            self._world.after(self._random.uniform(5, 25), lambda: setattr(facility, "is_silent", False))

    def _restart_facility(self) -> None:
        self._count("facility restarted")
        self._rack.facility.restart()

    def _restart_broker(self) -> None:
        broker, random = self._rack.broker, self._random
        if not broker.is_up:
            return
        keeps = random.random() < 0.5
        self._count("broker restarted, retained kept" if keeps else "broker restarted, retained lost")
        broker.stop(keeps=keeps)

        def again() -> None:
            broker.is_up = True
            for host in self._rack.hosts:
                self._world.after(random.uniform(0.0, 2.0), host.client.connect)

        self._world.after(random.uniform(0.1, 8.0), again)

    def _change_weather(self) -> None:
        weather, random = self._rack.broker.weather, self._random
        self._count("network changes")
        weather.most_s = max(weather.least_s, random.choice((0.01, 0.2, 1.0)))
        weather.lost = random.choice((0.0, 0.0, 0.1, 0.4))
        weather.slow, weather.slow_s = random.choice((0.0, 0.1)), random.choice((1.0, 10.0))

    # Hosts

    def _crash_daemon(self, host: RackHost) -> None:
        if host.daemon is None:
            return
        host.kill_daemon()
        kind = self._random.choices(("kept", "lost", "damaged"), (6, 1, 1))[0]
        self._count(f"daemon killed, file {kind}", host)
        if kind != "kept":
            host.lose_file(damage=kind == "damaged")
        self._start_again(host)

    def _start_again(self, host: RackHost) -> None:
        delay_s = self._random.choice((0.0, self._random.uniform(0.0, 1.0), self._random.uniform(1.0, 12.0)))
        self._world.after(delay_s, host.start_daemon)

    def _pause_daemon(self, host: RackHost) -> None:
        daemon = host.daemon
        if daemon is not None and not daemon.process.loop.is_held:
            seconds = self._random.choice((self._random.uniform(0.1, 2.0), self._random.uniform(2.0, 20.0)))
            self._count("daemon paused", host, f"for {seconds:.2f} s")
            daemon.process.pause()
            self._world.after(seconds, daemon.process.resume)

    def _pause_before_plan(self, host: RackHost) -> None:
        daemon = host.daemon
        if daemon is not None and not daemon.process.loop.is_held:
            self._count("daemon paused before a plan is sent", host)
            daemon.pause_before_plan_s = self._random.choice(
                (self._random.uniform(0.1, 3.0), self._random.uniform(3.0, 20.0))
            )

    def _partition(self, host: RackHost) -> None:
        client, random = host.client, self._random
        direction = random.choice(("mute", "deaf", "both"))
        self._count(f"partition, {direction}", host)
        mute, deaf = direction != "deaf", direction != "mute"
        client.is_mute, client.is_deaf = client.is_mute or mute, client.is_deaf or deaf

        def heal() -> None:
            client.is_mute = client.is_deaf = False

        self._world.after(random.choice((random.uniform(0.2, 4.0), random.uniform(4.0, 30.0))), heal)

    def _disconnect(self, host: RackHost) -> None:
        self._count("disconnected", host)
        host.client.disconnect()
        self._world.after(self._random.uniform(0.1, 10.0), host.client.connect)

    def _break_disk(self, host: RackHost) -> None:
        if not host.disk.is_read_only:
            self._count("directory read-only", host)
            host.disk.is_read_only = True
            self._world.after(
                self._random.uniform(2.0, 20.0), lambda: setattr(host.disk, "is_read_only", False)
            )

    def _break_guard_disk(self, host: RackHost) -> None:
        if host.name not in self._read_only:
            self._count("guard's directory read-only", host)
            self._read_only.add(host.name)
            host.protect_guard_files(is_read_only=True)
            self._world.after(self._random.uniform(2.0, 20.0), self._mend_guard_disk, host)

    def _mend_guard_disk(self, host: RackHost) -> None:
        self._read_only.discard(host.name)
        host.protect_guard_files(is_read_only=False)

    def _slow_disk(self, host: RackHost) -> None:
        self._count("disk slow", host)
        host.disk.latency_s = self._random.choice((0.0, 0.01, 0.5, 3.0))

    def _set_wall_clock(self, host: RackHost) -> None:
        self._count("wall clock jumps", host)
        host.clock.wall_offset_s += self._random.choice((-3600.0, -20.0, -3.0, 3.0, 20.0, 3600.0))
        if self._random.random() < 0.5:
            host.clock.wall_offset_s = 0.0
        host.clock.wall_synced = self._random.random() < 0.7

    def _boot(self, host: RackHost) -> None:
        self._count("host booted", host)
        host.boot()

    def _change_roster(self, _host: RackHost) -> None:
        """Give all hosts other shares, and perhaps change one's mind."""
        if self._has_changed_roster:
            return
        self._has_changed_roster = True
        random, rack = self._random, self._scenario.rack
        hosts = tuple(each._replace(share=random.choice((0.5, 1.0, 2.0, 4.0))) for each in rack.hosts)
        self._count("roster changed")
        self._roll_out(replace(rack, hosts=hosts))
        if random.random() < 0.4:
            self._count("roster changed back")
            self._world.after(random.uniform(1.0, 30.0), self._roll_out, rack)

    def _roll_out(self, roster: Rack) -> None:
        """Have all hosts go by another roster, one after the other: reloaded, or started again."""
        random = self._random
        within_s = random.choice((3.0, 30.0))
        for host in self._rack.hosts:
            self._world.after(random.uniform(0.0, within_s), self._configure, host, roster)

    def _configure(self, host: RackHost, roster: Rack) -> None:
        config = replace(host.config, rack=roster)
        if self._reloads.random() < 0.5:
            self._count("another roster reloaded", host)
            host.reload(config)
            return
        host.kill_daemon()
        self._count("daemon restarted with another roster", host)
        host.configure(config)
        self._start_again(host)

    # Guards and GPUs

    def _kill_guard(self, host: RackHost) -> None:
        random, bound_s = self._random, self._bound_s
        lands = random.random() < 0.5
        self._count("guard killed", host, "in a call that still lands" if lands else "")
        host.guard.kill(
            writes_land=lands,
            stop_after_s=random.uniform(0.0, STOP_ACTION) * bound_s,
            start_after_s=random.choice((0.0, random.uniform(0.0, 3.0))),
        )

    def _kill_both(self, host: RackHost) -> None:
        self._count("daemon and guard killed", host)
        host.kill_daemon()
        self._kill_guard(host)
        self._start_again(host)

    def _stall_guard(self, host: RackHost) -> None:
        seconds = self._random.uniform(0.0, STALL) * self._bound_s
        self._count("guard stands still", host)
        host.guard.stall(seconds)
        if self._random.random() < 0.5:  # its watchdog has had enough
            self._world.after(0.99 * seconds, self._kill_guard, host)

    def _hang(self, host: RackHost) -> None:
        random = self._random
        for gpu in host.plant.gpus.values():
            if random.random() < 0.6:
                gpu.hang_s = random.uniform(0.0, HANG) * self._bound_s
                gpu.lands_first = random.random() < 0.3
        self._count("write hangs, lands late", host)
        # Nobody writes for long: then it does not hang any more.
        self._world.after(0.5 * self._bound_s, self._unhang, host)

    def _unhang(self, host: RackHost) -> None:
        for gpu in host.plant.gpus.values():
            gpu.hang_s = 0.0

    def _refuse(self, host: RackHost) -> None:
        self._count("GPU refuses writes", host)
        until_s = self._world.now_s + self._random.uniform(0.0, REFUSAL) * self._bound_s
        self._one_gpu(host).refuses_until_s = until_s

    def _unreadable(self, host: RackHost) -> None:
        self._count("GPU cannot be read", host)
        until_s = self._world.now_s + self._random.uniform(0.0, REFUSAL) * self._bound_s
        self._one_gpu(host).unreadable_until_s = until_s

    def _slow(self, host: RackHost) -> None:
        self._count("GPU slow", host)
        for gpu in host.plant.gpus.values():
            gpu.latency_s = max(0.001, self._random.uniform(0.0, SLOW) * self._bound_s)

    def _one_gpu(self, host: RackHost) -> PlantGpu:
        return self._random.choice(list(host.plant.gpus.values()))
