"""`python -m tests.fuzz`: search every parser for an input that violates its oracle (docs/fuzzing.md)."""

# ruff: noqa: T201 - a command prints

import argparse
import contextlib
import importlib.util
import queue
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.registry import TARGETS, Target
from tests.fuzz.run import Result, Searcher, replay_command

_HEAD = f"{'target':22}{'inputs':>10}{'per s':>8}{'edges':>7}{'new':>6}  finding"
_NEEDS_ATHERIS = (
    "fuzzing needs x86_64, for which alone atheris is built; `make test` tries the same targets with seeded "
    "mutations"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if there is a finding, 2 if nothing could be tried."""
    options = _parser().parse_args(arguments)
    if options.replay is not None:
        return replay(options.replay, options.target)
    if importlib.util.find_spec("atheris") is None:
        print(_NEEDS_ATHERIS, file=sys.stderr)
        return 2
    targets = [TARGETS[name] for name in options.target or TARGETS]
    seed = random.randrange(1, 2**31) if options.seed is None else options.seed
    print(f"seed {seed}\n{_HEAD}", flush=True)
    results = search(targets, seed, None if options.seconds else options.runs, options.seconds, options.jobs)
    inputs = sum(result.inputs for result in results)
    bad = [result for result in results if not result.is_good]
    print(f"{'all':22}{inputs:>10,}{'':21}  {len(bad) or 'none'}")
    return 1 if bad else 0


def search(
    targets: Sequence[Target], seed: int, runs: int | None, seconds: int | None, jobs: int
) -> list[Result]:
    """Search all targets, the longest searches first, so many of them side by side.

    Args:
        runs: how many inputs to try, all targets together.
        seconds: how long to search each target.
    """
    waiting = queue.SimpleQueue[Target]()
    for target in sorted(targets, key=lambda each: -each.weight):
        waiting.put(target)

    def work() -> list[Result]:
        done = []
        with Searcher(targets) as searcher, contextlib.suppress(queue.Empty):
            while True:
                target = waiting.get_nowait()
                part = _part(target, targets, runs)
                done.append(searcher.search(target, seed=seed, runs=part, seconds=seconds))
                _tell(done[-1])
        return done

    with ThreadPoolExecutor(jobs) as pool:
        workers = [pool.submit(work) for _ in range(jobs)]
        return [result for worker in workers for result in worker.result()]


def replay(path: Path, names: Sequence[str]) -> int:
    """Try one input again, without atheris; the target is named by its directory, or as an option."""
    [name] = names or [path.resolve().parent.name]
    TARGETS[name].load()(path.read_bytes())
    print(f"{path}: {name} keeps its promise")
    return 0


def _part(target: Target, targets: Sequence[Target], runs: int | None) -> int | None:
    """Return how many of all inputs one target gets; rounded up, so that there are at least so many."""
    whole = sum(each.weight for each in targets)
    return None if runs is None else -(-runs * target.weight // whole)


def _tell(result: Result) -> None:
    rate = result.inputs / max(result.took_s, 1e-9)
    row = f"{result.target.name:22}{result.inputs:>10,}{rate:>8,.0f}{result.edges:>7}{result.new:>6}"
    print(f"{row}  {'-' if result.is_good else 'FOUND'}", flush=True)
    if result.failure:
        print(result.failure)
    if result.finding is not None:
        print(f"again: {replay_command(result.finding)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_500_000, help="inputs for all targets together")
    parser.add_argument("--seconds", type=int, help="for each target, instead of --runs")
    parser.add_argument("--target", action="append", default=[], choices=TARGETS, help="only this one")
    parser.add_argument("--seed", type=int, help="for the same inputs again; default: a new one")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try one input again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
