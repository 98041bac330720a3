"""What the guard does, without sockets and threads: reads, plans, the dead-man's switch, release.

Everything here runs in the main loop, is told of ends by callbacks, and never waits. Invariant: nothing
raises a limit but an accepted plan or an explicit release.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from powerd.core.model import Plan, Result, Write
from powerd.guard import journal
from powerd.guard.attachment import Attachment
from powerd.guard.baseline import Baseline
from powerd.guard.callstats import CallStats
from powerd.guard.config import GuardConfig
from powerd.guard.deadman import DeadMan
from powerd.guard.driver import DriverError, Kind
from powerd.guard.fleet import Fleet, Runner
from powerd.guard.gpu import Gpu
from powerd.guard.jobs import Done, Job, Op, at_or_below, writes_forbidden
from powerd.guard.pace import RaisePace
from powerd.guard.plans import Execution, RefusedError, check_host_ceiling, validate
from powerd.guard.statefile import StateFile

Reply = Callable[[dict[str, Any]], None]

# How long falling back may take, attaching the driver included, before its outcome is told as it stands.
FALL_BACK_WITHIN_S = 3.5

# The longest that a plan may hold without being renewed: as long as the longest lease of a budget.
MAX_HOLD_S = 300.0

# In call deadlines: a read starts a little after it was asked for, and must be seen to hang before the reply.
_PATIENCE = 1.1

PLAN_FILE = "plan.json"
BASELINE_FILE = "baseline.json"
DETACHED_FILE = "detached.json"


class _Read:
    """One read request: answered when every GPU has answered, or at its deadline."""

    def __init__(self, since_boot_s: float, deadline_boot_s: float, reply: Reply) -> None:
        self.since_boot_s = since_boot_s
        self.deadline_boot_s = deadline_boot_s
        self.reply = reply
        self.waiting: dict[str, Job] = {}


class Keeper:
    """The guard's state and its operations.

    Args:
        config: the `[guard]` table.
        runner: runs jobs on threads.
        clock: seconds on the boot clock.
    """

    def __init__(self, config: GuardConfig, runner: Runner, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._stats = CallStats()
        self._pace = RaisePace()
        self._baseline = Baseline(StateFile(config.state_path / BASELINE_FILE))
        self._fleet = Fleet(runner, clock, config.call_deadline_s, self._before_write, self._after_job)
        self._attachment = Attachment(
            runner,
            self._fleet,
            clock,
            self._attached,
            self._start_held_reads,
            StateFile(config.state_path / DETACHED_FILE),
        )
        self._deadman = DeadMan(self._fleet, clock, StateFile(config.state_path / PLAN_FILE))
        self._deadman.restore()
        self._token = ""
        self._number = -1
        self._reads: list[_Read] = []
        self._falls: list[tuple[float, Reply]] = []
        self._executions: list[Execution] = []
        self._newest: Execution | None = None
        # GPUs whose last write was to lower them and did not, as far as is known.
        self._unconfirmed: set[str] = set()

    @property
    def is_quiet(self) -> bool:
        """Whether no worker is in the driver, those that hang excepted."""
        return self._fleet.is_quiet

    @property
    def is_obsolete(self) -> bool:
        """Whether the driver was upgraded, so that only a new process can talk to it."""
        return self._attachment.is_obsolete

    def new_client(self) -> str:
        """Return the token of a new connection, and void what older ones have queued."""
        self._token = os.urandom(8).hex()
        self._number = -1
        for execution in list(self._executions):
            execution.void("another connection has taken over")
        return self._token

    def read(self, reply: Reply) -> None:
        """Sample every GPU and reply with a report."""
        now = self._clock()
        request = _Read(now, now + _PATIENCE * self._config.call_deadline_s, reply)
        self._reads.append(request)
        if not self._attachment.in_progress:
            self._start_read(request)

    def plan(self, token: object, number: int, plan: Plan, reply: Reply) -> None:
        """Execute a plan and reply with its outcomes.

        Raises:
            RefusedError: nothing was written, and what was armed stays armed.
        """
        self._check_token(token)
        if number <= self._number:
            raise RefusedError(f"plan {number} is not newer than plan {self._number}")
        now = self._clock()
        if plan.end_boot_s <= now:
            raise RefusedError("the plan has already ended")
        if plan.end_boot_s > now + MAX_HOLD_S:
            raise RefusedError(f"the plan would hold for more than {MAX_HOLD_S:g} s")
        if not self._attachment.generation:
            raise RefusedError(f"no GPU is known yet: {self._attachment.error}")
        validate(plan, self._fleet.gpus, self._config)
        self._number = number
        self._deadman.arm(plan, self._unconfirmed)
        self._execute(plan, partial(self._end_plan, reply))

    def release(self, token: object, reply: Reply, *, within_ceilings: bool = True) -> None:
        """Put back what GPUs had before the first write, disarm, and reply with the outcomes.

        Args:
            within_ceilings: what was above guard.ceiling_watts comes back to that; not so for root's own
                command.

        Raises:
            RefusedError: nothing was written.
        """
        self._check_token(token)
        writes = self._baseline_writes(within_ceilings=within_ceilings)
        if within_ceilings:
            try:
                check_host_ceiling(writes, self._fleet.gpus, self._config)
            except RefusedError as error:
                text = f"{error}; to go above it, stop powerd and run as root: powerd guard --release"
                raise RefusedError(text) from None
        self._deadman.disarm()
        self._execute(Plan(raises=writes, end_boot_s=float("inf")), partial(self._end_release, reply))

    def detach(self, token: object, why: str, reply: Reply) -> None:
        """Let go of the driver until `attach`, and reply at once; a read tells when that is done.

        What is armed stays armed: what its fallback lowers is lowered when the driver is back.

        Args:
            why: one line: who has ordered it, and for what.

        Raises:
            RefusedError: nothing was changed.
        """
        self._check_token(token)
        self._attachment.detach(why)
        self._start_held_reads()
        reply({})

    def attach(self, token: object, reply: Reply) -> None:
        """Look for the driver again, and reply at once; a read tells what came of it.

        Raises:
            RefusedError: nothing was changed.
        """
        self._check_token(token)
        self._attachment.attach()
        reply({})

    def fall_back(self, reason: str, reply: Reply) -> None:
        """Fall to the fallback without waiting for the end: nobody is left who could renew it.

        Replies whether all GPUs are down, as soon as they are, or after `FALL_BACK_WITHIN_S`.
        """
        for execution in list(self._executions):
            execution.void(reason)
        self._deadman.fire_now(reason)
        now = self._clock()
        self._falls.append((now + FALL_BACK_WITHIN_S, reply))
        self._answer_falls(now)

    def due_boot_s(self) -> float | None:
        """Return when `tick` has something to do next."""
        times = [
            self._fleet.next_deadline_boot_s(),
            self._attachment.due_boot_s(),
            self._deadman.due_boot_s(),
            *[request.deadline_boot_s for request in self._reads],
            *[deadline_boot_s for deadline_boot_s, _ in self._falls],
        ]
        return min([time for time in times if time is not None], default=None)

    def tick(self, now_boot_s: float) -> None:
        """Do what has fallen due. To be called after every event and at `due_boot_s`."""
        self._fleet.check_deadlines(now_boot_s)
        for execution in list(self._executions):
            if execution.plan.end_boot_s <= now_boot_s:
                execution.stop_raising("the plan has ended")
        self._deadman.tick(now_boot_s)
        self._answer_falls(now_boot_s)
        for request in list(self._reads):
            if request.deadline_boot_s <= now_boot_s:
                self._answer(request)
        self._attachment.tick(now_boot_s)

    def _baseline_writes(self, *, within_ceilings: bool) -> tuple[Write, ...]:
        ceiling_watts = self._config.ceiling_watts if within_ceilings else None
        writes = []
        for uuid, baseline_mw in self._baseline.limits_mw.items():
            gpu = self._fleet.gpus.get(uuid)
            mw = baseline_mw or (gpu.info.default_mw if gpu is not None else None)
            if mw is not None:
                writes.append(
                    Write(uuid, mw if ceiling_watts is None else min(mw, int(ceiling_watts * 1000)))
                )
        return tuple(writes)

    def _may_raise(self, uuid: str) -> bool:
        return self._pace.may_raise(uuid, self._clock())

    def _check_token(self, token: object) -> None:
        if token != self._token:
            raise RefusedError("a newer connection has taken over: connect again")

    def _execute(self, plan: Plan, on_end: Callable[[Execution], None]) -> None:
        for older in list(self._executions):
            older.supersede(plan)
        execution = Execution(plan, self._fleet, self._may_raise, self._cuts_settled, on_end)
        self._executions.append(execution)
        self._newest = execution
        execution.start()

    def _cuts_settled(self, execution: Execution) -> None:
        # The older end is given up only when no cut of any plan is still on its way, and not for a GPU whose
        # cut has failed: a newer plan may leave that one alone for a while.
        newest = self._newest
        self._unconfirmed |= execution.failed_cuts
        settled = all(each.cuts_settled for each in self._executions)
        if newest is not None and newest.confirmed and settled:
            self._deadman.confirm(self._unconfirmed)
        self._deadman.save()

    def _end_plan(self, reply: Reply, execution: Execution) -> None:
        self._executions.remove(execution)
        reply({"outcomes": execution.ordered_outcomes, "last_cut_boot_s": execution.last_cut_boot_s})

    def _end_release(self, reply: Reply, execution: Execution) -> None:
        self._executions.remove(execution)
        outcomes = execution.ordered_outcomes
        released = {o.uuid for o in outcomes if o.result in (Result.APPLIED, Result.CLAMPED)}
        for uuid in released:
            self._fleet.gpus[uuid].written_mw = None
        self._baseline.forget(released)
        reply({"outcomes": outcomes})

    def _start_held_reads(self) -> None:
        for request in list(self._reads):
            if not request.waiting:
                self._start_read(request)

    def _start_read(self, request: _Read) -> None:
        request.waiting = {
            uuid: Job(Op.READ, partial(self._read_done, request, uuid)) for uuid in self._fleet.gpus
        }
        if not request.waiting:
            self._answer(request)
        for uuid, job in list(request.waiting.items()):
            self._fleet.submit(uuid, job)

    def _read_done(self, request: _Read, uuid: str, _done: Done) -> None:
        request.waiting.pop(uuid, None)
        if not request.waiting:
            self._answer(request)

    def _answer(self, request: _Read) -> None:
        if request not in self._reads:
            return  # answered at its deadline; this GPU came too late
        self._reads.remove(request)
        for uuid, job in request.waiting.items():
            self._fleet.withdraw(uuid, job)
        now = self._clock()
        request.reply(
            {
                "readings": [gpu.reading(request.since_boot_s, now) for gpu in self._fleet.gpus.values()],
                "generation": self._attachment.generation,
                "driver_error": self._attachment.error,
                "attachment": self._attachment.state,
                "writes_forbidden": writes_forbidden(),
                "fallback_count": self._deadman.fired,
                "keeps_plans": self._deadman.is_kept,
                "calls": self._stats.wire(),
            }
        )

    def _answer_falls(self, now_boot_s: float) -> None:
        falls, self._falls = self._falls, []
        # Who has given up the driver on order does not wait for the GPUs: they are lowered when it is back.
        is_writing = self._deadman.is_writing and not self._attachment.detached
        for deadline_boot_s, reply in falls:
            if is_writing and now_boot_s < deadline_boot_s:
                self._falls.append((deadline_boot_s, reply))
            else:
                reply({"lowered": not is_writing})

    def _before_write(self, gpu: Gpu) -> None:
        if not writes_forbidden():
            self._baseline.record(gpu.info.uuid, gpu.limits.requested_mw if gpu.limits else None)

    def _after_job(self, gpu: Gpu, job: Job, done: Done, was_away: bool, counters_went_back: bool) -> None:
        for call, seconds in done.calls:
            self._stats.add(call, seconds)
        if job.op is not Op.READ and at_or_below(done.limits, job.target_mw):
            self._unconfirmed.discard(gpu.info.uuid)
        if done.error is not None and done.error.kind in (Kind.DRIVER_GONE, Kind.DRIVER_REPLACED):
            self._attachment.lost(done.error)
        elif counters_went_back:
            self._attachment.lost(DriverError(Kind.DRIVER_GONE, "the energy counter went back: reloaded"))
        if job.end_boot_s <= done.finished_boot_s and job.fallback_mw is not None and not done.skipped:
            self._deadman.lower(gpu.info.uuid, job.fallback_mw)
        if was_away and not gpu.lost and self._fleet.is_open:
            self._put_back(gpu)
            self._deadman.gpu_is_back()

    def _attached(self) -> None:
        for gpu in self._fleet.gpus.values():
            if gpu.written_mw is None:
                self._fleet.submit(gpu.info.uuid, Job(Op.READ, _ignore))
            else:
                self._put_back(gpu)
        self._deadman.gpu_is_back()

    def _put_back(self, gpu: Gpu) -> None:
        """Write the last limit again if the GPU has come back with a higher one; never a raise."""
        if gpu.written_mw is not None:
            done = partial(_end_put_back, gpu, gpu.written_mw)
            self._fleet.submit(gpu.info.uuid, Job(Op.LOWER, done, gpu.written_mw))


def _ignore(_done: Done) -> None:
    """Do nothing: the GPU itself has learnt from the job."""


def _end_put_back(gpu: Gpu, target_mw: int, done: Done) -> None:
    uuid = gpu.info.uuid
    requested_mw = done.limits.requested_mw if done.limits else None
    if requested_mw is not None and requested_mw < target_mw and not done.wrote:
        gpu.written_mw = None  # what was written went with the driver; nobody else has lowered it
    if done.error is not None:
        text = f"cannot put the limit of {uuid} back to {target_mw / 1000:g} W: {done.error}"
        journal.log(journal.WARNING, text)
    elif done.wrote:
        journal.log(journal.NOTICE, f"put the limit of {uuid} back to {target_mw / 1000:g} W")
