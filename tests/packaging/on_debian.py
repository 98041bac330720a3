"""From `apt install` to `apt purge`, on a Debian of its own with a running systemd: `make deb-test`.

One story, told in order. The real package, units and broker; only the GPUs are of the fake NVML library.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_nvml import BY_NVML, FakeNvml, build
from tests.packaging.machine import Machine, wait_for

ROOT = Path(__file__).parent.parent.parent
HOST_UNITS = ("powerd-guard.service", "powerd.service")
GPUS, MAX_W, FAILSAFE_W, BUDGET_W, OVERHEAD_W = 8, 400, 2000, 3000, 200
FIVE_LINES = {
    'rack = "?"': 'rack = "r17"',
    "hard_limit_watts = 0": "hard_limit_watts = 3600",
    "failsafe_watts = 0": f"failsafe_watts = {FAILSAFE_W}",
    "#r17-n3 = { share = 1.0, floor_watts = 2600 }": "r17-n3 = { share = 1.0, floor_watts = 1000 }",
    'url = "?"': 'url = "mqtt://127.0.0.1:1883"',
}
CONFIG = "etc/powerd/powerd.toml"
# So that a raise is not what takes the time.
QUICK = "control = { raise_dwell_s = 0, raise_jitter_s = 0, raise_ramp_pct_per_min = 6000 }\n"
NEWER = "0.1.1"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    base = Path(os.environ["TRIAL_BASE"])
    with Machine(base, tmp_path_factory.mktemp("trial") / "root", "r17-n3") as running:
        shutil.copy(package(), running.root / "var/tmp/powerd.deb")
        yield running


@pytest.fixture(scope="module")
def gpus(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    """Put a driver into the machine, where the guard finds it like a real one; all GPUs are at work."""
    library = build(tmp_path_factory.mktemp("lib"))
    place = machine.root / "opt/gpus"
    place.mkdir()
    shutil.copy(library, machine.root / "usr/lib/x86_64-linux-gnu")
    host = FakeNvml(library, place / "state", gpus=GPUS)
    place.joinpath("state").chmod(0o666)
    for index in range(GPUS):
        host.set_demand(index, MAX_W)
        host.gpus[index].persistence = 1
    drop_in = machine.root / "etc/systemd/system/powerd-guard.service.d/gpus.conf"
    drop_in.parent.mkdir()
    lines = ("[Service]", "Environment=FAKE_NVML_STATE=/opt/gpus/state", "ReadWritePaths=/opt/gpus", "")
    drop_in.write_text("\n".join(lines), encoding="ascii")
    return host


def package() -> Path:
    [found] = (ROOT / "dist").glob("powerd_*.deb")
    return found


def newer(directory: Path) -> Path:
    """Return the same package with another version, which its program tells."""
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package(), tree], check=True)
    [module] = tree.glob("usr/lib/powerd/lib/python3*/site-packages/powerd/__init__.py")
    text = module.read_text(encoding="utf-8")
    module.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{NEWER}"', text), encoding="utf-8")
    control = tree / "DEBIAN/control"
    text = control.read_text(encoding="utf-8")
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {NEWER}-1", text), encoding="utf-8")
    built = directory / "newer.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", tree, built], check=True)
    return built


def install(machine: Machine, file: str) -> None:
    machine.run("apt-get", "install", "--yes", "--no-install-recommends", file)


def status(machine: Machine) -> dict[str, Any]:
    done = machine.try_run("powerctl", "status", "--json")
    return dict(json.loads(done.stdout)) if done.stdout.startswith("{") else {}


def version_that_runs(machine: Machine) -> str:
    return str(status(machine).get("version", ""))


def limits_w(host: FakeNvml) -> list[float]:
    return [gpu.enforced_mw / 1000 for gpu in host.gpus]


def configure(machine: Machine, changes: dict[str, str]) -> None:
    file = machine.root / CONFIG
    text = file.read_text(encoding="utf-8")
    for before, after in changes.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")


def test_it_installs_and_starts_nothing(machine: Machine) -> None:
    install(machine, "/var/tmp/powerd.deb")
    for unit in (*HOST_UNITS, "powerd-bridge-openadr.service"):
        assert machine.try_run("systemctl", "is-enabled", unit).stdout.strip() == "disabled"
        assert machine.property(unit, "ActiveState") == "inactive"
    assert machine.run("getent", "passwd", "powerd", "powerd-guard").count("nologin") == 2


def test_what_is_missing_is_told_line_by_line(machine: Machine) -> None:
    done = machine.try_run("powerd", "check-config", f"/{CONFIG}")
    assert done.returncode == 2
    said = re.findall(r"powerd\.toml:\d+: (\S+):", done.stdout)
    assert said == ["host.rack", "rack.hard_limit_watts", "rack.failsafe_watts", "rack.hosts", "mqtt.url"]


def test_five_lines_make_a_dry_run_that_writes_nothing(machine: Machine, gpus: FakeNvml) -> None:
    configure(machine, FIVE_LINES)
    machine.run("powerd", "check-config", f"/{CONFIG}")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", *HOST_UNITS)
    assert status(machine)["mode"] == "dry-run"
    assert gpus.writes() == []
    assert machine.property("powerd.service", "NRestarts") == "0"


def test_enforced_the_budget_holds(machine: Machine, gpus: FakeNvml) -> None:
    configure(machine, {'mode = "dry-run"': 'mode = "enforce"'})
    configure(machine, {"#overhead_watts = 900": f"overhead_watts = {OVERHEAD_W}"})
    machine.root.joinpath("etc/powerd/conf.d/quick.toml").write_text(QUICK, encoding="ascii")
    facility = ("powerctl", "publish", "budget", "--site", "main", "--rack", "r17", "--watts", str(BUDGET_W))
    machine.run("systemd-run", "--unit=facility", *facility, "--every", "5s")
    machine.run("systemctl", "restart", "powerd")
    wait_for(lambda: status(machine).get("state") == "limited")
    wait_for(lambda: sum(limits_w(gpus)) > 0.97 * (BUDGET_W - OVERHEAD_W))
    machine.run("powerctl", "verify")
    assert sum(limits_w(gpus)) <= BUDGET_W - OVERHEAD_W


def test_an_upgrade_runs_the_new_code_and_changes_no_limit(
    machine: Machine, gpus: FakeNvml, tmp_path: Path
) -> None:
    shutil.copy(newer(tmp_path), machine.root / "var/tmp/newer.deb")
    before_w, writes = limits_w(gpus), len(gpus.writes())
    pids = [machine.property(unit, "MainPID") for unit in HOST_UNITS]
    install(machine, "/var/tmp/newer.deb")
    wait_for(lambda: version_that_runs(machine) == NEWER)
    wait_for(lambda: machine.try_run("powerctl", "verify").returncode == 0)
    assert [machine.property(unit, "MainPID") for unit in HOST_UNITS] == pids
    assert [machine.property(unit, "ActiveState") for unit in HOST_UNITS] == ["active", "active"]
    assert [write for write in gpus.writes()[writes:] if write.source == BY_NVML] == []
    assert limits_w(gpus) == before_w


def test_a_restart_lowers_and_comes_back(machine: Machine, gpus: FakeNvml) -> None:
    writes = len(gpus.writes())
    machine.run("systemctl", "restart", "powerd-guard", "powerd")
    lowered = [write.enforced_mw for write in gpus.writes()[writes:]]
    assert max(lowered) <= (FAILSAFE_W - OVERHEAD_W) * 1000 / GPUS


def test_a_removal_leaves_the_fallback_and_the_configuration(machine: Machine, gpus: FakeNvml) -> None:
    machine.run("apt-get", "remove", "--yes", "powerd")
    assert sum(limits_w(gpus)) <= FAILSAFE_W - OVERHEAD_W
    assert (machine.root / CONFIG).exists()
    assert machine.try_run("pgrep", "-u", "powerd,powerd-guard").stdout == ""


def test_a_purge_gives_the_gpus_back_and_leaves_nothing(machine: Machine, gpus: FakeNvml) -> None:
    # The guard is gone, and its environment with it.
    machine.run("env", "FAKE_NVML_STATE=/opt/gpus/state", "apt-get", "purge", "--yes", "powerd")
    assert limits_w(gpus) == [MAX_W] * GPUS
    places = ("/etc", "/opt", "/run", "/srv", "/usr", "/var/lib", "/var/cache", "/home", "/root")
    found = machine.run("find", *places, "-name", "*powerd*").split()
    # The drop-in of this test, and systemd's own.
    others = ("/etc/systemd/system/powerd-guard.service.d", "/run/systemd/", "/var/lib/systemd/")
    assert [path for path in found if not path.startswith(others)] == []
