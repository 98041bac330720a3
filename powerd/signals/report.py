"""What the host says about itself: online, state, telemetry and notices, as payloads; and of its rack.

Everything comes from one `Snapshot`, so that two topics never contradict each other. What is unknown is
null or left out, never zero. Watts are written so that the same milliwatts are read.
"""

from collections import Counter
from dataclasses import replace

from powerd import __version__
from powerd.core.gpus.targets import may_draw_mw
from powerd.core.leases.host_state import HeardBudget, HostState, Key
from powerd.core.model import Capability, GpuReading, Notice, Now
from powerd.core.rack.timeline import Statement
from powerd.core.units import MilliWatts
from powerd.signals import rfc3339
from powerd.signals.native import VERSION
from powerd.signals.strict_json import JsonObject
from powerd.signals.summary import HostSummary, host_summary, shed_fields, summary_fields
from powerd.signals.wire import encode, total_mw, watts_or_null
from powerd.snapshot import Snapshot


class HostReport:
    """Makes the payloads of one host, numbered within one run of the daemon.

    Args:
        host, rack: as in the topics.
        epoch: start of the daemon, Unix milliseconds; tells a restart from a replay.
    """

    def __init__(self, *, host: str, rack: str, epoch: int) -> None:
        self._host = host
        self._rack = rack
        self._epoch = epoch
        self._sent: Counter[str] = Counter()

    def online(self, *, online: bool, wall_s: float) -> bytes:
        """Say that the host is there, or (as the last will) that it is not.

        Both carry the same epoch, so that readers can ignore the will of an older run.
        """
        return encode(
            {
                "v": VERSION,
                "host": self._host,
                "online": online,
                "epoch": self._epoch,
                "ts": rfc3339.utc(wall_s),
            }
        )

    def state(self, snapshot: Snapshot, message: HostState) -> bytes:
        """Say what the host was given, what it made of it, and how it stands with its peers.

        Args:
            message: what peers are told; names the payload.
        """
        decision = snapshot.decision
        limits_mw = {target.uuid: target.limit_mw for target in decision.targets}
        return encode(
            self._head(snapshot.now.wall_s, *message.key)
            | {
                "roster": message.roster,
                "leasing": message.is_leasing,
                "mode": str(decision.phase),
                "control": snapshot.mode,
                "reason": _reason(snapshot),
                "budget": _budget(message.budget, decision.statement, snapshot.now),
            }
            | _power(snapshot, message.entitlement_mw, message.worst_case_mw, message.want_mw)
            | _dealings(message)
            | {
                "compliant": decision.compliant,
                "in_flight": any(gpu.pending_mw is not None for gpu in snapshot.readings),
                "clock": {"synced": snapshot.now.wall_synced},
                "gpus": [_gpu_state(gpu, limits_mw.get(gpu.uuid)) for gpu in snapshot.readings],
                "version": __version__,
            }
        )

    def telemetry(self, snapshot: Snapshot) -> bytes:
        """Give the numbers of the state, and each GPU's draw."""
        decision = snapshot.decision
        worst_case_mw = total_mw(map(may_draw_mw, snapshot.readings), decision.overhead_mw)
        return encode(
            self._envelope("telemetry", snapshot.now.wall_s)
            | _power(snapshot, decision.entitlement_mw, worst_case_mw, decision.standing.want_mw)
            | {"shed": shed_fields(snapshot.shed["host"])}
            | {"gpus": [_gpu_numbers(gpu) for gpu in snapshot.readings]}
        )

    def notice(self, notice: Notice, *, wall_s: float) -> bytes:
        """Pass on what a person should hear about."""
        return encode(
            self._envelope("notice", wall_s)
            | {
                "event": notice.event,
                "severity": str(notice.severity),
                "subject": notice.subject,
                "text": notice.text,
            }
        )

    def summary(self, snapshot: Snapshot) -> bytes:
        """Say how the whole rack stands, as this host has heard it."""
        place, now, said = snapshot.decision.place, snapshot.now, snapshot.decision.leases.said
        own = said and replace(said, measured_mw=_measured_mw(snapshot))
        hosts = [
            host_summary(host.name, own, is_live=True)
            if host.name == snapshot.host
            else _peer_summary(snapshot, host.name)
            for host in place.rack.hosts
        ]
        draw = snapshot.decision.draw
        rack: JsonObject = {
            "draw": {"watts": watts_or_null(draw.mw), "source": draw.source},
            "shed": shed_fields(snapshot.shed["rack"]),
        }
        return encode(self._envelope("summary", now.wall_s) | rack | summary_fields(place.asked_mw, hosts))

    def _envelope(self, kind: str, wall_s: float) -> JsonObject:
        self._sent[kind] += 1
        return self._head(wall_s, self._epoch, self._sent[kind])

    def _head(self, wall_s: float, epoch: int, seq: int) -> JsonObject:
        return {
            "v": VERSION,
            "host": self._host,
            "rack": self._rack,
            "epoch": epoch,
            "seq": seq,
            "ts": rfc3339.utc(wall_s),
        }


