"""The records that the core reads and returns. Plain, frozen, in integer milliwatts.

A field that can be unknown is `None`; `None` never means zero and never means "no limit", except where a
docstring says so (`BudgetMessage.mw`: the sender sets no limit). What is made by the dozen on the way of
every cut is a named tuple, which costs a third of a frozen dataclass.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class Now:
    """One moment, on both clocks.

    Attributes:
        boot_s: seconds on CLOCK_BOOTTIME; leases and timers count on this one.
        wall_s: Unix seconds; only ever compared with stamps that others wrote.
        wall_synced: whether a time service keeps the wall clock.
    """

    boot_s: float
    wall_s: float
    wall_synced: bool = True


class Capability(StrEnum):
    """What powerd can do with a GPU."""

    SETTABLE = "settable"
    READABLE = "readable"  # limits can be read, not written: counted, never controlled
    OPAQUE = "opaque"  # not even the enforced limit can be read
    LOST = "lost"  # fell off the bus, or needs a reset


class GpuState(StrEnum):
    """Whether the driver answers for a GPU."""

    OK = "ok"
    HUNG = "hung"  # a driver call has not returned within its deadline
    LOST = "lost"


class EventReason:
    """Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h): why clocks are below their maximum."""

    SW_POWER_CAP = 0x4
    HW_SLOWDOWN = 0x8
    SW_THERMAL = 0x20
    HW_THERMAL = 0x40
    HW_POWER_BRAKE = 0x80


@dataclass(frozen=True, slots=True)
class Constraints:
    """The limits that the GPU itself accepts (nvmlDeviceGetPowerManagementLimitConstraints)."""

    min_mw: MilliWatts
    max_mw: MilliWatts
    default_mw: MilliWatts


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU as the guard last saw it. Identified by `uuid`; `index` is for people only.

    Attributes:
        draw_mw: instantaneous draw; None when it could not be read this time.
        energy_mj: counter in millijoules since the driver was loaded.
        requested_mw: the limit that in-band software asked for last.
        enforced_mw: the limit in effect; below `requested_mw` when something out of band limits too.
        capped_ns: nanoseconds, cumulative, that clocks were held down by the power cap.
        event_reasons: bits of `EventReason`; 0 when unknown.
        sm_clock_mhz: of the multiprocessors, at this moment; None when it could not be read.
        max_sm_clock_mhz: the highest that the board allows; None when unknown.
        written_mw: what this guard wrote last; None before its first write.
        pending_mw: target of a write that has not returned.
        worst_case_mw: the most the GPU may draw now: the largest limit that is in effect or may still
            take effect; for a lost or hung GPU the last one known. None when nothing was ever known.
    """

    uuid: str
    index: int
    name: str
    state: GpuState
    capability: Capability
    constraints: Constraints | None = None
    draw_mw: MilliWatts | None = None
    energy_mj: int | None = None
    requested_mw: MilliWatts | None = None
    enforced_mw: MilliWatts | None = None
    capped_ns: int | None = None
    event_reasons: int = 0
    persistence_mode: bool | None = None
    written_mw: MilliWatts | None = None
    pending_mw: MilliWatts | None = None
    worst_case_mw: MilliWatts | None = None
    sampled_boot_s: float = 0.0
    detail: str = ""
    sm_clock_mhz: int | None = None
    max_sm_clock_mhz: int | None = None


class Step(NamedTuple):
    """One link of the chain that made a number: the number after this rule, the rule, and who asked.

    Attributes:
        rule: stable slug, e.g. `hard_limit`, `budget`, `guard_band`.
        mw: the value after this step.
        source: whose number it is: a configuration key, a topic's sender, or "powerd".
        note: one phrase for people; may be empty.
        until_boot_s: when this step stops holding by itself; None if it does not.
    """

    rule: str
    mw: MilliWatts
    source: str
    note: str = ""
    until_boot_s: float | None = None


class Severity(StrEnum):
    """How urgent a notice is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should hear about: logged, published, and kept in status.

    Attributes:
        event: stable slug, also the log's event name.
        subject: GPU UUID, source or rule it is about; (event, subject) identifies a repeat.
    """

    event: str
    severity: Severity
    text: str
    subject: str = ""


class Result(StrEnum):
    """How one limit write ended, judged by read-back."""

    APPLIED = "applied"
    CLAMPED = "clamped"  # accepted, but something else enforces less
    FAILED = "failed"  # refused, hung, lost, or read back higher than asked
    SKIPPED = "skipped"  # a raise that was not started because a cut before it was not confirmed


class Write(NamedTuple):
    """One limit to be written."""

    uuid: str
    mw: MilliWatts


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one write ended.

    Attributes:
        worst_case_mw: the most the GPU may draw after it; None when nothing is known.
    """

    uuid: str
    target_mw: MilliWatts
    result: Result
    requested_mw: MilliWatts | None = None
    enforced_mw: MilliWatts | None = None
    worst_case_mw: MilliWatts | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the guard is asked to do: every cut, then, when all are confirmed, every raise.

    Attributes:
        fallback: limit per GPU that the guard falls to by itself (never raising) when `end_boot_s`
            passes without a newer plan.
        end_boot_s: absolute, on the boot clock, so that a plan that waited somewhere holds no longer.
    """

    cuts: tuple[Write, ...] = ()
    raises: tuple[Write, ...] = ()
    fallback: tuple[Write, ...] = ()
    end_boot_s: float = 0.0
