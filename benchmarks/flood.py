"""A flood on the budget topic: how much later a valid cut is obeyed, and what it costs the daemon.

Real Mosquitto, daemon and guard, eight fake GPUs that all want more. A flood comes from a process of its own;
meanwhile the facility cuts, three times a second. A cut is obeyed when the sum of all limits is within it, by
the write log of the GPUs; one that is not before the next one is published is lost.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.footprint import cpu_s, resident_mib
from benchmarks.table import RAM, Figure, Table, load_note, quantile
from tests.daemon.host import Tables
from tests.daemon.rig import Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s
from tests.dsx.keys import public_pem, written
from tests.endurance.flooder import LISTED, SIGNER
from tests.security.forge import KEY, KID

RATE_PER_S = 5000.0
CUTS = 200
_LARGE_PER_S = 200.0
# To find out that a signature is not good takes twice as long as all else.
_FORGED_PER_S = 2500.0
_EVERY_S = 0.3
_TOP_WATTS, _STEP_WATTS, _STEPS = 4000, 100, 10
_LEASE_S = 300.0
_PERIOD_S = 1.0
_BUSY_MW = 500_000
_WARM_S = 2.0
_LONGEST_S = 3600.0
_BOUND_MS, _BOUND_MIB = 50.0, 20.0


class Kind(NamedTuple):
    """One flood.

    Attributes:
        sends: as `tests.endurance.flooder` calls it.
        options: of it, besides.
    """

    name: str
    sends: str
    rate_per_s: float = RATE_PER_S
    options: tuple[str, ...] = ()


KINDS = (
    Kind("garbage", "garbage"),
    Kind("budgets of a sender not listened to", "stranger"),
    Kind("budgets of ever new senders", "strangers"),
    Kind("one budget again and again", "repeats"),
    Kind("a sender listened to that loops", "looping"),
    Kind("payloads of 60 KiB", "large", _LARGE_PER_S),
    Kind("made-up topics of grid events", "topics"),
    Kind("refusals for ever new reasons and names", "storm"),
    Kind("forged signatures, 2500 a second", "forged", _FORGED_PER_S),
    Kind("garbage, QoS 1, retained", "garbage", options=("qos1", "retain")),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What cuts met with.

    Attributes:
        delays_ms: published -> obeyed, sorted.
        grown_mib: the daemon's memory at its largest, above that before.
        sent_per_s: messages of the flood; 0 without one.
        read_per_s: messages that the daemon took from the broker.
        missed: periods of the loop without an iteration.
        answers_ms: the slowest answer by HTTP.
    """

    delays_ms: list[float]
    lost: int
    grown_mib: float
    cpu_pct: float
    log_lines: int
    sent_per_s: float
    read_per_s: float
    missed: float
    answers_ms: float


def measure_flood(cuts: int = CUTS, kinds: tuple[Kind, ...] = KINDS) -> Table:
    """Cut without a flood, and under each kind of it."""
    figures: list[Figure] = []
    control = {"period_s": _PERIOD_S, "hold_s": 5.0}
    tables: Tables = {"control": control, "guard": {"call_deadline_s": 1.0}}
    with tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as name:
        directory = Path(name)
        tables = {**tables, "signals.native": _senders(directory)}
        with Rig(directory, tables=tables) as rig:
            rig.start()
            for index in range(len(rig.gpus.gpus)):
                rig.gpus.set_demand(index, _BUSY_MW)
            calm = _cut(rig, cuts, None)
            figures += _figures("no flood", calm, None)
            for kind in kinds:
                figures += _figures(kind.name, _cut(rig, cuts, kind), calm)
    return Table(f"A flood of {RATE_PER_S:g} messages/s, {cuts} cuts each", tuple(figures), load_note())


def _senders(directory: Path) -> dict[str, Any]:
    """Return the `[signals.native]` of a daemon that listens to three, of whom one signs."""
    key = written(directory / "facility.pem", public_pem(KEY), 0o644)
    return {
        "sources": ["facility-a", LISTED, SIGNER],
        "keys": {KID: {"file": key, "source": SIGNER}},
        "unsigned": "accept",
    }


def _figures(name: str, seen: Seen, calm: Seen | None) -> list[Figure]:
    p50, p99 = quantile(seen.delays_ms, 0.50), quantile(seen.delays_ms, 0.99)
    found = [Figure(f"{name}: published -> obeyed, p50", p50, "ms"), Figure("  p99", p99, "ms")]
    if calm is not None:
        later_ms = p99 - quantile(calm.delays_ms, 0.99)
        found += [
            Figure("  p99 later than without", later_ms, "ms", _BOUND_MS),
            Figure("  p99 / without", p99 / quantile(calm.delays_ms, 0.99), "x"),
            Figure("  messages sent", seen.sent_per_s, "/s"),
            Figure("  messages read", seen.read_per_s, "/s"),
        ]
    return [
        *found,
        Figure("  cuts lost", seen.lost, "", 0.0),
        Figure("  memory of the daemon grows", seen.grown_mib, "MiB", _BOUND_MIB),
        Figure("  CPU of the daemon, of one core", seen.cpu_pct, "%"),
        Figure("  lines in the log, per minute", seen.log_lines, "/min"),
        Figure("  periods of the loop missed", seen.missed, "", 0.0),
        Figure("  slowest answer by HTTP", seen.answers_ms, "ms"),
    ]


