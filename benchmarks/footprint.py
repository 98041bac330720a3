"""What powerd costs a host that nothing happens to: eight GPUs, one iteration a second."""

import os
import tempfile
import time
from pathlib import Path

from benchmarks.table import RAM, Figure, Table
from tests.daemon.rig import Rig

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LEASE_S = 300.0


def measure_footprint(seconds: float) -> Table:
    """Let daemon and guard run for a while under a standing budget, and read what the kernel counted."""
    control = {"period_s": 1.0, "hold_s": 5.0}
    with (
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory,
        Rig(Path(directory), tables={"control": control}) as rig,
    ):
        rig.start()
        rig.obey(3600, lease_s=_LEASE_S)
        pids = {"daemon": rig.daemon.pid, "guard": rig.guard.pid}
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        begun_s = time.monotonic()
        time.sleep(seconds)
        elapsed_s = time.monotonic() - begun_s
        cpu_pct = {name: (cpu_s(pid) - before[name]) / elapsed_s * 100 for name, pid in pids.items()}
        resident = {name: resident_mib(pid) for name, pid in pids.items()}
    return Table(
        f"Footprint, 8 GPUs at 1 Hz, over {elapsed_s:.0f} s",
        (
            Figure("CPU of daemon and guard together, of one core", sum(cpu_pct.values()), "%", 1.5),
            Figure("CPU of the daemon", cpu_pct["daemon"], "%"),
            Figure("CPU of the guard", cpu_pct["guard"], "%"),
            Figure("resident memory of the daemon", resident["daemon"], "MiB", 80.0),
            Figure("resident memory of the guard", resident["guard"], "MiB", 20.0),
        ),
    )


def cpu_s(pid: int) -> float:
    """Return the user and system time of a process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def resident_mib(pid: int) -> float:
    """Return how much memory a process holds (proc(5), field 2 of statm)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
