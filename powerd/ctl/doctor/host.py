"""What `powerctl doctor` sees of the machine itself: driver, rivals, clock, units, memory."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from powerd.ctl.doctor.check import Check, failed, not_checked, ok, warning

_ASK_WITHIN_S = 5.0
_DRIVER = Path("/proc/driver/nvidia/version")
_CGROUPS = Path("/sys/fs/cgroup/system.slice")
_UNITS = ("powerd", "powerd-guard")
# Memory that is nearer to its limit than this will run out.
_NEAR_SHARE = 0.85
# What runs under these names writes limits, or can be told to.
_RIVALS = {
    "nvidia-powerd": ("moves limits by itself (Dynamic Boost)", "systemctl disable --now nvidia-powerd"),
    "nv-hostengine": ("is DCGM, which enforces a limit if one was configured", "look at: dcgmi config --get"),
}


def machine(*, is_clock_trusted: bool) -> Iterator[Check]:
    """Yield everything that does not need the daemon.

    Args:
        is_clock_trusted: host.trust_wall_clock is set.
    """
    yield _driver()
    yield _persistence()
    yield from rivals(Path("/proc"))
    yield _clock(is_trusted=is_clock_trusted)
    yield from _units()
    yield from memory(_CGROUPS)


def rivals(processes: Path) -> Iterator[Check]:
    """Yield which programs run that are known to write limits.

    Args:
        processes: /proc.
    """
    running = {_name(entry) for entry in processes.glob("[0-9]*/comm")}
    found = sorted(running & _RIVALS.keys())
    for name in found:
        what, fix = _RIVALS[name]
        yield warning("machine.rivals", f"{name} runs: it {what}", fix)
    if not found:
        text = "no program runs that is known to write limits; cron jobs and prologs that do cannot be seen"
        yield ok("machine.rivals", text)


def memory(cgroups: Path) -> Iterator[Check]:
    """Yield how near the units are to the end of their memory.

    Args:
        cgroups: the directory of the units' control groups, of version 2.
    """
    for unit in _UNITS:
        name, group = f"machine.memory.{unit}", cgroups / f"{unit}.service"
        try:
            used = int((group / "memory.current").read_text(encoding="ascii"))
            limit = (group / "memory.max").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            yield not_checked(name, f"{group} is not there: the unit does not run, or not under cgroups v2")
            continue
        if limit == "max":
            yield ok(name, f"{used / 2**20:.0f} MiB, without a limit")
        elif used > _NEAR_SHARE * int(limit):
            fix = f"systemctl edit {unit}: raise MemoryMax; a daemon that grows is a bug: report it"
            yield warning(name, f"{used / 2**20:.0f} of {int(limit) / 2**20:.0f} MiB are used", fix)
        else:
            yield ok(name, f"{used / 2**20:.0f} of {int(limit) / 2**20:.0f} MiB are used")


def asked(*command: str) -> str | None:
    """Return what a program prints; None if it is not there, fails, or does not answer in time."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 -- programs that are named in here
            command, capture_output=True, text=True, check=False, timeout=_ASK_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _driver() -> Check:
    try:
        lines = _DRIVER.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        fix = "install the driver: nvidia-smi must work; nothing to do with simulated GPUs"
        return not_checked("machine.driver", f"{_DRIVER} is not there: no NVIDIA driver is loaded", fix)
    return ok("machine.driver", lines[0].removeprefix("NVRM version: ") if lines else "loaded")


def _persistence() -> Check:
    name = "machine.persistence"
    said = asked("nvidia-smi", "--query-gpu=index,persistence_mode", "--format=csv,noheader")
    if said is None:
        return not_checked(
            name, "nvidia-smi is not there or does not answer; mode enforce refuses to start without"
        )
    without = [line.split(",")[0] for line in said.splitlines() if "disabled" in line.lower()]
    if without:
        fix = "systemctl enable --now nvidia-persistenced, or nvidia-smi -pm 1"
        text = f"off on GPU {', '.join(without)}: limits vanish with the driver's last client"
        return failed(name, text, fix)
    return ok(name, "on, so limits stay when the driver has no client")


def _clock(*, is_trusted: bool) -> Check:
    from powerd.clock import wall_is_synchronised  # noqa: PLC0415 -- reads the core's records

    if is_trusted:
        return ok("machine.clock", "taken for synchronised, as host.trust_wall_clock says")
    if wall_is_synchronised():
        return ok("machine.clock", "the kernel says that the wall clock is kept by a time service")
    fix = "chronyc tracking, or timedatectl; where no service tells the kernel: host.trust_wall_clock = true"
    return warning("machine.clock", "the wall clock is not synchronised: stored budgets are not taken", fix)


def _units() -> Iterator[Check]:
    if not Path("/run/systemd/system").is_dir():
        yield not_checked("machine.units", "systemd does not run here")
        return
    for unit in _UNITS:
        # is-enabled and is-active say no by their exit codes; what they print is the answer.
        state = asked("systemctl", "show", "-p", "UnitFileState,ActiveState", "--value", f"{unit}.service")
        enabled, _, active = (state or "").partition("\n")
        states = {enabled.strip(), active.strip()}
        if states == {"enabled", "active"}:
            yield ok(f"machine.units.{unit}", "enabled and active")
        else:
            text = ", ".join(sorted(filter(None, states))) or "not installed"
            yield warning(f"machine.units.{unit}", text, f"systemctl enable --now {unit}")


def _name(entry: Path) -> str:
    try:
        return entry.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""  # it has ended
