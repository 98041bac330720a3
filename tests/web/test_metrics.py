"""What Prometheus sees: every name, true values, bounded series, and nothing old."""

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from powerd.core.metering.draw import RackDraw
from powerd.core.model import GpuReading, Notice, Now, Outcome, Result, Severity
from powerd.core.rack.timeline import Verdict, VerdictKind
from powerd.metrics.exposition import MAX_REASONS, MAX_SOURCES, Metrics
from powerd.metrics.table import TABLE
from powerd.snapshot import Reaction, Snapshot
from tests.web import host

if TYPE_CHECKING:
    from tests.web.conftest import Clock

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# The names that dashboards rely on.
CONTRACT = (
    "powerd_gpu_power_watts",
    "powerd_gpu_energy_joules_total",
    "powerd_gpu_limit_watts",
    "powerd_gpu_capped_seconds_total",
    "powerd_gpu_state",
    "powerd_budget_watts",
    "powerd_host_overhead_watts",
    "powerd_headroom_watts",
    "powerd_infeasible_watts",
    "powerd_budget_exceeded_seconds_total",
    "powerd_signal_age_seconds",
    "powerd_lease_remaining_seconds",
    "powerd_lease_watts",
    "powerd_peer_live",
    "powerd_failsafe_active",
    "powerd_limit_writes_total",
    "powerd_limit_readback_mismatch_total",
    "powerd_writer_conflict_total",
    "powerd_nvml_call_seconds",
    "powerd_guard_restarts_total",
    "powerd_control_loop_seconds",
    "powerd_reaction_seconds",
    "powerd_mqtt_connected",
    "powerd_signal_rejected_total",
    "powerd_build_info",
)


def after(snapshot: Snapshot, seconds: float, **changes: object) -> Snapshot:
    """Return the next iteration: a while later, every GPU read again."""
    boot_s = snapshot.now.boot_s + seconds
    readings = tuple(replace(reading, sampled_boot_s=boot_s) for reading in snapshot.readings)
    moved = replace(snapshot, now=Now(boot_s, snapshot.now.wall_s + seconds), readings=readings)
    return replace(moved, **changes)  # type: ignore[arg-type] # fields by name


def with_first_gpu(snapshot: Snapshot, **changes: object) -> Snapshot:
    first: GpuReading = replace(snapshot.readings[0], **changes)  # type: ignore[arg-type] # fields by name
    return replace(snapshot, readings=(first, *snapshot.readings[1:]))


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"rack": "r17", "host": "r17-n3", **labels})


def text(metrics: Metrics) -> str:
    return metrics.expose("")[0].decode()


@pytest.fixture
def full(metrics: Metrics) -> Metrics:
    """Return metrics after two iterations in which everything happened that has a metric."""
    lending, curtailed = host.lending(), host.curtailed()
    grid = {"events": curtailed.decision.events, "meter": curtailed.decision.meter}
    draw = RackDraw(28_000_000, "hosts", None, 28_000_000)
    decision = lending.decision._replace(**grid, draw=draw)  # type: ignore[arg-type] # fields by name
    lending = replace(lending, decision=decision, meter_rules=curtailed.meter_rules)
    metrics.observe(lending)
    metrics.observe(after(lending, 1.0))
    return metrics


def test_every_row_of_the_table_and_every_name_of_the_contract_is_exposed(full: Metrics) -> None:
    exposed = text(full)
    for name in {*CONTRACT, *(row.name for row in TABLE)}:
        assert any(line.startswith((f"{name}{{", f"{name}_count{{")) for line in exposed.splitlines()), name


def test_a_monitor_sees_what_an_event_allows_and_which_feed_is_not_metered(metrics: Metrics) -> None:
    metrics.observe(host.curtailed())
    assert value(metrics, "powerd_event_cap_watts", source="vtn1", event="peak-7") == 22500
    assert value(metrics, "powerd_meter_usable", part="a") == 1
    assert value(metrics, "powerd_meter_usable", part="b") == 0


def test_what_a_rack_draws_is_not_exposed_while_nobody_knows_it(metrics: Metrics) -> None:
    metrics.observe(host.curtailed())
    assert value(metrics, "powerd_rack_power_watts", source="meter") is None
    assert "powerd_rack_power_watts{" not in text(metrics)


def test_a_clock_that_is_off_is_seen_before_its_messages_are_doubted(metrics: Metrics) -> None:
    sent = Verdict(VerdictKind.ACCEPTED, "facility-a", 1, 1, skew_s=-12.5)
    again = Verdict(VerdictKind.DUPLICATE, "facility-a", 1, 1, "duplicate", skew_s=20.0)
    stranger = Verdict(VerdictKind.LOWER_ONLY, "stranger", 1, 1, "clock_skew", skew_s=120.0)
    snapshot = host.lending()
    metrics.observe(replace(snapshot, decision=snapshot.decision._replace(verdicts=(sent, again, stranger))))
    assert value(metrics, "powerd_clock_skew_seconds", source="facility-a") == -12.5
    assert value(metrics, "powerd_clock_skew_seconds", source="stranger") is None


