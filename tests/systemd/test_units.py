"""The units are valid, tightly confined, and restart, order and stop as promised."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from powerd.check import UNITS_GUARD_BOUND_S
from powerd.core.leases.leases import LeaseRules
from powerd.guard.config import GuardConfig
from powerd.guard.keeper import FALL_BACK_WITHIN_S
from powerd.guard.server import STOP_WITHIN_S
from powerd.openadr.bridge import HEARTBEAT_S
from powerd.openadr.settings import SiteSettings

DIRECTORY = Path(__file__).parent.parent.parent / "systemd"
GUARD = "powerd-guard.service"
BRIDGE = "powerd-bridge-openadr.service"
# Of every host with GPUs, and of one machine of a site.
HOST_UNITS = ("powerd.service", GUARD)
UNITS = (*HOST_UNITS, BRIDGE)
# In tenths, as systemd-analyze takes them.
EXPOSURE = {"powerd.service": 20, GUARD: 15, BRIDGE: 20}
BINARY = "/usr/bin/powerd"
# Directives that confine rather than start a service (systemd.exec(5), systemd.resource-control(5)).
HARDENING = re.compile(
    r"^(Protect|Private|Restrict|SystemCall|Capability|Ambient|NoNew|Lock|MemoryDeny|Device|IPAddress|Remove|UMask)"
)


def directives(unit: str) -> list[tuple[str, str]]:
    lines = (DIRECTORY / unit).read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if re.match(r"[A-Z]\w+=", line)]
    return [(name, value) for name, _, value in pairs]


def value(unit: str, name: str) -> str:
    found = [text for key, text in directives(unit) if key == name]
    assert len(found) == 1, f"{unit}: {name} is given {len(found)} times"
    return found[0]


def seconds(unit: str, name: str) -> float:
    text = value(unit, name)
    return float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return copies of the units whose program exists on this machine, which `verify` insists on."""
    program = shutil.which("true")
    assert program
    for unit in UNITS:
        text = (DIRECTORY / unit).read_text(encoding="utf-8")
        (tmp_path / unit).write_text(text.replace(BINARY, program), encoding="utf-8")
    return tmp_path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_systemd_finds_no_error_in_the_units(installed: Path) -> None:
    done = analyze("verify", "--recursive-errors=yes", "--man=no", *(installed / unit for unit in UNITS))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_verification_above_can_fail(installed: Path) -> None:
    unit = installed / UNITS[0]
    unit.write_text(unit.read_text(encoding="utf-8").replace("WatchdogSec=20s", "WatchdogSec=often"))
    assert analyze("verify", "--recursive-errors=yes", "--man=no", unit).returncode != 0


