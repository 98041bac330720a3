"""A broker with hundreds of hosts, one of them real: for tests and benchmarks."""

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.brokers.client import Client
from tests.brokers.crowd import RACK_SIZE, names
from tests.brokers.kinds import Kind
from tests.brokers.site import TIMES
from tests.daemon.facility import BASE, Facility
from tests.daemon.host import GUARD_BAND, OVERHEAD_WATTS, RACK, Host, roster
from tests.daemon.processes import PYTHON, Process, clean_environment
from tests.daemon.waiting import boot_s, wait_until

GPUS = 4
HARD_LIMIT_WATTS, FAILSAFE_WATTS = 43_000, 23_000
LONG_S = 300.0
_PROCESSES = 2
# Under the load of other tests all of them take their time to connect.
_ALL_WITHIN_S = 80.0


class Event(NamedTuple):
    """A line of the journal."""

    boot_s: float
    what: str
    values: tuple[float, ...]


class Counts(NamedTuple):
    """What the crowd has done so far, and how many of it are connected now."""

    boot_s: float
    connected: int
    published: int
    published_bytes: int
    received: int
    received_bytes: int


class Journal:
    """What one part of the crowd writes, read on from where it was read to before.

    Attributes:
        file: may not be there yet.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._at = 0
        self._events: list[Event] = []

    def events(self) -> list[Event]:
        """Return all that was written so far, oldest first."""
        if self.file.exists():
            with self.file.open("rb") as lines:
                lines.seek(self._at)
                for line in lines:
                    if not line.endswith(b"\n"):  # half of one
                        break
                    self._at += len(line)
                    at_s, what, *values = json.loads(line)
                    self._events.append(Event(at_s, what, tuple(values)))
        return self._events


class FanIn:
    """A broker, one real host, and simulated ones that fill its rack and others. A context manager.

    Args:
        directory: short, since it holds Unix sockets; exists.
        library: the fake NVML library.
        kind: the broker, not started.
        clients: how many are simulated.

    Attributes:
        host: the real one.
        racks: how many there are.
    """

    def __init__(self, directory: Path, library: Path, kind: Kind, clients: int) -> None:
        self.kind = kind
        self.clients = clients
        self.racks = -(-(clients + 1) // RACK_SIZE)
        self.facility = Facility(kind.server.port, kind.login("facility").prepare)
        self._directory = directory
        self.host = Host(
            directory,
            library,
            broker_port=kind.server.port,
            name=names(0)[1],
            gpus=GPUS,
            rack={
                "hard_limit_watts": HARD_LIMIT_WATTS,
                "failsafe_watts": FAILSAFE_WATTS,
                "hosts": roster([names(index)[1] for index in range(RACK_SIZE)], GPUS),
                # Who remembers nothing waits for so long at first.
                "leases": TIMES._asdict(),
            },
            # Waits between attempts as everybody has them.
            tables={"control": {"hold_s": 5.0}, "mqtt": {"reconnect_min_s": 1.0, "reconnect_max_s": 4.0}},
        )
        self._read = [Journal(directory / f"journal{number}") for number in range(_PROCESSES)]
        self._parts = [self._part(number) for number in range(_PROCESSES)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self._parts:
            part.close()
        self.host.end_processes()
        self.facility.close()
        self.kind.server.kill()

    def start(self, within_s: float = _ALL_WITHIN_S) -> None:
        """Start everything, and wait until all are connected."""
        self.kind.server.start()
        self.host.start_guard()
        self.host.start_daemon()
        self._learn()
        for part in self._parts:
            part.start()
        self.wait_for(lambda: self.connected() == self.clients, within_s, what="all of them connected")

    def connected(self) -> int:
        """Return how many simulated hosts are connected."""
        return self.counts().connected

    def counts(self) -> Counts:
        """Return what all parts of the crowd have last counted, together."""
        last = [
            next((e for e in reversed(events) if e.what == "counts"), None) for events in self._journals()
        ]
        sums = [sum(values) for values in zip(*(each.values for each in last if each), strict=True)]
        return Counts(boot_s(), *map(int, sums)) if all(last) else Counts(boot_s(), 0, 0, 0, 0, 0)

    def events(self, what: str, since_boot_s: float) -> list[Event]:
        """Return what has happened to any of the crowd since a moment, oldest first."""
        lines = (event for events in self._journals() for event in events)
        return sorted(event for event in lines if event.what == what and event.boot_s >= since_boot_s)

    def grant_all(self, watts: float) -> dict[int, float]:
        """Publish a budget to every rack; return when each was, in seconds since boot, by its `seq`."""
        published = {}
        for number in range(self.racks):
            rack = names(number * RACK_SIZE)[0]
            message = self.facility.budget(watts, LONG_S, rack=rack)
            published[message["seq"]] = boot_s()
            self.wait_for(partial(self._is_taken, message, rack), _ALL_WITHIN_S, what="a budget taken")
        return published

    def delays_s(self, published: dict[int, float]) -> list[float]:
        """Return how long after its publication each simulated host had its budget, sorted."""
        heard = self.events("budget", min(published.values()))
        return sorted(e.boot_s - published[int(e.values[1])] for e in heard if e.values[1] in published)

    def obeyed(self, watts: float) -> bool:
        """Say whether the real host uses its share of this budget, and no more than it."""
        share_mw = round(watts * (1 - GUARD_BAND) / RACK_SIZE * 1000)
        mw = OVERHEAD_WATTS * 1000 + self.host.sum_mw()
        return share_mw - GPUS * 5_000 < mw <= share_mw

    def wait_for(self, condition: Callable[[], object], within_s: float = 20.0, *, what: str = "") -> None:
        """Wait until the condition is true.

        Raises:
            AssertionError: it did not come true in time.
        """
        wait_until(condition, within_s, what=what, evidence=self._evidence)

    def watch(self, seconds: float) -> tuple[Counts, Counts]:
        """Let it run for a while, and return the counts of before and after."""
        before = self.counts()
        time.sleep(seconds)
        return before, self.counts()

    def _is_taken(self, message: dict[str, object], rack: str) -> bool:
        """Publish a budget; a broker that is too busy to answer raises an error, and is asked again."""
        self.facility.publish(message, topic=BASE.replace(RACK, rack) + "/budget")
        return True

    def _learn(self) -> None:
        """Write down what the real host says of itself, for others to say it too."""
        topics = [f"{BASE}/host/{self.host.name}/{leaf}" for leaf in ("state", "telemetry")]
        with Client(self.kind.server.port, self.kind.login("grafana"), *topics) as people:
            self.wait_for(
                lambda: all(people.payloads(topic) for topic in topics), what="a state and telemetry"
            )
            said = [json.loads(people.payloads(topic)[-1]) for topic in topics]
        (self._directory / "like.json").write_text(json.dumps(said), encoding="utf-8")

    def _part(self, number: int) -> Process:
        bounds = [1 + self.clients * each // _PROCESSES for each in (number, number + 1)]
        files = ("--like", self._directory / "like.json", "--journal", self._read[number].file)
        hosts = ("--first", bounds[0], "--count", bounds[1] - bounds[0])
        options = map(str, ("--port", self.kind.server.port, *hosts, *files))
        command = (*PYTHON, "tests.brokers.crowd", *options)
        return Process(command, self._directory / f"crowd{number}.log", clean_environment())

    def _journals(self) -> Iterable[list[Event]]:
        for journal in self._read:
            yield journal.events()

    def _evidence(self) -> str:
        logs = "\n".join(part.log[-2000:] for part in self._parts)
        return f"{self.counts()}\n{logs}\n{self.host.last_lines()}"