def test_names_are_unique(full: Metrics) -> None:
    assert len({row.name for row in TABLE}) == len(TABLE)


def test_promtool_finds_nothing_wrong(full: Metrics) -> None:
    body, content_type = full.expose("text/plain")
    assert content_type.startswith("text/plain")
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_openmetrics_is_served_to_those_who_accept_it(full: Metrics) -> None:
    body, content_type = full.expose(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    parsed = text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call] # untyped package
    families = {family.name for family in parsed}
    assert {row.name.removesuffix("_total") for row in TABLE} <= families
    assert body.endswith(b"# EOF\n")


def test_values_are_in_base_units(full: Metrics) -> None:
    first = {"uuid": "GPU-00aa-0", "gpu": "0"}
    assert value(full, "powerd_gpu_power_watts", **first) == 300
    assert value(full, "powerd_gpu_energy_joules_total", **first) == 5000
    assert value(full, "powerd_gpu_limit_watts", kind="target", **first) == 400
    assert value(full, "powerd_gpu_limit_watts", kind="min", **first) == 200
    assert value(full, "powerd_budget_watts", scope="rack") == 30000
    assert value(full, "powerd_budget_watts", scope="gpus") == 4900
    assert value(full, "powerd_headroom_watts", kind="stranded") == 5 * 20
    assert value(full, "powerd_lease_remaining_seconds") == 41
    assert value(full, "powerd_mqtt_messages_total", kind="received") == 12
    assert value(full, "powerd_nvml_call_seconds_count", call="read") == 5
    assert value(full, "powerd_nvml_call_seconds_bucket", call="read", le="0.01") == 4
    assert value(full, "powerd_guard_restarts_total") == 2


def test_watts_between_hosts_are_told_by_direction_and_by_host(metrics: Metrics) -> None:
    metrics.observe(host.lending())
    assert value(metrics, "powerd_headroom_watts", kind="lent") == 650
    assert value(metrics, "powerd_headroom_watts", kind="borrowed") == 0
    assert value(metrics, "powerd_lease_watts", direction="lent", peer="r17-n1") == 650
    metrics.observe(host.borrowing())
    assert value(metrics, "powerd_headroom_watts", kind="lent") == 0
    assert value(metrics, "powerd_headroom_watts", kind="borrowed") == 600
    assert value(metrics, "powerd_lease_watts", direction="borrowed", peer="r17-n1") == 600
    assert value(metrics, "powerd_lease_watts", direction="lent", peer="r17-n1") is None


def test_every_peer_is_live_or_not_and_only_those_that_were_heard_have_an_age(
    metrics: Metrics, clock: "Clock"
) -> None:
    metrics.observe(host.borrowing())
    clock.boot_s += 1
    assert value(metrics, "powerd_peer_live", peer="r17-n1") == 1
    assert value(metrics, "powerd_peer_state_age_seconds", peer="r17-n1") == 1.5
    assert value(metrics, "powerd_peer_live", peer="r17-n2") == 0
    assert value(metrics, "powerd_peer_state_age_seconds", peer="r17-n2") is None
    assert value(metrics, "powerd_roster_mismatch", peer="r17-n2") is None
    clock.boot_s += 3
    assert value(metrics, "powerd_peer_live", peer="r17-n1") == 0


def test_a_peer_with_another_roster_a_lost_memory_and_watts_given_up_can_be_alarmed_on(
    metrics: Metrics,
) -> None:
    metrics.observe(host.lending())
    mismatches = [value(metrics, "powerd_roster_mismatch", peer=f"r17-n{number}") for number in (1, 2, 4)]
    assert mismatches == [0, 0, 1]
    assert value(metrics, "powerd_lease_memory_lost") == 0
    assert value(metrics, "powerd_compensation_watts") == 0
    metrics.observe(host.snapshot(host.decided(memory=None)))
    assert value(metrics, "powerd_lease_memory_lost") == 1
    unreachable = host.peer("r17-n2", -9.0, watts=40000)
    metrics.observe(host.snapshot(host.decided([unreachable])))
    assert value(metrics, "powerd_compensation_watts") == 2450


def test_a_reaction_counts_once_however_long_it_is_shown(full: Metrics, snapshot: Snapshot) -> None:
    assert value(full, "powerd_reaction_seconds_sum") == pytest.approx(0.0018)
    full.observe(after(snapshot, 2.0, reaction=Reaction(1001.0, 1001.004)))
    assert value(full, "powerd_reaction_seconds_sum") == pytest.approx(0.0058)


