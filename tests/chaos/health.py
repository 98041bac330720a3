"""What all processes of a rack in chaos are held to: they live, complain of nothing, and do not grow."""

from collections.abc import Iterator
from pathlib import Path

from tests.chaos.stage import PARTS, Stage, process_of

# Several times what a process needs; a leak of one descriptor per fault is found within minutes.
MAX_FDS = 64
MAX_RSS_MIB = {"daemon": 192.0, "guard": 96.0}
_COMPLAINTS = ("Traceback (most recent call last)", "Fatal Python error", "was never retrieved")
_PAGE_MIB = 4096 / 2**20


class Health:
    """Looks after the processes of a stage.

    Attributes:
        crashes: processes that ended, although nobody ended them.
        largest_rss_mib, largest_fds: of each part of all hosts, in calm.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._read: dict[Path, int] = {}
        self.crashes = 0
        self.largest_rss_mib = dict.fromkeys(PARTS, 0.0)
        self.largest_fds = dict.fromkeys(PARTS, 0)

    def look(self) -> list[str]:
        """Return who has ended without being asked to, and what logs complain of since the last look."""
        return [*self._ended(), *self._complaints()]

    def weigh(self) -> list[str]:
        """Return who has grown too large. For a time of calm: then nobody holds connections to them."""
        return list(self._too_large())

    def _ended(self) -> Iterator[str]:
        for name, host in self._stage.hosts.items():
            for part in PARTS:
                if (name, part) not in self._stage.down and not process_of(host, part).running:
                    self.crashes += 1
                    self._stage.down.add((name, part))
                    yield f"the {part} of {name} has ended with {process_of(host, part).wait()}"

    def _complaints(self) -> Iterator[str]:
        for host in self._stage.hosts.values():
            for log in host.directory.glob("*.log"):
                with log.open("rb") as file:
                    file.seek(self._read.get(log, 0))
                    new, end, _ = file.read().rpartition(b"\n")  # a line that is not complete waits
                self._read[log] = self._read.get(log, 0) + len(new + end)
                for line in new.decode(errors="replace").splitlines():
                    if any(complaint in line for complaint in _COMPLAINTS):
                        yield f"{log}: {line[:500]}"

    def _too_large(self) -> Iterator[str]:
        for name, host in self._stage.hosts.items():
            for part in PARTS:
                own = Path("/proc") / str(process_of(host, part).pid)
                rss_mib = int((own / "statm").read_text().split()[1]) * _PAGE_MIB
                fds = len(list((own / "fd").iterdir()))
                self.largest_rss_mib[part] = max(self.largest_rss_mib[part], rss_mib)
                self.largest_fds[part] = max(self.largest_fds[part], fds)
                if rss_mib > MAX_RSS_MIB[part] or fds > MAX_FDS:
                    yield f"the {part} of {name} has {rss_mib:.0f} MiB and {fds} descriptors"
