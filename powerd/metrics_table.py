"""The table of metrics: name, kind, help, labels, and where each value comes from.

Every row also carries the labels `rack` and `host`; rows of a GPU carry `uuid` and `gpu` (its index).
Invariant: a value that is not known, or not known any more, has no series; it is never zero and never old.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from powerd import __version__
from powerd.core.model import EventReason, GpuReading, GpuState, Now, Outcome, Result
from powerd.core.timeline import VerdictKind
from powerd.core.units import MilliWatts, watts
from powerd.snapshot import Snapshot

STALE_PERIODS = 3
MODES = ("monitor", "dry-run", "enforce")
GPU_LABELS = ("uuid", "gpu")

# A GPU near its limit with the bit set is capped; the bit alone also shows on idle boards.
_CAPPED_SHARE_OF_ENFORCED = 0.9
_NS_PER_S = 1e9
_MJ_PER_J = 1000
_SLOWDOWNS = {
    "hw_slowdown": EventReason.HW_SLOWDOWN,
    "sw_thermal": EventReason.SW_THERMAL,
    "hw_thermal": EventReason.HW_THERMAL,
    "power_brake": EventReason.HW_POWER_BRAKE,
}
_LOOP_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Labels: TypeAlias = tuple[str, ...]
Samples: TypeAlias = Iterable[tuple[Labels, float]]


class Kind(StrEnum):
    """Metric types of the exposition format."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class View:
    """What a gauge is read from: the latest snapshot at the moment of the scrape."""

    snapshot: Snapshot
    now: Now

    def fresh(self) -> Iterator[GpuReading]:
        """Yield the GPUs whose measured values still describe them."""
        for reading in self.snapshot.readings:
            age = self.now.boot_s - reading.sampled_boot_s
            if reading.state is GpuState.OK and age <= STALE_PERIODS * self.snapshot.period_s:
                yield reading


@dataclass(frozen=True, slots=True)
class Change:
    """What a counter grows by: two snapshots in a row."""

    before: Snapshot | None
    after: Snapshot

    @property
    def elapsed_s(self) -> float:
        """Return the seconds between the two; 0 if the loop was away, since nobody watched meanwhile."""
        if self.before is None:
            return 0.0
        elapsed = self.after.now.boot_s - self.before.now.boot_s
        return elapsed if 0 < elapsed <= STALE_PERIODS * self.after.period_s else 0.0

    def pairs(self) -> Iterator[tuple[GpuReading, GpuReading]]:
        """Yield the readings before and after of every GPU that answered both times."""
        if self.before is None:
            return
        earlier = {reading.uuid: reading for reading in self.before.readings}
        for reading in self.after.readings:
            old = earlier.get(reading.uuid)
            if old is not None and old.state is reading.state is GpuState.OK:
                yield old, reading


