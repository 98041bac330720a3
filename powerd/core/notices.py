"""What a person should hear about a decision.

Facts that hold are told every time; the controller counts repeats.
"""

from collections.abc import Iterable, Iterator, Mapping

from powerd.core.failsafe import Phase
from powerd.core.model import Capability, GpuReading, GpuState, Notice, Severity, Step
from powerd.core.timeline import Verdict, VerdictKind
from powerd.core.units import MilliWatts, watts


def about_phase(before: Phase, after: Phase, cap_mw: MilliWatts) -> Iterator[Notice]:
    """Tell when control was lost, and when it is back."""
    if before is after:
        return
    cap = f"the rack cap is {watts(cap_mw):g} W"
    if after is Phase.FAILSAFE:
        text = f"no controller heard within its lease: failsafe, {cap}"
        yield Notice("failsafe_entered", Severity.CRITICAL, text)
    elif before is Phase.FAILSAFE:
        yield Notice(
            "failsafe_left", Severity.INFO, f"a controller is back: {after}, {cap}, raises follow slowly"
        )
    else:
        yield Notice("phase_changed", Severity.INFO, f"{before} -> {after}: {cap}")


def about_messages(verdicts: Iterable[Verdict], conflict: tuple[str, ...]) -> Iterator[Notice]:
    """Tell what became of messages that were not simply accepted."""
    for verdict in verdicts:
        said = f"budget from {verdict.source}: {verdict.text}"
        if verdict.kind is VerdictKind.REJECTED:
            yield Notice("signal_rejected", Severity.WARNING, said, f"{verdict.source}:{verdict.reason}")
        elif verdict.kind is VerdictKind.LOWER_ONLY:
            yield Notice("signal_lower_only", Severity.WARNING, said, f"{verdict.source}:{verdict.reason}")
        elif verdict.text:
            yield Notice("signal_clamped", Severity.WARNING, said, verdict.source)
    if conflict:
        names = ", ".join(conflict)
        text = f"{names} send budgets of equal priority: the lowest holds; give one a higher priority number"
        yield Notice("budget_conflict", Severity.WARNING, text, names)


def about_gpus(readings: Iterable[GpuReading], fixed: Mapping[str, Step]) -> Iterator[Notice]:
    """Tell which GPUs cannot be limited now, and what they count."""
    for reading in readings:
        step = fixed.get(reading.uuid)
        if step is None:
            continue
        text = f"GPU {reading.index} {step.note}; counted at {watts(step.mw):g} W"
        if reading.state is not GpuState.OK:
            yield Notice(f"gpu_{reading.state}", Severity.CRITICAL, text, reading.uuid)
        elif reading.capability is not Capability.SETTABLE:
            yield Notice("gpu_not_settable", Severity.WARNING, text, reading.uuid)
        else:
            yield Notice("gpu_refuses_limit", Severity.CRITICAL, text, reading.uuid)


def about_budget(infeasible_mw: MilliWatts, *, braking: bool) -> Iterator[Notice]:
    """Tell when limiting cannot reach what was asked for, and when the hardware pulled the brake."""
    if infeasible_mw > 0:
        text = (
            f"the budget is {watts(infeasible_mw):g} W below what limiting can reach: all GPUs at their floor"
        )
        yield Notice("infeasible_budget", Severity.CRITICAL, text)
    if braking:
        yield Notice("power_brake", Severity.CRITICAL, "a GPU reports HW power brake: failsafe on this host")
