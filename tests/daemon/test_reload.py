"""SIGHUP: another configuration for a daemon that runs, with real processes and limits read back."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.observer import unearned_raises
from tests.daemon.rig import FAILSAFE_WATTS, HOST, Rig
from tests.powerctl import run

USER = "r17-n1"
LAST_OK = "powerd_config_last_reload_successful"
LAST_S = "powerd_config_last_reload_timestamp_seconds"


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Return one rig for all tests but those that need a broker of their own."""
    with Rig(tmp_path_factory.mktemp("r"), library) as rig:
        yield rig


@pytest.fixture
def host(shared: Rig) -> Iterator[Rig]:
    """Return the rig as it was configured at first; it obeys a budget of 3000 W for a minute."""
    if not shared.daemon.running:
        shared.configure({})
        shared.start_daemon() if shared.guard.running else shared.start()
    elif reloads(shared):
        reloaded(shared)
    shared.obey(3000, lease_s=60)
    yield shared
    assert list(unearned_raises(shared)) == []


def reload(rig: Rig, **tables: dict[str, Any]) -> None:
    """Write the configuration, and send SIGHUP."""
    rig.configure(tables)
    rig.daemon.signal(signal.SIGHUP)


def reloads(rig: Rig) -> int:
    return rig.daemon.log.count("config_reloaded")


def reloaded(rig: Rig, **tables: dict[str, Any]) -> None:
    """Reload, and wait until that is done, and decided on."""
    before = reloads(rig)
    reload(rig, **tables)
    rig.wait_for(lambda: reloads(rig) > before, within_s=5, what="the reload")
    rig.wait_iterations(1)


def test_a_lower_limit_is_read_back_at_once_and_falls_back_lower_too(host: Rig) -> None:
    reload(host, rack={"hard_limit_watts": 2800, "failsafe_watts": 2000})
    host.wait_for(lambda: host.obeyed(2800), within_s=3, what="the lower hard limit in the GPUs")
    told = [line for line in host.daemon.log.splitlines() if "config_changed" in line]
    line = next(line for line in told if "key=rack.failsafe_watts" in line)
    assert f"old={FAILSAFE_WATTS} new=2000" in line
    assert f"origin={host.config}:" in line
    history = host.get("/v1/history").body
    assert '"config_reloaded"' in history

    reloaded(host, rack={"failsafe_watts": 2000})
    host.wait_for(lambda: host.obeyed(3000), within_s=3, what="the budget under the hard limit of before")

    host.daemon.kill()
    host.wait_for(lambda: host.obeyed(2000), within_s=5, what="the guard's fallback of the new failsafe")


def test_a_configuration_that_cannot_be_used_changes_nothing_and_is_told_of_until_one_can(host: Rig) -> None:
    before_s, writes = host.metric(LAST_S), len(host.write_log())
    assert host.metric(LAST_OK) == 1
    good = host.config.read_text(encoding="utf-8")
    bad = good.replace("failsafe_watts = 2400", "failsafe_wats = 2000")
    line = 1 + bad.splitlines().index("failsafe_wats = 2000")
    host.config.write_text(bad, encoding="utf-8")
    host.daemon.signal(signal.SIGHUP)
    host.wait_for(lambda: host.problem("config_not_reloaded"), within_s=5, what="the problem in status")
    problem = host.problem("config_not_reloaded")
    assert f"{host.config}:{line}: rack.failsafe_wats: unknown key" in problem
    assert "rack.failsafe_watts: missing" in problem
    assert (host.metric(LAST_OK), host.metric(LAST_S)) == (0, before_s)
    assert host.daemon.log.count("config_problem") == 2
    assert len(host.write_log()) == writes

    reloaded(host)
    assert host.problem("config_not_reloaded") == ""
    assert host.metric(LAST_OK) == 1
    assert host.metric(LAST_S) > before_s

    # What GPUs cannot be limited to is found where enforce is in force, and not by the file alone.
    floor = {HOST: {"share": 1.0, "floor_watts": 1500}}
    reload(host, rack={"hosts": floor})
    host.wait_for(lambda: host.problem("config_not_reloaded"), within_s=5, what="the refusal")
    assert "enforce refused: rack.hosts.r17-n1.floor_watts is 1500" in host.problem("config_not_reloaded")
    assert len(host.write_log()) == writes

    # The same file again, with a key that waits for a restart: the others are in force, and it is told of.
    reload(host, http={"listen": "127.0.0.1:1"}, rack={"hard_limit_watts": 2800})
    host.wait_for(lambda: host.obeyed(2800), within_s=3, what="what can be changed, changed")
    waiting = host.wait_for(lambda: host.problem("config_needs_restart"), within_s=3, what="what waits")
    assert host.problem("config_not_reloaded") == ""
    assert f"http.listen: '127.0.0.1:{host.http_port}' -> '127.0.0.1:1' ({host.config}:" in waiting
    reloaded(host)
    assert host.problem("config_needs_restart") == ""


