"""From finished iterations to a file: written without anybody waiting, and told when it cannot be."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from powerd.core.events.caps import EventStatus
from powerd.core.events.schedule import Held, Schedule
from powerd.core.model import Notice, Now
from powerd.core.proof.response import report
from powerd.core.state import initial_state
from powerd.daemon.controller import Report
from powerd.daemon.recorder import TELL_EVERY_S, Recorder
from powerd.ledger.file import FILE_NAME, open_to_read, verify
from powerd.ledger.reader import LedgerReader
from powerd.ledger.writer import Ledger, LedgerOptions
from powerd.snapshot import Snapshot
from tests.core.responses import KEY, WALL_S, event, limit, status
from tests.web import host

ASKED = event((0.0, 1800.0, limit(20_000)))
OBEYED = status(ASKED, 20_000)


@dataclass
class Daemon:
    """A recorder that is told of one iteration after the other, a second apart."""

    path: Path
    options: LedgerOptions = field(default_factory=LedgerOptions)
    at_s: float = 0.0
    mode: str = "enforce"
    notices: list[Notice] = field(default_factory=list)
    dropped: int = 0

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.path, self.options)
        self.ledger.start()
        self.recorder = Recorder(self.ledger, self.notices.append, self._drop)
        self._shown = host.snapshot(host.decided())

    def _drop(self, entries: int) -> None:
        self.dropped += entries

    def iterate(self, *events: EventStatus, held: dict[str, Held] | None = None, times: int = 1) -> None:
        for _ in range(times):
            now = Now(host.BOOT_S + self.at_s, WALL_S + self.at_s)
            decision = self._shown.decision._replace(events=events, schedule=Schedule(held or {}))
            self.recorder(_report(replace(self._shown, now=now, decision=decision, mode=self.mode)))
            self.at_s += 1.0

    def kinds(self) -> list[str]:
        with closing(open_to_read(self.path)) as connection:
            return [kind for (kind,) in connection.execute("SELECT kind FROM entries ORDER BY number")]


def _report(snapshot: Snapshot) -> Report:
    return Report(snapshot, initial_state(snapshot.now), (), sampled=True)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / FILE_NAME, LedgerOptions(retry_s=0.02, busy_s=0.02, max_waiting=20))
    yield made
    made.recorder.close()


def test_a_mode_that_an_operator_has_changed_is_in_the_record(daemon: Daemon) -> None:
    """So that no report claims obedience for a time in which nothing was written."""
    daemon.iterate(OBEYED, times=3)
    daemon.mode = "dry-run"
    daemon.iterate(OBEYED, times=30)
    daemon.recorder.close()
    assert daemon.kinds().count("began") == 2


def wait(condition: Callable[[], object], within_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_a_host_without_events_writes_nothing_at_all(daemon: Daemon) -> None:
    daemon.iterate(times=100)
    assert daemon.recorder.close()
    assert not daemon.path.exists()


def test_an_event_is_in_the_file_with_who_recorded_it_and_can_be_reported(daemon: Daemon) -> None:
    daemon.iterate(times=30)
    daemon.iterate(OBEYED, times=40)
    daemon.iterate(times=20)
    assert daemon.recorder.close()
    kinds = daemon.kinds()
    assert kinds[:4] == ["began", "samples", "started", "interval"]
    extract = LedgerReader(daemon.path).extract(KEY)
    made = report(extract.entries, KEY)
    assert (extract.is_intact, made.ended_s) == (True, WALL_S + 70.0)
    assert made.before_known_pct is not None


def test_a_cancelled_event_is_recorded_as_one_also_if_it_is_gone_at_once(daemon: Daemon) -> None:
    daemon.iterate(OBEYED, times=5)
    daemon.iterate(held={KEY: Held(ASKED, cancelled_s=WALL_S + 5.0)}, times=5)
    assert daemon.recorder.close()
    story = LedgerReader(daemon.path).stories()[KEY]
    assert story.reason == "cancelled"


def test_a_daemon_that_is_stopped_loses_nothing_and_goes_on_with_the_same_event(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    for run in range(2):
        daemon = Daemon(path, at_s=run * 60.0)
        daemon.iterate(OBEYED, times=25)
        assert daemon.recorder.close()
    extract = LedgerReader(path).extract(KEY)
    made = report(extract.entries, KEY)
    assert len(made.intervals) == 1
    with closing(open_to_read(path)) as connection:
        assert verify(connection).broken_at is None
    assert daemon.kinds().count("began") == 2


def test_a_disk_that_takes_nothing_is_told_again_and_again_and_what_is_lost_is_counted(
    daemon: Daemon,
) -> None:
    daemon.iterate(OBEYED, times=1)
    wait(lambda: not daemon.ledger.status().waiting)
    other = sqlite3.connect(daemon.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    daemon.iterate(OBEYED, times=11)
    wait(lambda: daemon.ledger.status().error)
    daemon.iterate(OBEYED, times=500)
    other.execute("ROLLBACK")
    other.close()
    told = [notice for notice in daemon.notices if notice.event == "ledger_not_written"]
    assert 500 / TELL_EVERY_S - 1 <= len(told) <= 500 / TELL_EVERY_S + 1
    assert "database is locked" in told[-1].text
    assert "control goes on" in told[-1].text
    assert daemon.dropped == daemon.ledger.status().dropped > 0
    wait(lambda: not daemon.ledger.status().waiting)
    daemon.notices.clear()
    daemon.iterate(OBEYED, times=100)
    assert daemon.notices == []
    assert daemon.recorder.close()
    assert "lost" in daemon.kinds()
    made = report(LedgerReader(daemon.path).extract(KEY).entries, KEY)
    assert made.lost_entries == daemon.dropped
    # The time that is missing is missing in what is known, and in no other number.
    assert made.known_pct is not None
    assert made.known_pct < 70.0


def test_a_damaged_ledger_is_set_aside_and_told_once(daemon: Daemon) -> None:
    daemon.path.write_bytes(b"something else entirely" * 300)
    daemon.iterate(OBEYED, times=1)
    wait(lambda: daemon.ledger.status().written)
    daemon.iterate(OBEYED, times=3)
    told = [notice.text for notice in daemon.notices if notice.event == "ledger_set_aside"]
    assert len(told) == 1
    assert f"{daemon.path}.damaged-" in told[0]