def _cut(rig: Rig, cuts: int, kind: Kind | None) -> Seen:
    """Publish cuts, and look into the write log afterwards."""
    rig.obey(_TOP_WATTS, lease_s=_LEASE_S, within_s=20)
    pid = rig.daemon.pid
    begun_s, mib, used_s, lines = time.monotonic(), resident_mib(pid), cpu_s(pid), rig.daemon.log.count("\n")
    before = rig.status()
    flooding = None if kind is None else _begin(rig, kind)
    if kind is not None:
        time.sleep(_WARM_S)
    watcher = _Watcher(rig, pid)
    published = _publish(rig, cuts, watcher.look)
    elapsed_s = time.monotonic() - begun_s
    after = rig.wait_for(rig.status, 30)
    read = after["bus"]["received"] - before["bus"]["received"]
    iterations = after["iteration"] - before["iteration"]
    used_s = cpu_s(pid) - used_s
    sent = 0.0
    if flooding is not None:
        flooding.terminate()
        output, _ = flooding.communicate(timeout=30)
        sent = float(output)
    delays_ms, lost = _delays(rig, published)
    return Seen(
        delays_ms=delays_ms or [float("inf")],
        lost=lost,
        grown_mib=watcher.most_mib - mib,
        cpu_pct=100 * used_s / elapsed_s,
        log_lines=round((rig.daemon.log.count("\n") - lines) * 60 / elapsed_s),
        sent_per_s=sent,
        read_per_s=read / elapsed_s,
        missed=max(0, int(elapsed_s / _PERIOD_S) - 1 - iterations),
        answers_ms=watcher.slowest_ms,
    )


def _begin(rig: Rig, kind: Kind) -> "subprocess.Popen[str]":
    arguments = (str(rig.broker.port), kind.sends, str(kind.rate_per_s), str(_LONGEST_S), *kind.options)
    command = (sys.executable, "-m", "tests.endurance.flooder", *arguments)
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class _Watcher:
    """Looks at the daemon now and then, so seldom that it costs nothing."""

    def __init__(self, rig: Rig, pid: int) -> None:
        self.most_mib = self.slowest_ms = 0.0
        self._rig, self._pid = rig, pid

    def look(self) -> None:
        """Read its memory, and ask how it is."""
        self.most_mib = max(self.most_mib, resident_mib(self._pid))
        asked_s = time.monotonic()
        self._rig.wait_for(self._rig.status, 30)
        self.slowest_ms = max(self.slowest_ms, (time.monotonic() - asked_s) * 1e3)


def _publish(rig: Rig, cuts: int, look: Callable[[], None]) -> list[tuple[float, float]]:
    """Lower the budget step by step, and start at the top again; return when, and to how many watts."""
    published: list[tuple[float, float]] = []
    due_s = time.monotonic()
    for number in range(cuts * (_STEPS + 1) // _STEPS):
        step = number % (_STEPS + 1)
        watts = _TOP_WATTS - _STEP_WATTS * step
        if step == 0:
            look()
            published.append((rig.obey(watts, _LEASE_S, within_s=30).published_boot_s, watts))
            due_s = time.monotonic()
            continue
        published.append((rig.publish_budget(watts, _LEASE_S).published_boot_s, watts))
        due_s = max(due_s + _EVERY_S, time.monotonic())
        time.sleep(due_s - time.monotonic())
    return published


def _delays(rig: Rig, published: list[tuple[float, float]]) -> tuple[list[float], int]:
    """Return how long each cut took, sorted, and how many were not obeyed in time."""
    limits_mw = [0] * len(rig.gpus.gpus)
    sums = []
    for write in rig.write_log():
        limits_mw[write.gpu] = write.enforced_mw
        sums.append((write.boot_ns / 1e9, sum(limits_mw)))
    ends = [at_boot_s for at_boot_s, _ in published[1:]] + [boot_s()]
    delays_ms, lost = [], 0
    for (at_boot_s, watts), end_boot_s in zip(published, ends, strict=True):
        if watts == _TOP_WATTS:
            continue
        within_mw = gpu_budget_mw(watts, len(limits_mw))
        obeyed = next((at for at, mw in sums if at_boot_s < at < end_boot_s and mw <= within_mw), None)
        if obeyed is None:
            lost += 1
        else:
            delays_ms.append((obeyed - at_boot_s) * 1e3)
    return sorted(delays_ms), lost
