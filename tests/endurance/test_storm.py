"""A real daemon in a storm of messages that cannot be used: it says little of them, and all that matters."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.footprint import resident_mib
from benchmarks.table import RAM
from powerd.daemon.problems import MAX_PROBLEMS, MAX_SUBJECTS
from powerd.history.happenings import MAX_HAPPENINGS
from powerd.log import BURST_LINES
from tests.daemon.host import Tables
from tests.daemon.rig import Rig

RATE_PER_S, LONGEST_S = 1500, 120
MESSAGES = 6000
# Lines of other kinds, on the way: the guard, the budgets of the test.
OTHER_LINES = 30


class Storm:
    """A rig that runs under a budget, and the storm around it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        command = (sys.executable, "-m", "tests.endurance.flooder")
        arguments = (str(rig.broker.port), "storm", str(RATE_PER_S), str(LONGEST_S))
        self._sender = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL)

    def end(self) -> None:
        """End the storm."""
        self._sender.kill()
        self._sender.wait()

    def lasts(self, messages: int) -> None:
        """Wait until so many more messages have been heard."""
        enough = self.heard() + messages
        self.rig.wait_for(lambda: self.heard() >= enough, LONGEST_S, what=f"{messages} messages")

    def heard(self) -> int:
        """Return how many messages the daemon has had."""
        return int(self.rig.status()["bus"]["received"])


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Return a rig that runs, listens to one sender of budgets, and obeys it."""
    tables: Tables = {"signals.native": {"sources": ["facility-a"]}, "signals.advisory": {"enabled": True}}
    with (
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory,
        Rig(Path(directory), gpus=2, tables=tables) as rig,
    ):
        rig.start()
        rig.obey(1500, lease_s=300)
        yield rig


@pytest.fixture
def storm(rig: Rig) -> Iterator[Storm]:
    """Return a storm that has begun."""
    storm = Storm(rig)
    yield storm
    storm.end()


def test_lines_series_and_memory_are_bounded_and_what_matters_is_done_and_told(storm: Storm) -> None:
    rig = storm.rig
    storm.lasts(MESSAGES // 2)
    kinds = {error["event"] for error in rig.status()["errors"]}
    series, mib, open_files = _series(rig), resident_mib(rig.daemon.pid), _descriptors(rig)
    storm.lasts(MESSAGES // 2)
    assert "signal_rejected" in kinds

    rig.obey(1200, lease_s=300, within_s=30)
    rig.guard.kill()
    rig.wait_for(lambda: rig.problem("guard_unusable"), 30, what="the dead guard to be told of")

    lines = rig.daemon.log_of_run.splitlines()
    about_storm = [line for line in lines if "signal_" in line.split()[0]]
    assert len(about_storm) <= min(BURST_LINES, 3 * len(kinds) * (MAX_SUBJECTS + 1))
    assert len(lines) - len(about_storm) <= OTHER_LINES
    assert max(map(len, lines)) < 1000
    assert len(rig.status()["errors"]) <= MAX_PROBLEMS
    assert _series(rig) - series < 20
    assert len(json.loads(rig.get("/v1/history").body)["happenings"]) <= MAX_HAPPENINGS
    assert resident_mib(rig.daemon.pid) - mib < 5.0
    assert _descriptors(rig) <= open_files


def _series(rig: Rig) -> int:
    """Return how many series of refusals the metrics have."""
    return sum(line.startswith("powerd_signal_") for line in rig.get("/metrics").body.splitlines())


def _descriptors(rig: Rig) -> int:
    return sum(1 for _ in Path(f"/proc/{rig.daemon.pid}/fd").iterdir())
