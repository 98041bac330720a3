"""What other programs read of a host: every payload as its published schema says, and nothing invented."""

import json
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import powerd
from powerd.core.decide import Decision
from powerd.core.demand import Demand
from powerd.core.failsafe import Phase
from powerd.core.model import (
    Capability,
    Constraints,
    GpuReading,
    GpuState,
    Notice,
    Now,
    Plan,
    Severity,
    Step,
)
from powerd.core.targets import GpuTarget
from powerd.core.timeline import Statement
from powerd.signals.report import HostReport
from powerd.snapshot import BusStatus, GuardStatus, Snapshot

NOW = Now(boot_s=500.0, wall_s=1795280401.0)
EPOCH = 1763690001000


def gpu(uuid: str, **changes: Any) -> GpuReading:
    reading = GpuReading(
        uuid=uuid,
        index=0,
        name="Test GPU",
        state=GpuState.OK,
        capability=Capability.SETTABLE,
        constraints=Constraints(min_mw=200_000, max_mw=700_000, default_mw=700_000),
        draw_mw=612_500,
        enforced_mw=650_000,
        worst_case_mw=650_000,
    )
    return replace(reading, **changes)


def target(uuid: str, limit_mw: int | None = 650_000) -> GpuTarget:
    return GpuTarget(uuid=uuid, limit_mw=limit_mw, counted_mw=650_000, want_mw=640_000, demand=Demand.BUSY)


DECISION = Decision(
    phase=Phase.LIMITED,
    rack_cap_mw=30_000_000,
    usable_mw=29_400_000,
    entitlement_mw=7_350_000,
    cap_mw=7_350_000,
    overhead_mw=1_000_000,
    gpu_budget_mw=6_350_000,
    infeasible_mw=0,
    compliant=True,
    failsafe_cause="",
    statement=Statement(
        source="facility-a",
        epoch=1763690000000,
        seq=1842,
        mw=30_000_000,
        priority=100,
        end_boot_s=559.0,
        reason="peak",
        correlation_id="9a1e",
    ),
    rack_steps=(
        Step("hard_limit", 40_000_000, "rack.hard_limit_watts"),
        Step("budget", 30_000_000, "facility-a"),
        Step("guard_band", 29_400_000, "rack.guard_band_pct"),
    ),
    host_steps=(),
    targets=(target("GPU-a"), target("GPU-b")),
    plan=Plan(),
)
SNAPSHOT = Snapshot(
    now=NOW,
    iteration=7,
    period_s=1.0,
    mode="enforce",
    site="hel1",
    rack="r12",
    host="h3",
    readings=(gpu("GPU-a"), gpu("GPU-b")),
    decision=DECISION,
    outcomes=(),
    guard=GuardStatus(),
    bus=BusStatus(url="mqtt://localhost"),
    problems=(),
)


def report() -> HostReport:
    return HostReport(host="h3", rack="r12", epoch=EPOCH)


def checked(name: str, payload: bytes) -> dict[str, Any]:
    schema = json.loads((resources.files("powerd.signals") / "schemas" / f"{name}.json").read_text("utf-8"))
    fields: dict[str, Any] = json.loads(payload)
    Draft202012Validator(schema).validate(fields)
    assert fields.keys() <= schema["properties"].keys(), "an undocumented field"
    return fields


def test_state_says_what_was_given_what_was_made_of_it_and_the_worst_case() -> None:
    fields = checked("state", report().state(SNAPSHOT))
    gpus = fields.pop("gpus")
    assert fields == {
        "v": 1,
        "host": "h3",
        "rack": "r12",
        "epoch": EPOCH,
        "seq": 1,
        "ts": "2026-11-21T17:00:01.000Z",
        "mode": "limited",
        "control": "enforce",
        "reason": "budget:facility-a",
        "budget": {
            "source": "facility-a",
            "epoch": 1763690000000,
            "seq": 1842,
            "watts": 30000.0,
            "reason": "peak",
            "correlation_id": "9a1e",
            "valid_until": "2026-11-21T17:01:00.000Z",
        },
        "share_watts": 7350.0,
        "cap_watts": 7350.0,
        "worst_case_watts": 2300.0,
        "floor_watts": 1400.0,
        "demand_watts": 2280.0,
        "measured_watts": 2225.0,
        "infeasible_watts": 0.0,
        "compliant": True,
        "in_flight": False,
        "clock": {"synced": True},
        "version": powerd.__version__,
    }
    assert gpus[0] == {
        "uuid": "GPU-a",
        "min_watts": 200.0,
        "max_watts": 700.0,
        "limit_watts": 650.0,
        "enforced_watts": 650.0,
        "state": "ok",
    }


def test_state_without_a_lease_says_so_and_names_why_failsafe_holds() -> None:
    decision = replace(DECISION, phase=Phase.FAILSAFE, statement=None, failsafe_cause="lease_expired")
    fields = checked("state", report().state(replace(SNAPSHOT, decision=decision)))
    assert fields["mode"] == "failsafe"
    assert fields["budget"] is None
    assert fields["reason"] == "failsafe:lease_expired"


def test_a_budget_without_limit_is_null_watts_not_zero() -> None:
    assert DECISION.statement
    decision = replace(DECISION, phase=Phase.UNLIMITED, statement=replace(DECISION.statement, mw=None))
    assert checked("state", report().state(replace(SNAPSHOT, decision=decision)))["budget"]["watts"] is None


def test_what_is_not_known_is_null_in_the_sums_too() -> None:
    """A GPU that cannot be read must not make the host look smaller than it is."""
    unread = gpu("GPU-b", draw_mw=None, worst_case_mw=None, constraints=None, enforced_mw=None)
    snapshot = replace(SNAPSHOT, readings=(gpu("GPU-a"), unread))
    fields = checked("state", report().state(snapshot))
    assert fields["worst_case_watts"] is None
    assert fields["floor_watts"] is None
    assert fields["measured_watts"] is None
    assert fields["gpus"][1]["enforced_watts"] is None


@pytest.mark.parametrize("state", [GpuState.LOST, GpuState.HUNG])
def test_a_gpu_that_cannot_be_limited_counts_with_its_worst_case_in_the_floor(state: GpuState) -> None:
    stuck = gpu("GPU-b", state=state, capability=Capability.LOST, pending_mw=300_000)
    fields = checked("state", report().state(replace(SNAPSHOT, readings=(gpu("GPU-a"), stuck))))
    assert fields["floor_watts"] == 1000 + 200 + 650
    assert fields["gpus"][1]["state"] == str(state)
    assert fields["in_flight"] is True


def test_telemetry_carries_the_same_totals_as_the_state_and_the_draw_of_each_gpu() -> None:
    state = checked("state", report().state(SNAPSHOT))
    telemetry = checked("telemetry", report().telemetry(SNAPSHOT))
    totals = telemetry.keys() - {"gpus"}
    assert {name: telemetry[name] for name in totals} == {name: state[name] for name in totals}
    assert [each["draw_watts"] for each in telemetry["gpus"]] == [612.5, 612.5]


def test_each_topic_counts_its_own_messages_so_that_readers_see_gaps() -> None:
    voice = report()
    sequence = [json.loads(voice.state(SNAPSHOT))["seq"] for _ in range(3)]
    assert sequence == [1, 2, 3]
    assert json.loads(voice.telemetry(SNAPSHOT))["seq"] == 1


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
