"""A rack at work: built from a scenario, run in virtual time, checked after every event."""

import contextlib
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import structlog

from benchmarks.table import RAM
from powerd.core.events.schedule import EventRules
from powerd.core.gpus.demand import DemandRules
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.failsafe import FailsafeRules
from powerd.core.rack.ramp import RampRules
from powerd.core.state import Config
from tests.cluster.daemon import StateReader
from tests.cluster.facility import Facility
from tests.cluster.faults import Adversary
from tests.cluster.host import HostPlan, RackHost
from tests.cluster.network import Broker
from tests.cluster.plant import PlantGpu
from tests.cluster.scenario import Scenario, scenario
from tests.cluster.theorem import Theorem, ViolationError
from tests.cluster.world import History, HostClock, World


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Attributes:
        violation: what did not hold; empty when everything did.
        events: the last of what happened.
        digest: of all that happened.
        above_newest: steps in which the rack was above the newest budget, as theorem B allows.
        replay: options that replay it.
    """

    seed: int
    violation: str
    steps: int
    iterations: int
    virtual_s: float
    faults: Counter[str]
    digest: str
    events: tuple[str, ...]
    above_newest: int
    replay: str

    def __str__(self) -> str:
        """Return what a person needs to look into it."""
        return "\n".join(
            (
                f"seed {self.seed}: {self.violation or 'everything held'}",
                *self.events,
                f"replay: python -m tests.cluster {self.replay} --verbose",
            )
        )


class SimulatedRack:
    """All hosts, the broker and the facility.

    Args:
        directory: for the files of all hosts.
    """

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.world = World()
        seed, rules = scenario.seed, scenario.rules
        self.broker = Broker(self.world, Random(f"network {seed}"), scenario.weather)
        self.theorem = Theorem(self.world, scenario.rack, rules, never_falls=scenario.never_falls)
        self.world.after_event = self.theorem.check
        self.facility = Facility(
            self.world,
            self.broker,
            self.theorem,
            scenario.rack.hard_limit_mw,
            every_s=scenario.budget_every_s,
            lease_s=scenario.budget_lease_s,
        )
        random = Random(f"hosts {seed}")
        configs = [self._config(index) for index in range(len(scenario.rack.hosts))]
        reader = StateReader(configs[0])
        self.hosts = [
            RackHost(
                self.world, self._plan(config, index, directory, random), self.broker, reader, self.theorem
            )
            for index, config in enumerate(configs)
        ]

    def start(self) -> None:
        """Start everything."""
        random = Random(f"start {self.scenario.seed}")
        self.facility.change(self.scenario.budgets_mw[0])
        self.world.after(self.scenario.budget_every_s, self.facility.run)
        for host in self.hosts:
            host.guard.start()
            # Their periods do not begin at the same time.
            self.world.after(random.uniform(0.0, self.scenario.period_s), host.start_daemon)

    def stop(self) -> None:
        """Stop everything, without a trace."""
        for host in self.hosts:
            host.kill_daemon()

    def _config(self, index: int) -> Config:
        s = self.scenario
        return Config(
            rack=s.rack,
            host=s.rack.hosts[index].name,
            admission=AdmissionRules(s.rack.hard_limit_mw, max_lease_s=s.max_budget_lease_s),
            ramp=RampRules(s.ramp_mw_per_s, 0.2 * index),
            overhead_mw=s.overheads_mw[index],
            failsafe=FailsafeRules(s.failsafe_hold_s, s.dwell_s),
            demand=DemandRules(s.idle_after_s, s.warmup_s),
            leases=s.rules,
            hold_s=s.hold_s,
            events=EventRules(own_fraction=index / len(s.rack.hosts)),
        )

    def _plan(self, config: Config, index: int, directory: Path, random: Random) -> HostPlan:
        s = self.scenario
        gpus = tuple(
            PlantGpu(
                uuid=f"GPU-{config.host}-{i}",
                index=i,
                min_mw=model.min_mw,
                max_mw=model.max_mw,
                limit_mw=model.min_mw,
                load_mw=model.idle_mw,
            )
            for i, model in enumerate(s.gpus[index])
        )
        is_calm = s.fault_every_s == 0
        return HostPlan(
            config=config,
            gpus=gpus,
            clock=HostClock(self.world, s.rates[index], -1000.0 if is_calm else -random.uniform(10.0, 1e6)),
            directory=directory / config.host,
            period_s=s.period_s,
            call_deadline_s=1.0 if is_calm else min(1.0, 0.15 * s.rules.guard_bound_s),
            attach_s=0.0 if is_calm else 0.02,
            guard_delay_s=(lambda: 0.0) if is_calm else (lambda: random.uniform(0.0, 0.003)),
            budget_lease_s=max(5.0, s.budget_lease_s),
        )


@contextlib.contextmanager
def rack_of(scenario: Scenario, *, show: bool = False) -> Iterator[SimulatedRack]:
    """Build a rack, with its files in memory, and take it down in the end."""
    with tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory:
        rack = SimulatedRack(scenario, Path(directory))
        rack.world.history.show = show
        with quiet(rack.world.history):
            yield rack
            rack.stop()


Script = Callable[["SimulatedRack", Adversary], None]


def run(day: Scenario, *, show: bool = False, script: Script | None = None) -> Result:
    """Run a scenario with its faults.

    Args:
        show: print every event.
        script: told of the rack when everything has started: what else is to happen.
    """
    with rack_of(day, show=show) as rack:
        adversary = Adversary(rack)
        violation = ""
        try:
            rack.start()
            adversary.start()
            if script is not None:
                script(rack, adversary)
            rack.world.run_until(day.length_s)
            violation = "; ".join(error for host in rack.hosts for error in host.errors())
        except ViolationError as found:
            violation = str(found)
            rack.world.history.note("theorem", violation)
    history = rack.world.history
    return Result(
        seed=day.seed,
        violation=violation,
        steps=rack.theorem.steps,
        iterations=sum(host.iterations for host in rack.hosts),
        virtual_s=rack.world.now_s,
        faults=adversary.counts + rack.broker.counts,
        digest=history.digest,
        events=tuple(history.lines),
        above_newest=rack.theorem.above_newest,
        replay=f"--seed {day.seed}{' --events' if script else ''}",
    )


def run_seed(seed: int, *, show: bool = False) -> Result:
    """Run the day of a seed."""
    return run(scenario(seed), show=show)


class _Journal:
    """Where guards write their journal: into the history."""

    def __init__(self, history: History) -> None:
        self._history = history

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self._history.journal(text.strip())

    def flush(self) -> None:
        pass


@contextlib.contextmanager
def quiet(history: History) -> Iterator[None]:
    """Keep logs and journals of hundreds of daemons and guards off the terminal."""
    before: dict[str, Any] = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    stderr, sys.stderr = sys.stderr, _Journal(history)
    try:
        yield
    finally:
        sys.stderr = stderr
        structlog.configure(**before)
