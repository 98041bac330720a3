"""How soon a rack is under control again when something that was wrong is not any more.

Four guards and daemons with four GPUs each, one Mosquitto, each kind of fault alone. Lease parameters, waits
before reconnecting and the keepalive are the defaults, control periods a second long. What keeps limits low
on purpose after a fault is short or off: the ramp and the dwell of raises, the holds after a power brake and
after a rival.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.table import RAM, Figure, Table, load_note
from tests.chaos import catalogue
from tests.chaos.faults import Fault
from tests.chaos.process_faults import Upgraded
from tests.chaos.signal_faults import Silent
from tests.chaos.stage import Stage
from tests.daemon.rack import BUDGET_WATTS, LeaseTimes, entitlement_mw
from tests.daemon.waiting import boot_s

WITHIN_S = 5.0
_TIMES = LeaseTimes(5.0, 10.0, 10.0, 1.0, 1.0, 3.5)
_TABLES = {
    "control": {"period_s": 1.0, "hold_s": 5.0},
    "mqtt": {"reconnect_min_s": 1.0, "reconnect_max_s": 4.0, "keepalive_s": 10},
}
# RestartSec= of both units.
_RESTART_S = (1.0, 1.0)
# Lower than any failsafe: every GPU of every host has to move.
_FRESH_WATTS = 5000.0
_LEASE_S = 120.0
_FAULT_S = 2.0
# Failsafe holds by then: budgets have the shortest lease that there is.
_SILENT_S = 8.0
_SHORT_LEASE_S = 5.0
_GIVEN_UP_AFTER_S = 120.0
_STEP_S = 0.05
# A connection that breaks before it has lasted goes on with the outage before: daemons start anew for these.
_BREAKS_CONNECTIONS = (*catalogue.BROKER, *catalogue.NETWORK)


def measure_recovery(rounds: int, names: str = "") -> Table:
    """End every kind of fault so many times, and time it until every host obeys a fresh budget.

    Args:
        names: only kinds that contain this.
    """
    with (
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory,
        Stage(Path(directory), times=_TIMES, tables=_TABLES, restart_s=_RESTART_S) as stage,
    ):
        stage.rack.calm()  # hosts that have just started wait until nobody can use what they might have lent
        stage.rack.busy(*stage.hosts)
        figures = tuple(
            figure for kind in catalogue.ALL if names in kind.kind for figure in _of_kind(stage, kind, rounds)
        )
    return Table(
        f"Four hosts: the end of a fault -> every host obeys a fresh budget, the worst of {rounds} times",
        figures,
        load_note(),
    )


def _of_kind(stage: Stage, kind: type[Fault], rounds: int) -> Iterator[Figure]:
    times_s = [_recovery_s(stage, kind, number) for number in range(rounds)]
    median_s = statistics.median(times_s)
    # It takes half an hour: what is known is shown.
    print(f"{kind.kind}: {max(times_s):.2f} s", file=sys.stderr, flush=True)
    yield Figure(f"{kind.kind} (median {median_s:.2f} s)", max(times_s), "s", WITHIN_S)


def _recovery_s(stage: Stage, kind: type[Fault], seed: int) -> float:
    """Break something for a while, and return how long after that the rack was under control again."""
    rng = random.Random(seed)
    if kind in _BREAKS_CONNECTIONS:
        _start_again(stage)
    _rest(stage)
    fault = kind(stage, rng)
    if kind is Silent:
        stage.controller.publish(_SHORT_LEASE_S)
    begun_boot_s = boot_s()
    fault.begin()
    lasts_s = min(_SILENT_S if kind is Silent else _FAULT_S, fault.lasts_s[1])
    while boot_s() < begun_boot_s + lasts_s:
        fault.step()
        time.sleep(_STEP_S)
    # What dies is down from then on: that systemd waits before it starts it again is part of the time.
    fault.end()
    ended_boot_s = boot_s()
    stage.controller.watts = _FRESH_WATTS
    stage.controller.publish(_LEASE_S)
    while not _is_obeyed(stage, _FRESH_WATTS):
        fault.is_over()
        if boot_s() > ended_boot_s + _GIVEN_UP_AFTER_S:
            return _GIVEN_UP_AFTER_S
        time.sleep(_STEP_S / 5)
    recovered_s = boot_s() - ended_boot_s
    stage.rack.wait_for(fault.is_over, what=f"the end of: {fault.what()}")
    return recovered_s


def _rest(stage: Stage) -> None:
    """Have every host at its part of the usual budget, connected and ready."""
    stage.controller.watts = BUDGET_WATTS
    stage.controller.publish(_LEASE_S)
    stage.rack.wait_for(lambda: all(map(stage.is_ready, stage.hosts.values())), what="all hosts ready")
    stage.rack.wait_for(lambda: _is_obeyed(stage, BUDGET_WATTS), what="the usual budget obeyed")


def _start_again(stage: Stage) -> None:
    """Have all daemons forget that they lost the broker not long ago."""
    stage.rack.wait_for(lambda: all(map(stage.is_ready, stage.hosts.values())), what="all hosts ready")
    upgrades = [Upgraded(stage, random.Random(0), host) for host in stage.hosts.values()]
    for upgrade in upgrades:
        upgrade.begin()
    for upgrade in upgrades:
        stage.rack.wait_for(upgrade.is_over, what=upgrade.what())


def _is_obeyed(stage: Stage, watts: float) -> bool:
    """Say whether every host is at its own part of a budget, by the GPUs themselves."""
    return all(stage.rack.is_at(name, entitlement_mw(watts)) for name in stage.hosts)
