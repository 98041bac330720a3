"""`powerd simulate`: runs of policies side by side, as many at once as there are processors."""

import gc
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from powerd.errors import ConfigError
from powerd.study.dataset import BUNDLED, Dataset
from powerd.study.plots import draw
from powerd.study.policies import MEASURED, POLICIES, USUAL
from powerd.study.racks import LOADS
from powerd.study.runner import Case, Change, Part, Result, check, run_part, total
from powerd.study.table import Comparison, compare, render

SHOW_PROGRESS_AFTER_S = 2.0
# So many lines of progress at the most where they cannot be overwritten.
TOLD_TIMES = 10


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for, as it was typed.

    Attributes:
        budget, steps: "60%", and ("3600:50%", ...): seconds from the start.
        policies: names joined by commas, or "all", the usual ones; "list" prints them, as it does for `rack`.
        with_measured: `powerd-measured` is to stand beside `powerd`.
        racks: the GPUs stand in as many.
    """

    rack: str
    gpus: int
    budget: str
    steps: tuple[str, ...]
    policies: str
    seeds: int
    hours: float
    period_s: float
    data: Path | None
    model: str
    start_h: float | None
    with_measured: bool = False
    racks: int = 1

    def names(self) -> tuple[str, ...]:
        """Return the policies that are to be compared."""
        names = USUAL if self.policies == "all" else tuple(self.policies.split(","))
        if not self.with_measured or MEASURED in names:
            return names
        at = names.index("powerd") + 1 if "powerd" in names else 0
        return (*names[:at], MEASURED, *names[at:])

    def case(self) -> Case:
        """Return what is to be simulated.

        Raises:
            ConfigError: names the option at fault.
        """
        return Case(
            self.rack,
            self.gpus,
            budget_of(self.budget, self.steps),
            self.hours,
            self.period_s,
            self.data,
            self.model,
            self.start_h,
            racks=self.racks,
        )


def simulate(options: Options, plot: Path | None = None, *, as_json: bool = False) -> str:
    """Do what was asked for, and return what is to be printed.

    Raises:
        ConfigError: something asked for does not exist, or the data cannot be used.
    """
    if options.rack == "list":
        return _racks(options.data)
    if options.policies == "list":
        return "\n".join(POLICIES)
    names = options.names()
    if plot is not None and not plot.parent.is_dir():  # not after minutes of work
        raise ConfigError(f"--plot {plot}: there is no directory {plot.parent}")
    case = options.case()
    comparison = compare_policies(case, names, options.seeds)
    if plot is not None:
        draw(case.part(0), names, plot)
    return json.dumps(comparison.as_dict(), indent=2) if as_json else render(comparison)


def _racks(data: Path | None) -> str:
    """List the loads, and the partitions that the data has."""
    lines = [f"{name:12} {text}" for name, text in LOADS.items()]
    try:
        partitions = Dataset(data or BUNDLED).occupancy()
    except ConfigError as error:
        return "\n".join([*lines, "", str(error)])
    return "\n".join([*lines, "", f"VC is one of {', '.join(partitions)}; loads can be joined: training+llm"])


def budget_of(text: str, steps: Sequence[str]) -> tuple[Change, ...]:
    """Read a budget ("60%") and its changes ("3600:50%", seconds from the start).

    Raises:
        ConfigError: names the option at fault.
    """
    changes = [Change(0.0, _part("--budget", text))]
    for step in steps:
        seconds, colon, part = step.partition(":")
        try:
            from_s = float(seconds)
        except ValueError:
            from_s = -1.0
        if not colon or not from_s > changes[-1].from_s:
            raise ConfigError(f'--step "{step}": give SECONDS:PERCENT, in the order of time, as 3600:50%')
        changes.append(Change(from_s, _part("--step", part)))
    return tuple(changes)


def _part(option: str, text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise ConfigError(f'{option} "{text}": give a percentage of what all GPUs can draw, as 60%') from None


def compare_policies(case: Case, policies: Sequence[str], seeds: int) -> Comparison:
    """Run all of it, with progress on stderr when it takes longer.

    Raises:
        ConfigError: something asked for does not exist, or the data cannot be used.
    """
    check(case, policies)
    if seeds < 1:
        raise ConfigError("--seeds must be above 0")
    order = {policy: index for index, policy in enumerate(policies)}
    results = sorted(_all(case, policies, seeds), key=lambda result: (order[result.policy], result.seed))
    return compare(case, results)


def _all(case: Case, policies: Sequence[str], seeds: int) -> Iterator[Result]:
    # What takes longest first, so that the processes end together.
    work = [
        (policy, seed, number)
        for policy in sorted(policies, key=lambda p: p[:6] != "powerd")
        for seed in range(seeds)
        for number in range(case.racks)
    ]
    parts: dict[tuple[str, int], dict[int, Part]] = {}
    begin_s = time.monotonic()
    context = multiprocessing.get_context("spawn")
    processes = min(len(work), os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, mp_context=context, initializer=collect_seldom) as pool:
        waiting = {pool.submit(run_part, case, *each): each for each in work}
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                policy, seed, number = waiting[future]
                found = parts.setdefault((policy, seed), {})
                found[number] = future.result()
                if len(found) == case.racks:  # put together in one order, whichever was ready first
                    yield total(policy, seed, [found[each] for each in range(case.racks)])
                _progress(done, len(work), time.monotonic() - begin_s)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


def collect_seldom() -> None:
    """Look for cyclic garbage seldom: a decision makes many records and hardly any cycles."""
    gc.set_threshold(1_000_000, 20, 100)


def _progress(done: int, count: int, elapsed_s: float) -> None:
    if elapsed_s < SHOW_PROGRESS_AFTER_S:
        return
    text = f"{done} of {count} runs, {elapsed_s:.0f} s"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}")
    elif done * TOLD_TIMES // count > (done - 1) * TOLD_TIMES // count:  # a log need not have every one
        sys.stderr.write(f"powerd: {text}\n")
    sys.stderr.flush()
