"""What an operator can get wrong in the configuration, and the one line that says so."""

from collections.abc import Callable
from pathlib import Path

import pytest

from powerd.core.units import milliwatts
from powerd.errors import ConfigError
from powerd.settings.loading import load
from powerd.settings.model import Settings
from powerd.settings.rules import gpu_policies, rack

MINIMUM = """\
[host]
site = "hel1"
rack = "r17"
name = "r17-n3"
[rack]
hard_limit_watts = 40000
failsafe_watts = 20000
[rack.hosts]
r17-n1 = { share = 1.0, floor_watts = 2600 }
r17-n3 = { share = 2.0, floor_watts = 2600 }
[mqtt]
url = "mqtts://broker.hel1.example:8883"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes the minimum, with one piece replaced and some text added."""

    def written(old: str = "", new: str = "", more: str = "") -> Path:
        assert old in MINIMUM
        path = tmp_path / "powerd.toml"
        path.write_text(MINIMUM.replace(old, new, 1) + more, encoding="utf-8")
        return path

    return written


def refusal(path: Path, **arguments: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, **arguments)
    return str(caught.value)


def test_the_minimum_is_enough_and_writes_nothing(write: Write) -> None:
    settings = load(write()).settings
    assert settings.host.mode == "dry-run"
    assert settings.http.listen == "127.0.0.1:9780"
    assert settings.client_id == "powerd-hel1-r17-r17-n3"


