"""`powerd check-config` tells whether the daemon would start, and shows the sum behind it."""

import json
from pathlib import Path

import pytest

from powerd.check import as_dict, check, render

FILE = Path(__file__).parent.parent / "config" / "powerd.toml"


def test_a_good_file_shows_the_sum_the_entitlement_and_the_place_of_every_value() -> None:
    report = check(FILE)
    assert report.ok
    assert report.feasibility
    assert report.feasibility.needed_watts == 4 * 2600 + 0 + 400
    assert report.feasibility.spare_watts == 20000 - 10800
    assert report.entitlement
    assert report.entitlement.in_failsafe_watts == (20000 - 400) / 4
    assert report.entitlement.at_hard_limit_watts == (40000 - 800) / 4
    places = {value.key: value.origin for value in report.values}
    assert places["host.site"].startswith(f"{FILE}:")
    assert places["control.period_s"] == "default"


def test_it_shows_how_long_watts_are_reserved_for_a_host_that_is_gone() -> None:
    leasing = check(FILE).leasing
    assert leasing
    assert leasing.enabled
    assert 10 < leasing.guard_time_s < 10.1, "the guard's bound, and what two clocks may drift"
    assert leasing.silence_s == 3.5 + 5 + leasing.guard_time_s
    assert leasing.forget_s == 10 + leasing.guard_time_s
    shown = next(line for line in render(check(FILE)).splitlines() if "lost memory" in line)
    assert shown.split()[-1] == f"{leasing.forget_s:.2f}"


@pytest.mark.parametrize(
    ("key", "value"),
    [("rack.failsafe_watts", 20001), ("rack.hosts.r17-n1.share", 2), ("rack.leases.ttl_s", 6)],
)
def test_the_digest_tells_hosts_apart_that_would_not_deal_with_each_other(key: str, value: float) -> None:
    own, other = check(FILE).leasing, check(FILE, {key: value}).leasing
    assert own
    assert other
    assert own.roster != other.roster
    assert f"Roster digest {own.roster}:" in render(check(FILE))


def test_what_is_a_host_s_own_is_not_in_the_digest() -> None:
    own, other = check(FILE).leasing, check(FILE, {"host.name": "r17-n1", "control.hold_s": 6}).leasing
    assert own == other


def test_a_guard_bound_below_that_of_the_units_is_pointed_out() -> None:
    report = check(FILE, {"rack.leases.guard_bound_s": 4})
    assert report.ok, "whoever runs the guard otherwise may know better"
    assert "BELOW the 10 that powerd-guard.service may need" in render(report)
    assert "BELOW" not in render(check(FILE))


def test_a_rack_without_leases_says_so() -> None:
    report = check(FILE, {"rack.leases.enabled": False})
    assert report.leasing
    assert not report.leasing.enabled
    assert "No watts are lent" in render(report)


def test_lease_times_that_do_not_fit_together_are_problems() -> None:
    report = check(FILE, {"rack.leases.lead_s": 0.5})
    assert len(report.problems) == 1
    assert "rack.leases.lead_s 0.5 is less than control.period_s" in report.problems[0]
    assert report.leasing is None


def test_an_infeasible_failsafe_shows_how_many_watts_are_missing() -> None:
    """The sum is needed most when it does not add up."""
    report = check(FILE, {"rack.failsafe_watts": 9000})
    assert len(report.problems) == 1
    assert "rack.failsafe_watts 9000 is infeasible" in report.problems[0]
    assert report.entitlement is None
    text = render(report)
    assert "MISSING 1580" in text
    assert "NOT usable, 1 problem(s)" in text


def test_a_file_that_cannot_be_read_gives_one_line_per_problem() -> None:
    report = check(FILE, {"host.mode": "on", "log.level": "loud"})
    assert [line.split(": ")[1] for line in report.problems] == ["host.mode", "log.level"]
    assert report.feasibility is None


def test_the_text_names_every_setting_once() -> None:
    lines = render(check(FILE)).splitlines()
    assert sum(line.startswith("  mqtt.url ") for line in lines) == 1
    assert next(line for line in lines if "host.overhead_watts" in line).split()[1:3] == ["not", "set"]


def test_the_json_form_is_json_and_says_ok() -> None:
    data = json.loads(json.dumps(as_dict(check(FILE))))
    assert data["ok"] is True
    assert data["feasibility"]["failsafe_watts"] == 20000
    numbered = enumerate(FILE.read_text().splitlines(), start=1)
    line = next(number for number, text in numbered if text.startswith("site = "))
    assert data["values"][0] == {"key": "host.site", "value": "hel1", "origin": f"{FILE}:{line}"}