@dataclass(frozen=True, slots=True)
class Row:
    """One metric.

    Attributes:
        labels: besides `rack` and `host`.
        read: gives the series at a scrape.
        grow: gives increments (counter) or observations (histogram) after an iteration. A row with neither
            is fed by a method of `Metrics`.
        start: series that exist from the start, so that their first increment shows in rates.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    read: Callable[[View], Samples] | None = None
    grow: Callable[[Change], Samples] | None = None
    start: tuple[Labels, ...] = ()
    buckets: tuple[float, ...] = _LOOP_BUCKETS_S


def gpu_labels(reading: GpuReading) -> Labels:
    """Return the values of `GPU_LABELS`."""
    return (reading.uuid, str(reading.index))


def _one(value: float) -> Samples:
    return (((), float(value)),)


def _present(samples: Iterable[tuple[Labels, MilliWatts | None]]) -> Samples:
    return ((labels, watts(mw)) for labels, mw in samples if mw is not None)


def _draws(view: View) -> Samples:
    return _present((gpu_labels(reading), reading.draw_mw) for reading in view.fresh())


def _energy(view: View) -> Samples:
    return (
        (gpu_labels(reading), reading.energy_mj / _MJ_PER_J)
        for reading in view.fresh()
        if reading.energy_mj is not None
    )


def _limits(view: View) -> Samples:
    targets = {target.uuid: target.limit_mw for target in view.snapshot.decision.targets}
    for reading in view.fresh():
        constraints = reading.constraints
        yield from _present(
            ((*gpu_labels(reading), kind), mw)
            for kind, mw in (
                ("target", targets.get(reading.uuid)),
                ("requested", reading.requested_mw),
                ("enforced", reading.enforced_mw),
                ("min", constraints.min_mw if constraints else None),
                ("max", constraints.max_mw if constraints else None),
                ("default", constraints.default_mw if constraints else None),
            )
        )


def _states(view: View) -> Samples:
    for reading in view.snapshot.readings:
        for state in GpuState:
            yield (*gpu_labels(reading), state.value), float(reading.state is state)


def _ages(view: View) -> Samples:
    for reading in view.snapshot.readings:
        yield gpu_labels(reading), max(0.0, view.now.boot_s - reading.sampled_boot_s)


def _names(view: View) -> Samples:
    for reading in view.snapshot.readings:
        yield (*gpu_labels(reading), reading.name, reading.capability.value), 1.0


def _budgets(view: View) -> Samples:
    decision = view.snapshot.decision
    scopes = (("rack", decision.rack_cap_mw), ("host", decision.cap_mw), ("gpus", decision.gpu_budget_mw))
    return (((scope,), watts(mw)) for scope, mw in scopes)


def _headroom(view: View) -> Samples:
    targets = view.snapshot.decision.targets
    stranded = sum(max(0, t.limit_mw - t.want_mw) for t in targets if t.limit_mw is not None)
    return ((("stranded",), watts(stranded)),)


def _lease(view: View) -> Samples:
    statement = view.snapshot.decision.statement
    return () if statement is None else _one(max(0.0, statement.end_boot_s - view.now.boot_s))


def _failsafe(view: View) -> Samples:
    cause = view.snapshot.decision.failsafe_cause
    # A cause becomes a label value only if it is a slug: sentences would make a series each.
    slug = cause if cause.replace("_", "").isalnum() else "other"
    return (((slug if cause else "none",), float(bool(cause))),)


def _modes(view: View) -> Samples:
    return (((mode,), float(view.snapshot.mode == mode)) for mode in MODES)


def _finished(view: View) -> Samples:
    return _one(view.snapshot.now.wall_s + view.snapshot.elapsed_s)


def _capped_seconds(change: Change) -> Samples:
    for old, new in change.pairs():
        yield (*gpu_labels(new), "power_cap"), _power_capped_s(old, new, change.elapsed_s)
        for reason, bit in _SLOWDOWNS.items():
            yield (*gpu_labels(new), reason), change.elapsed_s if new.event_reasons & bit else 0.0


def _power_capped_s(old: GpuReading, new: GpuReading, elapsed_s: float) -> float:
    if old.capped_ns is not None and new.capped_ns is not None:
        # Backwards means that the driver was reloaded; the counter starts again.
        return max(0, new.capped_ns - old.capped_ns) / _NS_PER_S
    if new.draw_mw is None or new.enforced_mw is None:
        return 0.0
    at_limit = new.draw_mw >= _CAPPED_SHARE_OF_ENFORCED * new.enforced_mw
    return elapsed_s if at_limit and new.event_reasons & EventReason.SW_POWER_CAP else 0.0


def _exceeded_seconds(change: Change) -> Samples:
    known_mw = sum(
        r.draw_mw for r in change.after.readings if r.state is GpuState.OK and r.draw_mw is not None
    )
    over = known_mw > change.after.decision.gpu_budget_mw
    return _one(change.elapsed_s if over else 0.0)


def _writes(change: Change) -> Samples:
    return (((outcome.result.value,), 1.0) for outcome in change.after.outcomes)


def _mismatches(change: Change) -> Samples:
    return _one(sum(map(_read_back_differs, change.after.outcomes)))


def _read_back_differs(outcome: Outcome) -> bool:
    if outcome.result is Result.SKIPPED or outcome.requested_mw is None:
        return False
    enforced_above = outcome.enforced_mw is not None and outcome.enforced_mw > outcome.target_mw
    return outcome.requested_mw != outcome.target_mw or enforced_above


def _conflicts(change: Change) -> Samples:
    return _one(sum(_other_writer(old, new) for old, new in change.pairs()))


def _other_writer(old: GpuReading, new: GpuReading) -> bool:
    """Tell another writer from a write of ours that had no effect, and from a driver reload."""
    ours = new.written_mw
    if ours is None or old.written_mw != ours or new.pending_mw is not None:
        return False
    reloaded = old.energy_mj is not None and new.energy_mj is not None and new.energy_mj < old.energy_mj
    return not reloaded and new.requested_mw not in (None, ours, old.requested_mw)


def _rejected(change: Change) -> Samples:
    return (
        ((verdict.source, verdict.reason), 1.0)
        for verdict in change.after.decision.verdicts
        if verdict.kind is VerdictKind.REJECTED
    )


def _reactions(change: Change) -> Samples:
    return () if change.after.reaction_s is None else _one(change.after.reaction_s)


G, C, H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM
REJECTED = "powerd_signal_rejected_total"
SIGNAL_AGE = "powerd_signal_age_seconds"
NVML_CALLS = "powerd_nvml_call_seconds"
GUARD_RESTARTS = "powerd_guard_restarts_total"

TABLE: tuple[Row, ...] = (
    Row("powerd_gpu_power_watts", G, "Instantaneous draw of the GPU.", GPU_LABELS, _draws),
    Row("powerd_gpu_energy_joules_total", C, "Energy since the driver was loaded.", GPU_LABELS, _energy),
    Row("powerd_gpu_limit_watts", G, "Limits and constraints of the GPU.", (*GPU_LABELS, "kind"), _limits),
    Row("powerd_gpu_state", G, "1 for the state that the GPU is in.", (*GPU_LABELS, "state"), _states),
    Row("powerd_gpu_sample_age_seconds", G, "Seconds since the GPU was read.", GPU_LABELS, _ages),
    Row(
        "powerd_gpu_info",
        G,
        "Always 1; labels describe the GPU.",
        (*GPU_LABELS, "name", "capability"),
        _names,
    ),
    Row(
        "powerd_gpu_capped_seconds_total",
        C,
        "Seconds that clocks were held down, by reason.",
        (*GPU_LABELS, "reason"),
        grow=_capped_seconds,
    ),
    Row("powerd_budget_watts", G, "What may be drawn, by scope.", ("scope",), _budgets),
    Row(
        "powerd_host_overhead_watts",
        G,
        "What the host draws that is not GPU.",
        read=lambda view: _one(watts(view.snapshot.decision.overhead_mw)),
    ),
    Row("powerd_headroom_watts", G, "Allocated and not wanted, lent, borrowed.", ("kind",), _headroom),
    Row(
        "powerd_infeasible_watts",
        G,
        "Watts by which the budget lies below what limiting can reach.",
        read=lambda view: _one(watts(view.snapshot.decision.infeasible_mw)),
    ),
    Row(
        "powerd_compliant",
        G,
        "1 if every worst case fits the budget and nothing is infeasible.",
        read=lambda view: _one(view.snapshot.decision.compliant),
    ),
    Row(
        "powerd_budget_exceeded_seconds_total",
        C,
        "Seconds that the GPUs together drew more than their budget.",
        grow=_exceeded_seconds,
        start=((),),
    ),
    Row(SIGNAL_AGE, G, "Seconds since the source was last believed.", ("source",)),
    Row("powerd_lease_remaining_seconds", G, "Seconds until the budget's lease is over.", (), _lease),
    Row("powerd_failsafe_active", G, "1 while the failsafe budget holds.", ("cause",), _failsafe),
    Row(REJECTED, C, "Messages that could not be used.", ("source", "reason"), grow=_rejected),
    Row(
        "powerd_mqtt_connected",
        G,
        "1 while a session with the broker is open.",
        read=lambda view: _one(view.snapshot.bus.connected),
    ),
    Row(
        "powerd_limit_writes_total",
        C,
        "Limit writes, by how they ended.",
        ("result",),
        grow=_writes,
        start=tuple((result.value,) for result in Result),
    ),
    Row(
        "powerd_limit_readback_mismatch_total",
        C,
        "Writes whose read-back was not what was asked for.",
        grow=_mismatches,
        start=((),),
    ),
    Row(
        "powerd_writer_conflict_total",
        C,
        "Limits that something else changed after powerd.",
        grow=_conflicts,
        start=((),),
    ),
    Row(GUARD_RESTARTS, C, "Times the guard came back as another process.", start=((),)),
    Row(
        "powerd_guard_usable",
        G,
        "1 while the guard answers and takes plans.",
        read=lambda view: _one(not view.snapshot.guard_error),
    ),
    Row(NVML_CALLS, H, "Duration of driver calls, by call.", ("call",)),
    Row(
        "powerd_control_loop_seconds",
        H,
        "Duration of an iteration, start to last read-back.",
        grow=lambda change: _one(change.after.elapsed_s),
        start=((),),
    ),
    Row(
        "powerd_reaction_seconds",
        H,
        "Message received to last cut read back.",
        grow=_reactions,
        start=((),),
    ),
    Row(
        "powerd_control_loop_last_success_timestamp_seconds",
        G,
        "Unix time at which the last iteration finished.",
        read=_finished,
    ),
    Row(
        "powerd_clock_synchronized",
        G,
        "1 while a time service keeps the wall clock.",
        read=lambda view: _one(view.snapshot.now.wall_synced),
    ),
    Row("powerd_mode", G, "1 for the mode in force.", ("mode",), _modes),
    Row(
        "powerd_build_info",
        G,
        "Always 1; labels describe the build.",
        ("version", "python"),
        read=lambda _view: (((__version__, platform.python_version()), 1.0),),
    ),
)
