"""Accounting `measured` on a whole host: watts of idle GPUs are used, given back at once, and told of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.rig import Rig, gpu_budget_mw

BUDGET_WATTS = 2400
BUDGET_MW = gpu_budget_mw(BUDGET_WATTS)
MOST_WATTS = 110
IDLE, BUSY = (0, 1, 2, 3), (4, 5, 6, 7)
PERIOD_S, HOLD_S = 0.5, 1.5


@pytest.fixture
def host(library: Path, tmp_path: Path) -> Iterator[Rig]:
    """Return a host with four idle GPUs and four that want all they can get, which shares the watts."""
    tables: dict[str, dict[str, Any]] = {
        "host": {"accounting": "measured", "measured_excess_watts": MOST_WATTS},
        "control": {"period_s": PERIOD_S, "hold_s": HOLD_S, "idle_after_s": 2.0, "warmup_s": 1.0},
    }
    with Rig(tmp_path, library, tables=tables) as rig:
        for index in BUSY:
            rig.gpus.set_demand(index, 500)
        rig.start()
        rig.publish_budget(BUDGET_WATTS, lease_s=120)
        rig.wait_for(lambda: rig.sum_mw() > BUDGET_MW, within_s=30, what="watts of idle GPUs used")
        rig.wait_for(lambda: rig.status()["accounting"]["granted_watts"] == MOST_WATTS, what="all of them")
        rig.wait_iterations(2)
        yield rig


def test_busy_gpus_use_what_idle_ones_do_not_draw_and_everybody_is_told(host: Rig) -> None:
    assert BUDGET_MW < host.sum_mw() <= BUDGET_MW + MOST_WATTS * 1000
    assert [host.limits_mw()[index] for index in IDLE] == [100_000] * 4
    status = host.status()
    accounting = status["accounting"]
    assert accounting["mode"] == "measured"
    assert accounting["worst_excess_watts"] == MOST_WATTS
    assert accounting["worst_excess_s"] > HOLD_S + PERIOD_S
    assert status["compliant"]
    assert status["budget"]["draw_watts"] <= status["budget"]["gpus_watts"]
    assert host.metric("powerd_excess_watts", kind="worst") == MOST_WATTS
    assert host.metric("powerd_excess_worst_seconds") == accounting["worst_excess_s"]
    explained = host.powerctl("explain", "4").out.splitlines()
    assert [line for line in explained if "measured" in line and "host.accounting" in line]
    assert "measured: up to 110 W above that if idle GPUs wake" in host.powerctl("status").out


def test_gpus_that_wake_are_served_in_the_iteration_that_sees_them(host: Rig) -> None:
    for index in IDLE:
        host.gpus.set_demand(index, 500)

    def woken() -> Any:
        status = host.status()
        return status if status["accounting"]["granted_watts"] == 0 else None

    status = host.wait_for(woken, what="the claw-back")
    assert sum(gpu["enforced_watts"] for gpu in status["gpus"]) * 1000 <= BUDGET_MW
    assert [gpu["enforced_watts"] > 150 for gpu in status["gpus"]] == [True] * 8
    assert status["accounting"]["worst_excess_watts"] == MOST_WATTS  # boards still follow
    host.wait_for(lambda: host.status()["accounting"]["worst_excess_watts"] == 0, what="boards have followed")
    # The account is there, and above what the energy counters of the GPUs can have shown.
    assert host.metric("powerd_excess_joules_total") > 0


def test_when_the_daemon_is_killed_the_guard_falls_back_to_limits_within_the_budget(host: Rig) -> None:
    assert host.sum_mw() > BUDGET_MW
    host.daemon.kill()
    host.wait_for(lambda: host.sum_mw() <= BUDGET_MW, what="the guard's fallback")
    assert [host.limits_mw()[index] for index in IDLE] == [100_000] * 4


def test_without_a_controller_every_gpu_costs_its_limit(host: Rig) -> None:
    host.publish_budget(BUDGET_WATTS, lease_s=5)
    host.wait_for(lambda: host.status()["state"] == "failsafe", what="the end of the lease")
    host.wait_for(lambda: host.sum_mw() <= BUDGET_MW, within_s=3, what="limits within the failsafe")
    assert host.status()["accounting"]["granted_watts"] == 0
