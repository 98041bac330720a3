"""What people are told of a whole rack: every host, live or silent, and nothing that is not known."""

import json
from dataclasses import replace
from typing import Any

from powerd.core.leases.host_state import Hold, HostState, Key
from powerd.snapshot import Snapshot
from tests.signals.payloads import SCHEMAS, VALIDATORS
from tests.signals.states import EPOCH, NOW, SNAPSHOT, STATE, gpu, report

H1 = replace(
    STATE,
    host="h1",
    key=Key(5, 1),
    entitlement_mw=9_000_000,
    lent_mw=0,
    worst_case_mw=9_400_000,
    measured_mw=9_100_000,
    lends=(),
    holds=(Hold("h3", 450_000, STATE.key),),
    received_boot_s=NOW.boot_s - 0.5,
)


def summary(*heard: HostState, snapshot: Snapshot = SNAPSHOT) -> dict[str, Any]:
    decision = snapshot.decision
    leases = decision.leases._replace(peers={state.host: state for state in heard})
    told = report().summary(replace(snapshot, decision=decision._replace(leases=leases)))
    fields: dict[str, Any] = json.loads(told)
    VALIDATORS["summary"].validate(fields)
    assert fields.keys() <= SCHEMAS["summary"]["properties"].keys()
    return fields


def test_it_lists_the_hosts_in_the_order_of_the_roster_and_adds_them_up() -> None:
    h2 = replace(H1, host="h2", holds=(), worst_case_mw=9_000_000, measured_mw=8_000_500)
    fields = summary(h2, H1)
    assert fields["hosts"] == [
        {
            "host": "h1",
            "live": True,
            "cap_watts": 9450,
            "worst_case_watts": 9400,
            "measured_watts": 9100,
            "lent_watts": 0,
            "borrowed_watts": 450,
        },
        {
            "host": "h2",
            "live": True,
            "cap_watts": 9000,
            "worst_case_watts": 9000,
            "measured_watts": 8000.5,
            "lent_watts": 0,
            "borrowed_watts": 0,
        },
        {
            "host": "h3",
            "live": True,
            "cap_watts": 9100.001,
            "worst_case_watts": 2300,
            "measured_watts": 2225,
            "lent_watts": 700,
            "borrowed_watts": 0,
        },
    ]
    assert fields["total"] == {
        "cap_watts": 27550.001,
        "worst_case_watts": 20700,
        "measured_watts": 19325.5,
        "lent_watts": 700,
        "borrowed_watts": 450,
    }


def test_it_says_who_speaks_and_what_the_rack_may_draw() -> None:
    fields = summary(H1)
    assert (fields["host"], fields["rack"], fields["epoch"], fields["seq"]) == ("h3", "r12", EPOCH, 1)
    assert fields["rack_cap_watts"] == 30_000
    assert fields["live_hosts"] == 2


def test_of_a_silent_host_it_says_what_outlives_it_and_not_what_it_draws() -> None:
    silent = replace(H1, received_boot_s=NOW.boot_s - 60)
    host = summary(silent)["hosts"][0]
    assert (host["live"], host["worst_case_watts"], host["measured_watts"]) == (False, 9400, None)


def test_a_host_that_was_never_heard_makes_the_sums_unknown_not_smaller() -> None:
    fields = summary(H1)
    unheard = fields["hosts"][1]
    assert unheard == {"host": "h2", "live": False} | dict.fromkeys(fields["total"])
    assert set(fields["total"].values()) == {None}


def test_before_the_speaker_has_said_anything_of_itself_it_is_not_known_either() -> None:
    decision = SNAPSHOT.decision
    mute = decision._replace(leases=decision.leases._replace(said=None))
    host = summary(H1, snapshot=replace(SNAPSHOT, decision=mute))["hosts"][2]
    assert host == {"host": "h3", "live": True} | dict.fromkeys(host.keys() - {"host", "live"})


def test_a_gpu_that_was_not_read_makes_the_draw_of_its_host_unknown() -> None:
    snapshot = replace(SNAPSHOT, readings=(gpu("GPU-a"), gpu("GPU-b", draw_mw=None)))
    assert summary(H1, snapshot=snapshot)["hosts"][2]["measured_watts"] is None


def test_while_recalled_watts_are_awaited_a_cap_is_not_below_zero() -> None:
    """The budget was cut, and what was lent before is still counted: the host is at its floor."""
    waiting = replace(H1, entitlement_mw=2_000_000, lent_mw=3_000_000, holds=())
    assert summary(waiting)["hosts"][0]["cap_watts"] == 0