@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_of_each_unit_is_low(installed: Path, unit: str) -> None:
    """Of ten: at most 2.0 for what talks to a network, 1.5 for the guard."""
    done = analyze(
        "security", "--offline=true", f"--threshold={EXPOSURE[unit]}", "--no-pager", installed / unit
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


@pytest.mark.parametrize("unit", UNITS)
def test_the_measurement_above_can_fail(installed: Path, unit: str) -> None:
    text = (installed / unit).read_text(encoding="utf-8")
    for line in ("SystemCallFilter=@system-service\n", "RestrictNamespaces=yes\n", "ProtectHome=yes\n"):
        assert line in text
        text = text.replace(line, "")
    (installed / unit).write_text(text, encoding="utf-8")
    done = analyze(
        "security", "--offline=true", f"--threshold={EXPOSURE[unit]}", "--no-pager", installed / unit
    )
    assert done.returncode != 0


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_that_a_unit_knows_gets_to_a_disk_by_a_crash_or_for_want_of_memory(unit: str) -> None:
    assert value(unit, "LimitCORE") == "0"
    assert value(unit, "MemorySwapMax") == "0"


@pytest.mark.parametrize("unit", UNITS)
def test_every_hardening_line_has_its_reason_beside_it(unit: str) -> None:
    lines = (DIRECTORY / unit).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if HARDENING.match(line):
            above = next(text for text in reversed(lines[:number]) if not HARDENING.match(text))
            assert above.startswith("# "), f"{unit}:{number + 1}: {line}"


@pytest.mark.parametrize("unit", HOST_UNITS)
def test_each_unit_never_gives_up_and_lowers_the_limits_when_it_ends(unit: str) -> None:
    assert value(unit, "Type") == "notify"
    assert value(unit, "Restart") == "always"
    assert value(unit, "StartLimitIntervalSec") == "0"
    assert seconds(unit, "WatchdogSec") > 0
    assert value(unit, "ExecStopPost").endswith("guard --config /etc/powerd/powerd.toml --apply-fallback")


def test_whatever_becomes_of_the_guard_its_gpus_are_at_the_fallback_within_the_bound() -> None:
    """The sum at the top of the unit: other hosts lend and take back watts by it."""
    stop_s, watchdog_s = seconds(GUARD, "TimeoutStopSec"), seconds(GUARD, "WatchdogSec")
    longest_s = {
        "lives": 2 * GuardConfig().call_deadline_s,
        "is killed": stop_s,
        "is told to stop": 2 * STOP_WITHIN_S + stop_s,
        "hangs": watchdog_s + stop_s,
        "is told to stop and hangs": stop_s + stop_s,
    }
    for_systemd_s = 1.0
    assert max(longest_s.values()) + for_systemd_s <= UNITS_GUARD_BOUND_S == LeaseRules().guard_bound_s
    told = re.findall(r"^#   \D+(\d+\.\d)  ", (DIRECTORY / GUARD).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(map(float, told)) == sorted(longest_s.values())


def test_no_bound_cuts_short_what_it_bounds() -> None:
    start_a_program_s = 1.0
    assert FALL_BACK_WITHIN_S + start_a_program_s <= seconds(GUARD, "TimeoutStopSec")
    assert seconds(GUARD, "TimeoutStopSec") > 2 * STOP_WITHIN_S
    # A guard that is stopped by a signal cannot act on any other one.
    assert value(GUARD, "WatchdogSignal") == "SIGKILL"


@pytest.mark.parametrize("unit", HOST_UNITS)
def test_limits_are_in_force_before_a_job_can_start(unit: str) -> None:
    assert {"slurmd.service", "kubelet.service"} <= set(value(unit, "Before").split())
    assert "nvidia-persistenced.service" in value(unit, "After").split()
    assert value(unit, "Conflicts") == "nvidia-powerd.service"


def test_only_the_guard_has_a_capability_and_only_the_daemon_a_network() -> None:
    assert value(GUARD, "CapabilityBoundingSet") == "CAP_SYS_ADMIN"
    assert value(GUARD, "PrivateNetwork") == "yes"
    assert value(GUARD, "RestrictAddressFamilies") == "AF_UNIX"
    assert value("powerd.service", "CapabilityBoundingSet") == ""
    assert value("powerd.service", "PrivateDevices") == "yes"
    assert value("powerd.service", "User") != value(GUARD, "User")


def test_the_bridge_has_neither_a_capability_nor_a_device_nor_a_user_and_never_gives_up() -> None:
    assert value(BRIDGE, "CapabilityBoundingSet") == ""
    assert value(BRIDGE, "PrivateDevices") == "yes"
    assert value(BRIDGE, "DynamicUser") == "yes"
    assert (value(BRIDGE, "Restart"), value(BRIDGE, "StartLimitIntervalSec")) == ("always", "0")
    assert seconds(BRIDGE, "WatchdogSec") > 2 * HEARTBEAT_S


def test_the_bridge_keeps_its_state_where_its_configuration_says() -> None:
    """What was published must be known after a restart, or it could not be cancelled."""
    state_dir = SiteSettings(name="hel1").state_dir
    assert state_dir == f"/var/lib/{value(BRIDGE, 'StateDirectory')}"
    example = (DIRECTORY.parent / "config" / "openadr.toml").read_text(encoding="utf-8")
    assert f"/run/credentials/{BRIDGE}/" in example


def test_what_the_guard_remembers_survives_a_stop_of_its_service() -> None:
    """A runtime directory that is removed at stop is a lost plan."""
    assert value(GUARD, "RuntimeDirectoryPreserve") == "yes"


def test_the_guard_may_open_every_device_name_that_drivers_register() -> None:
    allowed = {text.split()[0] for name, text in directives(GUARD) if name == "DeviceAllow"}
    assert allowed == {"char-nvidia", "char-nvidiactl", "char-nvidia-frontend", "char-nvidia-caps"}


def test_the_guard_serves_the_user_that_the_daemon_runs_as() -> None:
    user = value("powerd.service", "User")
    assert value(GUARD, "Environment") == f"POWERD_GUARD__CLIENT_USER={user}"
    users = (DIRECTORY / "sysusers.conf").read_text(encoding="utf-8")
    for unit in HOST_UNITS:
        assert re.search(rf"^u {value(unit, 'User')} ", users, flags=re.MULTILINE)


def test_the_users_can_be_made() -> None:
    """The tool refuses a colon in a description, for one, and with it the whole file."""
    done = subprocess.run(
        ["systemd-sysusers", "--dry-run", DIRECTORY / "sysusers.conf"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr.count("not a valid")) == (0, 0), done.stderr