def test_fifty_reloads_in_a_row_cost_no_connection_no_write_and_nothing_that_stays(host: Rig) -> None:
    def held() -> tuple[int, int]:
        own = Path("/proc") / str(host.daemon.pid)
        return len(list((own / "fd").iterdir())), len(list((own / "task").iterdir()))

    reloaded(host)
    connections, writes, before = host.broker.log.count("New client connected"), len(host.write_log()), held()
    iteration, done = host.status()["iteration"], reloads(host)
    for number in range(50):
        host.configure({"rack": {"failsafe_watts": 2000 + number}})
        host.daemon.signal(signal.SIGHUP)
        host.guard.signal(signal.SIGHUP)
    host.wait_for(
        lambda: "config_reloaded" in host.daemon.log.partition("new=2049")[2], what="the last one in force"
    )
    host.wait_iterations(5)
    assert host.status()["iteration"] > iteration + 5
    assert reloads(host) > done
    assert host.broker.log.count("New client connected") == connections
    assert len(host.write_log()) == writes
    # A connection of this test that is not closed yet, a thread that had not been needed before.
    assert all(now <= then + 2 for now, then in zip(held(), before, strict=True))
    assert host.guard.running
    assert host.problem("guard_unusable") == ""


@pytest.fixture
def secured(library: Path, tmp_path: Path) -> Iterator[Rig]:
    """Return a rig whose daemon needs a password for the broker; it runs, and obeys 3000 W for a minute."""
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    set_password(passwords, secret, "one")
    mqtt = {"username": USER, "password_file": str(secret), "reconnect_min_s": 20.0, "reconnect_max_s": 30.0}
    directory = tmp_path / "0"
    directory.mkdir()
    settings = (f"password_file {passwords}",)
    with Rig(directory, library, tables={"mqtt": mqtt}, broker_settings=settings) as rig:
        rig.start()
        rig.obey(3000, lease_s=60)
        yield rig
    assert list(unearned_raises(rig)) == []


def set_password(passwords: Path, secret: Path, password: str) -> None:
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, USER, password], check=True, timeout=10)
    secret.write_text(password, encoding="utf-8")
    secret.chmod(0o600)


def test_a_password_that_was_changed_is_used_after_a_reload_and_no_cap_is_dropped_meanwhile(
    secured: Rig, tmp_path: Path
) -> None:
    writes = len(secured.write_log())
    set_password(tmp_path / "passwords", tmp_path / "secret", "hush-hush")
    secured.broker.restart()  # its password file is read, and the old password is refused from now on
    secured.wait_for(lambda: secured.problem("mqtt_disconnected"), within_s=5, what="the loss noticed")
    secured.daemon.signal(signal.SIGHUP)
    # The next attempt would come after twenty seconds.
    secured.wait_for(lambda: secured.status()["bus"]["connected"], within_s=10, what="connected again")
    assert len(secured.write_log()) == writes
    assert secured.status()["state"] == "limited"
    assert secured.obeyed(3000)
    assert "hush-hush" not in secured.daemon.log
    secured.obey(2800)


def test_another_mode_is_taken_up_and_an_unchanged_one_leaves_what_an_operator_has_ordered(host: Rig) -> None:
    reloaded(host, host={"mode": "dry-run"})
    assert host.status()["mode"] == "dry-run"
    assert host.status()["orders"]["configured_mode"] == "dry-run"
    host.wait_for(lambda: host.obeyed(FAILSAFE_WATTS), within_s=5, what="the guard's fallback")

    # A floor that the GPUs cannot be limited to is no matter while nothing is written; with enforce it is.
    low = {HOST: {"share": 1.0, "floor_watts": 1500}}
    reloaded(host, host={"mode": "dry-run"}, rack={"hosts": low})
    reload(host, host={"mode": "enforce"}, rack={"hosts": low})
    host.wait_for(lambda: host.problem("config_not_reloaded"), within_s=5, what="the refusal")
    assert host.status()["mode"] == "dry-run"
    reloaded(host, host={"mode": "enforce"})
    host.wait_for(lambda: host.obeyed(3000), within_s=5, what="the budget again")

    order = ("--socket", str(host.socket), "--reason", "a test")
    assert run("mode", "dry-run", *order).code == 0
    reloaded(host, rack={"failsafe_watts": 2300})
    assert host.status()["mode"] == "dry-run"
    assert run("mode", "enforce", *order).code == 0


def test_a_sender_that_is_not_listened_to_any_more_has_said_nothing(host: Rig) -> None:
    reload(host, signals={"native": {"sources": ["somebody-else"]}})
    host.wait_for(lambda: host.obeyed(FAILSAFE_WATTS), what="the failsafe at once")
    host.wait_for(lambda: host.status()["state"] == "failsafe", what="the failsafe told")  # after the writes
    host.publish_budget(2800)
    host.wait_for(lambda: host.problem("signal_rejected"), within_s=3, what="the refusal of what it says")
    assert host.obeyed(FAILSAFE_WATTS)
    reloaded(host, gpu={"overrides": {host.gpus.gpus[3].uuid.decode(): {"ceiling_watts": 150}}})
    host.obey(2800)
    assert host.limits_mw()[3] <= 150_000
    reloaded(host)
    host.wait_for(lambda: host.limits_mw()[3] > 150_000, what="its share again")


def test_a_reload_that_is_asked_for_too_early_waits_until_the_start_is_over(shared: Rig) -> None:
    """Ready means that limits were read back: a reload must not say so before."""
    shared.daemon.close()
    shared.guard.close()
    shared.configure({})
    shared.daemon.start()  # it finds no guard, and no GPUs
    shared.wait_for(lambda: "started" in shared.daemon.log_of_run, what="the start")
    shared.daemon.signal(signal.SIGHUP)
    shared.start_guard()
    shared.wait_for(shared.is_ready, what="readiness")
    shared.wait_for(lambda: "config_reloaded" in shared.daemon.log_of_run, what="the reload")
    order = [line.partition(" ")[0][3:] for line in shared.daemon.log_of_run.splitlines()]
    assert order.index("first_decision") < order.index("config_reloaded")