def test_a_reaction_counts_once_however_long_it_stays_the_last(full: Metrics) -> None:
    assert value(full, "powerd_reaction_seconds_count") == 1
    assert value(full, "powerd_reaction_seconds_sum") == pytest.approx(0.0018)


def test_driver_calls_are_the_guards_own_counts_cumulated(full: Metrics) -> None:
    name = "powerd_nvml_call_seconds"
    buckets = [value(full, f"{name}_bucket", call="read", le=le) for le in ("0.001", "0.01", "+Inf")]
    assert buckets == [3, 4, 5]
    assert value(full, f"{name}_count", call="read") == 5
    assert value(full, f"{name}_sum", call="read") == 0.05
    assert value(full, "powerd_guard_restarts_total") == 2
    assert value(full, "powerd_guard_fallbacks_total") == 1


def test_a_gpu_that_does_not_answer_has_a_state_and_an_age_but_no_power(full: Metrics) -> None:
    hung = {"uuid": "GPU-66aa-6", "gpu": "6"}
    assert value(full, "powerd_gpu_state", state="hung", **hung) == 1
    assert value(full, "powerd_gpu_state", state="ok", **hung) == 0
    assert value(full, "powerd_gpu_sample_age_seconds", **hung) is not None
    assert value(full, "powerd_gpu_power_watts", **hung) is None
    assert value(full, "powerd_gpu_limit_watts", kind="enforced", **hung) is None


def test_when_the_loop_stalls_gpu_numbers_go_and_their_age_stays(full: Metrics, clock: "Clock") -> None:
    clock.boot_s += 10
    first = {"uuid": "GPU-00aa-0", "gpu": "0"}
    assert value(full, "powerd_gpu_power_watts", **first) is None
    assert value(full, "powerd_gpu_limit_watts", kind="enforced", **first) is None
    assert value(full, "powerd_gpu_sample_age_seconds", **first) == 9
    assert value(full, "powerd_lease_remaining_seconds") == 31


def test_a_gpu_that_vanished_takes_its_series_along(full: Metrics, snapshot: Snapshot) -> None:
    assert "GPU-00aa-0" in text(full)
    full.observe(after(snapshot, 2.0, readings=snapshot.readings[1:]))
    assert "GPU-00aa-0" not in text(full)


def test_failsafe_names_its_cause(metrics: Metrics, snapshot: Snapshot, failsafe: Snapshot) -> None:
    metrics.observe(snapshot)
    assert value(metrics, "powerd_failsafe_active", cause="none") == 0
    metrics.observe(failsafe)
    assert value(metrics, "powerd_failsafe_active", cause="lease_over") == 1
    assert value(metrics, "powerd_lease_remaining_seconds") is None


def test_capped_seconds_come_from_the_counter_and_survive_its_reset(
    metrics: Metrics, snapshot: Snapshot
) -> None:
    capped = {"uuid": "GPU-00aa-0", "gpu": "0", "reason": "power_cap"}
    metrics.observe(snapshot)
    metrics.observe(with_first_gpu(after(snapshot, 1.0), capped_ns=2_750_000_000))
    assert value(metrics, "powerd_gpu_capped_seconds_total", **capped) == 0.75
    metrics.observe(with_first_gpu(after(snapshot, 2.0), capped_ns=0))
    assert value(metrics, "powerd_gpu_capped_seconds_total", **capped) == 0.75


def test_without_a_counter_the_cap_bit_counts_only_near_the_limit(
    metrics: Metrics, snapshot: Snapshot
) -> None:
    capped = {"uuid": "GPU-00aa-0", "gpu": "0", "reason": "power_cap"}
    bit = {"capped_ns": None, "event_reasons": 0x4, "enforced_mw": 400_000}
    metrics.observe(with_first_gpu(snapshot, **bit))
    metrics.observe(with_first_gpu(after(snapshot, 1.0), draw_mw=52_000, **bit))
    assert value(metrics, "powerd_gpu_capped_seconds_total", **capped) == 0
    metrics.observe(with_first_gpu(after(snapshot, 2.0), draw_mw=390_000, **bit))
    assert value(metrics, "powerd_gpu_capped_seconds_total", **capped) == 1


def test_slowdowns_other_than_the_cap_have_their_own_reason(full: Metrics) -> None:
    hot = {"uuid": "GPU-11aa-1", "gpu": "1"}
    assert value(full, "powerd_gpu_capped_seconds_total", reason="hw_thermal", **hot) == 1
    assert value(full, "powerd_gpu_capped_seconds_total", reason="hw_slowdown", **hot) == 0


