"""The table of metrics: name, kind, help, labels, and which reader gives the values.

Every row also carries the labels `rack` and `host`; rows of a GPU carry `uuid` and `gpu` (its index).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from powerd.core.model import Result
from powerd.core.units import watts
from powerd.metrics import readers
from powerd.metrics.readers import MJ_PER_J, Change, Labels, Samples, View

GPU_LABELS = ("uuid", "gpu")
# Seconds; from a bare round trip to a driver that answers late.
_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Kind(StrEnum):
    """Metric types of the exposition format."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Row:
    """One metric.

    Attributes:
        labels: besides `rack` and `host`.
        read: gives the series at a scrape.
        grow: gives increments (counter) or observations (histogram) after an iteration. A row with neither
            `read` nor `grow` is kept by `Metrics` itself.
        start: series that exist from the start, so that their first increment shows in rates.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    read: Callable[[View], Samples] | None = None
    grow: Callable[[Change], Samples] | None = None
    start: tuple[Labels, ...] = ()
    buckets: tuple[float, ...] = _BUCKETS_S


G, C, H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM
REJECTED = "powerd_signal_rejected_total"
SIGNAL_AGE = "powerd_signal_age_seconds"
CLOCK_SKEW = "powerd_clock_skew_seconds"
CERTIFICATE_EXPIRY = "powerd_certificate_expiry_timestamp_seconds"
CONFIG_USABLE = "powerd_config_last_reload_successful"
CONFIG_READ = "powerd_config_last_reload_timestamp_seconds"
NVML_CALLS = "powerd_nvml_call_seconds"
LEDGER_DROPPED = "powerd_ledger_dropped_total"

TABLE: tuple[Row, ...] = (
    Row("powerd_gpu_power_watts", G, "Instantaneous draw of the GPU.", GPU_LABELS, readers.draws),
    Row(
        "powerd_gpu_energy_joules_total", C, "Energy since the driver was loaded.", GPU_LABELS, readers.energy
    ),
    Row(
        "powerd_gpu_limit_watts",
        G,
        "Limits and constraints of the GPU.",
        (*GPU_LABELS, "kind"),
        readers.limits,
    ),
    Row("powerd_gpu_want_watts", G, "What the GPU would use if it could.", GPU_LABELS, readers.wants),
    Row("powerd_gpu_state", G, "1 for the state that the GPU is in.", (*GPU_LABELS, "state"), readers.states),
    Row("powerd_gpu_sample_age_seconds", G, "Seconds since the GPU was read.", GPU_LABELS, readers.ages),
    Row(
        "powerd_gpu_info",
        G,
        "Always 1; labels describe the GPU.",
        (*GPU_LABELS, "name", "capability"),
        readers.names,
    ),
    Row(
        "powerd_gpu_capped_seconds_total",
        C,
        "Seconds that clocks were held down, by reason.",
        (*GPU_LABELS, "reason"),
        grow=readers.capped_seconds,
    ),
    Row("powerd_budget_watts", G, "What may be drawn, by scope.", ("scope",), readers.budgets),
    Row(
        "powerd_host_overhead_watts",
        G,
        "What the host draws that is not GPU.",
        read=lambda view: readers.one(watts(view.snapshot.decision.overhead_mw)),
    ),
    Row(
        "powerd_excess_watts",
        G,
        "Above the budget of the GPUs: granted to limits, and the most that may be drawn.",
        ("kind",),
        readers.excess,
    ),
    Row(
        "powerd_excess_worst_seconds",
        G,
        "The longest that draw above the budget of the GPUs can last by accounting, 0 with provable.",
        read=readers.excess_seconds,
    ),
    Row(
        "powerd_excess_joules_total",
        C,
        "Drawn above the budget of the GPUs, at the most.",
        read=lambda view: readers.one(view.snapshot.decision.excess.drawn_mj / MJ_PER_J),
    ),
    Row("powerd_headroom_watts", G, "Allocated and not wanted, lent, borrowed.", ("kind",), readers.headroom),
    Row(
        "powerd_lease_watts",
        G,
        "Watts lent to and borrowed from another host of the rack.",
        ("direction", "peer"),
        readers.leases,
    ),
    Row(
        "powerd_lease_memory_lost",
        G,
        "1 while the floor holds because what was lent before the start is not known.",
        read=lambda view: readers.one(view.snapshot.decision.leases.is_lost),
    ),
    Row(
        "powerd_compensation_watts",
        G,
        "Given up for hosts that may still follow a higher budget.",
        read=lambda view: readers.one(watts(view.snapshot.decision.standing.part_mw)),
    ),
    Row(
        "powerd_peer_live",
        G,
        "1 for each other host of the rack that was heard of late.",
        ("peer",),
        readers.peers_live,
    ),
    Row(
        "powerd_peer_state_age_seconds",
        G,
        "Seconds since the other host was heard.",
        ("peer",),
        readers.peer_ages,
    ),
    Row(
        "powerd_roster_mismatch",
        G,
        "1 if the other host has another [rack] table: the two neither lend nor borrow.",
        ("peer",),
        readers.roster_mismatches,
    ),
    Row(
        "powerd_event_cap_watts",
        G,
        "What each grid event in force lets the rack draw now.",
        ("source", "event"),
        readers.event_caps,
    ),
    Row("powerd_rack_power_watts", G, "What the whole rack draws.", ("source",), readers.rack_power),
    Row(
        "powerd_meter_usable",
        G,
        "1 for each part of the rack's meter that can be used.",
        ("part",),
        readers.meter_parts,
    ),
    Row(
        "powerd_meter_trim_watts",
        G,
        "Taken off the budget for what is drawn and not accounted for.",
        read=lambda view: readers.one(watts(view.snapshot.decision.meter.trim_mw)),
    ),
    Row(
        "powerd_infeasible_watts",
        G,
        "Watts by which the budget lies below what limiting can reach.",
        read=lambda view: readers.one(watts(view.snapshot.decision.infeasible_mw)),
    ),
    Row(
        "powerd_compliant",
        G,
        "1 if every worst case fits the budget and nothing is infeasible.",
        read=lambda view: readers.one(view.snapshot.decision.compliant),
    ),
    Row(
        "powerd_budget_exceeded_seconds_total",
        C,
        "Seconds that the GPUs together drew more than their budget.",
        grow=readers.exceeded_seconds,
        start=((),),
    ),
    Row(SIGNAL_AGE, G, "Seconds since the source was last believed.", ("source",)),
    Row(
        CLOCK_SKEW,
        G,
        "How far this host's clock is ahead of the source's, by its last message.",
        ("source",),
    ),
    Row("powerd_phase", G, "1 for where the host stands with its controller.", ("phase",), readers.phases),
    Row("powerd_lease_remaining_seconds", G, "Seconds until the budget's lease is over.", (), readers.lease),
    Row("powerd_failsafe_active", G, "1 while the failsafe budget holds.", ("cause",), readers.failsafe),
    Row(
        REJECTED,
        C,
        "Messages that were refused, came twice, or may only lower.",
        ("source", "reason"),
        grow=readers.rejected,
    ),
    Row(
        "powerd_mqtt_connected",
        G,
        "1 while a session with the broker is open; not there if no broker is configured.",
        read=readers.bus_connected,
    ),
    Row(
        "powerd_mqtt_messages_total",
        C,
        "Messages since the start, by what became of them; rejected ones were received too.",
        ("kind",),
        readers.bus_messages,
    ),
    Row(
        "powerd_limit_writes_total",
        C,
        "Limit writes, by how they ended.",
        ("result",),
        grow=readers.writes,
        start=tuple((result.value,) for result in Result),
    ),
    Row(
        "powerd_limit_readback_mismatch_total",
        C,
        "Writes whose read-back was not what was asked for.",
        grow=readers.mismatches,
        start=((),),
    ),
    Row(
        "powerd_writer_conflict_total",
        C,
        "Limits that something else changed after powerd.",
        grow=readers.conflicts,
        start=((),),
    ),
    Row(
        "powerd_guard_restarts_total",
        C,
        "Times the connection to the guard was made again: it was started again, or hung.",
        read=lambda view: readers.one(view.snapshot.guard.reconnections),
    ),
    Row(
        "powerd_guard_fallbacks_total",
        C,
        "Times the dead-man's switch has fired since the guard's start.",
        read=lambda view: readers.one(view.snapshot.guard.fallbacks),
    ),
    Row(
        "powerd_guard_usable",
        G,
        "1 while the guard answers and takes plans.",
        read=lambda view: readers.one(not view.snapshot.guard.error),
    ),
    Row(NVML_CALLS, H, "Duration of driver calls, by call.", ("call",)),
    Row(
        "powerd_control_loop_seconds",
        H,
        "Duration of an iteration, start to last read-back.",
        grow=lambda change: readers.one(change.after.elapsed_s),
        start=((),),
    ),
    Row(
        "powerd_reaction_seconds",
        H,
        "Message received to last cut read back.",
        grow=readers.reactions,
        start=((),),
    ),
    Row(
        "powerd_control_loop_last_success_timestamp_seconds",
        G,
        "Unix time at which the last iteration finished.",
        read=readers.finished,
    ),
    Row(
        "powerd_clock_synchronized",
        G,
        "1 while a time service keeps the wall clock.",
        read=lambda view: readers.one(view.snapshot.now.wall_synced),
    ),
    Row(
        CERTIFICATE_EXPIRY,
        G,
        "Unix time at which the certificate ends.",
        ("certificate",),
    ),
    Row(CONFIG_USABLE, G, "1 if the configuration could be put in force when it was last read, 0 if not."),
    Row(CONFIG_READ, G, "Unix time at which the configuration in force was read."),
    Row(
        "powerd_problems",
        G,
        "How many GPUs, senders or hosts have the problem, as in status.",
        ("event", "severity"),
        readers.problems,
    ),
    Row("powerd_shed_available_watts", G, "How much less could be drawn now.", ("scope",), readers.shed),
    Row(
        "powerd_shed_limit_watts",
        G,
        "What limits could be lowered by: how much less could be drawn at full load.",
        ("scope",),
        readers.shed_limits,
    ),
    Row(
        LEDGER_DROPPED,
        C,
        "Entries about grid events that could not be written and are lost.",
        start=((),),
    ),
    Row("powerd_orders", G, "How many orders of operators hold.", ("order",), readers.orders),
    Row("powerd_mode", G, "1 for the mode in force.", ("mode",), readers.modes),
    Row(
        "powerd_build_info",
        G,
        "Always 1; labels describe the build.",
        ("version", "python"),
        read=readers.build,
    ),
)
