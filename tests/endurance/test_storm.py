"""A real daemon in storms of messages, good and bad: what they leave behind, and what is told of them."""

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
from tests.endurance.flooder import LISTED

RATE_PER_S, LONGEST_S = 1500, 120
MESSAGES = 6000
# Lines of other kinds, on the way: the guard, the budgets of the test.
OTHER_LINES = 30
# A connection that is just closed, a thread that is not yet needed again.
A_FEW = 8


class Storm:
    """A rig that runs under a budget, and the storm around it.

    Args:
        kind: what is sent, as `tests.endurance.flooder` calls it.
    """

    def __init__(self, rig: Rig, kind: str) -> None:
        self.rig = rig
        command = (sys.executable, "-m", "tests.endurance.flooder")
        arguments = (str(rig.broker.port), kind, str(RATE_PER_S), str(LONGEST_S))
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
    """Return a rig that runs, listens to two senders of budgets, and obeys one."""
    tables: Tables = {
        "signals.native": {"sources": ["facility-a", LISTED]},
        "signals.advisory": {"enabled": True},
    }
    with (
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory,
        Rig(Path(directory), gpus=2, tables=tables) as rig,
    ):
        rig.start()
        rig.obey(1500, lease_s=300)
        yield rig


@pytest.fixture
def storm(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Storm]:
    """Return a storm that has begun, of the kind that the test names."""
    storm = Storm(rig, request.param)
    yield storm
    storm.end()


@pytest.mark.parametrize("storm", ["looping"], indirect=True)
def test_thousands_of_budgets_in_good_order_leave_nothing_behind(storm: Storm) -> None:
    """From one sender that says the same without end, each time as something new."""
    rig = storm.rig
    storm.lasts(MESSAGES // 2)
    before = [_Held(pid) for pid in (rig.daemon.pid, rig.guard.pid)]
    storm.lasts(MESSAGES)
    rig.obey(1200, lease_s=300, within_s=30)
    for each in before:
        each.has_grown_by_less_than(3.0)
    assert sum(path.stat().st_size for path in (rig.directory / "state").iterdir()) < 1_000_000


@pytest.mark.parametrize("storm", ["storm"], indirect=True)
def test_lines_series_and_memory_are_bounded_and_what_matters_is_done_and_told(storm: Storm) -> None:
    rig = storm.rig
    storm.lasts(MESSAGES // 2)
    kinds = {error["event"] for error in rig.status()["errors"]}
    series, before = _series(rig), _Held(rig.daemon.pid)
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
    before.has_grown_by_less_than(5.0)


def _series(rig: Rig) -> int:
    """Return how many series of refusals the metrics have."""
    return sum(line.startswith("powerd_signal_") for line in rig.get("/metrics").body.splitlines())


class _Held:
    """What a process holds."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._mib, self._files, self._threads = self._look()

    def has_grown_by_less_than(self, most_mib: float) -> None:
        """Compare it with what the process holds now. A leak would show thousands of times."""
        mib, files, threads = self._look()
        assert mib - self._mib < most_mib
        assert files - self._files < A_FEW
        assert threads - self._threads < A_FEW

    def _look(self) -> tuple[float, int, int]:
        files, threads = (
            sum(1 for _ in Path(f"/proc/{self._pid}/{what}").iterdir()) for what in ("fd", "task")
        )
        return resident_mib(self._pid), files, threads
