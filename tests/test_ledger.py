"""The ledger on real disks: only ever longer, and whole after whatever happens to process or disk."""

import random
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from powerd.core.proof.ledger_entry import Entry, Lost
from powerd.ledger.file import FILE_NAME, Head, Verified, digest, open_to_read, open_to_write, verify
from powerd.ledger.writer import Ledger, LedgerOptions
from tests.ledger_child import entry

MOST = 1 << 30
FAST = LedgerOptions(retry_s=0.02, busy_s=0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Run a ledger that tries again soon."""
    running = Ledger(path, FAST)
    running.start()
    yield running
    running.close(10.0)


def wait(condition: Callable[[], object], within_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def rows(path: Path) -> list[tuple[int, str, str]]:
    connection = open_to_read(path)
    found = connection.execute("SELECT number, kind, body FROM entries ORDER BY number").fetchall()
    connection.close()
    return found


def verified(path: Path) -> Verified:
    connection = open_to_read(path)
    found = verify(connection)
    connection.close()
    return found


def lost_numbers(path: Path) -> list[int]:
    return [int(body.removeprefix('{"entries":').removesuffix("}")) for _, _, body in rows(path)]


def test_what_was_put_is_in_the_file_in_order(path: Path, ledger: Ledger) -> None:
    ledger.put(entry(number) for number in range(1, 1001))
    assert ledger.close(10.0)
    assert lost_numbers(path) == list(range(1, 1001))
    assert verified(path) == Verified(verified(path).head, None)
    assert verified(path).head.number == 1000


def test_a_later_run_goes_on_with_the_same_chain(path: Path) -> None:
    for run in range(3):
        ledger = Ledger(path)
        ledger.start()
        ledger.put([entry(run)])
        assert ledger.close(10.0)
    assert verified(path).broken_at is None
    assert [number for number, *_ in rows(path)] == [1, 2, 3]


def test_only_its_owner_can_read_it(path: Path, ledger: Ledger) -> None:
    ledger.put([entry(1)])
    wait(lambda: ledger.status().written)
    for suffix in ("", "-wal", "-shm"):
        assert stat.S_IMODE(Path(f"{path}{suffix}").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}'",
        "DELETE FROM entries",
        "DELETE FROM entries WHERE number = 3",
        "INSERT OR REPLACE INTO entries VALUES (2, 0, '', 'lost', '{}', x'00')",
        "INSERT INTO entries VALUES (9, 0, '', 'lost', '{}', x'00')",
        "INSERT INTO entries VALUES (NULL, 0, '', 'lost', '{}', x'00')",
        "UPDATE entries SET number = 7 WHERE number = 3",
    ],
)
def test_nothing_in_it_can_be_changed_by_mistake(path: Path, ledger: Ledger, statement: str) -> None:
    ledger.put(entry(number) for number in range(1, 4))
    assert ledger.close(10.0)
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()
    assert verified(path).head.number == 3


@pytest.mark.parametrize(
    ("statement", "broken_at"),
    [
        ("UPDATE entries SET body = replace(body, '5', '6') WHERE number = 5", 5),
        ("UPDATE entries SET wall_ms = wall_ms + 1 WHERE number = 5", 5),
        ("UPDATE entries SET event = 'another' WHERE number = 1", 1),
        ("UPDATE entries SET kind = 'began' WHERE number = 10", 10),
        ("DELETE FROM entries WHERE number = 5", 5),
        ("DELETE FROM entries WHERE number = 1", 1),
        ("UPDATE entries SET digest = zeroblob(32) WHERE number = 4", 4),
        ("UPDATE entries SET number = CASE number WHEN 4 THEN -5 ELSE 4 END WHERE number IN (4, 5)", 4),
    ],
)
def test_what_was_changed_on_purpose_is_found(
    path: Path, ledger: Ledger, statement: str, broken_at: int
) -> None:
    ledger.put(entry(number) for number in range(1, 11))
    assert ledger.close(10.0)
    connection = sqlite3.connect(path, isolation_level=None)
    for trigger in ("entries_stay", "entries_stay_as_they_are"):
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute(statement)
    connection.close()
    assert verified(path).broken_at == broken_at


def test_an_end_that_was_cut_off_is_found_by_who_knows_a_digest_of_it(path: Path, ledger: Ledger) -> None:
    ledger.put(entry(number) for number in range(1, 11))
    assert ledger.close(10.0)
    known = verified(path).head
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TRIGGER entries_stay")
    connection.execute("DELETE FROM entries WHERE number > 8")
    assert verify(connection, last=known.number).broken_at == 9
    connection.close()


def test_the_chain_can_be_worked_out_by_others() -> None:
    """As docs/proof-of-response.md describes it, without this package."""
    made = digest(bytes(32), 1, 1500, "grid/é", "lost", '{"entries":1}')
    text = b'[1,1500,"grid/\\u00e9","lost","{\\"entries\\":1}"]'
    assert made == sha256(bytes(32) + text).digest()


@pytest.mark.parametrize("seed", range(5))
def test_a_kill_at_any_moment_leaves_a_whole_chain_and_all_that_was_said_to_be_written(
    path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    said = 0
    for _ in range(3):
        child = subprocess.Popen(
            (sys.executable, "-m", "tests.ledger_child", "write", str(path)),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        before = said
        for _ in range(rng.randint(1, 12)):
            said = before + int(child.stdout.readline())
        child.kill()
        child.stdout.close()
        child.wait()
        # Somebody may look while nobody writes, and before the next daemon has tidied up.
        assert verified(path).broken_at is None
        assert verified(path).head.number >= said
        said = verified(path).head.number


def test_a_full_disk_costs_entries_that_are_counted_and_heals_by_itself(tmp_path: Path) -> None:
    """On a disk of its own where that is allowed, else under a limit on the size of files."""
    size = 2 << 20
    run = f"{sys.executable} -m tests.ledger_child fill {tmp_path}/{FILE_NAME} {size}"
    mounted = f"mount -t tmpfs -o size={size} none {tmp_path} && {run} && cat {tmp_path}/{FILE_NAME} >&2"
    may_mount = subprocess.run(
        ("unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)), capture_output=True, check=False
    )
    in_own_mounts = ("unshare", "-rm", "sh", "-c", mounted)
    command = run.split() if may_mount.returncode else in_own_mounts
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    full, healed = done.stdout.decode().splitlines()
    put, written, dropped = (int(word) for word in healed.split()[1:4])
    assert "disk" in full
    assert dropped > 0
    copy = tmp_path / FILE_NAME
    if not may_mount.returncode:
        copy.write_bytes(done.stderr)
    assert verified(copy) == Verified(Head(written, verified(copy).head.digest), None)
    numbers = lost_numbers(copy)
    # What was dropped is said where it is missing: an entry with the number of those.
    gaps = [now for before, now in pairwise(numbers) if now != before + 1]
    assert numbers[-1] == put
    assert sum(gap for gap in gaps if gap <= dropped) >= dropped


def test_a_file_that_may_not_grow_any_more_is_like_a_full_disk(path: Path) -> None:
    ledger = Ledger(path, LedgerOptions(max_mb=1, retry_s=0.02, max_waiting=50))
    ledger.start()
    number = 0

    def is_full() -> bool:
        nonlocal number
        if ledger.status().waiting < 20:
            ledger.put([entry(number := number + 1, size=5000)])
        return "full" in ledger.status().error

    wait(is_full)
    ledger.close(10.0)
    assert path.stat().st_size <= 1 << 20
    assert verified(path).broken_at is None


def test_a_disk_that_stalls_holds_up_nobody_and_everything_within_the_bound_is_written_later(
    path: Path,
) -> None:
    ledger = Ledger(path, LedgerOptions(busy_s=60.0, max_waiting=100))
    ledger.start()
    ledger.put([entry(1)])
    wait(lambda: ledger.status().written == 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger.put([entry(2)])
    wait(lambda: ledger.status().stalled_s > 0)
    ledger.put(entry(number) for number in range(3, 203))
    status = ledger.status()
    assert (status.written, status.waiting, status.dropped) == (1, 101, 100)
    assert status.stalled_s > 0
    other.execute("ROLLBACK")
    other.close()
    wait(lambda: not ledger.status().waiting)
    assert ledger.close(10.0)
    # The first two, what is missing, and the newest hundred.
    assert lost_numbers(path) == [1, 2, 100, *range(103, 203)]
    assert verified(path).broken_at is None


def test_a_lock_that_is_not_given_up_is_an_error_that_goes_away_with_it(path: Path, ledger: Ledger) -> None:
    ledger.put([entry(1)])
    wait(lambda: ledger.status().written)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger.put([entry(2)])
    wait(lambda: "locked" in ledger.status().error)
    assert str(path) in ledger.status().error
    other.execute("ROLLBACK")
    other.close()
    wait(lambda: ledger.status().written == 2)
    assert ledger.status().error == ""


def test_a_directory_that_is_missing_is_an_error_until_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "state" / FILE_NAME
    ledger = Ledger(path, FAST)
    ledger.start()
    ledger.put([entry(1)])
    wait(lambda: "No such file" in ledger.status().error)
    path.parent.mkdir()
    wait(lambda: ledger.status().written == 1)
    assert ledger.close(10.0)


def test_a_damaged_file_is_set_aside_and_kept(path: Path, ledger: Ledger) -> None:
    path.write_bytes(b"not a database, but somebody may want it" * 300)
    ledger.put([entry(1)])
    wait(lambda: ledger.status().written == 1)
    aside = Path(ledger.status().set_aside)
    assert aside.read_bytes().startswith(b"not a database")
    assert aside.name.startswith(f"{FILE_NAME}.damaged-")
    assert verified(path).head.number == 1


def test_a_database_of_somebody_else_is_left_alone(path: Path, ledger: Ledger) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE precious (thing)")
    other.commit()
    before = path.read_bytes()
    ledger.put([entry(1)])
    wait(lambda: "is not a ledger" in ledger.status().error)
    other.close()
    assert path.read_bytes() == before


def test_a_daemon_that_stops_while_the_disk_stalls_does_not_wait_for_it(path: Path) -> None:
    ledger = Ledger(path, LedgerOptions(busy_s=60.0))
    open_to_write(path, max_bytes=MOST, busy_s=1.0).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger.start()
    ledger.put([Entry(1.0, "", Lost(1))])
    wait(lambda: ledger.status().stalled_s > 0)
    assert not ledger.close(0.05)
    other.execute("ROLLBACK")
    other.close()
    wait(lambda: ledger.close(0.05))
