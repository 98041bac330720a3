"""The dead-man's switch: when a plan's end passes without a newer plan, its fallback limits are written.

It never raises, it keeps the earlier of two ends while a plan lowers, and it
goes on until each GPU is confirmed at or below its fallback, or a newer plan takes over. What is armed
survives a restart of the guard.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from powerd.core.model import Plan
from powerd.guard import journal
from powerd.guard.driver import FORBID_WRITES_VARIABLE
from powerd.guard.fleet import Fleet
from powerd.guard.jobs import Done, Job, Op, writes_forbidden
from powerd.guard.statefile import StateFile, stored_mw

_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Armed:
    """An end on the boot clock, and the limits in milliwatts to fall to when it passes."""

    end_boot_s: float
    fallback_mw: dict[str, int]

    def joined(self, other: "Armed") -> "Armed":
        """Return what keeps both promises: the earlier end, and the lower limit of each GPU."""
        fallback_mw = self.fallback_mw | other.fallback_mw
        for uuid in self.fallback_mw.keys() & other.fallback_mw.keys():
            fallback_mw[uuid] = min(self.fallback_mw[uuid], other.fallback_mw[uuid])
        return Armed(min(self.end_boot_s, other.end_boot_s), fallback_mw)


class DeadMan:
    """What is armed, and the fallback writes under way; main loop only.

    Args:
        fleet: does the writes.
        clock: seconds on the boot clock.
        file: where the armed plans survive a restart.

    Attributes:
        fired: how often an end has passed since the start.
    """

    def __init__(self, fleet: Fleet, clock: Callable[[], float], file: StateFile) -> None:
        self.fired = 0
        self._fleet = fleet
        self._clock = clock
        self._file = file
        self._saved = True
        self._old: Armed | None = None  # stays armed until the cuts of the plan after it are confirmed
        self._new: Armed | None = None
        self._duty_mw: dict[str, int] = {}
        self._in_flight: dict[str, Job] = {}
        self._retry_boot_s = 0.0
        self._retry_s = _FIRST_RETRY_S

    def restore(self) -> None:
        """Arm what a guard that ran before in this boot had armed."""
        content = self._file.load()
        if not content:
            return
        try:
            armed = [_armed_from(entry) for entry in content["armed"]]
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
            journal.log(journal.WARNING, "the stored plan cannot be understood; starting without it")
            return
        self._old, self._new = (
            (armed[0], armed[-1]) if len(armed) > 1 else (None, armed[0] if armed else None)
        )

    def arm(self, plan: Plan, unconfirmed: Collection[str] = ()) -> None:
        """Arm a new plan; the ones before stay armed too until `confirm`. Ends fallback writes under way.

        Args:
            unconfirmed: GPUs that were to be lowered and may not be; their fallback writes go on, unless the
                plan writes them itself.
        """
        written = {write.uuid for write in (*plan.cuts, *plan.raises)}
        self._drop_duty(set(unconfirmed) - written)
        if self._new is not None:
            self._old = self._new if self._old is None else self._old.joined(self._new)
        self._new = Armed(plan.end_boot_s, {write.uuid: write.mw for write in plan.fallback})
        self._saved = False

    def confirm(self, unconfirmed: Collection[str]) -> None:
        """Forget every plan but the newest: its cuts are confirmed.

        Args:
            unconfirmed: GPUs that an older one was to lower: for them its end stays.
        """
        if self._old is not None:
            kept = {uuid: mw for uuid, mw in self._old.fallback_mw.items() if uuid in unconfirmed}
            self._old = Armed(self._old.end_boot_s, kept) if kept else None

    def save(self) -> None:
        """Write down what is armed, once per plan: when its cuts are settled, before any raise.

        Writing it earlier would delay the cuts; until then the file holds the promise of the plan before.
        """
        if self._saved:
            return
        self._saved = True
        armed = [entry for entry in (self._old, self._new) if entry is not None]
        self._file.save(
            {"armed": [{"end_boot_s": a.end_boot_s, "fallback_mw": a.fallback_mw} for a in armed]}
        )

    def disarm(self) -> None:
        """Forget everything, here and on disk."""
        self._drop_duty()
        self._old = self._new = None
        self._saved = True
        self._file.remove()

    @property
    def is_kept(self) -> bool:
        """Whether a guard that started now would know what is armed."""
        return self._file.is_written

    @property
    def is_writing(self) -> bool:
        """Whether a GPU is not yet confirmed at or below its fallback.

        One that the driver has lost is lowered if it comes back, and not waited for.
        """
        lost = {uuid for uuid, gpu in self._fleet.gpus.items() if gpu.lost and self._fleet.is_open}
        return bool(self._duty_mw.keys() - lost)

    def due_boot_s(self) -> float | None:
        """Return when `tick` has something to do next."""
        times = [armed.end_boot_s for armed in (self._old, self._new) if armed is not None]
        if self._duty_mw.keys() - self._in_flight.keys():
            times.append(self._retry_boot_s)
        return min(times, default=None)

    def tick(self, now_boot_s: float) -> None:
        """Fire when an end has passed; try failed fallback writes again."""
        for armed in (self._old, self._new):
            if armed is not None and armed.end_boot_s <= now_boot_s:
                self._fire(armed, "the plan has ended and no newer one came")
        if self._duty_mw and now_boot_s >= self._retry_boot_s:
            self._write()

    def fire_now(self, reason: str) -> None:
        """Fall to the fallback of all that is armed, without waiting for its end."""
        for armed in (self._old, self._new):
            if armed is not None:
                self._fire(armed, reason)
        self._write()

    def lower(self, uuid: str, mw: int) -> None:
        """Bring one GPU down at once: a raise of it has returned after the end of its plan."""
        if uuid not in self._duty_mw:
            journal.log(journal.WARNING, f"a raise of {uuid} returned after its plan had ended: lowering it")
        known = [armed.fallback_mw for armed in (self._old, self._new) if armed is not None]
        self._duty_mw[uuid] = min(fallback_mw.get(uuid, mw) for fallback_mw in (*known, self._duty_mw, {}))
        self._retry_s = _FIRST_RETRY_S
        self._write()

    def gpu_is_back(self) -> None:
        """Try at once what had to wait for a GPU or the driver."""
        self._retry_boot_s = 0.0

    def _fire(self, armed: Armed, reason: str) -> None:
        if armed is self._old:
            self._old = None
        else:
            self._new = None
        if not armed.fallback_mw:
            return
        self.fired += 1
        journal.log(journal.WARNING, f"{reason}: lowering {len(armed.fallback_mw)} GPUs to their fallback")
        if writes_forbidden():
            journal.log(journal.WARNING, f"{FORBID_WRITES_VARIABLE} is set: nothing is written")
            return
        self._duty_mw = armed.joined(Armed(armed.end_boot_s, self._duty_mw)).fallback_mw
        self._retry_boot_s = 0.0
        self._retry_s = _FIRST_RETRY_S

    def _write(self) -> None:
        self._retry_boot_s = self._clock() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)
        waiting = [item for item in self._duty_mw.items() if item[0] not in self._in_flight]
        for uuid, target_mw in waiting:
            job = Job(Op.LOWER, partial(self._written, uuid, target_mw), target_mw)
            self._in_flight[uuid] = job
            self._fleet.submit(uuid, job)

    def _written(self, uuid: str, target_mw: int, done: Done) -> None:
        self._in_flight.pop(uuid, None)
        known = [done.limits.requested_mw, done.limits.enforced_mw] if done.limits else []
        confirmed = bool(known) and max(mw or 0 for mw in known) <= target_mw
        if confirmed and done.error is None and self._duty_mw.get(uuid) == target_mw:
            del self._duty_mw[uuid]

    def _drop_duty(self, but: Collection[str] = ()) -> None:
        self._duty_mw = {uuid: mw for uuid, mw in self._duty_mw.items() if uuid in but}
        for uuid, job in list(self._in_flight.items()):
            if uuid not in but and self._fleet.withdraw(uuid, job):
                del self._in_flight[uuid]


def _armed_from(entry: dict[str, Any]) -> Armed:
    end_boot_s = float(entry["end_boot_s"])
    if not math.isfinite(end_boot_s):
        raise ValueError("a plan that never ends")
    return Armed(end_boot_s, {str(uuid): stored_mw(mw) for uuid, mw in entry["fallback_mw"].items()})
