"""What watching costs the control loop, and how long who asks has to wait: a real daemon and its clients.

The same daemon is measured in turns, alone and watched, so that whatever else the machine does meets both.
All processes run before those that share the machine where the system permits that.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.footprint import cpu_s, resident_mib
from benchmarks.table import RAM, Figure, Table, load_note, quantile
from tests.daemon.rig import Rig

PERIOD_S = 0.1
LISTENERS, IDLE, GREEDY_CLIENTS = 50, 1000, 100
STATUS_PER_S, METRICS_PER_S = 20, 5
# Short, so that a machine that is busy now and then is so for every crowd alike.
ROUND_S = 5
_LEASE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who is connected."""

    name: str
    listeners: int = 1
    idle: int = 0
    asks: bool = False
    greedy: int = 0


ALONE = Crowd("alone")
WATCHED = Crowd(f"{LISTENERS} listeners", LISTENERS)
IDLED = Crowd(f"{LISTENERS} listeners, {IDLE} idle", LISTENERS, IDLE)
ASKED = Crowd(f"{LISTENERS} listeners, asked", LISTENERS, asks=True)
GREEDY = Crowd(f"{GREEDY_CLIENTS} that ask without end", greedy=GREEDY_CLIENTS)
CROWDS = (ALONE, WATCHED, IDLED, ASKED, GREEDY)


class Measured:
    """What was seen with one crowd, over all its turns."""

    def __init__(self) -> None:
        self.loop_s: list[float] = []
        self.took_s: defaultdict[str, list[float]] = defaultdict(list)
        self.seconds = self.daemon_cpu_s = self.crowd_cpu_s = 0.0
        self.resident_mib = 0.0
        self.missed = 0

    def add(self, found: dict[str, Any], seconds: float, daemon_cpu_s: float) -> None:
        """Add a turn."""
        numbers = [int(each["iteration"]) for each in found["iterations"]]
        self.missed += found["errors"] + numbers[-1] - numbers[0] + 1 - len(numbers)
        self.loop_s += (each["took_s"] for each in found["iterations"])
        for path, took_s in found["took_s"].items():
            self.took_s[path] += took_s
        self.seconds += seconds
        self.daemon_cpu_s += daemon_cpu_s
        self.crowd_cpu_s += found["cpu_s"]

    def loop_ms(self, share: float) -> float:
        """Return a quantile of how long iterations took."""
        return quantile(sorted(self.loop_s), share) * 1e3

    def answer_ms(self, path: str, share: float) -> float:
        """Return a quantile of how long answers took."""
        return quantile(sorted(self.took_s[path]), share) * 1e3


def measure_http(rounds: int) -> Table:
    """Measure in so many turns of each crowd, 5 s a turn."""
    control = {"period_s": PERIOD_S, "hold_s": 5.0}
    measured = {crowd: Measured() for crowd in CROWDS}
    with (
        _first_in_line() as order,
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory,
        Rig(Path(directory), tables={"control": control}) as rig,
    ):
        rig.start()
        rig.obey(3600, lease_s=_LEASE_S)
        for number in range(rounds):
            for crowd in CROWDS if number % 2 else reversed(CROWDS):
                _turn(rig, crowd, measured[crowd])
    note = (
        f"{len(measured[ALONE].loop_s)} iterations each; answers that failed or events that were missed: "
        f"{sum(each.missed for each in measured.values())}; {order}; {load_note()}"
    )
    return Table(
        f"HTTP while the loop runs at {1 / PERIOD_S:g} Hz with 8 GPUs, {rounds} turns of {ROUND_S} s each",
        tuple(_figures(measured)),
        note,
    )


@contextmanager
def _first_in_line() -> Iterator[str]:
    """Have what is started inside run before ordinary processes; yield whether it does, for people."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        yield "in line with other processes"
        return
    try:
        yield "before other processes"
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _turn(rig: Rig, crowd: Crowd, measured: Measured) -> None:
    rates = (STATUS_PER_S, METRICS_PER_S) if crowd.asks else (0, 0)
    numbers = (rig.http_port, ROUND_S, crowd.listeners, crowd.idle, *rates, crowd.greedy)
    before_s, begun_s = cpu_s(rig.daemon.pid), time.monotonic()
    command = (sys.executable, "-m", "benchmarks.http_crowd", *map(str, numbers))
    answer = subprocess.run(command, capture_output=True, check=True, text=True)
    used_s, seconds = cpu_s(rig.daemon.pid) - before_s, time.monotonic() - begun_s
    measured.add(json.loads(answer.stdout), seconds, used_s)
    measured.resident_mib = resident_mib(rig.daemon.pid)


def _figures(measured: dict[Crowd, Measured]) -> Iterator[Figure]:
    asked, alone = measured[ASKED], measured[ALONE]
    for path, bound_ms in (("/v1/status", 5.0), ("/metrics", 15.0)):
        yield Figure(f"{path} p50, {ASKED.name}", asked.answer_ms(path, 0.5), "ms")
        yield Figure(f"{path} p99, {ASKED.name}", asked.answer_ms(path, 0.99), "ms", bound_ms)
    for crowd, each in measured.items():
        yield Figure(f"loop p50, {crowd.name}", each.loop_ms(0.5), "ms")
        yield Figure(f"loop p99, {crowd.name}", each.loop_ms(0.99), "ms", 20.0 if crowd is GREEDY else None)
    for crowd in (WATCHED, IDLED):
        ratio = measured[crowd].loop_ms(0.99) / alone.loop_ms(0.99)
        yield Figure(f"loop p99, {crowd.name} / alone", ratio, "", 1.1)
        ratio = measured[crowd].loop_ms(0.5) / alone.loop_ms(0.5)
        yield Figure(f"loop p50, {crowd.name} / alone", ratio, "", 1.1)
    for crowd, each in measured.items():
        yield Figure(f"daemon's CPU, {crowd.name}", each.daemon_cpu_s / each.seconds * 100, "%")
    yield Figure("clients' CPU at most", max(_crowd_pct(each) for each in measured.values()), "%")
    yield Figure(f"daemon's memory after {IDLED.name}", measured[IDLED].resident_mib, "MiB")


def _crowd_pct(measured: Measured) -> float:
    return measured.crowd_cpu_s / measured.seconds * 100
