"""What a worker does with one GPU: read it, write a limit, or lower it; nothing here knows of other GPUs.

Runs in the worker's thread, possibly for ever, and touches nothing but the driver and its own result.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from powerd.clock import boot_s
from powerd.guard.driver import (
    GPU_OUT_OF_REACH,
    Driver,
    DriverError,
    Kind,
    Limits,
    Sample,
    refuse_if_writes_forbidden,
)

_T = TypeVar("_T")


class Op(StrEnum):
    """The kinds of job."""

    READ = "read"
    WRITE = "write"  # set the target, read back
    LOWER = "lower"  # only if a limit is above the target: set the target, read back


@dataclass(slots=True)
class Done:
    """How a job ended. Filled in by the worker, then never changed.

    Attributes:
        skipped: why it was not even begun; empty when it was.
        limits: read after everything else; None when they could not be read.
        wrote: the driver accepted a limit, whatever came of it.
        calls: name and seconds of each driver call.
    """

    finished_boot_s: float = 0.0
    skipped: str = ""
    error: DriverError | None = None
    sample: Sample | None = None
    limits: Limits | None = None
    wrote: bool = False
    calls: list[tuple[str, float]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work for one GPU; `on_done` is called once, in the main thread.

    Attributes:
        target_mw: limit to be written; 0 for reads.
        end_boot_s: of the plan that a raise rests on: it is not begun then, and undone if it returns later.
        fallback_mw: what that plan falls back to; None where it does not say.
        started_boot_s: when it was handed to the worker; 0 before.
        abandoned: its deadline passed and its owner has been told; only the GPU still waits for it.
    """

    op: Op
    on_done: Callable[[Done], None]
    target_mw: int = 0
    end_boot_s: float = math.inf
    fallback_mw: int | None = None
    started_boot_s: float = 0.0
    abandoned: bool = False


def effective_mw(limits: Limits | None) -> int | None:
    """Return the limit in effect: the enforced one, or the requested one where the GPU tells no other."""
    if limits is None:
        return None
    return limits.requested_mw if limits.enforced_mw is None else limits.enforced_mw


def writes_forbidden() -> bool:
    """Return whether POWERD_FORBID_WRITES stops every write."""
    try:
        refuse_if_writes_forbidden()
    except DriverError:
        return True
    return False


def failed(error: DriverError) -> Done:
    """Return the end of a job that never reached its worker, or did not come back."""
    return Done(finished_boot_s=boot_s(), error=error)


def too_late(job: Job, now_boot_s: float) -> Done | None:
    """Return the end of a job that must not be begun any more: its plan has ended; None if it may be."""
    if now_boot_s < job.end_boot_s:
        return None
    return Done(finished_boot_s=now_boot_s, skipped="the plan has ended")


def perform(driver: Driver, uuid: str, job: Job, clock: Callable[[], float] = boot_s) -> Done:
    """Do a job; never raises."""
    done = Done()
    try:
        if job.op is Op.READ:
            done.sample = _timed(done, "read", lambda: driver.read(uuid))
            done.limits = done.sample.limits
        else:
            _write(driver, uuid, job, done)
    except DriverError as error:
        done.error = error
    except Exception as error:  # noqa: BLE001 - a bug in a driver fails this call, not the worker
        done.error = DriverError(Kind.UNKNOWN, f"{type(error).__name__}: {error}")
    done.finished_boot_s = clock()
    return done


def _write(driver: Driver, uuid: str, job: Job, done: Done) -> None:
    if job.op is Op.LOWER:
        limits = _timed(done, "read_limits", lambda: driver.read_limits(uuid))
        if at_or_below(limits, job.target_mw):
            done.limits = limits
            return
    refused: DriverError | None = None
    try:
        _timed(done, "set_limit", lambda: driver.set_limit(uuid, job.target_mw))
        done.wrote = True
    except DriverError as error:
        if error.kind in GPU_OUT_OF_REACH:
            raise
        refused = error
    # Read back after a refusal too: a call that failed may still have had an effect.
    done.limits = _timed(done, "read_limits", lambda: driver.read_limits(uuid))
    if refused is not None:
        raise refused


def at_or_below(limits: Limits | None, target_mw: int) -> bool:
    """Say whether limits were read, and are no higher than that."""
    if limits is None:
        return False
    known = [mw for mw in (limits.requested_mw, limits.enforced_mw) if mw is not None]
    return bool(known) and max(known) <= target_mw


def _timed(done: Done, name: str, call: Callable[[], _T]) -> _T:
    start = time.monotonic()
    try:
        return call()
    finally:
        done.calls.append((name, time.monotonic() - start))