def test_seconds_above_the_budget_count_only_while_the_loop_watches(
    metrics: Metrics, snapshot: Snapshot
) -> None:
    over = replace(snapshot, decision=snapshot.decision._replace(gpu_budget_mw=1_000_000))
    name = "powerd_budget_exceeded_seconds_total"
    metrics.observe(snapshot)
    assert value(metrics, name) == 0
    metrics.observe(after(snapshot, 1.0))
    assert value(metrics, name) == 0
    metrics.observe(after(over, 2.0))
    assert value(metrics, name) == 1
    metrics.observe(after(over, 100.0))
    assert value(metrics, name) == 1


def test_writes_count_by_result_and_mismatches_apart(metrics: Metrics, snapshot: Snapshot) -> None:
    clamped = Outcome("GPU-22aa-2", 400_000, Result.CLAMPED, 400_000, 350_000)
    skipped = Outcome("GPU-33aa-3", 500_000, Result.SKIPPED, 400_000, 400_000)
    metrics.observe(replace(snapshot, outcomes=(*snapshot.outcomes, clamped, skipped)))
    results = {result: value(metrics, "powerd_limit_writes_total", result=result.value) for result in Result}
    assert set(results.values()) == {1}
    assert value(metrics, "powerd_limit_readback_mismatch_total") == 1


def test_a_conflict_counts_once_and_although_the_limit_is_already_set_back(
    metrics: Metrics, snapshot: Snapshot
) -> None:
    metrics.observe(snapshot)
    told = Notice("other_writer", Severity.WARNING, "another writer set 400 W", snapshot.readings[0].uuid)
    other = replace(told, event="out_of_band_limit")
    metrics.observe(after(snapshot, 1.0, decision=snapshot.decision._replace(notices=(told, other))))
    metrics.observe(after(snapshot, 2.0))
    assert value(metrics, "powerd_writer_conflict_total") == 1


def test_rejections_keep_believed_sources_apart_and_fold_all_others(
    metrics: Metrics, snapshot: Snapshot
) -> None:
    metrics.observe(snapshot)
    for number in range(1000):
        metrics.signal_rejected(f"intruder-{number}", "type")
    name = "powerd_signal_rejected_total"
    assert value(metrics, name, source="facility-a", reason="older") == 1
    assert value(metrics, name, source="unknown", reason="type") == 1000
    assert "intruder" not in text(metrics)


def test_rejections_of_senders_that_the_configuration_names_are_kept_apart_before_any_is_believed(
    snapshot: Snapshot, clock: "Clock"
) -> None:
    metrics = Metrics("r17", "r17-n3", clock, named={"feed-a"})
    metrics.observe(snapshot)
    metrics.signal_rejected("feed-a", "unit_error")
    metrics.signal_rejected("feed-z", "unit_error")
    name = "powerd_signal_rejected_total"
    assert value(metrics, name, source="feed-a", reason="unit_error") == 1
    assert value(metrics, name, source="unknown", reason="unit_error") == 1


def test_reasons_and_sources_cannot_grow_without_bound(metrics: Metrics, snapshot: Snapshot) -> None:
    for number in range(200):
        metrics.signal_rejected("x", f"reason_{number}")
    many = tuple(Verdict(VerdictKind.ACCEPTED, f"source-{number}", 1, 1) for number in range(200))
    metrics.observe(replace(snapshot, decision=snapshot.decision._replace(verdicts=many)))
    exposed = text(metrics)
    assert exposed.count("powerd_signal_rejected_total{") == MAX_REASONS + 1
    assert exposed.count("powerd_signal_age_seconds{") == MAX_SOURCES


def test_the_age_of_a_source_grows_until_it_is_believed_again(
    metrics: Metrics, snapshot: Snapshot, clock: "Clock"
) -> None:
    metrics.observe(snapshot)
    clock.boot_s += 30
    assert value(metrics, "powerd_signal_age_seconds", source="facility-a") == 30
    silent = snapshot.decision._replace(verdicts=())
    metrics.observe(after(snapshot, 30.0, decision=silent))
    assert value(metrics, "powerd_signal_age_seconds", source="facility-a") == 30
    metrics.observe(after(snapshot, 30.0))
    assert value(metrics, "powerd_signal_age_seconds", source="facility-a") == 0


def test_counters_start_at_zero_before_the_first_iteration(metrics: Metrics) -> None:
    assert value(metrics, "powerd_writer_conflict_total") == 0
    assert value(metrics, "powerd_limit_writes_total", result="failed") == 0
    assert value(metrics, "powerd_reaction_seconds_count") == 0
    assert "powerd_gpu" not in text(metrics).replace("# HELP powerd_gpu", "").replace("# TYPE powerd_gpu", "")
