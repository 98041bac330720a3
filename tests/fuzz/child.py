"""Searches under atheris: one process that has loaded all targets, and forks for each search.

libFuzzer ends its process, and to load and watch all code takes seconds; so that is done once. Each line of
standard input is one search, as JSON: target, log file, arguments of libFuzzer. Each line of standard output
is how it ended: the exit code; the first one is 0, once all is loaded.
"""

import json
import os
import random
import sys
from typing import NoReturn

import atheris

from tests.fuzz import place
from tests.fuzz.mutate import Words, mutated
from tests.fuzz.registry import TARGETS, Run

# What is watched: our own code, and what reads TOML for it.
_WATCHED = ["powerd", "tomllib"]


def main(names: list[str]) -> None:
    """Serve until standard input ends."""
    with atheris.instrument_imports(include=_WATCHED):
        runs = {name: TARGETS[name].load() for name in names}
    _answer(0)
    for line in sys.stdin:
        name, log, arguments = json.loads(line)
        place.directory()  # libFuzzer ends its process without a chance to remove anything
        child = os.fork()
        if not child:
            _search(name, runs[name], log, arguments)
        _, status = os.waitpid(child, 0)
        place.remove()
        _answer(os.waitstatus_to_exitcode(status))


def _answer(code: int) -> None:
    sys.stdout.write(f"{code}\n")
    sys.stdout.flush()


def _search(name: str, run: Run, log: str, arguments: list[str]) -> NoReturn:
    """Search until libFuzzer ends the process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    target = TARGETS[name]
    words = Words.of(target.seeds())

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return mutated(data, target, words, rng)[:most]

    atheris.Setup([name, *arguments], run, custom_mutator=mutate)
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
