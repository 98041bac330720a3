"""Weeks of a small rack in virtual time, every day the same but for what goes wrong at night.

The day has budgets, loads and a grid event. At night daemons are killed, a host boots, clocks are stepped,
the facility falls silent. By morning nothing of that may be left: draws, sizes and costs are those of the
first days. Boot clocks begin late, so that they pass 2^31 and 2^32 milliseconds on the way.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from random import Random
from typing import Any

from benchmarks.footprint import resident_mib
from powerd.core.events.grid_event import Action, ActionKind, EventRamp, Interval
from powerd.core.leases.leases import LeaseRules
from tests.cluster.daemon import EVENT_TOPICS
from tests.cluster.grid_bridge import Ask, GridBridge
from tests.cluster.host import RackHost
from tests.cluster.rack import SimulatedRack, rack_of
from tests.cluster.scenario import Scenario, W, even
from tests.cluster.theorem import ViolationError
from tests.endurance.books import Books
from tests.endurance.sizes import bytes_of

HOSTS, GPUS = 3, 2
HOUR_S, DAY_S = 3600.0, 86400.0
PERIOD_S = 10.0
# 2^31 ms are 24.9 days, 2^32 ms are 49.7: a month that begins here passes both.
FIRST_BOOT_S = 22 * DAY_S
NIGHT_W, DAY_W, EVENT_W = 4200, 3000, 2100
EVENT_FROM_S, EVENT_TO_S = 17 * HOUR_S, 19 * HOUR_S
LEDGER_MB = 64
# A load changes in this minute of every hour, so at a full hour all has been settled for long.
LOAD_S = 17 * 60.0
CHECK_HOURS = (5, 12, 18, 23)


@dataclass(frozen=True, slots=True)
class Day:
    """What one day left behind.

    Attributes:
        draws_w: of all GPUs, in watts, at the hours of `CHECK_HOURS`.
        over_w: by how much the rack could have drawn more than was allowed, at any of these hours.
        energy_error_pct: of the energy of the day's event, by the ledger of the first host.
        unknown_pct: the part of the event of which the ledger knows nothing.
        sizes: bytes of what each daemon remembers, by what.
        happenings: kept by the history that has most of them.
        file_bytes: of all files of all hosts but the ledgers.
        ledger_bytes: of all ledgers.
        lease_s: the longest that a promise still ran at any check, by the donor's clock.
        cpu_s: of this process, for the whole rack.
        objects: that the collector knows of, in this process.
        resident_mib: of this process.
    """

    number: int
    draws_w: tuple[tuple[float, ...], ...]
    over_w: float
    energy_error_pct: float
    unknown_pct: float
    sizes: dict[str, int]
    happenings: int
    file_bytes: int
    ledger_bytes: int
    lease_s: float
    cpu_s: float
    objects: int
    resident_mib: float
    steps: int
    troubles: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the day for JSON."""
        return asdict(self)


def calm_rack(seed: int) -> Scenario:
    """Return the rack: three hosts of two GPUs, an iteration every ten seconds."""
    rules = LeaseRules(
        ttl_s=30.0, max_ttl_s=30.0, guard_bound_s=10.0, publish_s=PERIOD_S, lead_s=2.0, silent_s=25.0
    )
    most_w = HOSTS * (200 + GPUS * 700)
    return even(
        HOSTS,
        GPUS,
        NIGHT_W,
        seed=seed,
        rules=rules,
        never_falls=False,
        failsafe_w=HOSTS * (200 + GPUS * 150),
        period_s=PERIOD_S,
        hold_s=3 * PERIOD_S,
        budget_every_s=60.0,
        budget_lease_s=180.0,
        ramp_mw_per_s=most_w * W / 6 / 60,
        rates=tuple(1 + 0.0004 * (index - 1) for index in range(HOSTS)),
        idle_after_s=60.0,
        warmup_s=60.0,
    )


