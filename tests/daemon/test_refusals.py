"""What stops a start, in one line that says what to do; and the modes in which nothing may be written."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import MakeRig
from tests.daemon.processes import POWERD
from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw

REFUSED = 2


def refusal(rig: Rig, *command: str, **environment: str) -> str:
    """Run a command that must not start, and return its one line on stderr."""
    run = subprocess.run(
        [POWERD, *(command or ("run", "--config", str(rig.config)))],
        env={**rig.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert run.returncode == REFUSED
    assert "Traceback" not in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert run.stdout == ""
    return run.stderr


# What is wrong, and the words that the line must hold, besides the file.
MISTAKES: dict[str, tuple[dict[str, dict[str, Any]], tuple[str, ...]]] = {
    "unknown key": ({"control": {"periods": 1.0}}, ("control.periods",)),
    "unknown key of the guard": ({"guard": {"sokcet": "/x"}}, ("guard.sokcet",)),
    "infeasible failsafe": ({"rack": {"failsafe_watts": 1200}}, ("failsafe", "1200")),
    "failsafe above the hard limit": ({"rack": {"failsafe_watts": 9000}}, ("failsafe", "hard")),
    "wrong type": ({"rack": {"hard_limit_watts": "much"}}, ("rack.hard_limit_watts",)),
    "out of range": ({"control": {"period_s": 0.0}}, ("control.period_s",)),
    "hold below two periods": ({"control": {"hold_s": 0.3}}, ("control.hold_s",)),
    "not in the roster": ({"host": {"name": "r17-n9"}}, ("r17-n9",)),
    "unknown mode": ({"host": {"mode": "force"}}, ("host.mode",)),
    "password in the URL": ({"mqtt": {"url": "mqtt://me:secret@127.0.0.1"}}, ("mqtt.url",)),
    "plaintext to another machine": ({"mqtt": {"url": "mqtt://broker.example"}}, ("mqtt.url", "mqtts")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration_is_named_with_its_file_and_key(rig: Rig, mistake: str) -> None:
    tables, words = MISTAKES[mistake]
    rig.configure(tables)
    line = refusal(rig)
    assert line.startswith(f"powerd: {rig.config}")
    assert [word for word in words if word not in line] == []
    assert "secret" not in line


def test_a_missing_file_is_named(rig: Rig, tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    for command in (("run", "--config", str(missing)), ("guard", "--config", str(missing))):
        assert f"{missing}: no such file" in refusal(rig, *command)


def test_text_that_is_no_toml_is_named_with_its_line(rig: Rig) -> None:
    rig.config.write_text("[host]\nsite = \n", encoding="utf-8")
    assert "line 2" in refusal(rig)


def test_a_file_that_everyone_may_write_is_not_followed(rig: Rig) -> None:
    rig.config.chmod(0o666)
    assert "chmod o-w" in refusal(rig)


def test_an_unknown_variable_is_named(rig: Rig) -> None:
    assert "POWERD_CONTROL__PERIOD" in refusal(rig, POWERD_CONTROL__PERIOD="1")
    assert "POWERD_FOO" in refusal(rig, POWERD_FOO="1")


def test_the_guard_names_a_mistake_in_its_own_tables(rig: Rig) -> None:
    rig.configure({"guard": {"call_deadline_s": -1}})
    line = refusal(rig, "guard", "--config", str(rig.config))
    assert str(rig.config) in line
    assert "guard.call_deadline_s" in line


def refused_to_enforce(rig: Rig) -> str:
    """Start the daemon, which must end by itself without a write, and return the line that says why."""
    rig.broker.start()
    rig.start_guard()
    rig.daemon.start()
    assert rig.daemon.wait(10) == REFUSED
    assert rig.write_log() == []
    assert "Traceback" not in rig.daemon.log
    return rig.daemon.log.splitlines()[-1]


def test_enforce_is_refused_where_limits_would_vanish_with_the_driver(rig: Rig) -> None:
    rig.gpus.gpus[3].persistence = 0
    line = refused_to_enforce(rig)
    assert "enforce refused: persistence mode is off on GPU 3" in line
    assert "nvidia-smi -pm 1" in line


def test_enforce_without_persistence_mode_can_be_decided_on(make_rig: MakeRig) -> None:
    rig = make_rig(host={"allow_without_persistence_mode": True})
    rig.gpus.gpus[3].persistence = 0
    rig.start()
    rig.obey(3000)


def test_enforce_is_refused_where_the_roster_promises_less_than_the_host_needs(make_rig: MakeRig) -> None:
    rig = make_rig(rack={"hosts": {"r17-n1": {"share": 1.0, "floor_watts": 1500}}})
    line = refused_to_enforce(rig)
    assert "rack.hosts.r17-n1.floor_watts is 1500" in line
    assert "1600 W" in line


def test_enforce_needs_to_know_the_overhead(rig: Rig) -> None:
    text = rig.config.read_text(encoding="utf-8")
    rig.config.write_text(text.replace("overhead_watts = 800\n", ""), encoding="utf-8")
    assert "host.overhead_watts is not set" in refusal(rig)


def decide_without_writing(rig: Rig) -> None:
    """Have the daemon decide on a budget and be killed, with not one write by it or by the guard."""
    rig.publish_budget(3000)
    rig.wait_for(lambda: rig.status()["budget"]["rack_watts"] == 3000, within_s=3, what="the budget decided")
    rig.wait_iterations(2)
    rig.daemon.kill()
    assert rig.guard.terminate() == 0
    assert rig.write_log() == []
    assert all(gpu.set_calls == 0 for gpu in rig.gpus.gpus)


@pytest.mark.parametrize("mode", ["monitor", "dry-run"])
def test_monitor_and_dry_run_write_nothing_and_show_what_they_would(make_rig: MakeRig, mode: str) -> None:
    rig = make_rig(host={"mode": mode})
    rig.broker.start()
    rig.start_guard()
    rig.daemon.start()
    rig.wait_for(lambda: rig.status()["bus"]["connected"], what="connected")
    run = rig.powerctl("verify")
    assert run.code == 1
    assert f"mode is {mode}: powerd writes no limits" in run.out
    targets = [gpu["limit_watts"] for gpu in rig.status()["gpus"]]
    assert 0 < sum(targets) <= gpu_budget_mw(FAILSAFE_WATTS) / 1000
    decide_without_writing(rig)
    assert ("would_set_limits" in rig.daemon.log) is (mode == "dry-run")


def test_the_mode_flag_overrides_the_configuration(rig: Rig) -> None:
    rig.broker.start()
    rig.start_guard()
    rig.daemon.start("--mode", "dry-run")
    rig.wait_for(lambda: rig.status()["mode"] == "dry-run", what="its answer")
    assert rig.write_log() == []


def test_writes_can_be_forbidden_from_outside_whatever_the_mode(rig: Rig) -> None:
    forbidden = {"POWERD_FORBID_WRITES": "1"}
    rig.broker.start()
    rig.guard.start(environment=forbidden)
    rig.daemon.start(environment=forbidden)
    rig.wait_for(lambda: rig.status()["bus"]["connected"], what="connected")
    rig.wait_for(lambda: "POWERD_FORBID_WRITES" in rig.problem("limit_write_failed"), within_s=3)
    assert rig.status()["guard"]["writes_forbidden"] is True
    assert rig.status()["compliant"] is False
    decide_without_writing(rig)


def test_powerctl_says_that_no_daemon_answers(rig: Rig) -> None:
    run = rig.powerctl("status")
    assert run.code == 3
    assert len(run.err.splitlines()) == 1
    assert "is powerd running?" in run.err


def test_powerctl_status_ends_with_4_in_failsafe_and_0_under_a_budget(rig: Rig) -> None:
    rig.start()
    assert rig.powerctl("status").code == 4
    rig.obey(3000, lease_s=60)
    rig.wait_for(lambda: rig.powerctl("status").code == 0, what="exit code 0")
    run = rig.powerctl("verify")
    assert (run.code, run.out) == (0, "8 GPUs: requested as decided, enforced at most that\n")
