"""What other programs read of a host: every payload as its published schema says, and nothing invented."""

import json
from dataclasses import replace
from typing import Any

import pytest

import powerd
from powerd.core.leases.host_state import Hold, HostState, Key, Lend
from powerd.core.model import Capability, GpuState, Notice, Severity
from powerd.core.rack.failsafe import Phase
from powerd.snapshot import Snapshot
from tests.signals.payloads import SCHEMAS, VALIDATORS
from tests.signals.states import DECISION, EPOCH, NOW, SNAPSHOT, STATE, gpu, report, target


def checked(name: str, payload: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(payload)
    VALIDATORS[name].validate(fields)
    assert fields.keys() <= SCHEMAS[name]["properties"].keys(), "an undocumented field"
    return fields


def said(message: HostState = STATE, snapshot: Snapshot = SNAPSHOT) -> dict[str, Any]:
    return checked("state", report().state(snapshot, message))


def test_state_says_what_was_given_what_was_made_of_it_and_what_passes_between_hosts() -> None:
    fields = said()
    gpus = fields.pop("gpus")
    assert fields == {
        "v": 1,
        "host": "h3",
        "rack": "r12",
        "epoch": EPOCH,
        "seq": 5521,
        "ts": "2026-11-21T17:00:01.000Z",
        "roster": "0123456789abcdef",
        "leasing": True,
        "mode": "limited",
        "control": "enforce",
        "reason": "budget:facility-a",
        "budget": {
            "source": "facility-a",
            "epoch": 1763690000000,
            "seq": 1842,
            "watts": 30000,
            "lease_s": 59,
            "valid_until": "2026-11-21T17:01:00.000Z",
            "reason": "peak",
            "correlation_id": "9a1e",
        },
        "rack_cap_watts": 30000,
        "share_watts": 9800.001,
        "cap_watts": 7350,
        "worst_case_watts": 2300,
        "floor_watts": 1400,
        "demand_watts": 8000.999,
        "measured_watts": 2225,
        "infeasible_watts": 0,
        "spare_watts": 1799.002,
        "lent_watts": 700,
        "borrowed_watts": 0,
        "over_watts": 0,
        "lends": [
            {"to": "h1", "watts": 450, "epoch": 1763690000500, "seq": 17},
            {"to": "h2", "watts": 0, "epoch": 1763690000700, "seq": 4711},
        ],
        "holds": [{"from": "h2", "watts": 0, "epoch": 1763690000700, "seq": 4711}],
        "compliant": True,
        "in_flight": False,
        "clock": {"synced": True},
        "version": powerd.__version__,
    }
    assert gpus[0] == {
        "uuid": "GPU-a",
        "min_watts": 200,
        "max_watts": 700,
        "limit_watts": 650,
        "enforced_watts": 650,
        "state": "ok",
    }


def test_what_is_borrowed_is_the_sum_of_what_is_held() -> None:
    holds = (Hold("h1", 250_500, Key(1, 1)), Hold("h2", 100_000, Key(1, 2)))
    assert said(replace(STATE, lends=(), holds=holds))["borrowed_watts"] == 350.5


def test_state_without_a_lease_says_so_and_names_why_failsafe_holds() -> None:
    decision = DECISION._replace(phase=Phase.FAILSAFE, statement=None, failsafe_cause="lease_expired")
    fields = said(replace(STATE, budget=None), replace(SNAPSHOT, decision=decision))
    assert fields["mode"] == "failsafe"
    assert fields["budget"] is None
    assert fields["reason"] == "failsafe:lease_expired"


def test_a_budget_without_limit_is_null_watts_not_zero() -> None:
    assert STATE.budget
    message = replace(STATE, budget=replace(STATE.budget, mw=None))
    decision = DECISION._replace(phase=Phase.UNLIMITED)
    assert said(message, replace(SNAPSHOT, decision=decision))["budget"]["watts"] is None


def test_the_texts_of_another_budget_are_not_put_beside_the_one_that_peers_are_told_of() -> None:
    """The last decision of an iteration can be a later one than that which was carried out."""
    assert STATE.budget
    fields = said(replace(STATE, budget=replace(STATE.budget, seq=1841)))
    assert fields["budget"].keys().isdisjoint({"reason", "correlation_id"})


def test_a_lease_that_ended_while_the_plan_was_carried_out_has_nothing_left() -> None:
    assert STATE.budget
    assert said(replace(STATE, budget=replace(STATE.budget, lease_s=-0.01)))["budget"]["lease_s"] == 0


def test_what_is_not_known_is_null_in_the_sums_too() -> None:
    """A GPU that cannot be read must not make the host look smaller than it is."""
    unread = gpu("GPU-b", draw_mw=None, worst_case_mw=None, constraints=None, enforced_mw=None)
    snapshot = replace(SNAPSHOT, readings=(gpu("GPU-a"), unread))
    state = said(replace(STATE, worst_case_mw=None), snapshot)
    telemetry = checked("telemetry", report().telemetry(snapshot))
    for fields in (state, telemetry):
        assert fields["worst_case_watts"] is None
        assert fields["floor_watts"] is None
        assert fields["measured_watts"] is None
        assert fields["gpus"][1]["enforced_watts"] is None


@pytest.mark.parametrize("state", [GpuState.LOST, GpuState.HUNG])
def test_a_gpu_that_cannot_be_limited_counts_with_its_worst_case_in_the_floor(state: GpuState) -> None:
    stuck = gpu("GPU-b", state=state, capability=Capability.LOST, pending_mw=300_000)
    fields = said(snapshot=replace(SNAPSHOT, readings=(gpu("GPU-a"), stuck)))
    assert fields["floor_watts"] == 1000 + 200 + 650
    assert fields["gpus"][1]["state"] == str(state)
    assert fields["in_flight"] is True


def test_telemetry_carries_the_same_totals_as_the_state_and_the_draw_of_each_gpu() -> None:
    state = said()
    telemetry = checked("telemetry", report().telemetry(SNAPSHOT))
    totals = telemetry.keys() - {"gpus", "seq", "shed"}
    assert {name: telemetry[name] for name in totals} == {name: state[name] for name in totals}
    assert [each["draw_watts"] for each in telemetry["gpus"]] == [612.5, 612.5]


def test_a_requested_limit_that_something_else_keeps_down_counts_in_the_worst_case() -> None:
    """Whatever keeps it down can let go at any moment; what peers are told counts it too."""
    held = gpu("GPU-b", requested_mw=700_000)
    telemetry = json.loads(report().telemetry(replace(SNAPSHOT, readings=(gpu("GPU-a"), held))))
    assert telemetry["worst_case_watts"] == 1000 + 650 + 700


def test_the_state_is_named_by_its_message_and_other_topics_count_for_themselves() -> None:
    """Peers order states by that name, and readers of the others see gaps."""
    voice = report()
    keys = [Key(EPOCH, 5522), Key(EPOCH + 1, 1)]
    states = [json.loads(voice.state(SNAPSHOT, replace(STATE, key=key))) for key in keys]
    assert [(fields["epoch"], fields["seq"]) for fields in states] == keys
    counted = [json.loads(voice.telemetry(SNAPSHOT)) for _ in range(3)]
    assert [(fields["epoch"], fields["seq"]) for fields in counted] == [(EPOCH, 1), (EPOCH, 2), (EPOCH, 3)]


@pytest.mark.parametrize("direction", ["lends", "holds"])
def test_a_host_of_four_gpus_that_deals_with_seventeen_others_stays_below_2500_bytes(direction: str) -> None:
    """It says so once a second, and 18 of them share a broker."""
    peers = [(f"r17-n{number}", 234_000, Key(1763690001000, 1_000_000)) for number in range(1, 18)]
    uuids = [f"GPU-0f3a2b1c-1111-2222-3333-44445555666{number}" for number in range(4)]
    snapshot = replace(
        SNAPSHOT,
        readings=tuple(gpu(uuid, enforced_mw=612_345) for uuid in uuids),
        decision=DECISION._replace(targets=tuple(target(uuid, 612_345) for uuid in uuids)),
    )
    message = replace(
        STATE,
        lends=tuple(Lend(*each) for each in peers) if direction == "lends" else (),
        holds=tuple(Hold(*each) for each in peers) if direction == "holds" else (),
    )
    assert len(report().state(snapshot, message)) <= 2500


def test_online_and_the_will_carry_the_same_epoch() -> None:
    voice = report()
    here = checked("online", voice.online(online=True, wall_s=NOW.wall_s))
    gone = checked("online", voice.online(online=False, wall_s=NOW.wall_s))
    assert here == {
        "v": 1,
        "host": "h3",
        "online": True,
        "epoch": EPOCH,
        "ts": "2026-11-21T17:00:01.000Z",
    }
    assert gone == here | {"online": False}


def test_a_notice_arrives_word_for_word() -> None:
    notice = Notice("budget_rejected", Severity.WARNING, 'rack is "r13", Kühlung', "facility-a")
    fields = checked("notice", report().notice(notice, wall_s=NOW.wall_s))
    assert fields["event"] == "budget_rejected"
    assert fields["severity"] == "warning"
    assert fields["subject"] == "facility-a"
    assert fields["text"] == 'rack is "r13", Kühlung'
