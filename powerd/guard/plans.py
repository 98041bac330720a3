"""A plan from acceptance to its outcomes: every cut, read back; only when all are confirmed, every raise.

Invariant: no raise is started while a cut of the same plan is unconfirmed, so no prefix of a plan lets the
sum of the limits exceed the larger of before and after (I3).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from powerd.core.model import Outcome, Plan, Result, Write
from powerd.guard.config import GuardConfig
from powerd.guard.driver import FORBID_WRITES_VARIABLE
from powerd.guard.fleet import Fleet
from powerd.guard.gpu import Gpu
from powerd.guard.jobs import Done, Job, Op, effective_mw, writes_forbidden
from powerd.guard.pace import RAISES_PER_S

# NVML takes milliwatts, some boards keep whole watts and round down.
_ROUNDING_MW = 1000


class RefusedError(Exception):
    """A request is not executed at all; nothing was written. The text is one line for the daemon's log."""


def validate(plan: Plan, gpus: dict[str, Gpu], config: GuardConfig) -> None:
    """Check a plan against constraints and ceilings.

    Raises:
        RefusedError: naming the GPU and the number.
    """
    writes = (*plan.cuts, *plan.raises)
    for group in (writes, plan.fallback):
        uuids = [write.uuid for write in group]
        for write in group:
            _validate_limit(write, gpus, config)
        if len(set(uuids)) != len(uuids):
            raise RefusedError("the plan names a GPU twice")
    check_host_ceiling(writes, gpus, config)


def check_host_ceiling(writes: Iterable[Write], gpus: Mapping[str, Gpu], config: GuardConfig) -> None:
    """Check what all GPUs could draw after these writes. What only lowers is good at any sum.

    Raises:
        RefusedError: naming the sum.
    """
    if config.host_ceiling_watts is None:
        return
    targets = {write.uuid: write.mw for write in writes}
    now_mw = {uuid: gpu.worst_case_mw for uuid, gpu in gpus.items()}
    if all(mw <= (now_mw.get(uuid) or 0) for uuid, mw in targets.items()):
        return
    total_mw = sum(targets.get(uuid, _most_mw(gpu)) for uuid, gpu in gpus.items())
    if total_mw > config.host_ceiling_watts * 1000:
        raise RefusedError(
            f"limits would sum up to {total_mw / 1000:g} W, above guard.host_ceiling_watts = "
            f"{config.host_ceiling_watts:g}"
        )


def _most_mw(gpu: Gpu) -> int:
    """Return the most that a GPU may draw; one that was never read may stand at its maximum."""
    return gpu.worst_case_mw if gpu.worst_case_mw is not None else gpu.info.max_mw or 0


def _validate_limit(write: Write, gpus: dict[str, Gpu], config: GuardConfig) -> None:
    gpu = gpus.get(write.uuid)
    if gpu is None:
        raise RefusedError(f"no GPU {write.uuid} on this host")
    minimum_mw, maximum_mw = gpu.info.min_mw or 0, gpu.info.max_mw
    if write.mw < minimum_mw or (maximum_mw is not None and write.mw > maximum_mw):
        bounds = f"{minimum_mw / 1000:g}..{'?' if maximum_mw is None else f'{maximum_mw / 1000:g}'} W"
        raise RefusedError(f"{write.mw / 1000:g} W is outside the constraints {bounds} of {write.uuid}")
    if config.ceiling_watts is not None and write.mw > config.ceiling_watts * 1000:
        raise RefusedError(
            f"{write.mw / 1000:g} W for {write.uuid} is above guard.ceiling_watts = {config.ceiling_watts:g}"
        )


def judge(write: Write, gpu: Gpu | None, done: Done) -> Outcome:
    """Say how a write ended, by its read-back."""
    effective = effective_mw(done.limits)
    requested = done.limits.requested_mw if done.limits else None
    detail = ""
    if done.error is not None:
        result, detail = Result.FAILED, str(done.error)
    elif effective is None:
        result, detail = Result.FAILED, "the limit cannot be read back"
    elif max(effective, requested or 0) > write.mw:
        result = Result.FAILED
        detail = f"reads back {max(effective, requested or 0) / 1000:g} W"
    elif effective < write.mw - _ROUNDING_MW:
        result, detail = Result.CLAMPED, f"something else enforces {effective / 1000:g} W"
    else:
        result = Result.APPLIED
    return Outcome(
        uuid=write.uuid,
        target_mw=write.mw,
        result=result,
        requested_mw=requested,
        enforced_mw=done.limits.enforced_mw if done.limits else None,
        worst_case_mw=gpu.worst_case_mw if gpu is not None else None,
        detail=detail,
    )


