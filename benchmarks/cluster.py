"""Whole racks in virtual time: what they survive, how soon and how well they share, how fast that runs.

The controllers, guards, messages and files are the real ones; GPUs, clocks and the network are not.
"""

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from random import Random

from benchmarks.table import Figure, Table, quantile
from powerd.core.decide import Decision
from powerd.core.gpus.allocator import Request, allocate
from powerd.daemon.controller import Report
from powerd.study.command import collect_seldom
from tests.cluster.faults import Adversary
from tests.cluster.host import RackHost
from tests.cluster.plant import PlantGpu
from tests.cluster.rack import Result, SimulatedRack, rack_of, run_seed
from tests.cluster.scenario import W, even

HOSTS, GPUS = 18, 4
STEPS, SEEDS = 1_000_000, 500
# A rack of 18 hosts whose memory is lost waits for some 20 s before anybody lends.
LENDING_BY_S = 35.0
# One host of GPUs that all want 700 W, under budgets that leave 300 W for each.
BUDGET_W = HOSTS * (200 + GPUS * 300)
IDLE_MW = 50 * W


def measure_hostile(
    seeds: int, one_day: Callable[[int], Result] = run_seed, what: str = "Hostile days", of: int = SEEDS
) -> Table:
    """Run hostile days on all cores, and count what happened and what was violated.

    Args:
        one_day: runs the day of a seed.
        what: the days, for the title.
        of: so many seeds are needed at least, and steps in proportion.
    """
    begun_s = time.monotonic()
    wanted = STEPS * of // SEEDS
    steps = iterations = above_newest = 0
    virtual_s = 0.0
    faults: Counter[str] = Counter()
    violated: list[Result] = []
    cores = len(os.sched_getaffinity(0))
    with multiprocessing.Pool(cores) as pool:
        for result in pool.imap_unordered(one_day, range(seeds), chunksize=4):
            steps += result.steps
            iterations += result.iterations
            virtual_s += result.virtual_s
            above_newest += result.above_newest
            faults += result.faults
            if result.violation:
                violated.append(result)
                print(result, flush=True)
    wall_s = time.monotonic() - begun_s
    kinds = tuple(Figure(f"  {kind}", count, "") for kind, count in sorted(faults.items()))
    return Table(
        f"{what} of racks of 2 to 6 hosts, {cores} cores, {wall_s:.0f} s",
        (
            Figure("violations", len(violated), "", 0.0),
            Figure(f"seeds missing of {of}", max(0, of - seeds), "", 0.0),
            Figure(f"steps missing of {wanted:,}", max(0, wanted - steps), "", 0.0),
            Figure("steps, each checked", steps, ""),
            Figure("  of which above the newest budget, as theorem B allows", above_newest, ""),
            Figure("iterations of controllers", iterations, ""),
            Figure("virtual time", virtual_s / 3600, "h"),
            Figure("steps per second", steps / wall_s, "/s"),
            Figure("faults", faults.total(), ""),
            *kinds,
        ),
    )


@dataclass
class _Waking:
    """One GPU that starts work, and until when its host could use others' watts for it."""

    host: RackHost
    woken_s: float
    usable_s: float | None = None


def measure_waking(wakings: int) -> Table:
    """Wake GPUs on one host after the other, whose own entitlement is not enough for them."""
    every_s, works_s = 3.0, 15.0
    calm = even(HOSTS, GPUS, HOSTS * (200 + GPUS * 175), idle_after_s=2.0, warmup_s=2.0)
    length_s = LENDING_BY_S + wakings * every_s + works_s
    random = Random("waking")
    seen: list[_Waking] = []
    with rack_of(calm) as rack:
        rack.world.history.on = False
        waiting: dict[str, _Waking] = {}

        def look() -> None:
            rack.theorem.check()
            for waking in list(waiting.values()):
                if waking.host.plant.applied_mw > own_mw:
                    waking.usable_s = rack.world.now_s
                    del waiting[waking.host.name]

        def wake(host: RackHost) -> None:
            gpu = host.plant.gpus[f"GPU-{host.name}-0"]
            host.plant.set_load(gpu, 700 * W)
            waiting[host.name] = _Waking(host, rack.world.now_s)
            seen.append(waiting[host.name])
            rack.world.after(works_s, host.plant.set_load, gpu, IDLE_MW)

        own_mw = calm.rack.entitlement_mw("h0", calm.rack.usable_mw(calm.budgets_mw[0] or 0))
        rack.world.after_event = look
        rack.start()
        for number, host in zip(range(wakings), cycle(rack.hosts), strict=False):
            at_s = LENDING_BY_S + every_s * number + random.uniform(0.0, calm.period_s)
            rack.world.at(at_s, wake, host)
        rack.world.run_until(length_s)
    periods = sorted(
        ((w.usable_s - w.woken_s) if w.usable_s is not None else length_s) / calm.period_s for w in seen
    )
    return Table(
        f"A GPU wakes: until others' watts are usable, {HOSTS} hosts x {GPUS} GPUs, in virtual time",
        (
            Figure(f"p50 of {len(periods)} wakings", quantile(periods, 0.50), "periods"),
            Figure("p95", quantile(periods, 0.95), "periods", 2.0),
            Figure("worst", periods[-1], "periods"),
        ),
    )


