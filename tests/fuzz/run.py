"""Runs targets under libFuzzer, each in a process of its own, and reads from its log what came of it."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from tests.fuzz.registry import Target

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
# No input takes nearly as long, or needs nearly as much, on any machine.
INPUT_WITHIN_S = 30
MEMORY_MB = 1024

_EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")
_COVERED = re.compile(r"#\d+\s+\w+\s+cov: (\d+)")
_NEW_UNITS = re.compile(r"stat::new_units_added:\s+(\d+)")
_ARTIFACT = re.compile(r"Test unit written to (.+)")


class Result(NamedTuple):
    """What came of one target.

    Attributes:
        edges: of the code that is watched; the seeds count.
        new: inputs that reached something new, kept in `build/fuzz/NAME/corpus`.
        finding: the input that violates the oracle; None if none does.
        failure: the end of the log, if the search did not end well.
    """

    target: Target
    inputs: int
    took_s: float
    edges: int
    new: int
    finding: Path | None
    failure: str

    @property
    def is_good(self) -> bool:
        """Say whether the search ran to its end and found nothing."""
        return not self.failure


class Searcher:
    """A process that searches, one target after another; a context manager.

    Args:
        targets: those it will be asked for.
        build: where logs, new inputs and findings go.
    """

    def __init__(self, targets: Iterable[Target], build: Path = BUILD) -> None:
        names = [target.name for target in targets]
        self._build = build
        build.mkdir(parents=True, exist_ok=True)
        with (build / "loading.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.child", *names],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__(None, None, None)  # closes its input, which ends it, and waits

    def search(
        self, target: Target, *, seed: int, runs: int | None = None, seconds: int | None = None
    ) -> Result:
        """Search for an input that violates the oracle of a target.

        Args:
            seed: the same one tries the same inputs, as long as code and corpus stay.
            runs: how many inputs to try.
            seconds: how long to try.
        """
        place = self._build / target.name
        new, log = place / "corpus", place / "log"
        new.mkdir(parents=True, exist_ok=True)
        arguments = [
            f"-seed={seed}",
            f"-max_len={target.max_bytes}",
            f"-timeout={INPUT_WITHIN_S}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-artifact_prefix={place}/",
            "-print_final_stats=1",
            *([f"-runs={runs}"] if runs is not None else []),
            *([f"-max_total_time={seconds}"] if seconds is not None else []),
            str(new),
            str(target.corpus),
        ]
        begun_s = time.monotonic()
        code = self._ask([target.name, str(log), arguments])
        took_s = time.monotonic() - begun_s
        text = log.read_text(errors="replace")
        artifact = _ARTIFACT.search(text)
        return Result(
            target,
            inputs=_last(_EXECUTED, text),
            took_s=took_s,
            edges=_last(_COVERED, text),
            new=_last(_NEW_UNITS, text),
            finding=Path(artifact[1]) if artifact else None,
            failure="" if code == 0 else f"exit code {code}\n{_why(text)}",
        )

    def _ask(self, search: list[object]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(search)}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"targets could not be loaded: see {self._build}/loading.log"
        return int(line)


def replay_command(finding: Path) -> str:
    """Return how to see a finding again."""
    return f"python -m tests.fuzz --replay {finding.relative_to(ROOT)}"


def _last(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.findall(text)
    return int(found[-1]) if found else 0


def _why(text: str) -> str:
    """Return the traceback, or else the end of the log."""
    start = text.find("=== Uncaught Python exception: ===")
    lines = text[start:].split("\n==", 1)[0] if start >= 0 else text
    return "\n".join(lines.splitlines()[-25:])
