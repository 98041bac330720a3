"""The Ansible role on a Debian of its own, with Debian's own Ansible: part of `make deb-test`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.machine import Machine

ROOT = Path(__file__).parent.parent.parent
HOST = "r17-n3"
RACK = {"hard_limit_watts": 3600, "failsafe_watts": 2000}
PLAYBOOK = ("ansible-playbook", "-i", "/opt/inventory.json", "/opt/ansible/site.yml")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    base = Path(os.environ["TRIAL_BASE"])
    with Machine(base, tmp_path_factory.mktemp("ansible") / "root", HOST) as running:
        [package] = (ROOT / "dist").glob("powerd_*.deb")
        shutil.copy(package, running.root / "opt/powerd.deb")
        shutil.copytree(ROOT / "packaging" / "ansible", running.root / "opt/ansible")
        yield running


def play(machine: Machine, rack: Mapping[str, int]) -> subprocess.CompletedProcess[str]:
    """Run the playbook with simulated GPUs, and these values of the rack."""
    config = {
        "host": {
            "site": "main",
            "rack": "r17",
            "overhead_watts": 200,
            "allow_without_persistence_mode": True,
        },
        "gpu": {"driver": "simulated"},
        "rack": {**rack, "hosts": {HOST: {"share": 1.0, "floor_watts": 1000}}},
        "mqtt": {"url": "mqtt://127.0.0.1:1883"},
    }
    variables = {
        "ansible_connection": "local",
        "ansible_become": False,
        "powerd_package": "/opt/powerd.deb",
        "powerd_mode": "enforce",
        "powerd_config": config,
    }
    inventory = {"gpu": {"hosts": {HOST: variables}}}
    machine.root.joinpath("opt/inventory.json").write_text(json.dumps(inventory), encoding="ascii")
    return machine.try_run(*PLAYBOOK)


def changes(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout
    [count] = re.findall(r"changed=(\d+)", done.stdout)
    return int(count)


def status(machine: Machine) -> dict[str, Any]:
    return dict(json.loads(machine.try_run("powerctl", "status", "--json").stdout))


def hard_limit_w(machine: Machine) -> str:
    shown = machine.run("powerd", "check-config", "/etc/powerd/powerd.toml")
    [value] = re.findall(r"rack\.hard_limit_watts +(\S+)", shown)
    return str(value)


def test_it_installs_configures_and_waits_until_limits_are_as_decided(machine: Machine) -> None:
    assert changes(play(machine, RACK)) > 0
    assert status(machine)["mode"] == "enforce"
    for unit in ("powerd-guard.service", "powerd.service"):
        assert machine.run("systemctl", "is-enabled", unit).strip() == "enabled"


def test_again_it_changes_nothing(machine: Machine) -> None:
    assert changes(play(machine, RACK)) == 0


def test_a_configuration_that_powerd_would_refuse_never_arrives(machine: Machine) -> None:
    pid = machine.property("powerd.service", "MainPID")
    assert play(machine, RACK | {"failsafe_watts": 4000}).returncode != 0
    assert machine.property("powerd.service", "MainPID") == pid
    assert hard_limit_w(machine) == "3600.0"


def test_another_one_is_in_force_without_a_stop_of_the_services(machine: Machine) -> None:
    pid = machine.property("powerd.service", "MainPID")
    assert changes(play(machine, RACK | {"hard_limit_watts": 3500})) > 0
    assert machine.property("powerd.service", "MainPID") == pid
    assert hard_limit_w(machine) == "3500.0"
    assert machine.property("powerd.service", "NRestarts") == "0"
