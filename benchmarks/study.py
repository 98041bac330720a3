"""powerd beside published policies on measured curves and traces: tables, bad days, and the time it takes."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import Figure, Table, load_note
from powerd.study.command import collect_seldom, compare_policies
from powerd.study.dataset import Dataset
from powerd.study.plant import Faults, Sensor
from powerd.study.plots import draw
from powerd.study.policies import USUAL
from powerd.study.runner import Case, Change, run
from powerd.study.table import Comparison, render

SEEDS = 5
BUDGETS = (0.5, 0.6, 0.7, 0.8)
SIZES = (16, 32, 48, 64)
MIXED = ("training+llm", "llm", "all-busy", "sync:4")
# Without --full: two partitions that are busy now and then, two that mostly are, and racks of 32 GPUs.
SHORT_PARTITIONS = ("vc8Sj", "vcvlY", "vcTJs", "vcLJZ")
SHORT_SIZES = (32,)
FULL_HOURS = 24.0
ARRIVALS = ("azure", "mooncake")
ARRIVAL_HOURS = 0.5
WAVES_S = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)

# Bounds, in percent unless the name says otherwise.
GAP_MISSED_TRAINING, GAP_MISSED_SERVING = 8.0, 15.0
BELOW_UNIFORM = 0.3
BEHIND_BEST = 0.2
BACKLOG_RATIO = 1.1
CHANGES_PER_GPU_MIN = 2.0
DAY_S, SITE_HOUR_S = 300.0, 600.0
# A site is rows of GPUs with a budget each; so many of them tell how long all of them take.
SITE_GPUS, ROW_GPUS, ROWS_MEASURED = 10_000, 500, 2


def measure_study(hours: float, *, full: bool = False) -> Table:
    """Compare all policies on every rack and budget; the tables go to the terminal as they are ready.

    Args:
        hours: simulated per seed; with `full` a day.
    """
    partitions = tuple(Dataset().occupancy()) if full else SHORT_PARTITIONS
    racks = (*(f"helios:{partition}" for partition in partitions), *MIXED)
    figures: list[Figure] = []
    for rack in racks:
        for gpus in SIZES if full else SHORT_SIZES:
            for part in BUDGETS:
                case = Case(rack, gpus, (Change(0.0, part),), FULL_HOURS if full else hours)
                figures += _rows(_compared(case))
    return Table("Redistribution on measured curves and traces", tuple(figures), load_note())


def _compared(case: Case, policies: Sequence[str] = USUAL, seeds: int = SEEDS) -> Comparison:
    comparison = compare_policies(case, policies, seeds)
    print(render(comparison), end="\n\n", flush=True)
    return comparison


def _rows(comparison: Comparison) -> Iterator[Figure]:
    case, powerd = comparison.case, comparison.row("powerd")
    name = f"{case.rack} {case.gpus} GPUs {case.budget[0].part:.0%}"
    serving = "llm" in case.rack
    if powerd.gap_share is not None:
        # At half of the budget it is only shown.
        missed = GAP_MISSED_SERVING if serving else GAP_MISSED_TRAINING
        bound = missed if case.budget[0].part > BUDGETS[0] and case.rack != "all-busy" else None
        yield Figure(f"{name}: of the gap missed", 100 * (1 - powerd.gap_share), "%", bound)
    yield _below_uniform(name, comparison)
    others = [row for row in comparison.rows if row.policy not in ("powerd", "oracle", "hindsight")]
    keeping = max(row.throughput for row in others if row.over_limits_ws == 0)
    yield Figure(
        f"{name}: behind the best within limits", 100 * (keeping - powerd.throughput), "%", BEHIND_BEST
    )
    best = max(row.throughput for row in others)
    yield Figure(f"{name}: behind the best of all", 100 * (best - powerd.throughput), "%")
    yield Figure(f"{name}: drawn above the budget", powerd.over_ws, "W s", 0.0)
    steady = CHANGES_PER_GPU_MIN if case.rack == "all-busy" else None
    yield Figure(f"{name}: cap changes per GPU-minute", powerd.changes_per_gpu_min, "", steady)


def _below_uniform(name: str, comparison: Comparison) -> Figure:
    """Return the loss of the worst seed against doing nothing."""
    worst = comparison.row("powerd").least_against_uniform or 0.0
    return Figure(f"{name}: below uniform, worst seed", max(0.0, -100 * worst), "%", BELOW_UNIFORM)


def measure_arrivals() -> Table:
    """Serve requests that are known by the second, and see how long they wait."""
    figures = []
    for rack in ARRIVALS:
        comparison = _compared(Case(rack, 16, (Change(0.0, 0.6),), ARRIVAL_HOURS))
        optimum = comparison.row("oracle").backlog_p99_s or 1e-9
        for policy in ("powerd", "hindsight", "uniform", "proportional"):
            waiting_s = comparison.row(policy).backlog_p99_s or 0.0
            bound = BACKLOG_RATIO if policy == "powerd" else None
            figures.append(
                Figure(f"{rack}: backlog p99 of the optimum's, {policy}", waiting_s / optimum, "", bound)
            )
    return Table("Services by the second, mean load 0.6, budget 60 %", tuple(figures), load_note())


@dataclass(frozen=True)
class _BadDay:
    name: str
    case: Case


def _bad_days() -> Iterator[_BadDay]:
    budget = (Change(0.0, 0.6),)
    for wave_s in WAVES_S:
        rack = f"square:{wave_s:g}"
        hours = max(0.05, 20 * wave_s / 3600)
        yield _BadDay(f"a load of {wave_s:g} s, on and off", Case(rack, 8, budget, hours))
        yield _BadDay(
            f"the same on half of the GPUs ({wave_s:g} s)", Case(f"{rack}+training", 8, budget, hours)
        )
    yield _BadDay("a job that starts on every GPU at once", Case("square:600", 32, budget, 0.5))
    sensors = {
        "a lag of 1 s": Sensor(lag_steps=1),
        "a mean over 1 s": Sensor(window_s=1.0),
        "a quarter of the time": Sensor(coverage=0.25),
    }
    for name, sensor in sensors.items():
        yield _BadDay(f"readings of {name}", Case("training+llm", 16, budget, 0.5, sensor=sensor))
    hot = Faults(hot=(0, 1), hot_w=180.0)
    yield _BadDay("two GPUs throttled by heat", Case("helios:vcTJs", 16, budget, 0.5, faults=hot))
    deaf = Faults(deaf=(0, 1), deaf_w=150.0)
    yield _BadDay("two GPUs deaf below 150 W", Case("helios:vc8Sj", 16, budget, 0.5, faults=deaf))
    steps = (Change(0.0, 0.8), Change(300.0, 0.5), Change(900.0, 0.8), Change(1200.0, 0.6))
    yield _BadDay("a budget that jumps", Case("helios:vc8Sj", 16, steps, 0.5))
    for model in ("A40", "V100"):
        case = Case("helios:vc8Sj", 16, (Change(0.0, 0.7),), 0.5, model=model)
        yield _BadDay(f"flat, noisy and dented curves ({model})", case)


def measure_bad_days() -> Table:
    """Never do worse than nothing, whatever loads, sensors and boards do."""
    figures = []
    for day in _bad_days():
        comparison = _compared(day.case, ("powerd", "uniform", "oracle"), seeds=3)
        figures.append(_below_uniform(day.name, comparison))
        powerd = comparison.row("powerd")
        figures.append(Figure(f"{day.name}: sum of limits above", powerd.over_limits_ws, "W s", 0.0))
        figures.append(Figure(f"{day.name}: cap changes", powerd.changes_per_gpu_min, "/GPU min"))
    return Table("Bad days", tuple(figures), load_note())


def measure_day(file: Path) -> Table:
    """Draw a day of one rack: budget, draw, limits, and what is stranded."""
    file.parent.mkdir(parents=True, exist_ok=True)
    steps = (Change(0.0, 0.7), Change(9 * 3600.0, 0.5), Change(12 * 3600.0, 0.7))
    case = Case("helios:vcvlY+llm", 32, steps, 24.0)
    results = draw(case, ("powerd", "uniform", "proportional", "geopm", "dynamo", "oracle"), file)
    figures = (Figure(f"{result.policy}: work done", 100 * result.throughput, "%") for result in results)
    return Table(f"A day of one rack, drawn in {file}", tuple(figures))


def measure_speed() -> Table:
    """Simulate a part, and take the whole to last as many times longer."""
    collect_seldom()
    budget = (Change(0.0, 0.6),)
    day_s = 24 * 6 * _cpu_s(Case("helios:vcvlY", 64, budget, 1 / 6))
    gpus = ROW_GPUS * ROWS_MEASURED
    begun_s = time.monotonic()
    compare_policies(Case("helios:vcvlY", gpus, budget, 1.0, racks=ROWS_MEASURED), ("powerd",), 1)
    site_s = (time.monotonic() - begun_s) * SITE_GPUS / gpus
    host_s = 120 * _cpu_s(Case("helios:vcvlY", SITE_GPUS, budget, 1 / 120))
    what = f"an hour of {SITE_GPUS:,} GPUs"
    figures = (
        Figure("a day of 64 GPUs, one core", day_s, "s", DAY_S),
        Figure(f"{what} in rows of {ROW_GPUS}, {os.cpu_count()} cores", site_s, "s", SITE_HOUR_S),
        Figure(f"{what} as one host, one core", host_s, "s"),
    )
    return Table("Speed of powerd simulate, policy powerd", figures, load_note())


def _cpu_s(case: Case) -> float:
    rack = case.build(0)
    begun_s = time.process_time()
    run(case, "powerd", 0, rack)
    return time.process_time() - begun_s