class Execution:
    """One plan under way; main loop only.

    Args:
        plan: validated.
        fleet: does the writes.
        may_raise: asked for each GPU before it is raised.
        on_cuts_settled: told when `confirmed` is known, before any raise.
        on_end: told when every write has its outcome.

    Attributes:
        outcomes: by UUID.
        cuts_settled: every cut has its outcome.
        confirmed: and every one of them is in effect.
        last_cut_boot_s: when the last confirmed cut was read back; None before.
    """

    def __init__(
        self,
        plan: Plan,
        fleet: Fleet,
        may_raise: Callable[[str], bool],
        on_cuts_settled: Callable[["Execution"], None],
        on_end: Callable[["Execution"], None],
    ) -> None:
        self.plan = plan
        self.outcomes: dict[str, Outcome] = {}
        self.last_cut_boot_s: float | None = None
        self.cuts_settled = False
        self.confirmed = False
        self._fleet = fleet
        self._may_raise = may_raise
        self._on_cuts_settled = on_cuts_settled
        self._on_end = on_end
        self._void = ""
        self._waiting: dict[str, Job] = {}
        self._fallback_mw = {write.uuid: write.mw for write in plan.fallback}
        self._cuts, self._raises = _in_two_steps(plan, fleet.gpus)

    def start(self) -> None:
        """Queue the cuts, all in parallel."""
        if not self._submit(self._cuts, self._cut):
            self._settle()

    def void(self, reason: str) -> None:
        """Take back every write that has not started: another connection has taken over."""
        self._void = reason
        self._take_back(set(self._waiting), reason)

    def stop_raising(self, reason: str) -> None:
        """Start no more raises; cuts go on."""
        self._void = reason
        if self.cuts_settled:
            self._take_back(set(self._waiting), reason)

    def supersede(self, plan: Plan) -> None:
        """Make room for a newer plan: no more raises, and no cut of a GPU that `plan` writes itself."""
        reason = "superseded by a newer plan"
        self.stop_raising(reason)
        self._take_back({write.uuid for write in (*plan.cuts, *plan.raises)}, reason)

    @property
    def failed_cuts(self) -> set[str]:
        """Return the GPUs whose cut was tried in vain."""
        outcomes = (self.outcomes.get(write.uuid) for write in self._cuts)
        return {each.uuid for each in outcomes if each is not None and each.result is Result.FAILED}

    @property
    def ordered_outcomes(self) -> tuple[Outcome, ...]:
        """Return the outcomes in the order of the plan."""
        return tuple(self.outcomes[write.uuid] for write in (*self.plan.cuts, *self.plan.raises))

    def _submit(self, writes: tuple[Write, ...], job_of: Callable[[Write], Job]) -> bool:
        """Queue writes; return whether any was. The last one to end, maybe in here, calls `_settle`."""
        if writes and writes_forbidden():
            self._give_up(writes, Result.FAILED, f"{FORBID_WRITES_VARIABLE} is set: nothing is written")
            return False
        # All are noted as waiting before the first is queued: a job that cannot be done ends at once.
        jobs = {write.uuid: job_of(write) for write in writes}
        self._waiting.update(jobs)
        for uuid, job in jobs.items():
            self._fleet.submit(uuid, job)
        return bool(jobs)

    def _cut(self, write: Write) -> Job:
        return Job(Op.WRITE, partial(self._written, write), write.mw)

    def _raise(self, write: Write) -> Job:
        fallback_mw = self._fallback_mw.get(write.uuid)
        return Job(Op.WRITE, partial(self._written, write), write.mw, self.plan.end_boot_s, fallback_mw)

    def _written(self, write: Write, done: Done) -> None:
        if done.skipped:
            self._record(self._unstarted(write, Result.SKIPPED, done.skipped))
            return
        outcome = judge(write, self._fleet.gpus.get(write.uuid), done)
        if not self.cuts_settled and outcome.result is not Result.FAILED:
            self.last_cut_boot_s = max(self.last_cut_boot_s or 0.0, done.finished_boot_s)
        self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        self.outcomes[outcome.uuid] = outcome
        del self._waiting[outcome.uuid]
        if not self._waiting:
            self._settle()

    def _settle(self) -> None:
        if not self.cuts_settled:
            self.cuts_settled = True
            self.confirmed = all(
                self.outcomes[write.uuid].result in (Result.APPLIED, Result.CLAMPED) for write in self._cuts
            )
            self._on_cuts_settled(self)
            if self._start_raises():
                return
        self._on_end(self)

    def _start_raises(self) -> bool:
        if not self._raises:
            return False
        reason = self._void or ("" if self.confirmed else "a cut was not confirmed")
        if reason:
            self._give_up(self._raises, Result.SKIPPED, reason)
            return False
        in_time = tuple(write for write in self._raises if self._may_raise(write.uuid))
        too_fast = (write for write in self._raises if write not in in_time)
        self._give_up(too_fast, Result.SKIPPED, f"raised more than {RAISES_PER_S:g} times within a second")
        return self._submit(in_time, self._raise)

    def _take_back(self, uuids: set[str], reason: str) -> None:
        for uuid in uuids:
            job = self._waiting.get(uuid)
            if job is not None and self._fleet.withdraw(uuid, job):
                write = Write(uuid, job.target_mw)
                self._record(self._unstarted(write, Result.SKIPPED, reason))

    def _give_up(self, writes: Iterable[Write], result: Result, reason: str) -> None:
        for write in writes:
            self.outcomes[write.uuid] = self._unstarted(write, result, reason)

    def _unstarted(self, write: Write, result: Result, detail: str) -> Outcome:
        gpu = self._fleet.gpus.get(write.uuid)
        limits = gpu.limits if gpu is not None else None
        return Outcome(
            uuid=write.uuid,
            target_mw=write.mw,
            result=result,
            requested_mw=limits.requested_mw if limits else None,
            enforced_mw=limits.enforced_mw if limits else None,
            worst_case_mw=gpu.worst_case_mw if gpu is not None else None,
            detail=detail,
        )


def _in_two_steps(plan: Plan, gpus: dict[str, Gpu]) -> tuple[tuple[Write, ...], tuple[Write, ...]]:
    """Return what lowers, and what has to wait for it.

    A daemon may call a write a cut although another writer has lowered that GPU further since: then it
    raises, and waits with the raises.
    """
    lowers = tuple(write for write in plan.cuts if not _would_raise(write, gpus[write.uuid]))
    return lowers, (*(write for write in plan.cuts if write not in lowers), *plan.raises)


def _would_raise(write: Write, gpu: Gpu) -> bool:
    requested_mw = gpu.limits.requested_mw if gpu.limits is not None else None
    known = [mw for mw in (requested_mw, gpu.worst_case_mw) if mw is not None]
    return bool(known) and write.mw > max(known)
