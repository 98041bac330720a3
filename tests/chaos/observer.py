"""Judges a rack in chaos from outside: by the limits that its GPUs have, and the budgets that were published.

It reads the logs of the fake GPUs bit by bit, so that a run may last as long as it likes. What is held
against powerd is what docs/leases.md and docs/guarantees.md promise:

- the sum of what the hosts may draw is at most theorem B's;
- a host that hears nobody is at its failsafe once its budgets and leases have ended;
- every limit that is set is within its GPU's range.

What is not: a limit that someone else raised counts as it was until powerd has had time to set it back, and a
GPU that cannot be set may keep its host above its bound as long as all its others are at their minimum. A
host whose guard the machine gave no time to come back is not judged.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

from tests.chaos.stage import Span, Stage
from tests.daemon.host import GPU_MAX_WATTS, GPU_MIN_WATTS, OVERHEAD_WATTS
from tests.daemon.rack import FAILSAFE_WATTS, entitlement_mw
from tests.daemon.rack_observer import Bounds
from tests.daemon.waiting import boot_s
from tests.fake_nvml import BY_NVML, Write

# A host with nothing wrong any more has that long to set back what others have raised, and to find GPUs that
# take limits again.
SETTLES_WITHIN_S = 15.0
# Limits are whole watts.
_ROUNDING_MW = 1_000


class Change(NamedTuple):
    """One limit that was set."""

    boot_s: float
    host: str
    write: Write


@dataclass
class _Gpu:
    """What a GPU counts with.

    Attributes:
        counted_mw: its limit, or what that was before someone else raised it.
        is_raised: someone else raised it, and powerd has not written since.
    """

    limit_mw: int
    counted_mw: int = 0
    is_raised: bool = False

    def __post_init__(self) -> None:
        self.counted_mw = self.limit_mw


@dataclass
class Found:
    """What the observer has seen.

    Attributes:
        violations: in words, with their times on the boot clock.
        writes: limits that were set or moved.
        excused: moments at which the rack was above its bound, and could not help it.
        closest_mw: the least that was left of what was allowed.
        beyond_mws: milliwatt-seconds that hosts might draw beyond the largest entitlement of theirs.
    """

    violations: list[str] = field(default_factory=list)
    writes: int = 0
    excused: int = 0
    closest_mw: float = math.inf
    beyond_mws: float = 0.0


class Observer:
    """Judges what has happened since it last looked.

    Args:
        stage: whose GPUs are read. The rack is at rest: what came before is not judged.

    Attributes:
        found: all that was seen.
        somebody_borrows: at the last look, some host might draw more than the largest entitlement of its own.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.found = Found()
        self.somebody_borrows = False
        self._positions = {}
        self._gpus: dict[str, list[_Gpu]] = {}
        for name, host in stage.hosts.items():
            _, self._positions[name] = host.gpus.writes_since(len(host.write_log()))
            self._gpus[name] = [_Gpu(mw) for mw in host.limits_mw()]
        self._judged_boot_s = boot_s()

    def look(self) -> list[str]:
        """Judge all that happened until now, and return the violations that are new."""
        now_s = boot_s()
        known = len(self.found.violations)
        bounds = Bounds(self._stage.rack, self._judged_boot_s)
        lapses = (each for each in bounds.lapses_boot_s if self._judged_boot_s < each <= now_s)
        for at_boot_s, change in merge(
            ((change.boot_s, change) for change in self._changes()),
            ((each, None) for each in sorted({*lapses, now_s})),
            key=lambda moment: moment[0],
        ):
            if change:
                self._take(change)
            self._judge(bounds, at_boot_s)
        return self.found.violations[known:]

    def _changes(self) -> Iterator[Change]:
        of_hosts = []
        for name, host in self._stage.hosts.items():
            writes, self._positions[name] = host.gpus.writes_since(self._positions[name])
            of_hosts.append([Change(write.boot_ns / 1e9, name, write) for write in writes])
        return merge(*of_hosts, key=lambda change: change.boot_s)

    def _take(self, change: Change) -> None:
        self.found.writes += 1
        gpu, write = self._gpus[change.host][change.write.gpu], change.write
        if write.source == BY_NVML:
            gpu.is_raised = False
            if not GPU_MIN_WATTS <= write.requested_mw / 1000 <= GPU_MAX_WATTS:
                self._violated(change.boot_s, f"{change.host} has {write.requested_mw / 1000:g} W on a GPU")
        elif write.enforced_mw > gpu.counted_mw:
            gpu.is_raised = True
        gpu.limit_mw = write.enforced_mw
        gpu.counted_mw = min(gpu.counted_mw, gpu.limit_mw) if gpu.is_raised else gpu.limit_mw

    def _judge(self, bounds: Bounds, at_boot_s: float) -> None:
        worst_mw = {name: self._worst_mw(name, at_boot_s) for name in self._gpus}
        allowed_mw = {name: bounds.of_host_mw(name, at_boot_s) for name in self._gpus}
        over_mw = sum(worst_mw.values()) - sum(allowed_mw.values())
        if over_mw > 0:
            for name in self._gpus:
                if not self._can_do_more(name, at_boot_s):
                    over_mw -= max(0, worst_mw[name] - allowed_mw[name])
            if over_mw <= 0:
                self.found.excused += 1
        if over_mw > 0:
            each = ", ".join(
                f"{name} {mw / 1000:g} of {allowed_mw[name] / 1000:g}" for name, mw in worst_mw.items()
            )
            self._violated(at_boot_s, f"the rack is {over_mw / 1000:g} W above its bound ({each})")
        self.found.closest_mw = min(self.found.closest_mw, -over_mw)
        beyond_mw = sum(max(0, worst_mw[name] - allowed_mw[name]) for name in worst_mw)
        self.somebody_borrows = beyond_mw > 0
        self.found.beyond_mws += beyond_mw * (at_boot_s - self._judged_boot_s)
        self._judge_isolated(worst_mw, at_boot_s)
        self._judged_boot_s = at_boot_s

    def _judge_isolated(self, worst_mw: dict[str, int], at_boot_s: float) -> None:
        failsafe_mw = entitlement_mw(FAILSAFE_WATTS)
        for name, spans in self._stage.cut_off.items():
            span = spans[-1] if spans else None
            if span is None or not span.begin_boot_s <= at_boot_s <= span.end_boot_s:
                continue
            times = self._stage.rack.times
            ends = [
                grant.end_boot_s
                for grant in self._stage.rack.grants
                if grant.published_boot_s <= span.begin_boot_s
            ]
            last_boot_s = max((*ends, span.begin_boot_s + times.ttl_s)) + times.guard_bound_s
            is_above = worst_mw[name] > failsafe_mw and self._can_do_more(name, at_boot_s)
            if at_boot_s > last_boot_s and is_above:
                self._violated(at_boot_s, f"{name} hears nobody, and has {worst_mw[name] / 1000:g} W")

    def _worst_mw(self, name: str, at_boot_s: float) -> int:
        is_excused = _covers(self._stage.troubled[name], at_boot_s, SETTLES_WITHIN_S)
        if _covers(self._stage.late[name], at_boot_s, SETTLES_WITHIN_S):
            return 0
        limits_mw = (gpu.counted_mw if is_excused else gpu.limit_mw for gpu in self._gpus[name])
        return OVERHEAD_WATTS * 1000 + sum(limits_mw)

    def _can_do_more(self, name: str, at_boot_s: float) -> bool:
        """Say whether a host has a GPU that takes limits and is above its minimum."""
        return not _covers(self._stage.late[name], at_boot_s, SETTLES_WITHIN_S) and any(
            gpu.limit_mw > GPU_MIN_WATTS * 1000 + _ROUNDING_MW
            and not _covers(self._stage.stuck[name, index], at_boot_s, SETTLES_WITHIN_S)
            for index, gpu in enumerate(self._gpus[name])
        )

    def _violated(self, at_boot_s: float, what: str) -> None:
        self.found.violations.append(f"{at_boot_s:.3f}: {what}")


def _covers(spans: list[Span], at_boot_s: float, after_s: float) -> bool:
    """Say whether a moment is within one of some times, or not long after its end."""
    return any(span.begin_boot_s <= at_boot_s <= span.end_boot_s + after_s for span in spans[-20:])
