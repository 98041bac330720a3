"""What doctor finds, and the fix that it names: with a real broker, real files, and no daemon."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from powerd.core.model import Capability
from powerd.ctl.doctor import broker as doctor_broker
from powerd.ctl.doctor import config as doctor_config
from powerd.ctl.doctor import daemon as doctor_daemon
from powerd.ctl.doctor import host as doctor_host
from powerd.ctl.doctor.check import Check, Verdict
from powerd.settings.loading import load
from powerd.settings.model import Settings
from powerd.snapshot import GuardStatus, Problem, Snapshot
from powerd.web import views
from tests.authority import Authority, authority
from tests.broker import Mosquitto
from tests.powerctl import run
from tests.signals.test_tls import tls_broker
from tests.test_settings import MINIMUM
from tests.web import host
from tests.web.host import WALL_S, moment

OWN = "powerd/v1/hel1/rack/r17/host/r17-n3"


def settings_of(directory: Path, url: str, **mqtt: str) -> tuple[Path, Settings]:
    """Return a configuration file, and what is in it, for a broker."""
    path = directory / "powerd.toml"
    keys = "".join(f'{key} = "{value}"\n' for key, value in mqtt.items())
    path.write_text(MINIMUM.replace("mqtts://broker.hel1.example:8883", url) + keys, encoding="utf-8")
    path.chmod(0o600)
    return path, load(path, {}, {}).settings


def status_of(snapshot: Snapshot) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(views.status(snapshot, moment(0.0)).model_dump_json())
    return status


def by_name(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks}


def seen(snapshot: Snapshot) -> dict[str, Check]:
    """Return what is made of the status of a host."""
    status = status_of(snapshot)
    looks = (doctor_daemon.daemon, doctor_daemon.gpus, doctor_daemon.rack)
    return by_name(check for look in looks for check in look(status))


def test_each_gpu_is_judged_by_what_can_be_done_with_it() -> None:
    snapshot = host.snapshot(host.decided())
    blind = replace(snapshot.readings[4], constraints=None, capability=Capability.OPAQUE)
    found = seen(replace(snapshot, readings=(*snapshot.readings[:4], blind, *snapshot.readings[5:])))
    verdicts = {name: check.verdict.value for name, check in found.items() if name[4:].isdigit()}
    assert verdicts == {
        "gpu.0": "ok",
        "gpu.1": "ok",
        "gpu.2": "ok",
        "gpu.3": "ok",
        "gpu.4": "warning",
        "gpu.5": "warning",
        "gpu.6": "failed",
        "gpu.7": "failed",
    }
    assert "fell off the bus" in found["gpu.7"].text
    assert "CAP_SYS_ADMIN" in found["gpu.5"].fix


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({}, "daemon.writes", Verdict.OK),
        ({"mode": "dry-run"}, "daemon.writes", Verdict.WARNING),
        ({"guard": GuardStatus(writes_forbidden=True)}, "daemon.writes", Verdict.FAILED),
        ({"guard": GuardStatus("nothing answers")}, "daemon.guard", Verdict.FAILED),
        ({"elapsed_s": -10.0}, "daemon.loop", Verdict.FAILED),
        ({"readings": ()}, "gpu.count", Verdict.FAILED),
        ({}, "rack.controller", Verdict.OK),
    ],
)
def test_what_the_daemon_says_of_itself_is_judged(
    changes: dict[str, Any], name: str, verdict: Verdict
) -> None:
    assert seen(replace(host.snapshot(host.decided()), **changes))[name].verdict is verdict


@pytest.mark.parametrize(
    ("event", "name", "verdict"),
    [
        ("other_writer", "gpu.rivals", Verdict.WARNING),
        ("out_of_band_limit", "gpu.rivals", Verdict.WARNING),
        ("power_brake", "gpu.power_brake", Verdict.FAILED),
        ("ledger_not_written", "daemon.problems", Verdict.WARNING),
    ],
)
def test_problems_are_told_where_they_belong(event: str, name: str, verdict: Verdict) -> None:
    problem = Problem(event, "warning", "GPU-00aa-0", "what it is", WALL_S, WALL_S, 1)
    found = seen(replace(host.snapshot(host.decided()), problems=(problem,)))
    assert found[name].verdict is verdict
    assert "what it is" in found[name].text
    others = {"gpu.rivals", "gpu.power_brake", "daemon.problems"} - {name}
    assert {found[other].verdict for other in others} == {Verdict.OK}


def test_hosts_with_another_rack_table_and_silent_ones_are_named() -> None:
    found = seen(host.lending())
    assert found["rack.roster"].verdict is Verdict.FAILED
    assert "r17-n4" in found["rack.roster"].text
    assert found["rack.peers"].text == "not heard: r17-n2"


def test_everything_that_is_not_well_has_a_fix() -> None:
    for snapshot in (
        host.lending(),
        host.curtailed(),
        replace(host.snapshot(host.decided()), mode="monitor"),
    ):
        bad = [c for c in seen(snapshot).values() if c.verdict in (Verdict.WARNING, Verdict.FAILED)]
        assert bad
        assert [check for check in bad if not check.fix] == []


def test_programs_that_write_limits_are_seen(tmp_path: Path) -> None:
    for number, name in (("1", "systemd"), ("77", "nv-hostengine"), ("78", "nvidia-powerd")):
        (tmp_path / number).mkdir()
        (tmp_path / number / "comm").write_text(f"{name}\n")
    found = list(doctor_host.rivals(tmp_path))
    assert [check.text.split()[0] for check in found] == ["nv-hostengine", "nvidia-powerd"]
    assert {check.verdict for check in found} == {Verdict.WARNING}


@pytest.mark.parametrize(
    ("used", "limit", "verdict"),
    [("100", "max", Verdict.OK), ("100", "1000", Verdict.OK), ("900", "1000", Verdict.WARNING)],
)
def test_memory_that_runs_out_is_seen(tmp_path: Path, used: str, limit: str, verdict: Verdict) -> None:
    group = tmp_path / "powerd.service"
    group.mkdir()
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.max").write_text(f"{limit}\n")
    found = by_name(doctor_host.memory(tmp_path))
    assert found["machine.memory.powerd"].verdict is verdict
    assert found["machine.memory.powerd-guard"].verdict is Verdict.NOT_CHECKED


@pytest.mark.parametrize(
    ("days", "verdict"), [(90.0, Verdict.OK), (13.0, Verdict.WARNING), (-1.0, Verdict.FAILED)]
)
def test_certificates_that_end_are_told_with_the_day(days: float, verdict: Verdict) -> None:
    check = doctor_broker.days_left("broker.certificate", "it", WALL_S + days * 86400, WALL_S)
    assert check.verdict is verdict
    assert "ends on 202" in check.text


def test_a_message_goes_to_the_broker_and_back_and_no_topic_of_the_rack_is_touched(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", settings=["log_type all"]) as broker:
        _, settings = settings_of(tmp_path, broker.url)
        found = by_name(doctor_broker.broker(settings))
        assert found["broker.reach"].verdict is Verdict.OK
        assert found["broker.round_trip"].verdict is Verdict.OK
        # No daemon runs, so the broker keeps nothing of this host.
        assert found["broker.read"].verdict is Verdict.WARNING
        published = [line for line in broker.log.splitlines() if "Received PUBLISH" in line]
    assert len(published) == 1
    assert f"r0, m2, '{OWN}/doctor'" in published[0]
    assert "powerd-hel1-r17-r17-n3-doctor" in published[0]


def with_access(directory: Path, rights: list[str], protocol: str) -> dict[str, Check]:
    """Return what is found where the broker keeps a state of this host, and grants these rights."""
    rules = directory / "rules"
    rules.write_text("".join(f"topic {right}\n" for right in rights))
    rules.chmod(0o700)
    settings = [f"acl_file {rules}", "persistence false"]
    with Mosquitto(directory / "broker", settings=settings) as broker:
        broker.publish(f"{OWN}/state", b"{}", retain=True)
        _, of_host = settings_of(directory, broker.url, protocol=protocol)
        return by_name(doctor_broker.broker(of_host))


# From docs/signals.md.
DOCUMENTED = [
    f"write {OWN}/#",
    "read powerd/v1/hel1/rack/r17/budget",
    "read powerd/v1/hel1/rack/r17/host/+/state",
    "read powerd/v1/hel1/grid/event/+",
]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_access_list_of_the_documentation_is_enough(tmp_path: Path, protocol: str) -> None:
    found = with_access(tmp_path, DOCUMENTED, protocol)
    assert found["broker.read"].verdict is Verdict.OK
    assert found["broker.round_trip"].verdict is Verdict.OK


@pytest.mark.parametrize(("protocol", "verdict"), [("5", Verdict.FAILED), ("3.1.1", Verdict.WARNING)])
def test_an_access_list_that_lets_nothing_through_is_told_with_what_it_must_grant(
    tmp_path: Path, protocol: str, verdict: Verdict
) -> None:
    check = with_access(tmp_path, ["read powerd/v1/hel1/rack/r17/budget"], protocol)["broker.round_trip"]
    assert check.verdict is verdict
    assert f"{OWN}/#" in check.fix


def test_a_broker_over_tls_shows_until_when_its_certificate_is_good(tmp_path: Path) -> None:
    ours: Authority = authority(tmp_path / "ca")
    with tls_broker(tmp_path / "broker", ours, name="localhost") as broker:
        _, settings = settings_of(tmp_path, broker.url, ca_file=ours.ca_file)
        found = by_name(doctor_broker.broker(settings))
    assert found["broker.certificate.broker"].verdict is Verdict.WARNING
    assert "in 2 days" in found["broker.certificate.broker"].text
    assert "ca.pem" in found["broker.certificate.ca"].text


def test_a_broker_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    _, settings = settings_of(tmp_path, "mqtt://127.0.0.1:1")
    (check,) = doctor_broker.broker(settings)
    assert (check.name, check.verdict) == ("broker.reach", Verdict.FAILED)
    assert "refused" in check.text


def test_a_file_that_the_daemon_has_not_read_yet_is_told(tmp_path: Path) -> None:
    path, settings = settings_of(tmp_path, "mqtt://127.0.0.1:1")
    status = {**status_of(host.snapshot(host.decided())), "mode": "dry-run", "lending": None}
    name = "powerd_config_last_reload_timestamp_seconds"
    read = f"{name} {time.time() + 5}\n"
    assert by_name(doctor_config.drift(path, settings, status, read))["config.drift"].verdict is Verdict.OK
    older = f"{name} {time.time() - 3600}\n"
    check = by_name(doctor_config.drift(path, settings, status, older))["config.drift"]
    assert check.verdict is Verdict.WARNING
    assert f"{path} was changed after the daemon had read it" in check.text
    assert "systemctl reload powerd" in check.fix


def test_what_the_daemon_goes_by_is_compared_with_the_file(tmp_path: Path) -> None:
    path, settings = settings_of(tmp_path, "mqtt://127.0.0.1:1")
    status = status_of(host.snapshot(host.decided()))
    failed = "powerd_config_last_reload_successful 0.0\n"
    found = by_name(doctor_config.drift(path, settings, status, failed))
    assert "host.mode: the daemon goes by enforce, the file says dry-run" in found["config.drift"].text
    assert "the digest of [rack]: the daemon goes by" in found["config.drift"].text
    assert found["config.reload"].verdict is Verdict.FAILED


def test_a_configuration_that_cannot_be_used_is_told_with_its_line(tmp_path: Path) -> None:
    path, _ = settings_of(tmp_path, "mqtt://127.0.0.1:1")
    path.write_text(path.read_text() + "[nonsense]\n")
    settings, check = doctor_config.loaded(path)
    assert (settings, check.verdict) == (None, Verdict.FAILED)
    assert "nonsense" in check.text


def test_a_state_directory_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert doctor_config.state_dir(tmp_path).verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []
    assert doctor_config.state_dir(tmp_path / "none").verdict is Verdict.FAILED


def test_without_a_daemon_all_that_can_be_looked_at_is_and_it_exits_1(tmp_path: Path) -> None:
    path, _ = settings_of(tmp_path, "mqtt://127.0.0.1:1")
    answer = run("doctor", "--config", str(path), "--socket", str(tmp_path / "none.sock"), "--json")
    assert (answer.code, answer.err) == (1, "")
    document = json.loads(answer.out)
    verdicts = {check["name"]: check["verdict"] for check in document["checks"]}
    assert verdicts["daemon.answers"] == "failed"
    assert verdicts["config.file"] == "ok"
    assert verdicts["broker.reach"] == "failed"
    assert document["failed"] == list(verdicts.values()).count("failed")


def test_without_anything_it_says_so_in_lines(tmp_path: Path) -> None:
    where = ("--config", str(tmp_path / "none.toml"), "--socket", str(tmp_path / "none.sock"))
    answer = run("doctor", *where)
    assert (answer.code, answer.err) == (1, "")
    assert answer.out.startswith("FAILED      daemon.answers ")
    assert " fix: systemctl start powerd; journalctl -u powerd -n 50\n" in answer.out
