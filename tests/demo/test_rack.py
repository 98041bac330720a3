"""The rack that the demo makes up: feasible at every size, and independent of its caller."""

import sys
from pathlib import Path

import pytest

from powerd.demo.child_process import environment
from powerd.demo.rack import MAX_GPUS, MAX_HOSTS, DemoRack, Pace
from powerd.demo.run import Options
from powerd.demo.scenario import BUDGETS_PCT, LEASE_S, SCENARIOS, stepped_budgets
from powerd.errors import ConfigError
from powerd.settings import loading, rules

PACE = SCENARIOS["default"].pace(60)


def rack(hosts: int = 4, gpus: int = 8, pace: Pace = PACE) -> DemoRack:
    return DemoRack(
        name="demo-1",
        hosts=hosts,
        gpus=gpus,
        port=9780,
        seed=3,
        broker_url="mqtt://127.0.0.1:1883",
        protocol="3.1.1",
        start_boot_s=12345.678,
        pace=pace,
    )


def options(duration_s: float = 60, hosts: int = 4, scenario: str = "default", broker: str = "") -> Options:
    return Options(hosts, 8, duration_s, 9780, broker, scenario, 0)


@pytest.mark.parametrize(("hosts", "gpus"), [(1, 1), (4, 8), (MAX_HOSTS, MAX_GPUS)])
def test_every_host_gets_a_valid_configuration_that_may_enforce(
    hosts: int, gpus: int, tmp_path: Path
) -> None:
    made = rack(hosts, gpus)
    for name in (made.host_names[0], made.host_names[-1]):
        file = tmp_path / f"{name}.toml"
        file.write_text(made.config(name, tmp_path), encoding="utf-8")
        loaded = loading.load(file).settings
        assert (loaded.host.mode, loaded.guard.spawn, loaded.gpu.driver) == ("enforce", True, "simulated")
        assert loaded.gpu.simulated == made.simulated(name)
        assert loaded.http.listen == made.url(name).removeprefix("http://")


@pytest.mark.parametrize("name", SCENARIOS)
def test_hosts_raise_as_fast_as_the_scenario_needs_it(name: str, tmp_path: Path) -> None:
    pace = SCENARIOS[name].pace(60)
    made = rack(pace=pace)
    file = tmp_path / "n1.toml"
    file.write_text(made.config("n1", tmp_path), encoding="utf-8")
    control = loading.load(file).settings.control
    assert control.raise_ramp_pct_per_min == pace.ramp_pct_per_min
    assert (control.raise_dwell_s, control.raise_jitter_s) == (pace.raise_dwell_s, pace.raise_jitter_s)
    assert control.failsafe_hold_s == pace.failsafe_hold_s


def test_hosts_agree_on_the_rack_and_differ_in_their_loads(tmp_path: Path) -> None:
    made = rack()
    racks = set()
    for name in made.host_names:
        file = tmp_path / f"{name}.toml"
        file.write_text(made.config(name, tmp_path / name), encoding="utf-8")
        racks.add(rules.rack(loading.load(file).settings))
    assert len(racks) == 1
    assert len({made.simulated(name).seed for name in made.host_names}) == 4


@pytest.mark.parametrize(("hosts", "idle"), [(1, ()), (2, ("n2",)), (4, ("n2",)), (8, ("n2", "n6"))])
def test_a_rack_of_several_hosts_has_some_whose_watts_others_can_use(
    hosts: int, idle: tuple[str, ...]
) -> None:
    made = rack(hosts)
    assert made.idle_hosts == idle
    loads = {name: made.simulated(name).load for name in made.host_names}
    assert {name for name, load in loads.items() if load == "idle"} == set(idle)
    assert all(made.work(name, 0, 400_000, made.start_boot_s) == 0 for name in idle)


def test_every_budget_of_the_scenario_can_be_reached_and_is_above_the_failsafe() -> None:
    made = rack()
    assert all(made.budget_watts(pct) > made.failsafe_watts for pct in BUDGETS_PCT)
    assert made.budget_watts(100) == made.nominal_watts


def test_the_facility_says_each_budget_for_as_long_and_is_silent_until_the_failsafe_shows() -> None:
    *said, silent = stepped_budgets(60)
    assert [(phase.pct, phase.duration_s) for phase in said] == [(pct, 11.75) for pct in BUDGETS_PCT]
    assert (silent.pct, silent.duration_s) == (None, 13)
    assert sum(phase.duration_s for phase in stepped_budgets(12)) == 12
    assert stepped_budgets(12)[-1].duration_s >= LEASE_S + 3


def test_settings_of_the_caller_do_not_reach_the_hosts_and_the_ban_on_writing_does() -> None:
    own = {
        "PATH": "/bin",
        "POWERD_MQTT__URL": "mqtts://elsewhere",
        "POWERD_FORBID_WRITES": "1",
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_USEC": "5",
    }
    assert environment(own) == {"PATH": "/bin", "POWERD_FORBID_WRITES": "1"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (options(duration_s=5), "--duration 5"),
        (options(duration_s=5, scenario="phoenix"), "--duration 5: for scenario phoenix"),
        (options(hosts=0), "--hosts 0"),
        (options(scenario="nope"), '--scenario "nope" is unknown; there are default, phoenix, london, caiso'),
    ],
)
def test_options_that_cannot_be_used_are_named(wrong: Options, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        wrong.check()


def test_without_the_demo_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amqtt", None)
    with pytest.raises(ConfigError, match=r"pip install 'powerd\[demo\]'.*--broker"):
        options().check()
    options(broker="mqtt://127.0.0.1").check()
