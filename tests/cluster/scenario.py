"""What a seed stands for: a rack, its parameters, and how bad its day is going to be."""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from powerd.core.leases.leases import LeaseRules
from powerd.core.topology import Host, Rack
from tests.cluster.daemon import RACK, SITE
from tests.cluster.network import Weather

W = 1000


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One GPU: how far it can be limited, and what it draws when it idles, in milliwatts."""

    min_mw: int
    max_mw: int
    idle_mw: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A rack and its day. Times in seconds, watts in milliwatts.

    Attributes:
        never_falls: the facility only ever raises the budget.
        budgets_mw: what the facility says, one after the other; None = no limit.
        budget_every_s, budget_lease_s: it repeats itself so often, and grants a budget for so long.
        max_budget_lease_s: hosts take no budget for longer, and wait so long for one they do not know.
        failsafe_hold_s, dwell_s, ramp_mw_per_s: how failsafe is held and left, and how the cap climbs.
        gpus, overheads_mw, rates: of each host; the last of its boot clock.
        period_s, hold_s: of the control loop, and of a plan.
        idle_after_s, warmup_s: how demand is judged.
        load_every_s, fault_every_s: mean time between changes of a GPU's load, and between faults; 0 = none.
    """

    seed: int
    length_s: float
    rack: Rack
    rules: LeaseRules
    never_falls: bool
    budgets_mw: tuple[int | None, ...]
    budget_every_s: float
    budget_lease_s: float
    max_budget_lease_s: float
    failsafe_hold_s: float
    dwell_s: float
    ramp_mw_per_s: float
    gpus: tuple[tuple[GpuModel, ...], ...]
    overheads_mw: tuple[int, ...]
    rates: tuple[float, ...]
    period_s: float
    hold_s: float
    idle_after_s: float
    warmup_s: float
    weather: Weather
    load_every_s: float
    fault_every_s: float


def even(
    hosts: int, gpus: int, budget_w: int, *, failsafe_w: int | None = None, floor_w: int = 0, **changes: Any
) -> Scenario:
    """Return a rack of equal hosts on a calm day: GPUs of 100..700 W, 200 W of overhead per host.

    Args:
        failsafe_w: the least the rack can be brought to, unless said.
        changes: of the other fields.
    """
    floor_mw = max(floor_w, 200 + 100 * gpus) * W
    rack = Rack(
        SITE,
        RACK,
        tuple(Host(f"h{i}", 1.0, floor_mw) for i in range(hosts)),
        hard_limit_mw=hosts * (200 + 700 * gpus) * W,
        failsafe_mw=hosts * floor_mw if failsafe_w is None else failsafe_w * W,
        guard_band_pct=0.0,
    )
    plain = Scenario(
        seed=0,
        length_s=60.0,
        rack=rack,
        rules=LeaseRules(),
        never_falls=True,
        budgets_mw=(budget_w * W,),
        budget_every_s=2.0,
        budget_lease_s=60.0,
        max_budget_lease_s=300.0,
        failsafe_hold_s=7200.0,
        dwell_s=0.0,
        ramp_mw_per_s=1e9,
        gpus=((GpuModel(100 * W, 700 * W, 50 * W),) * gpus,) * hosts,
        overheads_mw=(200 * W,) * hosts,
        rates=(1.0,) * hosts,
        period_s=1.0,
        hold_s=5.0,
        idle_after_s=30.0,
        warmup_s=10.0,
        weather=Weather(),
        load_every_s=0.0,
        fault_every_s=0.0,
    )
    return replace(plain, **changes)


