"""A process that writes a ledger as fast as it can, to be killed or to be given a disk that is too small.

python -m tests.ledger_child write PATH           prints the number of each entry that is written
python -m tests.ledger_child fill PATH BYTES      fills the disk up, then gives it room again
"""

import os
import resource
import sys
import time
from pathlib import Path

from powerd.core.proof.ledger_entry import Entry, Lost
from powerd.ledger.writer import Ledger, LedgerOptions

_WITHIN_S = 30.0


def main() -> None:
    """Do what the command line says."""
    what, path, *others = sys.argv[1:]
    if what == "write":
        _write(Path(path))
    else:
        _fill(Path(path), int(others[0]))


def _write(path: Path) -> None:
    ledger = Ledger(path)
    ledger.start()
    put = told = 0
    while True:
        if put - told < 500:
            ledger.put([entry(put := put + 1)])
        written = ledger.status().written
        if written > told:
            told = written
            _say(told)


def _fill(path: Path, most_bytes: int) -> None:
    """Write until nothing can be written any more, then until it can be again. Prints what was seen."""
    ballast = path.with_name("ballast")
    ballast.write_bytes(bytes(most_bytes * 3 // 4))
    if not _is_small(path.parent, most_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    ledger = Ledger(path, LedgerOptions(retry_s=0.05, max_waiting=100))
    ledger.start()
    put = 0
    deadline_s = time.monotonic() + _WITHIN_S
    while not ledger.status().dropped:
        if ledger.status().waiting < 50 or ledger.status().error:
            ledger.put([entry(put := put + 1, size=500)])
        assert time.monotonic() < deadline_s, ledger.status()
    _say("full", ledger.status().error)
    ballast.unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    while ledger.status().waiting:
        time.sleep(0.01)
        assert time.monotonic() < deadline_s, ledger.status()
    status = ledger.status()
    ledger.close(_WITHIN_S)
    _say("healed", put, status.written, status.dropped)


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def _is_small(directory: Path, most_bytes: int) -> bool:
    found = os.statvfs(directory)
    return found.f_blocks * found.f_frsize <= most_bytes


def entry(number: int, size: int = 1) -> Entry:
    """Return an entry that can be told from others."""
    return Entry(float(number), "x" * size, Lost(number))


if __name__ == "__main__":
    main()
