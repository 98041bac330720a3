"""What a rack says of itself as a DSX Flex agent, while the core obeys load targets: all by the schema."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from powerd.core.leases.host_state import HostState
from powerd.core.model import GpuState
from powerd.dsx.outlook import MAX_TARGETS
from tests.core.make import W
from tests.core.make_leases import says
from tests.dsx.messages import CORRELATION_ID, MESSAGE_ID, TARGET, TRACE_PARENT, targets
from tests.dsx.rig import AT_FIVE_S, OPTIONS, Rig, configured
from tests.signals.payloads import ABSENT, changed

OTHER_ID = "11111111-2222-4333-8444-555555555555"
# So many kilowatts of the feed, of which the rack has a hundredth, from five to one minute past.
MINUTE = {"start_time": "2026-11-21T17:00:00Z", "end_time": "2026-11-21T17:01:00Z"}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def target(kilowatts: float | None, **changes: object) -> dict[str, Any]:
    constraint = None if kilowatts is None else {"value": kilowatts, "unit": "kilowatt"}
    return targets(changed(TARGET, **{"load_constraint": constraint, "interval": MINUTE, **changes}))


def watts(power: dict[str, Any]) -> float:
    assert power["unit"] == "watt"
    value: float = power["value"]
    return value


def test_a_curtailment_is_told_from_its_target_to_its_end(rig: Rig) -> None:
    rig.hear(target(200), time="2026-11-21T16:59:30Z")
    assert rig.events() == ["target_set"]
    [scheduled] = rig.feed()["targets"]
    assert scheduled == {
        "active": False,
        "load_constraint": {"value": 2000, "unit": "watt"},
        "interval": {"start_time": "2026-11-21T17:00:00.000Z", "end_time": "2026-11-21T17:01:00.000Z"},
        "strategy": {"best_effort": True},
        "correlation_id": CORRELATION_ID,
    }
    rig.run(29)  # to five sharp
    assert rig.boot_s == AT_FIVE_S
    assert rig.events()[1:] == ["start_ramp_down"]
    rig.run(10)
    assert rig.events()[2:] == ["end_ramp_down"]
    assert rig.feed()["targets"][0]["active"]
    assert rig.feed()["power_event_start_time"] == "2026-11-21T17:00:00.000Z"
    rig.run(50)
    assert rig.events()[3:] == ["start_ramp_up"]
    rig.run(20)
    assert rig.events()[4:] == ["end_ramp_up"]
    assert rig.feed()["targets"] == []
    assert [said.data["feeds"]["main-a"]["in_flight"] for said in rig.statuses] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_the_numbers_of_a_feed_are_this_racks_part_of_it(rig: Rig) -> None:
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    rig.run(2)
    feed = rig.feed()
    assert {name: watts(power) for name, power in feed["metadata"].items()} == {
        "power_minimum": 1000,
        "power_maximum": 3000,
        "default_constraint": 3000,
    }
    assert feed["calculated_load"] == {"value": 2000, "unit": "watt"}
    assert feed["compliant"]
    assert "end_time" not in feed["targets"][0]["interval"]


def test_where_no_budgets_are_published_the_default_is_that_of_the_rack(tmp_path: Path) -> None:
    rig = Rig(tmp_path, replace(configured(), standing_mw=2500 * W))
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    assert watts(rig.feed()["metadata"]["default_constraint"]) == 2500


def test_on_the_way_down_the_feed_is_in_flight_and_not_compliant_yet(rig: Rig) -> None:
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    feed = rig.feed()
    assert (feed["event"], feed["in_flight"], feed["compliant"]) == ("start_ramp_down", True, False)
    assert watts(feed["calculated_load"]) == 3000


def test_null_goes_back_to_the_default_and_leaves_no_target(rig: Rig) -> None:
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    rig.run(5)
    rig.statuses.clear()
    rig.hear(target(None, interval={}), id=OTHER_ID, correlationid=OTHER_ID, time="2026-11-21T16:59:36Z")
    assert rig.events() == ["target_set", "start_ramp_up"]
    assert rig.feed()["targets"] == []
    assert {said["correlationid"] for said in rig.statuses} == {OTHER_ID}
    rig.run(15)
    assert rig.events()[2:] == ["end_ramp_up"]


def test_the_latest_target_wins_and_the_one_before_is_over(rig: Rig) -> None:
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    rig.run(5)
    rig.hear(target(250, interval={}), id=OTHER_ID, correlationid=OTHER_ID, time="2026-11-21T16:59:36Z")
    [held] = rig.feed()["targets"]
    assert (watts(held["load_constraint"]), held["correlation_id"]) == (2500, OTHER_ID)
    assert rig.events()[-2:] == ["target_set", "start_ramp_up"]


def test_a_target_below_the_floors_is_followed_as_far_as_can_be_and_told_as_not_met(rig: Rig) -> None:
    rig.hear(target(50, interval={}), time="2026-11-21T16:59:30Z")
    rig.run(3)
    rig.run(60)
    feed = rig.feed()
    assert (feed["event"], feed["in_flight"], feed["compliant"]) == ("periodic", True, False)
    assert watts(feed["calculated_load"]) == 1000


def test_a_status_follows_the_trace_and_the_correlation_of_its_target(rig: Rig) -> None:
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    _, trace_id, parent_id, _ = TRACE_PARENT.split("-")
    for said in rig.statuses:
        assert said["correlationid"] == CORRELATION_ID
        assert said["traceparent"].split("-")[1] == trace_id
        assert said["traceparent"].split("-")[2] != parent_id


def test_without_news_the_state_is_told_every_minute_as_nobodys_answer(rig: Rig) -> None:
    rig.run(180)
    assert rig.events() == ["periodic"] * 3
    assert all("correlationid" not in said for said in rig.statuses)
    assert rig.feed()["compliant"]
    assert "power_event_start_time" not in rig.feed()


def test_qos_and_role_are_settings_and_the_source_stays_what_the_schema_allows(tmp_path: Path) -> None:
    options = replace(OPTIONS, role="poweragent", status_qos=0, breach_qos=1)
    rig = Rig(tmp_path, options=options)
    assert options.status_topic == "grid/v1/poweragent/hel1-r1/powerstate/status"
    assert options.breach_topic == "grid/v1/poweragent/hel1-r1/powerbreach"
    rig.run(60)
    assert [said.qos for said in rig.statuses] == [0]


def test_plain_data_is_published_where_there_is_no_key(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_signing=False)
    rig.run(60)
    assert isinstance(rig.statuses[0]["data"], dict)


def test_a_draw_that_is_not_known_counts_as_all_that_may_be_drawn(rig: Rig) -> None:
    rig.gpus[0].state = GpuState.HUNG
    rig.hear(target(280, interval={}), time="2026-11-21T16:59:30Z")
    rig.run(60)
    assert rig.events()[:3] == ["target_set", "start_ramp_down", "end_ramp_down"]
    assert watts(rig.feed()["calculated_load"]) == 2800
    assert rig.alerts == []


def test_of_very_many_targets_those_that_start_first_are_told(rig: Rig) -> None:
    each = target(200)["targets"][0]
    many = [
        changed(each, interval={"start_time": f"2026-11-{22 + hour // 24}T{hour % 24:02}:00:00Z"})
        for hour in range(150)
    ]
    rig.hear(targets(*many), time="2026-11-21T16:59:30Z")
    told = rig.feed()["targets"]
    assert len(told) == MAX_TARGETS
    assert told[0]["interval"]["start_time"] == "2026-11-22T00:00:00.000Z"


def stuck(rig: Rig) -> None:
    """Let GPUs take no limits any more, as a driver does that went wrong."""
    for gpu in rig.gpus:
        gpu.refuses = True


def test_a_breach_goes_from_active_through_escalated_to_resolved_under_one_id(rig: Rig) -> None:
    stuck(rig)
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    rig.run(10)
    for gpu in rig.gpus:
        gpu.refuses = False
    rig.run(10)
    assert [(said.data["status"], said.data["severity"]) for said in rig.alerts] == [
        ("active", "critical"),
        ("escalated", "critical"),
        ("resolved", "critical"),
    ]
    active, escalated, resolved = (said.data for said in rig.alerts)
    assert len({said.data["breach"]["breach_id"] for said in rig.alerts}) == 1
    assert len({said.data["breach"]["detected_at"] for said in rig.alerts}) == 1
    assert {said.qos for said in rig.alerts} == {2}
    assert {said["correlationid"] for said in rig.alerts} == {CORRELATION_ID}
    assert active["target"] == {
        "correlation_id": CORRELATION_ID,
        "load_constraint": {"value": 2000, "unit": "watt"},
    }
    assert (watts(active["measured_load"]), watts(resolved["measured_load"])) == (3000, 2000)
    assert [data["infrastructure_actions"] for data in (active, escalated, resolved)] == [
        ["SHUTDOWN_NODES"],
        ["SHUTDOWN_NODES", "SHUTDOWN_RACKS"],
        [],
    ]
    assert [watts(data["shed_hints"][0]["target_power"]) for data in (active, escalated)] == [2000, 1000]
    assert "shed_hints" not in resolved
    assert "resolved_at" in resolved["breach"]


def test_a_second_breach_has_another_id(rig: Rig) -> None:
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    for _ in range(2):
        for gpu in rig.gpus:
            gpu.refuses, gpu.limit_mw = True, 700 * W
        rig.run(10)
        for gpu in rig.gpus:
            gpu.refuses = False
        rig.run(10)
    assert len({said.data["breach"]["breach_id"] for said in rig.alerts}) == 2


def test_a_breach_that_outlives_its_target_is_resolved_under_its_name(rig: Rig) -> None:
    stuck(rig)
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    rig.run(10)
    rig.hear(target(None, interval={}), id=OTHER_ID, correlationid=OTHER_ID, time="2026-11-21T16:59:41Z")
    rig.run(10)
    assert [said.data["status"] for said in rig.alerts] == ["active", "escalated", "resolved"]
    assert rig.alerts[-1].data["target"]["correlation_id"] == CORRELATION_ID


@pytest.mark.parametrize("mode", ["dry-run", "monitor"])
def test_where_nothing_is_limited_no_target_is_in_force_and_no_rack_is_switched_off(
    mode: str, tmp_path: Path
) -> None:
    rig = Rig(tmp_path, mode=mode)
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z")
    rig.run(90)
    assert rig.alerts == []
    assert [each["active"] for each in rig.feed()["targets"]] == [False]
    assert not rig.feed()["compliant"]


def state(rig: Rig, host: str, seq: int) -> HostState:
    """Return what a peer says that draws 1.9 kW of its 2 kW."""
    said = says(host, seq, roster=rig.config.roster, at=rig.boot_s + 1, cap=6000, entitlement=2000, want=1900)
    return replace(said, worst_case_mw=2000 * W, measured_mw=1900 * W)


def test_one_host_of_the_rack_speaks_and_the_next_goes_on_where_it_stopped(tmp_path: Path) -> None:
    config = configured("h0", "h1", is_leasing=True)
    rig = Rig(tmp_path, config)
    rig.statuses.clear()
    for seq in range(1, 30):
        rig.run(1, states=[state(rig, "h0", seq)])
    rig.hear(target(300, interval={}), time="2026-11-21T16:59:59Z")
    assert (rig.statuses, rig.alerts) == ([], [])
    rig.run(5)  # h0 is silent now
    rig.run(60)
    assert set(rig.events()) == {"periodic"}
    assert rig.feed()["targets"][0]["active"]


def test_a_breach_names_the_hosts_most_above_their_caps_first(tmp_path: Path) -> None:
    rig = Rig(tmp_path, configured("h1", "h2", is_leasing=True))
    stuck(rig)
    rig.run(1, states=[state(rig, "h2", 1)])
    rig.hear(target(400, interval={}), time="2026-11-21T16:59:31Z")
    for seq in range(2, 10):
        rig.run(1, states=[state(rig, "h2", seq)])
    hints = rig.alerts[0].data["shed_hints"]
    assert [(hint["resource_id"], hint["priority"]) for hint in hints] == [("h1", 1), ("h2", 2)]
    assert all((hint["resource_type"], hint["action"]) == ("node", "power_cap") for hint in hints)
    assert watts(hints[1]["target_power"]) == 2000


@pytest.mark.parametrize(("hosts", "speaks"), [(("h1", "h2"), True), (("h0", "h1"), False)])
def test_where_hosts_do_not_hear_each_other_the_first_of_the_roster_speaks(
    hosts: tuple[str, ...], speaks: bool, tmp_path: Path
) -> None:
    rig = Rig(tmp_path, configured(*hosts))
    rig.run(120)
    assert bool(rig.statuses) == speaks


def test_targets_that_came_without_a_correlation_are_known_by_their_message(rig: Rig) -> None:
    rig.hear(target(200, interval={}), time="2026-11-21T16:59:30Z", correlationid=ABSENT)
    assert rig.feed()["targets"][0]["correlation_id"] == MESSAGE_ID