def _reason(snapshot: Snapshot) -> str:
    """Name the rule that set the rack's cap: the first one after which it had its value."""
    decision = snapshot.decision
    if decision.failsafe_cause:
        return f"failsafe:{decision.failsafe_cause}"
    ruling = (step for step in decision.rack_steps if step.mw == decision.rack_cap_mw)
    return next((f"{step.rule}:{step.source}" for step in ruling), "")


def _budget(budget: HeardBudget | None, statement: Statement | None, now: Now) -> JsonObject | None:
    if budget is None:
        return None
    key = (budget.source, budget.epoch, budget.seq)
    lease_s = max(0.0, round(budget.lease_s, 3))
    fields: JsonObject = {
        "source": budget.source,
        "epoch": budget.epoch,
        "seq": budget.seq,
        "watts": watts_or_null(budget.mw),
        "lease_s": lease_s,
        "valid_until": rfc3339.utc(now.wall_s + lease_s),
    }
    if statement is not None and key == (statement.source, statement.epoch, statement.seq):
        texts = {"reason": statement.reason, "correlation_id": statement.correlation_id}
        fields |= {name: text for name, text in texts.items() if text}
    return fields


def _power(
    snapshot: Snapshot, share_mw: MilliWatts, worst_case_mw: MilliWatts | None, demand_mw: MilliWatts
) -> JsonObject:
    """Return the host's totals at its meter: GPUs and everything else in it.

    Args:
        share_mw, worst_case_mw, demand_mw: as peers are told, or as they are now.
    """
    decision, gpus = snapshot.decision, snapshot.readings
    overhead_mw = decision.overhead_mw
    return {
        "share_watts": watts_or_null(share_mw),
        "cap_watts": watts_or_null(decision.cap_mw),
        "worst_case_watts": watts_or_null(worst_case_mw),
        "floor_watts": watts_or_null(total_mw(map(_least_mw, gpus), overhead_mw)),
        "demand_watts": watts_or_null(demand_mw),
        "measured_watts": watts_or_null(_measured_mw(snapshot)),
        "infeasible_watts": watts_or_null(decision.infeasible_mw),
    }


def _dealings(message: HostState) -> JsonObject:
    """Return what peers deal by, besides the totals."""
    return {
        "rack_cap_watts": watts_or_null(message.rack_cap_mw),
        "spare_watts": watts_or_null(message.spare_mw),
        "lent_watts": watts_or_null(message.lent_mw),
        "borrowed_watts": watts_or_null(sum(hold.mw for hold in message.holds)),
        "over_watts": watts_or_null(message.over_mw),
        "lends": [_lease("to", *lend) for lend in message.lends],
        "holds": [_lease("from", *hold) for hold in message.holds],
    }


def _lease(whom: str, other: str, mw: MilliWatts, key: Key) -> JsonObject:
    return {whom: other, "watts": watts_or_null(mw), "epoch": key.epoch, "seq": key.seq}


def _measured_mw(snapshot: Snapshot) -> MilliWatts | None:
    return total_mw((gpu.draw_mw for gpu in snapshot.readings), snapshot.decision.overhead_mw)


def _peer_summary(snapshot: Snapshot, host: str) -> HostSummary:
    state = snapshot.peers.get(host)
    return host_summary(host, state, is_live=snapshot.is_live(state, snapshot.now))


def _least_mw(gpu: GpuReading) -> MilliWatts | None:
    """Return the least that a GPU can be brought to: its minimum limit if it obeys, else its worst case."""
    if gpu.capability is Capability.SETTABLE and gpu.constraints is not None:
        return gpu.constraints.min_mw
    return gpu.worst_case_mw


def _gpu_state(gpu: GpuReading, limit_mw: MilliWatts | None) -> JsonObject:
    constraints = gpu.constraints
    return {
        "uuid": gpu.uuid,
        "min_watts": watts_or_null(constraints.min_mw if constraints else None),
        "max_watts": watts_or_null(constraints.max_mw if constraints else None),
        "limit_watts": watts_or_null(limit_mw),
        "enforced_watts": watts_or_null(gpu.enforced_mw),
        "state": str(gpu.state),
    }


def _gpu_numbers(gpu: GpuReading) -> JsonObject:
    return {
        "uuid": gpu.uuid,
        "draw_watts": watts_or_null(gpu.draw_mw),
        "enforced_watts": watts_or_null(gpu.enforced_mw),
    }