def measure_efficiency() -> Table:
    """Let a part of the hosts idle, and compare what the others use with what one allocator would give."""
    figures = []
    for idle_pct in (25, 50, 75):
        ratios = [ratio for seed in range(3) for ratio in _ratios(idle_pct, seed)]
        lost_pct = 100 * (1 - sum(ratios) / len(ratios))
        name = f"{idle_pct} % of the hosts idle: watts that busy GPUs miss"
        figures.append(Figure(name, lost_pct, "%", 3.0))
    return Table(
        f"Watts used by busy hosts, against one central allocator over all {HOSTS * GPUS} GPUs",
        tuple(figures),
        "the allocator has the same wants, floors, ceilings and sum of budgets, at every iteration",
    )


@dataclass
class _Watch:
    """What every host decided last."""

    decisions: dict[str, Decision] = field(default_factory=dict)

    def __call__(self, host: RackHost, report: Report) -> None:
        self.decisions[host.name] = report.snapshot.decision


def _ratios(idle_pct: int, seed: int) -> list[float]:
    """Return watts used by busy GPUs, over those that one allocator would let them use, once a second."""
    random = Random(f"efficiency {idle_pct} {seed}")
    calm = even(HOSTS, GPUS, BUDGET_W, seed=seed, idle_after_s=5.0, warmup_s=5.0)
    watch = _Watch()
    with rack_of(calm) as rack:
        rack.world.history.on = False
        busy = random.sample(rack.hosts, HOSTS - HOSTS * idle_pct // 100)
        for host in busy:
            for gpu in host.plant.gpus.values():
                gpu.load_mw = random.randrange(250, 900) * W
        for host in rack.hosts:
            host.on_report = watch
        rack.start()
        rack.world.run_until(LENDING_BY_S + 10.0)
        ratios = []
        for _ in range(20):
            rack.world.run_until(rack.world.now_s + 1.0)
            gpus = [gpu for host in busy for gpu in host.plant.gpus.values()]
            central_mw = _central_mw(rack, watch.decisions)
            used_mw = sum(gpu.draw_mw for gpu in gpus)
            ratios.append(used_mw / sum(min(gpu.load_mw, central_mw[gpu.uuid]) for gpu in gpus))
    return ratios


def _central_mw(rack: SimulatedRack, decisions: dict[str, Decision]) -> dict[str, int]:
    """Return the limits that one allocator over the whole rack would give."""
    budget_mw = sum(d.standing.entitlement_mw - d.overhead_mw for d in decisions.values())
    wants_mw = {target.uuid: target.want_mw for d in decisions.values() for target in d.targets}
    requests = [Request(gpu.uuid, gpu.min_mw, gpu.max_mw, wants_mw[gpu.uuid]) for gpu in _gpus(rack)]
    return {uuid: allocation.limit_mw for uuid, allocation in allocate(budget_mw, requests).items()}


def _gpus(rack: SimulatedRack) -> Iterator[PlantGpu]:
    for host in rack.hosts:
        yield from host.plant.gpus.values()


def measure_hour(virtual_s: float) -> Table:
    """Simulate a rack whose loads change all the time."""
    collect_seldom()
    calm = even(HOSTS, GPUS, BUDGET_W, length_s=virtual_s, budget_every_s=20.0, load_every_s=600.0)
    begun_s = time.monotonic()
    with rack_of(calm) as rack:
        rack.world.history.on = False
        adversary = Adversary(rack)
        rack.start()
        adversary.start()
        rack.world.run_until(virtual_s)
        iterations = sum(host.iterations for host in rack.hosts)
        steps = rack.theorem.steps
    wall_s = time.monotonic() - begun_s
    return Table(
        f"{virtual_s:.0f} s of a rack of {HOSTS} hosts x {GPUS} GPUs, one core",
        (
            Figure("wall time per hour", wall_s * 3600 / virtual_s, "s", 90.0),
            Figure("GPUs that woke or went idle", adversary.counts.total(), ""),
            Figure("iterations of controllers", iterations, ""),
            Figure("steps, each checked", steps, ""),
        ),
    )
