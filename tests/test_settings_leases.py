"""The times by which hosts lend each other watts fit together, or powerd says which key to change."""

from pathlib import Path
from typing import Any

import pytest

from powerd.core.leases.leases import LeaseRules
from powerd.errors import ConfigError
from powerd.settings.loading import load
from powerd.settings.rules import lease_rules

FILE = Path(__file__).parent.parent / "config" / "powerd.toml"
SHORT = {
    "control.period_s": 0.2,
    "control.hold_s": 1.0,
    "guard.call_deadline_s": 0.3,
    "rack.leases.ttl_s": 1.0,
    "rack.leases.publish_s": 0.2,
    "rack.leases.lead_s": 0.4,
    "rack.leases.silent_s": 0.6,
    "rack.leases.guard_bound_s": 0.6,
}


def refusal(**overrides: Any) -> list[str]:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    with pytest.raises(ConfigError) as caught:
        load(FILE, keys)
    return str(caught.value).splitlines()


def test_without_any_key_the_rules_are_those_of_the_core() -> None:
    assert lease_rules(load(FILE).settings) == LeaseRules()


def test_every_key_reaches_the_core() -> None:
    keys = {"ttl_s": 6, "max_ttl_s": 12, "guard_bound_s": 11, "publish_s": 1.5, "lead_s": 1.25, "silent_s": 4}
    rules = lease_rules(load(FILE, {f"rack.leases.{key}": value for key, value in keys.items()}).settings)
    assert {key: getattr(rules, key) for key in keys} == keys
    assert lease_rules(load(FILE, {"rack.leases.least_watts": 30.5}).settings).least_mw == 30_500


def test_short_times_are_possible_where_all_are_short() -> None:
    assert lease_rules(load(FILE, SHORT).settings).ttl_s == 1.0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ttl_s", 11, "max_ttl_s 10 is less than ttl_s = 11: a host that lost its memory would not wait"),
        (
            "ttl_s",
            3.9,
            "ttl_s 3.9 is less than lead_s + 2 publish_s + control.period_s = 4: one lost message",
        ),
        (
            "publish_s",
            0.9,
            "publish_s 0.9 is less than control.period_s = 1: a state is made once per period",
        ),
        (
            "publish_s",
            1.3,
            "silent_s 3.5 is less than 2 publish_s + control.period_s = 3.6: one lost message",
        ),
        ("lead_s", 0.9, "lead_s 0.9 is less than control.period_s = 1: the guard would lower before"),
        ("silent_s", 5.1, "ttl_s 5 is less than silent_s = 5.1: a host that is gone would be lent to"),
        (
            "guard_bound_s",
            1.9,
            "guard_bound_s 1.9 is less than 2 guard.call_deadline_s = 2: a call under way",
        ),
    ],
)
def test_a_time_that_is_too_short_is_named_with_what_it_must_reach(
    key: str, value: float, message: str
) -> None:
    (line,) = refusal(**{f"rack__leases__{key}": value})
    assert line.startswith(f"{FILE}: rack.leases.{message}")
    assert line.endswith(f"; set at least {line.rpartition(' ')[2]}")


@pytest.mark.parametrize("key", ["ttl_s", "max_ttl_s", "guard_bound_s", "publish_s", "lead_s", "silent_s"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_time_is_positive_and_finite(key: str, value: float) -> None:
    assert all(f"rack.leases.{key}: should be" in line for line in refusal(**{f"rack__leases__{key}": value}))


def test_what_is_advised_is_enough() -> None:
    """Whoever follows the lines gets a configuration that loads, fractions of seconds included."""
    keys: dict[str, Any] = {"control.period_s": 0.3, "rack.leases.publish_s": 0.1, "rack.leases.lead_s": 0.1}
    keys |= {"rack.leases.ttl_s": 0.1, "rack.leases.silent_s": 0.1, "guard.call_deadline_s": 7.7}
    for _ in range(5):
        try:
            load(FILE, keys)
        except ConfigError as error:
            for line in str(error).splitlines():
                keys[line.split()[1]] = float(line.rpartition(" ")[2])
    load(FILE, keys)


def test_where_leases_are_off_the_times_do_not_matter() -> None:
    keys = {"rack.leases.enabled": False, "rack.leases.ttl_s": 0.1}
    assert not lease_rules(load(FILE, keys).settings).enabled


def test_where_a_rack_has_one_host_the_times_do_not_matter(tmp_path: Path) -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "powerd.toml"
    others = ("r17-n1", "r17-n2", "r17-n4")
    path.write_text("".join(line for line in lines if not line.startswith(others)), encoding="utf-8")
    assert lease_rules(load(path, {"control.period_s": 2}).settings) == LeaseRules()


def test_all_problems_of_the_rack_are_told_at_once() -> None:
    lines = refusal(rack__failsafe_watts=9000, rack__leases__ttl_s=1)
    assert ["infeasible" in line for line in lines] == [True, False, False]
