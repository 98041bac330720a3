"""One GPU as the main loop knows it: what was read, what was written, and the most it may draw.

Invariant: `worst_case_mw` is never below the largest limit that is in effect or may still take effect.
"""

from collections import deque

from powerd.core.model import Capability, Constraints, GpuReading, GpuState
from powerd.guard.driver import DriverError, GpuInfo, Kind, Limits, Sample
from powerd.guard.jobs import Done, Job, Op, effective_mw


class Gpu:
    """State of one GPU; main loop only.

    Attributes:
        info: of the latest attach.
        limits: as read last.
        written_mw: the limit that the driver accepted last; None before, and after a release.
        running: the job that its worker has.
        hung: that job passed its deadline; nothing is queued until it returns.
        lost: the driver says so, or is gone itself.
        writes, reads: jobs that wait for the worker; writes go first.
    """

    def __init__(self, info: GpuInfo) -> None:
        self.info = info
        self.limits: Limits | None = None
        self.written_mw: int | None = None
        self.running: Job | None = None
        self.hung = False
        self.lost = False
        self.detail = ""
        self.writes: deque[Job] = deque()
        self.reads: deque[Job] = deque()
        self._settable = info.capability == Capability.SETTABLE
        self._constraints = _constraints(info)
        self._sample: Sample | None = None
        self._sampled_boot_s = 0.0
        self._energy_mj: int | None = None
        # The largest limit that may hold besides what was read: a write without read-back, or the default
        # that a driver falls back to when it is loaded again.
        self._doubt_mw = 0

    @property
    def settable(self) -> bool:
        """Whether a write is worth trying."""
        return self._settable

    @property
    def pending_mw(self) -> int | None:
        """Return the target of a write that has not returned."""
        if self.running is None or self.running.op is Op.READ:
            return None
        return self.running.target_mw

    @property
    def worst_case_mw(self) -> int | None:
        """Return the most it may draw; None when nothing was ever known."""
        known = [effective_mw(self.limits), self.pending_mw, self._doubt_mw or None]
        if self.limits is not None and (self.hung or self.lost):
            # Nobody sees any more whether the out-of-band limiter below the requested limit still holds.
            known.append(self.limits.requested_mw)
        return max([mw for mw in known if mw is not None], default=None)

    def adopt(self, info: GpuInfo) -> None:
        """Take over what a new attach says; permissions and capabilities are tried afresh."""
        self.info = info
        self.lost = False
        self.detail = ""
        self._settable = info.capability == Capability.SETTABLE
        self._constraints = _constraints(info)
        self._energy_mj = None  # it counts from the loading of the driver

    def lose(self, detail: str, *, driver_gone: bool) -> None:
        """Mark it lost. A driver that is loaded again starts with the default limit, so that counts too."""
        self.lost = True
        self.detail = detail
        if driver_gone:
            default_mw = self.info.default_mw or self.info.max_mw or 0
            self._doubt_mw = max(self._doubt_mw, self.worst_case_mw or 0, default_mw)

    def absorb(self, job: Job, done: Done) -> None:
        """Learn from a job that has returned."""
        self.running = None
        self.hung = False
        if done.skipped:
            return
        if job.op is Op.READ:
            self._sample = done.sample
        if done.sample is not None:
            self._sampled_boot_s = done.finished_boot_s
            self._energy_mj = done.sample.energy_mj
        if done.wrote:
            self.written_mw = job.target_mw
        if done.limits is not None:
            self.limits = done.limits
            self._doubt_mw = 0
        elif job.op is not Op.READ:
            self._doubt_mw = max(self._doubt_mw, job.target_mw)
        self._judge(job, done.error, wrote=done.wrote)

    def counter_reset(self, sample: Sample | None) -> bool:
        """Return whether `sample` shows that the driver was loaded again: its energy counter went back."""
        after = sample.energy_mj if sample is not None else None
        return self._energy_mj is not None and after is not None and after < self._energy_mj

    def reading(self, since_boot_s: float, now_boot_s: float) -> GpuReading:
        """Return what status shows; draw and counters only if sampled at or after `since_boot_s`."""
        sample = self._sample if self._sampled_boot_s >= since_boot_s and not self.hung else None
        info, limits = self.info, self.limits
        return GpuReading(
            uuid=info.uuid,
            index=info.index,
            name=info.name,
            state=self._state(),
            capability=self._capability(),
            constraints=self._constraints,
            draw_mw=sample.draw_mw if sample else None,
            energy_mj=sample.energy_mj if sample else None,
            requested_mw=limits.requested_mw if limits else None,
            enforced_mw=limits.enforced_mw if limits else None,
            capped_ns=sample.capped_ns if sample else None,
            event_reasons=sample.event_reasons if sample else 0,
            persistence_mode=info.persistence_mode,
            written_mw=self.written_mw,
            pending_mw=self.pending_mw,
            worst_case_mw=self.worst_case_mw,
            sampled_boot_s=self._sampled_boot_s,
            detail=self._explain(now_boot_s),
            sm_clock_mhz=sample.sm_clock_mhz if sample else None,
            max_sm_clock_mhz=info.max_sm_clock_mhz,
        )

    def _judge(self, job: Job, error: DriverError | None, *, wrote: bool) -> None:
        self.detail = "" if error is None else str(error)
        if error is None:
            self.lost = False
            return
        if error.kind == Kind.LOST:
            self.lose(self.detail, driver_gone=False)
        refused = job.op is not Op.READ and not wrote
        if refused and error.kind in (Kind.NO_PERMISSION, Kind.NOT_SUPPORTED):
            self._settable = False

    def _state(self) -> GpuState:
        if self.hung:
            return GpuState.HUNG
        return GpuState.LOST if self.lost else GpuState.OK

    def _capability(self) -> Capability:
        if self.lost:
            return Capability.LOST
        capability = Capability(self.info.capability)
        if capability is Capability.SETTABLE and not self._settable:
            return Capability.READABLE
        return capability

    def _explain(self, now_boot_s: float) -> str:
        if self.hung and self.running is not None:
            waited_s = now_boot_s - self.running.started_boot_s
            return f"a driver call ({self.running.op}) has not returned for {waited_s:.1f} s"
        return self.detail


def _constraints(info: GpuInfo) -> Constraints | None:
    if info.min_mw is None or info.max_mw is None:
        return None
    default_mw = info.max_mw if info.default_mw is None else info.default_mw
    return Constraints(min_mw=info.min_mw, max_mw=info.max_mw, default_mw=default_mw)
