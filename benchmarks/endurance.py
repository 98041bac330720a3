"""What time does to powerd: a month of a rack in virtual time, a day of messages to one real host."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, mean

from benchmarks.footprint import resident_mib
from benchmarks.table import RAM, Figure, Table, load_note
from powerd.history.happenings import MAX_HAPPENINGS
from tests.cluster.theorem import ViolationError
from tests.daemon.rig import Rig
from tests.endurance.month import DAY_S, FIRST_BOOT_S, GPUS, HOSTS, PERIOD_S, Day, month
from tests.endurance.traffic import MESSAGES_PER_DAY, Look, TalkingRack, slope
from tests.fake_nvml import build

# The first day is unlike all others: the rack starts, and knows nothing of its GPUs.
_WARM_DAYS = 2
# What goes wrong goes wrong once a week: days are compared with days of another week.
_WEEK = 7
_BUSY_PERIOD_S, _LOOK_EVERY_S, _LEASE_S = 0.1, 5.0, 300.0
_SETTLED_S = 900.0
_ITERATIONS_PER_DAY = 86_400
_BOOT_WRAPS_MS = (2**31, 2**32)


def measure_month(days: int, seed: int = 1, log: Path | None = None) -> Table:
    """Run a rack for so many days, and compare its last days with its first.

    Args:
        log: gets a line of JSON after every day.
    """
    seen: list[Day] = []
    violation = ""
    with month(seed) as rack:
        try:
            for day in rack.days(days):
                seen.append(day)
                if log is not None:
                    with log.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(day.as_dict()) + "\n")
        except ViolationError as found:
            violation = str(found)
    return _month_table(seen, days, seed, violation)


def measure_day_of_messages(messages: int = MESSAGES_PER_DAY, rate_per_s: float = 1500.0) -> Table:
    """Send one real host all that its seventeen peers say in a day, as fast as it takes it."""
    looks = _talk(messages, rate_per_s)
    days = messages / MESSAGES_PER_DAY
    rate = (looks[-1].messages - looks[0].messages) / (looks[-1].at_s - looks[0].at_s)
    return Table(
        f"{messages:,} messages of 17 peers to one real host, {rate:,.0f}/s: {days:.2f} days of them",
        _looked(looks, [look.messages / MESSAGES_PER_DAY for look in looks], "day of messages"),
        load_note(),
    )


def measure_memory(minutes: float = 30.0) -> Table:
    """Let daemon and guard work ten times as often as they do, at changing loads, and watch their memory.

    The first 15 minutes do not count: the finest history fills in that time, and the interpreter keeps up to
    2000 records of each size for use again.
    """
    seen: list[tuple[float, float, float]] = []
    control = {"period_s": _BUSY_PERIOD_S, "hold_s": 5.0}
    with (
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as name,
        Rig(Path(name), tables={"control": control}) as rig,
    ):
        rig.start()
        pids = (rig.daemon.pid, rig.guard.pid)
        end_s = time.monotonic() + minutes * 60
        while time.monotonic() < end_s:
            turn = len(seen)
            rig.gpus.set_demand(turn % len(rig.gpus.gpus), 50_000 + turn % 7 * 60_000)
            if turn % 20 == 0:
                rig.publish_budget(3600 - turn // 20 % 5 * 100, _LEASE_S)
            time.sleep(_LOOK_EVERY_S)
            seen.append((rig.status()["iteration"], *(resident_mib(pid) for pid in pids)))
    settled = seen[int(_SETTLED_S / _LOOK_EVERY_S) :] or seen
    days = [iteration / _ITERATIONS_PER_DAY for iteration, *_ in settled]
    daemon, guard = (slope(days, [look[which] for look in settled]) for which in (1, 2))
    return Table(
        f"Memory of daemon and guard over {seen[-1][0]:,.0f} iterations, of {_ITERATIONS_PER_DAY:,} in a day",
        (
            Figure("daemon: memory in the end", seen[-1][1], "MiB"),
            Figure("  growth in a day's iterations", daemon.per_unit, "MiB", 1.0),
            Figure("  of which that much or less cannot be seen", daemon.error, "MiB"),
            Figure("guard: memory in the end", seen[-1][2], "MiB"),
            Figure("  growth in a day's iterations", guard.per_unit, "MiB", 1.0),
            Figure("  of which that much or less cannot be seen", guard.error, "MiB"),
        ),
        load_note(),
    )


def _talk(messages: int, rate_per_s: float) -> list[Look]:
    with tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as name:
        directory = Path(name)
        with TalkingRack(directory, build(directory / "lib"), is_busy=False) as rack:
            rack.start()
            return list(rack.talk(messages, rate_per_s))


def _looked(looks: list[Look], days: list[float], day: str) -> tuple[Figure, ...]:
    """Compare what was seen after a quarter of the time with what was seen later."""
    warm = len(looks) // 4
    settled, x = looks[warm:], days[warm:]
    daemon = slope(x, [look.daemon_mib for look in settled])
    guard = slope(x, [look.guard_mib for look in settled])
    first, last = looks[0], looks[-1]
    return (
        Figure("daemon: memory at the start", first.daemon_mib, "MiB"),
        Figure("  after a quarter of the time", settled[0].daemon_mib, "MiB"),
        Figure("  in the end", last.daemon_mib, "MiB"),
        Figure(f"  growth after that quarter, per {day}", daemon.per_unit, "MiB"),
        Figure("    of which that much or less cannot be seen", daemon.error, "MiB"),
        Figure("guard: memory at the start", first.guard_mib, "MiB"),
        Figure("  in the end", last.guard_mib, "MiB"),
        Figure(f"  growth after that quarter, per {day}", guard.per_unit, "MiB"),
        Figure("    of which that much or less cannot be seen", guard.error, "MiB"),
        Figure(
            "descriptors of both, more than at the quarter",
            last.descriptors - settled[0].descriptors,
            "",
            0.0,
        ),
        Figure("threads of both, more than at the quarter", last.threads - settled[0].threads, "", 0.0),
        Figure("files, more than at the quarter", last.file_bytes - settled[0].file_bytes, "B", 4096.0),
    )


def _month_table(seen: list[Day], days: int, seed: int, violation: str) -> Table:
    settled = seen[_WARM_DAYS:] or seen
    first, last = settled[:_WEEK], settled[-_WEEK:]
    boot_ms = (FIRST_BOOT_S + len(seen) * DAY_S) * 1000
    passed = sum(FIRST_BOOT_S * 1000 < wrap <= boot_ms for wrap in _BOOT_WRAPS_MS)
    sizes = tuple(
        Figure(
            f"  {name}: largest of the last week / of the first",
            _growth(first, last, partial(_size, name)),
            "x",
            1.05,
        )
        for name in (settled[0].sizes if settled else ())
    )
    return Table(
        f"{len(seen)} days of a rack of {HOSTS} hosts x {GPUS} GPUs, period {PERIOD_S:g} s, seed {seed}",
        (
            Figure("violations", float(bool(violation)), "", 0.0),
            Figure("days missing", days - len(seen), "", 0.0),
            Figure("complaints of ledgers", sum(len(day.troubles) for day in seen), "", 0.0),
            Figure("steps, each checked", sum(day.steps for day in seen), ""),
            Figure("of 2^31 and 2^32 ms, boot clocks passed", passed, ""),
            Figure("the rack above what was allowed, at any check", max(d.over_w for d in seen), "W", 0.0),
            Figure("draw of any GPU against the same hour of the first days", _drift_w(settled), "W", 10.0),
            Figure("energy of an event by the ledger, worst error", _worst_pct(seen), "%", 1.0),
            Figure("a promise of watts runs, at the longest", max(day.lease_s for day in seen), "s"),
            Figure("bytes that the daemons remember, per day", _slope(settled, _remembered), "B/day", 1000.0),
            *sizes,
            Figure("happenings in the fullest history", seen[-1].happenings, "", MAX_HAPPENINGS),
            Figure(
                "files without ledgers, per day", _slope(settled, lambda day: day.file_bytes), "B/day", 100.0
            ),
            Figure(
                "ledgers, per day with one event", _slope(settled, lambda d: d.ledger_bytes) / 1024, "KiB"
            ),
            Figure("  the largest growth in one day / the mean", _burst(settled), "x"),
            Figure(
                "memory of the process, per day", _slope(settled, lambda d: d.resident_mib), "MiB/day", 1.0
            ),
            Figure("objects of the process, per day", _slope(settled, lambda day: day.objects), "/day"),
            Figure("CPU time of an hour, last week / first", _cost(last) / _cost(first), "x", 1.5),
            Figure("CPU time of an hour", _cost(settled) / 24, "s"),
        ),
        violation or load_note(),
    )


def _remembered(day: Day) -> float:
    return sum(day.sizes.values())


def _size(name: str, day: Day) -> float:
    return day.sizes[name]


def _growth(first: Sequence[Day], last: Sequence[Day], size: Callable[[Day], float]) -> float:
    return max(map(size, last)) / max(map(size, first))


def _slope(days: Sequence[Day], of: Callable[[Day], float]) -> float:
    """Return by how much something grows a day, by regression."""
    if len(days) < 2:
        return 0.0
    return linear_regression([day.number for day in days], [of(day) for day in days]).slope


def _drift_w(days: Sequence[Day]) -> float:
    """Return how far any GPU's draw ever was from that at the same hour of the first of the days."""
    return max(
        (
            abs(now_w - then_w)
            for day in days[1:]
            for now, then in zip(day.draws_w, days[0].draws_w, strict=True)
            for now_w, then_w in zip(now, then, strict=True)
        ),
        default=0.0,
    )


def _worst_pct(days: Sequence[Day]) -> float:
    return max(abs(day.energy_error_pct) for day in days)


def _burst(days: Sequence[Day]) -> float:
    grown = [after.ledger_bytes - before.ledger_bytes for before, after in pairwise(days)]
    return max(grown) / mean(grown) if grown and mean(grown) > 0 else 0.0


def _cost(days: Sequence[Day]) -> float:
    return mean(day.cpu_s for day in days)
