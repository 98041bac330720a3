"""What a ledger whose disk stalls costs the control loop: nothing. And how fast it takes entries.

A real controller and guard with eight GPUs of the fake library. In every iteration an event asks for other
watts, so that each one writes limits and entries. The disk stalls in that another connection keeps the file
locked: the writer's thread waits within a call of SQLite, as it does for a disk.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.table import RAM, Figure, Table, load_note, quantile
from powerd.clock import SystemClock
from powerd.core.events.grid_event import Action, ActionKind, EventClass, GridEvent, Interval, Level
from powerd.core.model import Now
from powerd.core.proof.ledger_entry import Entry, Sample, Samples
from powerd.core.state import initial_state
from powerd.daemon.controller import Controller, Options, Report
from powerd.daemon.host_gpus import HostGpus
from powerd.daemon.recorder import Recorder
from powerd.guard.client import GuardClient
from powerd.ledger.file import FILE_NAME, open_to_read, verify
from powerd.ledger.writer import Ledger, LedgerOptions
from powerd.settings.loading import load
from powerd.settings.rules import core_config, rack
from powerd.snapshot import BusStatus
from tests.daemon.rig import Rig

# The disk changes between fine and stalled this often, so that whatever else the machine does hits both.
_BLOCK = 50
_PAUSE_S = 0.004
_LOADED_GPU_MW = 500_000
_WATTS = (1900, 2200)
_ENTRIES = 20_000


def measure_ledger(iterations: int) -> Table:
    """Time iterations with the disk stalled, fine, and without a ledger, in turns."""
    with tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory, _rig(Path(directory)) as rig:
        rig.start_guard()
        for index in range(len(rig.gpus.gpus)):
            rig.gpus.set_demand(index, _LOADED_GPU_MW)
        with tempfile.TemporaryDirectory(prefix="powerd-ledger-") as disk:
            times_ms, waiting, written = asyncio.run(_times_ms(rig, Path(disk) / FILE_NAME, iterations))
    none, fine, stalled = (sorted(times_ms[name]) for name in ("none", "fine", "stalled"))
    p99 = {name: quantile(sorted(times_ms[name]), 0.99) for name in times_ms}
    rate, verify_rate = _throughput()
    return Table(
        f"Ledger, {iterations} iterations each, an event that changes in every one of them, 8 GPUs",
        (
            Figure("p50 of an iteration without a ledger", quantile(none, 0.5), "ms"),
            Figure("p50 with its disk fine", quantile(fine, 0.5), "ms"),
            Figure("p50 with its disk stalled", quantile(stalled, 0.5), "ms"),
            Figure("p99 without a ledger", p99["none"], "ms"),
            Figure("p99 with its disk fine", p99["fine"], "ms"),
            Figure("p99 with its disk stalled", p99["stalled"], "ms"),
            Figure("p99 stalled / p99 fine", p99["stalled"] / p99["fine"], "x", 1.1),
            Figure("entries that waited while it was stalled", float(waiting), ""),
            Figure("entries written in the end", float(written), ""),
            Figure("entries of ten samples written, 256 at a time", rate, "1/s"),
            Figure("of which are verified", verify_rate, "1/s"),
        ),
        load_note(),
    )


def _rig(directory: Path) -> Rig:
    control = {"period_s": 1.0, "hold_s": 5.0}
    return Rig(directory, tables={"control": control, "guard": {"call_deadline_s": 1.0}})


class _Loop:
    """A controller whose iterations are recorded or not, as is wanted."""

    def __init__(self, rig: Rig, ledger: Ledger) -> None:
        settings = load(rig.config).settings
        config = core_config(settings, rack(settings))
        clock = SystemClock(assume_synced=True)
        host = settings.host
        self.is_recorded = True
        self._recorder = Recorder(ledger, lambda _: None, lambda _: None)
        self.controller = Controller(
            Options(host.site, host.rack, host.name, "enforce", persistence_needed=False),
            config,
            initial_state(clock.now()),
            clock=clock,
            gpus=HostGpus(GuardClient(settings.guard.socket), clock, read_within_s=2.0, plan_within_s=3.0),
            report=self._report,
            bus_status=lambda: BusStatus("none"),
        )

    def _report(self, report: Report) -> None:
        if self.is_recorded:
            self._recorder(report)


async def _times_ms(rig: Rig, path: Path, iterations: int) -> tuple[dict[str, list[float]], int, int]:
    times_ms: dict[str, list[float]] = {"none": [], "fine": [], "stalled": []}
    ledger = Ledger(path, LedgerOptions(busy_s=3600.0))
    ledger.start()
    loop = _Loop(rig, ledger)
    await loop.controller.sample()
    events = _events()
    waiting = 0
    await _block(loop, events, _BLOCK)  # warms up, and makes the file
    for _ in range(iterations // _BLOCK):
        for name in times_ms:
            await _drained(ledger)
            loop.is_recorded = name != "none"
            lock = sqlite3.connect(path, isolation_level=None)
            if name == "stalled":
                lock.execute("BEGIN IMMEDIATE")
            times_ms[name] += await _block(loop, events, _BLOCK)
            if name == "stalled":
                waiting = max(waiting, ledger.status().waiting)
                lock.execute("ROLLBACK")
            lock.close()
    await _drained(ledger)
    ledger.close(10.0)
    return times_ms, waiting, ledger.status().written


async def _block(loop: _Loop, events: Iterator[GridEvent], count: int) -> list[float]:
    times_ms = []
    await loop.controller.sample()
    for _ in range(count):
        loop.controller.submit_event(next(events))
        begun_s = time.perf_counter()
        await loop.controller.iterate()
        times_ms.append((time.perf_counter() - begun_s) * 1e3)
        await asyncio.sleep(_PAUSE_S)
    return times_ms


async def _drained(ledger: Ledger) -> None:
    while ledger.status().waiting:  # noqa: ASYNC110 - a thread empties it
        await asyncio.sleep(0.01)


def _events() -> Iterator[GridEvent]:
    """Yield versions of one event, each of which asks for other watts."""
    begun_s = time.time()
    seq = 0
    while True:
        seq += 1
        action = Action(ActionKind.LIMIT, mw=_WATTS[seq % 2] * 1000)
        yield GridEvent(
            source="bench",
            event_id="e1",
            epoch=1,
            seq=seq,
            issued_at_s=time.time(),
            event_class=EventClass.MANDATORY,
            level=Level.RACK,
            targets=(),
            intervals=(Interval(begun_s, None, action),),
            received=Now(time.clock_gettime(time.CLOCK_BOOTTIME), time.time()),
            digest=str(seq),
        )


def _throughput() -> tuple[float, float]:
    """Return how many entries a second are written, on the disk of the temporary directory, and verified."""
    row = Sample(1.8e9, 1.0, 30_123_456, 30_456_789, "hosts", (40_000_000, 30_000_000), (123_456, 123_456))
    entries = [
        Entry(1.8e9 + 10 * number, "", Samples(("bench/e1",), (row,) * 10)) for number in range(_ENTRIES)
    ]
    with tempfile.TemporaryDirectory(prefix="powerd-ledger-") as disk:
        ledger = Ledger(Path(disk) / FILE_NAME, LedgerOptions(max_waiting=_ENTRIES))
        begun_s = time.perf_counter()
        ledger.put(entries)
        ledger.start()
        ledger.close(600.0)
        written_s = time.perf_counter() - begun_s
        with closing(open_to_read(Path(disk) / FILE_NAME)) as connection:
            begun_s = time.perf_counter()
            verified = verify(connection).head.number
            return _ENTRIES / written_s, verified / (time.perf_counter() - begun_s)
