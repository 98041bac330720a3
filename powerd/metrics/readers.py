"""Where each metric's value comes from: pure functions of a snapshot, or of two in a row.

Invariant: a value that is not known, or not known any more, gives no sample; it is never zero and never old.
"""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from powerd import __version__
from powerd.core.gpus.charge import Accounting
from powerd.core.metering.meter import stale
from powerd.core.model import EventReason, GpuReading, GpuState, Now, Outcome, Result
from powerd.core.rack.failsafe import Phase
from powerd.core.rack.timeline import VerdictKind
from powerd.core.units import MilliWatts, watts
from powerd.mode import MODES
from powerd.snapshot import STALE_PERIODS, Snapshot

# A GPU near its limit with the bit set is capped; the bit alone also shows on idle boards.
_CAPPED_SHARE_OF_ENFORCED = 0.9
_NS_PER_S = 1e9
MJ_PER_J = 1000
_SLOWDOWNS = {
    "hw_slowdown": EventReason.HW_SLOWDOWN,
    "sw_thermal": EventReason.SW_THERMAL,
    "hw_thermal": EventReason.HW_THERMAL,
    "power_brake": EventReason.HW_POWER_BRAKE,
}

Labels: TypeAlias = tuple[str, ...]
Samples: TypeAlias = Iterable[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class View:
    """What a gauge is read from: the latest snapshot at the moment of the scrape."""

    snapshot: Snapshot
    now: Now

    def fresh(self) -> Iterator[GpuReading]:
        """Return the GPUs whose measured values still describe them."""
        return (r for r in self.snapshot.readings if self.snapshot.is_fresh(r, self.now))


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


def gpu_labels(reading: GpuReading) -> Labels:
    """Return the values of `GPU_LABELS`."""
    return (reading.uuid, str(reading.index))


def one(value: float) -> Samples:
    """Give one series without labels of its own."""
    return (((), float(value)),)


def _present(samples: Iterable[tuple[Labels, MilliWatts | None]]) -> Samples:
    return ((labels, watts(mw)) for labels, mw in samples if mw is not None)


def draws(view: View) -> Samples:
    """Give the draw of every GPU that was read."""
    return _present((gpu_labels(reading), reading.draw_mw) for reading in view.fresh())


def energy(view: View) -> Samples:
    """Give the energy counter of every GPU that was read."""
    return (
        (gpu_labels(reading), reading.energy_mj / MJ_PER_J)
        for reading in view.fresh()
        if reading.energy_mj is not None
    )


def limits(view: View) -> Samples:
    """Give target, limits and constraints of every GPU that was read."""
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


def wants(view: View) -> Samples:
    """Give what every GPU that was read would use if it could."""
    known = {target.uuid: target.want_mw for target in view.snapshot.decision.targets}
    return _present((gpu_labels(reading), known.get(reading.uuid)) for reading in view.fresh())


def states(view: View) -> Samples:
    """Give one series for each GPU and state, 1 for the state it is in."""
    for reading in view.snapshot.readings:
        for state in GpuState:
            yield (*gpu_labels(reading), state.value), float(reading.state is state)


def ages(view: View) -> Samples:
    """Give the age of every GPU's reading, also of those that do not answer."""
    for reading in view.snapshot.readings:
        yield gpu_labels(reading), max(0.0, view.now.boot_s - reading.sampled_boot_s)


def names(view: View) -> Samples:
    """Give what describes a GPU and does not change."""
    for reading in view.snapshot.readings:
        yield (*gpu_labels(reading), reading.name, reading.capability.value), 1.0


def budgets(view: View) -> Samples:
    """Give what rack, host and GPUs may draw."""
    decision = view.snapshot.decision
    scopes = (("rack", decision.rack_cap_mw), ("host", decision.cap_mw), ("gpus", decision.gpu_budget_mw))
    return (((scope,), watts(mw)) for scope, mw in scopes)


def excess(view: View) -> Samples:
    """Give how far limits may sum up to above the GPUs' budget, and how far draw may be above it."""
    known = view.snapshot.decision.excess
    return (((kind,), watts(mw)) for kind, mw in (("granted", known.granted_mw), ("worst", known.worst_mw)))


def excess_seconds(view: View) -> Samples:
    """Give how long draw may be above the GPUs' budget because idle GPUs are charged what they draw."""
    rules = view.snapshot.accounting
    return one(rules.worst_s if rules.mode is Accounting.MEASURED else 0.0)


def headroom(view: View) -> Samples:
    """Give the watts that limits allow and GPUs do not want, and those lent and borrowed."""
    targets = view.snapshot.decision.targets
    stranded = sum(max(0, t.limit_mw - t.want_mw) for t in targets if t.limit_mw is not None)
    sums = {"stranded": stranded, "lent": 0, "borrowed": 0}
    for lease in view.snapshot.leases:
        sums[lease.direction] += lease.mw
    return (((kind,), watts(mw)) for kind, mw in sums.items())


def leases(view: View) -> Samples:
    """Give what is lent to and borrowed from each host; nothing for those without a lease."""
    return (((lease.direction, lease.peer), watts(lease.mw)) for lease in view.snapshot.leases)


def peers_live(view: View) -> Samples:
    """Give 1 for every other host of the rack that was heard of late, and 0 for the rest."""
    snapshot = view.snapshot
    return (((name,), float(snapshot.is_live(peer, view.now))) for name, peer in snapshot.peers.items())


def peer_ages(view: View) -> Samples:
    """Give how long ago every other host of the rack was heard; nothing for those that never were."""
    for name, peer in view.snapshot.peers.items():
        if peer is not None:
            yield (name,), max(0.0, view.now.boot_s - peer.received_boot_s)


def roster_mismatches(view: View) -> Samples:
    """Give 1 for every other host of the rack that was heard and has another roster, and 0 if not."""
    own = view.snapshot.decision.place.roster
    for name, peer in view.snapshot.peers.items():
        if peer is not None:
            yield (name,), float(peer.roster != own)


def bus_connected(view: View) -> Samples:
    """Give whether a session with the broker is open; nothing if there is to be none."""
    bus = view.snapshot.bus
    return one(bus.connected) if bus.url else ()


def bus_messages(view: View) -> Samples:
    """Give what went over the connection to the broker since the start."""
    bus = view.snapshot.bus
    kinds = (("received", bus.received), ("rejected", bus.rejected), ("published", bus.published))
    return (((kind,), float(count)) for kind, count in kinds)


def lease(view: View) -> Samples:
    """Give the rest of the lease; nothing without one."""
    statement = view.snapshot.decision.statement
    return () if statement is None else one(max(0.0, statement.end_boot_s - view.now.boot_s))


def phases(view: View) -> Samples:
    """Give one series for each phase, 1 for the one in force."""
    return (((phase.value,), float(phase is view.snapshot.decision.phase)) for phase in Phase)


def problems(view: View) -> Samples:
    """Give how many subjects each problem of now has; who they are would make a series each."""
    counts = Counter((problem.event, problem.severity) for problem in view.snapshot.problems)
    return ((labels, float(count)) for labels, count in counts.items())


def failsafe(view: View) -> Samples:
    """Give whether the failsafe budget holds, and why."""
    cause = view.snapshot.decision.failsafe_cause
    # A cause becomes a label value only if it is a slug: sentences would make a series each.
    slug = cause if cause.replace("_", "").isalnum() else "other"
    return (((slug if cause else "none",), float(bool(cause))),)


def shed(view: View) -> Samples:
    """Give how much less could be drawn, by scope; nothing where that is not known."""
    return _present(((scope,), shed.now_mw) for scope, shed in view.snapshot.shed.items())


def shed_limits(view: View) -> Samples:
    """Give what limits could be lowered by, by scope; nothing where that is not known."""
    return _present(((scope,), shed.limit_mw) for scope, shed in view.snapshot.shed.items())


def modes(view: View) -> Samples:
    """Give one series for each mode, 1 for the one in force."""
    return (((mode,), float(view.snapshot.mode == mode)) for mode in MODES)


def orders(view: View) -> Samples:
    """Give how many orders of each kind hold; a release is an order for another mode too, and counts once."""
    held, mode = view.snapshot.orders, view.snapshot.mode
    counts = {
        "override": len(held.overrides),
        "release": held.released,
        "detach": held.detached is not None,
        "drill": held.drill is not None,
        "mode": held.configured_mode not in ("", mode) and not held.released,
    }
    return (((order,), float(count)) for order, count in counts.items())


def finished(view: View) -> Samples:
    """Give the wall clock at the end of the iteration."""
    return one(view.snapshot.now.wall_s + view.snapshot.elapsed_s)


def capped_seconds(change: Change) -> Samples:
    """Give the seconds since the last iteration that clocks were held down, by reason."""
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


def exceeded_seconds(change: Change) -> Samples:
    """Give the seconds since the last iteration if the known draws alone exceed the budget."""
    known_mw = sum(
        r.draw_mw for r in change.after.readings if r.state is GpuState.OK and r.draw_mw is not None
    )
    over = known_mw > change.after.decision.gpu_budget_mw
    return one(change.elapsed_s if over else 0.0)


def writes(change: Change) -> Samples:
    """Give one for each write, by how it ended."""
    return (((outcome.result.value,), 1.0) for outcome in change.after.outcomes)


def mismatches(change: Change) -> Samples:
    """Give the number of writes that were read back otherwise than asked."""
    return one(sum(map(_read_back_differs, change.after.outcomes)))


def _read_back_differs(outcome: Outcome) -> bool:
    if outcome.result is Result.SKIPPED or outcome.requested_mw is None:
        return False
    enforced_above = outcome.enforced_mw is not None and outcome.enforced_mw > outcome.target_mw
    return outcome.requested_mw != outcome.target_mw or enforced_above


def conflicts(change: Change) -> Samples:
    """Give the number of limits that something else has changed.

    The core tells of each; the readings of a finished iteration show the limit already set back.
    """
    return one(sum(notice.event == "other_writer" for notice in change.after.decision.notices))


def rejected(change: Change) -> Samples:
    """Give one for each message that the core did not simply accept (repeats count too)."""
    return (
        ((verdict.source, verdict.reason), 1.0)
        for verdict in change.after.decision.verdicts
        if verdict.kind is not VerdictKind.ACCEPTED
    )


def reactions(change: Change) -> Samples:
    """Give the time from message to last cut, once for each reaction."""
    reaction, last = change.after.reaction, change.before.reaction if change.before else None
    return () if reaction is None or reaction == last else one(reaction.seconds)


def event_caps(view: View) -> Samples:
    """Give the cap of each event that has a say."""
    events = view.snapshot.decision.events
    return (((status.event.source, status.event.event_id), watts(status.cap_mw)) for status in events)


def rack_power(view: View) -> Samples:
    """Give what the rack draws, by its meter or by what its hosts say."""
    draw = view.snapshot.decision.draw
    return () if draw.mw is None else (((draw.source,), watts(draw.mw)),)


def meter_parts(view: View) -> Samples:
    """Give which parts of the meter can be used."""
    rules = view.snapshot.meter_rules
    missing = stale(view.snapshot.decision.meter, rules, view.now.boot_s)
    return (((part,), float(part not in missing)) for part in rules.parts)


def build(_view: View) -> Samples:
    """Give what was built, and on what it runs."""
    return (((__version__, platform.python_version()), 1.0),)
