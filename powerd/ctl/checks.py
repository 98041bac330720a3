"""What `powerctl` concludes from a status document: exit codes and the differences that `verify` lists."""

from enum import IntEnum

from powerd.ctl.client import Document


class ExitCode(IntEnum):
    """What the caller's script learns."""

    OK = 0
    DEGRADED = 1  # or: the thing asked for failed
    USAGE = 2
    UNREACHABLE = 3
    FAILSAFE = 4


def grade(status: Document) -> tuple[ExitCode, list[str]]:
    """Return the exit code of `status`, and why it is not OK, one phrase for each reason."""
    reasons = degradations(status)
    cause = status["failsafe_cause"]
    if cause:
        return ExitCode.FAILSAFE, [f"failsafe: {cause.replace('_', ' ')}", *reasons]
    return (ExitCode.DEGRADED if reasons else ExitCode.OK), reasons


def degradations(status: Document) -> list[str]:
    """Return what is wrong besides failsafe."""
    found = {
        f"the control loop has stalled for {status['age_s']:.0f} s": status["stalled"],
        f"the guard cannot be used: {status['guard']['error']}": not status["guard"]["usable"],
        f"the broker is not connected: {status['bus']['error']}": not status["bus"]["connected"],
        f"the budget is {status['infeasible_watts']:g} W below the floors": status["infeasible_watts"] > 0,
        "the worst case is above the budget": not status["compliant"] and status["infeasible_watts"] <= 0,
    }
    gpus = [f"GPU {gpu['index']} is {gpu['state']}" for gpu in status["gpus"] if gpu["state"] != "ok"]
    problems = [problem["text"] for problem in status["errors"] if problem["severity"] != "info"]
    return [*(text for text, is_so in found.items() if is_so), *gpus, *problems]


def differences(status: Document) -> list[str]:
    """Return every GPU whose limits are not what they shall be, one line each, as read back.

    Requested must equal the target; enforced may be below it, since something out of band may limit too.
    A GPU that cannot be limited now is a difference too unless it never could be.
    """
    return [
        f"GPU {gpu['index']} {gpu['uuid']}: {text}" for gpu in status["gpus"] if (text := _difference(gpu))
    ]


def _difference(gpu: Document) -> str:
    if gpu["state"] != "ok":
        return f"{gpu['state']}, its limit cannot be read"
    if gpu["capability"] != "settable":
        return ""
    target, requested, enforced = gpu["limit_watts"], gpu["requested_watts"], gpu["enforced_watts"]
    if target is None:
        return f"has no target: {gpu['reason'].replace('_', ' ')}"
    if requested is None or enforced is None:
        return f"target {target:g} W, but its limit could not be read back"
    as_decided = requested == target and enforced <= target
    return "" if as_decided else f"target {target:g} W, requested {requested:g} W, enforced {enforced:g} W"
