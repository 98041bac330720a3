"""What the host says about itself: online, state, telemetry and notices, as payloads.

Everything comes from one `Snapshot`, so that two topics never contradict each other. What is unknown is
null or left out, never zero.
"""

import json
from collections import Counter
from collections.abc import Iterable

from powerd import __version__
from powerd.core.model import Capability, GpuReading, Notice, Now
from powerd.core.timeline import Statement
from powerd.core.units import MilliWatts, watts
from powerd.signals import rfc3339
from powerd.signals.native import VERSION
from powerd.signals.strict_json import JsonObject
from powerd.snapshot import Snapshot


def encode(fields: JsonObject) -> bytes:
    """Return compact JSON in UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


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

    def state(self, snapshot: Snapshot) -> bytes:
        """Say what the host was given, what it made of it, and what it may draw at worst."""
        decision = snapshot.decision
        return encode(
            self._envelope("state", snapshot.now.wall_s)
            | {
                "mode": str(decision.phase),
                "control": snapshot.mode,
                "reason": _reason(snapshot),
                "budget": _budget(decision.statement, snapshot.now),
            }
            | _power(snapshot)
            | {
                "compliant": decision.compliant,
                "in_flight": any(gpu.pending_mw is not None for gpu in snapshot.readings),
                "clock": {"synced": snapshot.now.wall_synced},
                "gpus": [_gpu_state(gpu, _limit_of(snapshot, gpu.uuid)) for gpu in snapshot.readings],
                "version": __version__,
            }
        )

    def telemetry(self, snapshot: Snapshot) -> bytes:
        """Give the numbers of the state, and each GPU's draw."""
        return encode(
            self._envelope("telemetry", snapshot.now.wall_s)
            | _power(snapshot)
            | {"gpus": [_gpu_numbers(gpu, _limit_of(snapshot, gpu.uuid)) for gpu in snapshot.readings]}
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

    def _envelope(self, kind: str, wall_s: float) -> JsonObject:
        self._sent[kind] += 1
        return {
            "v": VERSION,
            "host": self._host,
            "rack": self._rack,
            "epoch": self._epoch,
            "seq": self._sent[kind],
            "ts": rfc3339.utc(wall_s),
        }


def _reason(snapshot: Snapshot) -> str:
    """Name the rule that set the rack's cap: the first one after which it had its value."""
    decision = snapshot.decision
    if decision.failsafe_cause:
        return f"failsafe:{decision.failsafe_cause}"
    ruling = (step for step in decision.rack_steps if step.mw == decision.rack_cap_mw)
    return next((f"{step.rule}:{step.source}" for step in ruling), "")


def _budget(statement: Statement | None, now: Now) -> JsonObject | None:
    if statement is None:
        return None
    return {
        "source": statement.source,
        "epoch": statement.epoch,
        "seq": statement.seq,
        "watts": _watts(statement.mw),
        "reason": statement.reason,
        "correlation_id": statement.correlation_id,
        "valid_until": rfc3339.utc(now.wall_s + statement.end_boot_s - now.boot_s),
    }


def _power(snapshot: Snapshot) -> JsonObject:
    """Return the host's totals at its meter: GPUs and everything else in it."""
    decision, gpus = snapshot.decision, snapshot.readings
    overhead_mw = decision.overhead_mw
    return {
        "share_watts": watts(decision.entitlement_mw),
        "cap_watts": watts(decision.cap_mw),
        "worst_case_watts": _watts(_total(overhead_mw, (gpu.worst_case_mw for gpu in gpus))),
        "floor_watts": _watts(_total(overhead_mw, (_least_mw(gpu) for gpu in gpus))),
        "demand_watts": watts(overhead_mw + sum(target.want_mw for target in decision.targets)),
        "measured_watts": _watts(_total(overhead_mw, (gpu.draw_mw for gpu in gpus))),
        "infeasible_watts": watts(decision.infeasible_mw),
    }


def _least_mw(gpu: GpuReading) -> MilliWatts | None:
    """Return the least that a GPU can be brought to: its minimum limit if it obeys, else its worst case."""
    if gpu.capability is Capability.SETTABLE and gpu.constraints is not None:
        return gpu.constraints.min_mw
    return gpu.worst_case_mw


def _total(overhead_mw: MilliWatts, parts_mw: Iterable[MilliWatts | None]) -> MilliWatts | None:
    total_mw = overhead_mw
    for part_mw in parts_mw:
        if part_mw is None:
            return None
        total_mw += part_mw
    return total_mw


def _limit_of(snapshot: Snapshot, uuid: str) -> MilliWatts | None:
    return next((target.limit_mw for target in snapshot.decision.targets if target.uuid == uuid), None)


def _gpu_state(gpu: GpuReading, limit_mw: MilliWatts | None) -> JsonObject:
    constraints = gpu.constraints
    return {
        "uuid": gpu.uuid,
        "min_watts": _watts(constraints.min_mw if constraints else None),
        "max_watts": _watts(constraints.max_mw if constraints else None),
        "limit_watts": _watts(limit_mw),
        "enforced_watts": _watts(gpu.enforced_mw),
        "state": str(gpu.state),
    }


def _gpu_numbers(gpu: GpuReading, limit_mw: MilliWatts | None) -> JsonObject:
    return {
        "uuid": gpu.uuid,
        "draw_watts": _watts(gpu.draw_mw),
        "limit_watts": _watts(limit_mw),
        "enforced_watts": _watts(gpu.enforced_mw),
    }


def _watts(mw: MilliWatts | None) -> float | None:
    return None if mw is None else watts(mw)
