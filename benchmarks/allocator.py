"""How long it takes to share a budget, and to decide, in pure Python."""

import random
import timeit
from dataclasses import replace
from functools import partial

from benchmarks.table import Figure, Table
from powerd.core.decide import decide
from powerd.core.gpus.allocator import Request, allocate
from powerd.core.model import Capability, Constraints, GpuReading, GpuState, Now
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.ramp import RampRules
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.state import Config, Inputs, State, initial_state
from powerd.core.topology import Host, Rack

BOUNDS_US = {72: 150.0, 1000: 2000.0}


def requests(count: int, seed: int) -> list[Request]:
    """Return GPUs of one model with random wants and weights."""
    rng = random.Random(seed)
    return [
        Request(f"GPU-{i:05d}", 100_000, 700_000, rng.randint(100_000, 700_000), rng.choice((1.0, 2.0)))
        for i in range(count)
    ]


def measure_allocator() -> Table:
    """Time `allocate`, and check that the sums are exact."""
    figures = []
    for count in (8, 72, 1000):
        gpus, budget_mw = requests(count, seed=count), count * 350_000 + 7
        total = sum(allocation.limit_mw for allocation in allocate(budget_mw, gpus).values())
        if total != budget_mw:
            raise AssertionError(f"{count} GPUs were given {total} mW of {budget_mw}")
        runs = max(5, 20_000 // count)
        best_s = min(timeit.repeat(partial(allocate, budget_mw, gpus), number=runs, repeat=7)) / runs
        figures.append(Figure(f"allocate {count} GPUs, best of 7", best_s * 1e6, "us", BOUNDS_US.get(count)))
    return Table("Allocator, pure Python, exact sums", tuple(figures))


def measure_decision() -> Table:
    """Time `decide` on a budget that changes every time."""
    figures = []
    for count in (8, 72):
        config, state, readings = host_of(count)
        now = Now(1000.0, 1_763_690_000.0)
        messages = [budget(now, seq, watts=20_000 + 500 * (seq % 2)) for seq in range(400)]

        def decide_all(
            config: Config = config,
            state: State = state,
            readings: tuple[GpuReading, ...] = readings,
            messages: list[BudgetMessage] = messages,
            now: Now = now,
        ) -> None:
            for message in messages:
                _, state = decide(Inputs(readings, (message,)), state, now, config)

        best_s = min(timeit.repeat(decide_all, number=1, repeat=5)) / len(messages)
        figures.append(Figure(f"decide for {count} GPUs, best of 5", best_s * 1e6, "us"))
    return Table("Decision, from message to plan", tuple(figures))


def host_of(count: int) -> tuple[Config, State, tuple[GpuReading, ...]]:
    """Return a rack of one host with `count` busy GPUs."""
    floor_mw = count * 100_000 + 800_000
    rack = Rack("s", "r", (Host("h", 1.0, floor_mw),), hard_limit_mw=100_000_000, failsafe_mw=floor_mw * 2)
    config = Config(rack, "h", AdmissionRules(rack.hard_limit_mw), RampRules(1e6), overhead_mw=800_000)
    reading = GpuReading(
        uuid="GPU-0",
        index=0,
        name="GPU",
        state=GpuState.OK,
        capability=Capability.SETTABLE,
        constraints=Constraints(100_000, 700_000, 700_000),
        draw_mw=250_000,
        requested_mw=260_000,
        enforced_mw=260_000,
        worst_case_mw=260_000,
        capped_ns=0,
        sampled_boot_s=999.0,
    )
    readings = tuple(replace(reading, uuid=f"GPU-{i:05d}", index=i) for i in range(count))
    return config, initial_state(Now(999.0, 1_763_689_999.0)), readings


def budget(now: Now, seq: int, watts: int) -> BudgetMessage:
    """Return a fresh budget."""
    return BudgetMessage("bench", 1, seq, now.wall_s, now.wall_s + 60, watts * 1000, now, digest=str(seq))
