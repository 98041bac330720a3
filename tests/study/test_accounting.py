"""Accounting `measured` in the study: what powerd tells of draw above the budget, and what the plant drew."""

import json
from dataclasses import replace

import pytest

from powerd.errors import ConfigError
from powerd.study.command import Options, simulate
from powerd.study.plant import Faults, Sensor
from powerd.study.policies import MEASURED
from powerd.study.runner import Case, Change, check, run

SCARCE = (Change(0.0, 0.4),)
# Eleven of its sixteen GPUs idle, until some of them are given work.
DAY = Case("helios:vcTJs", 16, SCARCE, 0.3)
BAD_DAYS = {
    "none": DAY,
    "readings that lag": replace(DAY, sensor=Sensor(1.0, 1)),
    "readings of a quarter of the time": replace(DAY, sensor=Sensor(coverage=0.25)),
    "periods of half a second": replace(DAY, period_s=0.5),
    "periods of three seconds": replace(DAY, period_s=3.0),
    "boards that draw above their limits": replace(DAY, faults=Faults(deaf=(0, 1, 5, 9), deaf_w=150.0)),
    "boards held back by heat": replace(DAY, faults=Faults(hot=(0, 1, 5, 9), hot_w=120.0)),
    "a budget that jumps": replace(DAY, budget=(*SCARCE, Change(300.0, 0.3), Change(500.0, 0.35))),
}


@pytest.mark.parametrize("day", BAD_DAYS)
def test_never_less_is_told_than_was_drawn(day: str) -> None:
    result = run(BAD_DAYS[day], MEASURED, seed=0)
    assert result.told_ws is not None
    assert result.told_w is not None
    assert result.told_w > 0, "nothing was granted: this day shows nothing"
    assert result.told_ws >= result.over_ws
    assert result.told_w >= result.excess_w


def test_what_idle_gpus_do_not_draw_is_work_done() -> None:
    provable, measured = (run(DAY, policy, seed=0) for policy in ("powerd", MEASURED))
    assert measured.throughput > provable.throughput * 1.02
    assert (provable.over_ws, provable.told_ws, provable.told_w) == (0, 0, 0)


def options(policies: str, period_s: float = 1.0, *, with_measured: bool = True) -> Options:
    return Options(
        "training", 4, "60%", (), policies, 1, 0.02, period_s, None, "", None, with_measured=with_measured
    )


def test_measured_stands_beside_powerd_when_asked_for() -> None:
    document = json.loads(simulate(options("uniform,powerd"), as_json=True))
    assert [row["policy"] for row in document["policies"]] == ["uniform", "powerd", MEASURED]
    assert [row["told_ws"] is None for row in document["policies"]] == [True, False, False]
    table = simulate(options("uniform"))
    assert "W s told" in table
    assert "W s told" not in simulate(options("uniform", with_measured=False))
    assert options(f"{MEASURED},powerd").names() == (MEASURED, "powerd")


def test_a_period_that_energy_counters_cannot_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs a --period of at least 0\.5"):
        check(Case("training", 4, SCARCE, 0.1, period_s=0.2), [MEASURED])