def scenario(seed: int) -> Scenario:
    """Return the rack and the day of a seed."""
    random = Random(f"scenario {seed}")
    count = random.choice((2, 2, 3, 3, 3, 4, 4, 5, 6))
    gpus = tuple(_gpus(random) for _ in range(count))
    overheads_mw = tuple(random.randrange(50, 300, 10) * W for _ in range(count))
    floors_mw = [
        overhead_mw + sum(gpu.min_mw for gpu in host) + random.choice((0, 0, 30 * W))
        for overhead_mw, host in zip(overheads_mw, gpus, strict=True)
    ]
    most_mw = sum(overheads_mw) + sum(gpu.max_mw for host in gpus for gpu in host)
    least_mw = int(1.06 * sum(floors_mw)) + 20 * W
    never_falls = random.random() < 0.5
    budgets_mw = _budgets(random, least_mw, most_mw, never_falls=never_falls)
    first_mw = max(least_mw, budgets_mw[0] or most_mw)
    failsafe_mw = random.choice((least_mw, least_mw, random.randrange(least_mw, first_mw + 1), first_mw))
    is_failsafe_high = random.random() < 0.25
    if is_failsafe_high:
        failsafe_mw = random.randrange(first_mw, int(1.2 * most_mw))
    hosts = tuple(
        Host(f"h{i}", random.choice((1.0, 1.0, 1.0, 0.5, 2.0, 3.0)), floor_mw)
        for i, floor_mw in enumerate(floors_mw)
    )
    rack = Rack(
        SITE,
        RACK,
        hosts,
        hard_limit_mw=int(1.25 * most_mw) + W,
        failsafe_mw=failsafe_mw,
        overhead_mw=random.choice((0, 0, 20 * W)),
        guard_band_pct=random.choice((0.0, 0.0, 2.0)),
    )
    # Theorem A is told of the newest budget only: a higher failsafe must not come into force.
    is_patient = is_failsafe_high and never_falls
    return Scenario(
        seed=seed,
        length_s=random.uniform(40.0, 70.0),
        rack=rack,
        rules=_rules(random),
        never_falls=never_falls,
        budgets_mw=budgets_mw,
        budget_every_s=random.uniform(1.0, 4.0),
        budget_lease_s=random.uniform(5.0, 15.0),
        max_budget_lease_s=300.0 if is_patient else random.choice((15.0, 30.0, 300.0)),
        failsafe_hold_s=7200.0 if is_patient else random.choice((10.0, 7200.0)),
        dwell_s=random.choice((0.0, 2.0)),
        ramp_mw_per_s=random.choice((1e9, 1e9, 100.0 * W)),
        gpus=gpus,
        overheads_mw=overheads_mw,
        rates=tuple(1 + random.choice((-1, 1)) * random.uniform(0, 0.001) for _ in range(count)),
        period_s=random.choice((0.5, 1.0)),
        hold_s=random.uniform(2.0, 5.0),
        idle_after_s=random.uniform(1.5, 4.0),
        warmup_s=random.uniform(1.0, 4.0),
        weather=_weather(random),
        load_every_s=random.uniform(2.0, 8.0),
        fault_every_s=random.choice((1.0, 2.0, 4.0, 8.0)),
    )


def _gpus(random: Random) -> tuple[GpuModel, ...]:
    min_mw = random.choice((60, 100, 150)) * W
    model = GpuModel(min_mw, random.randrange(300, 701, 50) * W, random.randrange(30, 60) * W)
    return (model,) * random.choice((1, 2, 2, 3))


def _budgets(random: Random, least_mw: int, most_mw: int, *, never_falls: bool) -> tuple[int | None, ...]:
    amounts_mw: list[int] = [random.randrange(least_mw, most_mw) for _ in range(random.randrange(1, 8))]
    if never_falls:
        return tuple(sorted(amounts_mw))
    if random.random() < 0.2:
        amounts_mw.append(least_mw // 2)
        random.shuffle(amounts_mw)
    return tuple(None if random.random() < 0.05 else mw for mw in amounts_mw)


def _rules(random: Random) -> LeaseRules:
    ttl_s = random.uniform(2.5, 5.0)
    return LeaseRules(
        ttl_s=ttl_s,
        max_ttl_s=ttl_s + random.choice((0.0, 0.0, 2.0)),
        guard_bound_s=random.uniform(2.0, 5.0),
        publish_s=random.choice((0.5, 1.0)),
        lead_s=random.uniform(0.3, 0.8),
        silent_s=random.uniform(1.5, ttl_s),
        least_mw=random.choice((1, 10, 20)) * W,
    )


def _weather(random: Random) -> Weather:
    if random.random() < 0.15:
        return Weather()
    return Weather(
        least_s=0.001,
        most_s=random.choice((0.01, 0.1, 0.5)),
        slow=random.choice((0.0, 0.05, 0.2)),
        slow_s=random.choice((2.0, 8.0, 20.0)),
        lost=random.choice((0.0, 0.02, 0.1, 0.3)),
        doubled=random.choice((0.0, 0.05, 0.2)),
        replayed=random.choice((0.0, 0.02, 0.1)),
    )