@pytest.mark.parametrize(
    ("old", "new", "more", "message"),
    [
        pytest.param(
            "name =", "nmae =", "", ":4: host.nmae: unknown key; did you mean host.name?", id="unknown key"
        ),
        pytest.param(
            "share = 1.0",
            "shar = 1.0",
            "",
            ":9: rack.hosts.r17-n1.shar: unknown key; did you mean rack.hosts.r17-n1.share?",
            id="unknown key in the roster",
        ),
        pytest.param(
            "",
            "",
            '[guard]\nsokcet = "/x"\n',
            ":14: guard.sokcet: unknown key; did you mean guard.socket?",
            id="unknown key of the guard",
        ),
        pytest.param(
            "",
            "",
            "[signals.native]\nmax_skew = 3\n",
            ":14: signals.native.max_skew: unknown key; did you mean signals.native.max_skew_s?",
            id="unknown key in a nested table",
        ),
        pytest.param(
            "name =",
            "hold_s = 1\nname =",
            "",
            ":4: host.hold_s: unknown key; did you mean control.hold_s?",
            id="right key in the wrong table",
        ),
        pytest.param(
            "", "", "[webb]\n", ":13: webb: unknown key; known here: control, gpu,", id="unknown table"
        ),
        pytest.param(
            "hard_limit_watts = 40000", "", "", ":5: rack.hard_limit_watts: missing; add it", id="missing key"
        ),
        pytest.param(
            "40000",
            '"40 kW"',
            "",
            ":6: rack.hard_limit_watts: should be a valid number, not '40 kW'",
            id="wrong type",
        ),
        pytest.param(
            "20000", "nan", "", ":7: rack.failsafe_watts: should be a finite number", id="not a number"
        ),
        pytest.param(
            "[rack]",
            'mode = "on"\n[rack]',
            "",
            ":5: host.mode: should be 'monitor', 'dry-run' or 'enforce', not 'on'",
            id="bad mode",
        ),
        pytest.param(
            "[rack]",
            'mode = "enforce"\n[rack]',
            "",
            ':1: host.overhead_watts is not set: mode "enforce" needs',
            id="enforce without the overhead",
        ),
        pytest.param(
            "[rack]",
            'accounting = "honest"\n[rack]',
            "",
            ":5: host.accounting: should be 'provable' or 'measured', not 'honest'",
            id="unknown accounting",
        ),
        pytest.param(
            "[rack]",
            'accounting = "measured"\n[rack]',
            "[control]\nperiod_s = 0.2\n",
            'control.period_s 0.2 is too short for host.accounting = "measured"',
            id="a period that energy counters cannot measure",
        ),
        pytest.param(
            '"hel1"',
            '"hel/1"',
            "",
            ':2: host.site: should be 1 to 64 of a-z, 0-9, "_" and "-"',
            id="bad name",
        ),
        pytest.param(
            "20000", "5000", "", "rack.failsafe_watts 5000 is infeasible: floors 5200", id="infeasible"
        ),
        pytest.param(
            "20000",
            "50000",
            "",
            "rack.failsafe_watts 50000 is above rack.hard_limit_watts 40000",
            id="failsafe above the hard limit",
        ),
        pytest.param(
            '"r17-n3"',
            '"r17-n9"',
            "",
            'host.name "r17-n9" is not in rack.hosts (r17-n1, r17-n3)',
            id="not in roster",
        ),
        pytest.param(
            "",
            "",
            "[control]\nperiod_s = 4\n",
            ":13: control.hold_s 5 is less than two periods of 4 s",
            id="hold shorter than two periods",
        ),
        pytest.param(
            "mqtts:", "mqtt:", "", "mqtt.url is not encrypted and leads to another machine", id="plaintext"
        ),
        pytest.param("mqtts:", "http:", "", ":12: mqtt.url: should look like mqtts://", id="not a broker"),
        pytest.param(
            'url = "mqtts://broker.hel1.example:8883"',
            "",
            "",
            ": mqtt.url is not set: name the broker",
            id="no broker",
        ),
        pytest.param(
            "", "", "[http]\nlisten = '9780'\n", ":14: http.listen: should be an address", id="listen"
        ),
        pytest.param(
            "",
            "",
            f"[http]\nsocket = '/{'x' * 200}'\n",
            ":14: http.socket: is longer than the 107 bytes",
            id="socket path too long",
        ),
        pytest.param(
            "",
            "",
            "[gpu.overrides.GPU-1]\nfloor_watts = 300\nceiling_watts = 200\n",
            "gpu.overrides.GPU-1.floor_watts is above",
            id="floor above ceiling",
        ),
        pytest.param(
            "", "", '[gpu]\ndriver = "amd"\n', ':13: gpu.driver must be "nvml"', id="unknown driver"
        ),
        pytest.param("", "", "[log\n", ": not valid TOML: ", id="not TOML"),
        pytest.param(
            "", "", f"[log]\nlevel = {'[' * 2000}\n", ": not valid TOML: nested too deeply", id="deep"
        ),
        pytest.param("", "", f"[log]\nlevel = {'1' * 5000}\n", ": not valid TOML: ", id="digits"),
        pytest.param(
            "",
            "",
            "[gpu.simulated]\nstart_boot_s = nan\n",
            ":13: gpu.simulated.start_boot_s must be a finite number",
            id="not a time",
        ),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(
    write: Write, old: str, new: str, more: str, message: str
) -> None:
    path = write(old, new, more)
    problems = refusal(path).splitlines()
    assert all(problem.startswith(f"{path}:") for problem in problems)
    assert any(message in problem for problem in problems)


def test_all_mistakes_are_reported_at_once(write: Write) -> None:
    problems = refusal(write("40000", "-1", "[log]\nlevel = 'loud'\nfromat = 'json'\n")).splitlines()
    assert [line.split(": ")[1] for line in problems] == ["rack.hard_limit_watts", "log.level", "log.fromat"]


def test_nothing_in_a_file_acts_on_the_terminal_that_shows_its_mistakes(write: Write) -> None:
    problem = refusal(write("", "", '["\\u001b]0;x\\u0007"]\n"\\u202e" = "\\u001b[2J"\n'))
    assert all(line.isprintable() for line in problem.split("\n"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    assert refusal(tmp_path / "powerd.toml") == (
        f"{tmp_path}/powerd.toml: no such file; name an existing one with --config"
    )


@pytest.mark.parametrize("name", ["powerd.toml", "conf.d/10-site.toml", "conf.d"])
def test_configuration_that_everyone_may_write_is_refused(write: Write, tmp_path: Path, name: str) -> None:
    path = write()
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/10-site.toml").write_text("", encoding="utf-8")
    (tmp_path / name).chmod(0o777)
    assert refusal(path) == f"{tmp_path / name}: everyone may write to it; run: chmod o-w {tmp_path / name}"


def test_a_file_that_everyone_may_replace_is_refused(write: Write, tmp_path: Path) -> None:
    path = write()
    tmp_path.chmod(0o777)
    assert refusal(path) == f"{tmp_path}: everyone may write to it; run: chmod o-w {tmp_path}"
    tmp_path.chmod(0o1777)
    load(path)


def test_a_state_directory_that_everyone_may_write_is_refused(write: Write, tmp_path: Path) -> None:
    """Who may put a file there says which budget is in force after a start."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    path = write("[rack]", f'state_dir = "{state}"\n[rack]')
    assert (
        refusal(path) == f"{path}: host.state_dir: {state}: everyone may write to it; run: chmod o-w {state}"
    )


def test_a_secret_that_others_may_read_is_refused(write: Write, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2", encoding="utf-8")
    secret.chmod(0o640)
    path = write(more=f'username = "n3"\npassword_file = "{secret}"\n')
    assert refusal(path) == (
        f"{path}: mqtt.password_file: {secret} is open to others than its owner; run: chmod 0600 {secret}"
    )
    secret.chmod(0o600)
    assert load(path).settings.mqtt.password_file == str(secret)


def test_a_missing_secret_is_an_error_but_a_systemd_credential_may_come_later(write: Write) -> None:
    assert "mqtt.password_file: /nowhere/password cannot be read: No such file" in refusal(
        write(more='password_file = "/nowhere/password"\n')
    )
    credential = "/run/credentials/powerd.service/mqtt-password"
    assert load(write(more=f'password_file = "{credential}"\n')).settings.mqtt.password_file == credential


def test_a_password_in_the_url_is_refused_and_not_repeated(write: Write) -> None:
    problem = refusal(write("broker.hel1", "n3:hunter2@broker.hel1"))
    assert "mqtt.url: must not hold a user or password; use mqtt.username and mqtt.password_file" in problem
    assert "hunter2" not in problem


def test_plaintext_is_allowed_on_this_machine_and_where_asked_for(write: Write) -> None:
    url = "mqtts://broker.hel1.example:8883"
    assert load(write(url, "mqtt://127.0.0.1:1883")).settings.mqtt.url == "mqtt://127.0.0.1:1883"
    assert load(write("mqtts", "mqtt", "allow_plaintext = true\n")).settings.mqtt.allow_plaintext


@pytest.mark.parametrize(
    ("needs", "deaf"),
    [
        ("[rack.feeds]\na = 1.0\n[signals.dsx]\nenabled = true\n", "signals.dsx"),
        ('[signals.meters.parts]\na = { adapter = "native" }\n', "signals.meters"),
    ],
)
def test_what_would_hear_nothing_without_a_broker_is_refused(write: Write, needs: str, deaf: str) -> None:
    more = f"[signals.native]\nenabled = false\n{needs}"
    path = write('url = "mqtts://broker.hel1.example:8883"', "", more)
    with pytest.raises(ConfigError, match=f"mqtt.url is not set: name the broker, without it {deaf} hears"):
        load(path)


def test_a_host_without_signals_needs_no_broker(write: Write) -> None:
    path = write('url = "mqtts://broker.hel1.example:8883"', "", "[signals.native]\nenabled = false\n")
    assert load(path).settings.mqtt.url == ""


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("POWERD_HOST__MOED", "enforce", "host.moed: unknown key; did you mean POWERD_HOST__MODE?"),
        ("POWERD_CONTROL_PERIOD_S", "2", "control_period_s: unknown key"),
        ("POWERD_CONTROL__PERIOD_S", "soon", "control.period_s: should be a valid number, not 'soon'"),
        ("POWERD_RACK__FEEDS", "[a", "not valid JSON"),
        ("POWERD_RACK__FEEDS", "[" * 2000, "not valid JSON"),
        ("POWERD_HOST", "n3", "host: should be a valid dictionary or instance of HostSettings, not 'n3'"),
    ],
)
def test_a_mistaken_variable_is_an_error(write: Write, variable: str, value: str, message: str) -> None:
    problem = refusal(write(), environment={variable: value})
    assert problem.startswith(f"environment {variable}: ")
    assert message in problem


def test_variables_of_others_and_the_write_ban_are_no_settings(write: Write) -> None:
    environment = {"PATH": "/bin", "POWERD_FORBID_WRITES": "1", "powerd_host__mode": "enforce"}
    assert load(write(), environment=environment).settings.host.mode == "dry-run"


def test_later_sources_win_and_every_value_tells_where_it_came_from(write: Write, tmp_path: Path) -> None:
    path = write(more="[control]\nhold_s = 6\nwarmup_s = 7\n")
    (tmp_path / "conf.d").mkdir()
    for name, hold in (("10-a.toml", 8), ("20-b.toml", 9)):
        (tmp_path / "conf.d" / name).write_text(f"[control]\n\nhold_s = {hold}\n", encoding="utf-8")
    environment = {
        "POWERD_CONTROL__RAISE_DWELL_S": "1.5",
        "POWERD_RACK__FEEDS": '{"main a": 0.5}',
        "POWERD_RACK__HOSTS__R17-N1__SHARE": "3",
        "POWERD_HOST__MODE": "enforce",
    }
    loaded = load(path, {"host.mode": "monitor", "log.level": None}, environment)
    control, origins = loaded.settings.control, loaded.origins
    assert (control.warmup_s, control.hold_s, control.raise_dwell_s) == (7, 9, 1.5)
    assert loaded.settings.rack.feeds == {"main a": 0.5}
    assert loaded.settings.rack.hosts["r17-n1"].model_dump() == {"share": 3, "floor_watts": 2600}
    assert loaded.settings.host.mode == "monitor"
    assert origins["control.warmup_s"] == f"{path}:15"
    assert origins["control.hold_s"] == f"{tmp_path}/conf.d/20-b.toml:3"
    assert origins["control.raise_dwell_s"] == "environment POWERD_CONTROL__RAISE_DWELL_S"
    assert origins["rack.hosts.r17-n1.floor_watts"] == f"{path}:9"
    assert origins["host.mode"] == "flag"
    assert origins["log.level"] == "default"


def test_building_settings_in_code_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERD_HOST__MODE", "enforce")
    monkeypatch.setenv("HOST", '{"mode": "enforce"}')
    settings = Settings.model_validate(
        {
            "host": {"site": "s", "rack": "r", "name": "a"},
            "rack": {
                "hard_limit_watts": 10,
                "failsafe_watts": 5,
                "hosts": {"a": {"share": 1, "floor_watts": 1}},
            },
            "mqtt": {"url": "mqtt://localhost"},
        }
    )
    assert settings.host.mode == "dry-run"


def test_settings_become_the_records_of_the_core_in_milliwatts(write: Write) -> None:
    settings = load(
        write(more="[gpu]\nfloor_watts = 100.5\n[gpu.overrides.GPU-1]\nceiling_watts = 300\npriority = 1\n")
    ).settings
    record, policies = rack(settings), gpu_policies(settings)
    assert record.host("r17-n3").floor_mw == 2_600_000
    assert record.hard_limit_mw == 40_000_000
    assert policies.of("GPU-0").floor_mw == milliwatts(100.5)
    assert (policies.of("GPU-1").floor_mw, policies.of("GPU-1").ceiling_mw) == (None, 300_000)
    assert policies.of("GPU-1").priority == 1
