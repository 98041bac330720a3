"""What `make test` tries of each target: the same inputs each time."""

import importlib.util
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.mutate import Words, mutated
from tests.fuzz.registry import TARGETS, Target
from tests.fuzz.run import Searcher

SEED = 20261121
# Two files of tests share the targets, so that they run side by side.
_HALF = len(TARGETS) // 2
FIRST, SECOND = list(TARGETS)[:_HALF], list(TARGETS)[_HALF:]


@contextmanager
def searcher(names: list[str], directory: Path) -> Iterator[Searcher | None]:
    """Give what searches by coverage; None where there is no atheris."""
    if importlib.util.find_spec("atheris") is None:
        yield None
        return
    with Searcher((TARGETS[name] for name in names), directory) as found:
        yield found


def check(target: Target, by: Searcher | None) -> None:
    """Prove that no input violates the oracle of a target, and that all of them were tried."""
    if by is None:
        assert tried(target, target.brief_runs) == target.brief_runs
        return
    result = by.search(target, seed=SEED, runs=target.brief_runs)
    found = result.finding.read_bytes() if result.finding else b""
    assert result.is_good, f"{target.name}: {found!r}\n{result.failure}"
    assert result.inputs >= target.brief_runs
    assert result.edges > 0


def tried(target: Target, runs: int) -> int:
    """Try seeds and seeded mutations of them; return how many. What the target raises is passed on."""
    run, number = target.load(), 0
    for data in inputs(target, runs):
        number += 1
        try:
            run(data)
        except Exception as error:
            raise AssertionError(f"{target.name}: {data!r}") from error
    return number


def inputs(target: Target, runs: int) -> Iterator[bytes]:
    """Yield the seeds, and mutations of what came before, always the same."""
    rng, seeds = random.Random(SEED), target.seeds()
    words, known = Words.of(seeds), list(seeds)
    for number in range(runs):
        if number < len(seeds):
            yield seeds[number]
            continue
        data = mutated(rng.choice(known), target, words, rng)
        known[rng.randrange(len(known))] = data if rng.random() < 0.5 else rng.choice(seeds)
        yield data