class Month:
    """Runs a rack, day by day.

    Args:
        seed: of the loads.
        boot_s: what boot clocks say at the beginning.
    """

    def __init__(self, rack: SimulatedRack, seed: int, boot_s: float = FIRST_BOOT_S) -> None:
        self.rack = rack
        self._seed = seed
        self._world = rack.world
        self._bridge = GridBridge(rack.world, rack.broker)
        self._books = {host.name: Books(host, LEDGER_MB) for host in rack.hosts}
        self._draws_w: list[tuple[float, ...]] = []
        self.over_w = 0.0
        self._lease_s = 0.0
        self._energy = (0.0, 0.0)
        self._begun_mj = 0.0
        self._midnight_s = 0.0
        for host in rack.hosts:
            host.clock.booted_s = -boot_s / host.clock.rate

    def days(self, count: int) -> Iterator[Day]:
        """Run so many days, and tell of each.

        Raises:
            ViolationError: something that must hold did not.
        """
        self.rack.start()
        self._bridge.run(600.0)
        for number in range(count):
            self._plan(number)
            cpu_s, steps = time.process_time(), self.rack.theorem.steps
            self._world.run_until((number + 1) * DAY_S)
            errors = [error for host in self.rack.hosts for error in host.errors()]
            if errors:
                raise ViolationError("; ".join(errors))
            yield self._told(number, time.process_time() - cpu_s, self.rack.theorem.steps - steps)

    def hours(self, begin: float, end: float) -> Iterator[float]:
        """Run a part of the first day, and tell of each hour that is over.

        Raises:
            ViolationError: something that must hold did not.
        """
        self._midnight_s = -begin * HOUR_S
        self.rack.start()
        self._bridge.run(600.0)
        self._plan(0)
        while self._world.now_s < (end - begin) * HOUR_S:
            self._world.run_until(min(self._world.now_s + HOUR_S, (end - begin) * HOUR_S))
            yield begin + self._world.now_s / HOUR_S

    def happenings(self) -> int:
        """Return how much the fullest history has kept: a list that fills for weeks, and is bounded."""
        return max(len(books.history._happenings.since(0.0)) for books in self._books.values())

    def close(self) -> None:
        """Write the ledgers."""
        for books in self._books.values():
            books.close()

    def sizes(self) -> dict[str, int]:
        """Return the bytes of what the daemons remember, by what."""
        found = {"controller": 0, "state": 0, "history": 0, "metrics": 0, "recorder": 0}
        for host in self.rack.hosts:
            books, daemon = self._books[host.name], host.daemon
            if daemon is None or books.recorder is None:
                continue
            controller = daemon.controller
            shared = (controller.config, controller._report, controller._clock, controller._gpus)
            found["controller"] += bytes_of(controller.__dict__, (*shared, controller._state))
            found["state"] += bytes_of(controller._state, (controller.config,))
            found["history"] += bytes_of(books.history._tiers)
            found["metrics"] += bytes_of(books.metrics._totals) + bytes_of(books.metrics._histograms)
            found["recorder"] += bytes_of(books.recorder._recording)
        return found

    # The day

    def _plan(self, number: int) -> None:
        def at(hour: float, call: Callable[..., object], *args: Any) -> None:
            self._world.at(self._midnight_s + number * DAY_S + hour * HOUR_S, call, *args)

        facility = self.rack.facility
        at(6, facility.change, DAY_W * W)
        at(22, facility.change, NIGHT_W * W)
        at(15, self._announce, number)
        at(EVENT_FROM_S / HOUR_S, self._begin_count)
        at(EVENT_TO_S / HOUR_S, self._end_count)
        at(23.9, self._forget, number)
        for hour in range(24):
            at(hour + LOAD_S / HOUR_S, self._change_loads, hour)
        for hour in CHECK_HOURS:
            at(hour, self._check)
        self._plan_night(number, at)

    def _plan_night(self, number: int, at: Callable[..., None]) -> None:
        """Have things go wrong between one and half past four: each of them once a week."""
        first, second, third = self.rack.hosts
        minute = 1 / 60
        at(4, partial(self._reload_ramp, third, 0.5))
        at(4.4, partial(self._reload_ramp, third, 1.0))
        night = number % 7
        if night == 1:  # the facility falls silent for longer than its budget runs
            at(2, self._silence, True)
            at(2.5, self._silence, False)
        elif night == 2:
            at(1, first.kill_daemon)
            at(1 + minute, first.start_daemon)
            at(2, self.rack.facility.restart)
            at(3, self._bridge.restart)
        elif night == 3:
            for forth, back, by_s in ((1.0, 1.2, 3600.0), (2.0, 2.2, -3600.0)):
                at(forth, self._step, first, by_s)
                at(back, self._step, first, 0.0)
        elif night == 4:
            at(3, second.boot)
        elif night == 5:  # all other shares for an hour, and back
            rosters = self.rack.scenario.rack, _other_shares(self.rack.scenario)
            for host in self.rack.hosts:
                at(1, self._reload_roster, host, rosters[1])
                at(2, self._reload_roster, host, rosters[0])
        elif night == 6:
            at(2, partial(self.rack.broker.stop, keeps=True))
            at(2 + minute, self._broker_is_back)
            # A leap second: all hosts repeat it, the facility smears it.
            for host in self.rack.hosts:
                at(0.5, self._step, host, -1.0)
                at(1.0, self._step, host, 0.0)

    def _change_loads(self, hour: int) -> None:
        """Give every GPU the work that it has at this hour of every day."""
        for host in self.rack.hosts:
            for gpu in host.plant.gpus.values():
                random = Random(f"{self._seed} {hour} {gpu.uuid}")
                load_w = 50 if random.random() < 0.3 else random.randrange(150, 800)
                host.plant.set_load(gpu, load_w * W)

    def _announce(self, number: int) -> None:
        """Ask for less for two hours, in two hours; what is asked for of the days before is gone."""
        self._bridge.asks.clear()
        begin_s = self._midnight_s + number * DAY_S + EVENT_FROM_S
        action = Action(ActionKind.LIMIT, mw=EVENT_W * W)
        interval = Interval(begin_s, begin_s + EVENT_TO_S - EVENT_FROM_S, action)
        self._bridge.ask(Ask(f"day-{number}", (interval,), EventRamp(down_s=60.0, up_s=600.0)))

    def _forget(self, number: int) -> None:
        """Take the event of the day off the broker, as a bridge does."""
        self._bridge.asks.clear()
        self.rack.broker.retained.pop(f"{EVENT_TOPICS}day-{number}", None)

    # The night

    def _silence(self, is_silent: bool) -> None:
        self.rack.facility.is_silent = is_silent

    def _step(self, host: RackHost, offset_s: float) -> None:
        host.clock.wall_offset_s = offset_s

    def _broker_is_back(self) -> None:
        self.rack.broker.is_up = True
        for host in self.rack.hosts:
            host.client.connect()

    def _reload_ramp(self, host: RackHost, factor: float) -> None:
        rate = self.rack.scenario.ramp_mw_per_s * factor
        host.reload(replace(host.config, ramp=replace(host.config.ramp, mw_per_s=rate)))

    def _reload_roster(self, host: RackHost, rack: Any) -> None:
        host.reload(replace(host.config, rack=rack))

    # What is looked at

    def _check(self) -> None:
        self._draws_w.append(
            tuple(gpu.draw_mw / W for host in self.rack.hosts for gpu in host.plant.gpus.values())
        )
        hour = (self._world.now_s - self._midnight_s) % DAY_S / HOUR_S
        allowed_w = EVENT_W if hour == 18 else DAY_W if 6 <= hour < 22 else NIGHT_W
        may_draw_w = sum(host.plant.applied_mw for host in self.rack.hosts) / W
        self.over_w = max(self.over_w, may_draw_w - allowed_w)
        for host in self.rack.hosts:
            if host.daemon is not None:
                ends = [promise.end_boot_s for promise in host.daemon.leases.promises]
                self._lease_s = max(self._lease_s, *(end - host.clock.boot_s for end in (*ends, 0.0)))

    def _drawn_mj(self) -> float:
        total_mj = 0.0
        for host in self.rack.hosts:
            for gpu in host.plant.gpus.values():
                gpu.catch_up(self._world.now_s)
                total_mj += gpu.energy_mj
            total_mj += host.plant.overhead_mw * self._world.now_s
        return total_mj

    def _begin_count(self) -> None:
        self._begun_mj = self._drawn_mj()

    def _end_count(self) -> None:
        self._energy = (self._begun_mj, self._drawn_mj())

    def _told(self, number: int, cpu_s: float, steps: int) -> Day:
        draws_w, self._draws_w = tuple(self._draws_w), []
        gc.collect()
        error_pct, unknown_pct = self.energy_error_pct(number)
        first = self._books[self.rack.hosts[0].name]
        directories = [host.disk.directory.parent for host in self.rack.hosts]
        files = [path for directory in directories for path in directory.rglob("*") if path.is_file()]
        troubles = [text for books in self._books.values() for text in books.troubles]
        return Day(
            number=number,
            draws_w=draws_w,
            over_w=self.over_w,
            energy_error_pct=error_pct,
            unknown_pct=unknown_pct,
            sizes=self.sizes(),
            happenings=self.happenings(),
            file_bytes=sum(path.stat().st_size for path in files if "ledger" not in path.name),
            ledger_bytes=sum(path.stat().st_size for path in files if path.name.startswith(first.path.name)),
            lease_s=self._lease_s,
            cpu_s=cpu_s,
            objects=len(gc.get_objects()),
            resident_mib=resident_mib(os.getpid()),
            steps=steps,
            troubles=tuple(troubles),
        )

    def energy_error_pct(self, number: int = 0) -> tuple[float, float]:
        """Return how wrong the first ledger is about a day's event, and what part of it it does not know."""
        midnight_s = self._midnight_s + number * DAY_S
        begin_s, end_s = midnight_s + EVENT_FROM_S, midnight_s + EVENT_TO_S
        books = self._books[self.rack.hosts[0].name]
        energy_mj, known_s = books.energy_mj(f"bridge/day-{number}", begin_s, end_s)
        drawn_mj = self._energy[1] - self._energy[0]
        known_part = known_s / (end_s - begin_s)
        return 100 * (energy_mj / (drawn_mj * known_part) - 1), 100 * (1 - known_part)


def _other_shares(scenario: Scenario) -> Any:
    hosts = tuple(each._replace(share=1.0 + index) for index, each in enumerate(scenario.rack.hosts))
    return replace(scenario.rack, hosts=hosts)


@contextmanager
def month(seed: int, boot_s: float = FIRST_BOOT_S) -> Iterator[Month]:
    """Build a rack for a month, and take it down in the end."""
    with rack_of(calm_rack(seed)) as rack:
        rack.world.history.on = False
        found = Month(rack, seed, boot_s)
        yield found
        found.close()
