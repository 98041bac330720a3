"""What a person hears about a decision."""

import pytest

from powerd.core.model import Capability, GpuState, Notice, Severity, Step
from powerd.core.notices import about_budget, about_gpus, about_messages
from powerd.core.rack.timeline import Verdict, VerdictKind
from tests.core.make import W, gpu, uuid


@pytest.mark.parametrize(
    ("kind", "text", "event"),
    [
        (VerdictKind.ACCEPTED, "", None),
        (VerdictKind.DUPLICATE, "", None),
        (VerdictKind.ACCEPTED, "above the hard limit", "signal_clamped"),
        (VerdictKind.LOWER_ONLY, "it expired", "signal_lower_only"),
        (VerdictKind.REJECTED, "too old", "signal_rejected"),
    ],
)
def test_a_message_is_told_of_unless_it_was_simply_accepted(
    kind: VerdictKind, text: str, event: str | None
) -> None:
    notices = list(about_messages([Verdict(kind, "a", 1, 1, "slug", text)], ()))
    assert [notice.event for notice in notices] == ([event] if event else [])
    assert all(notice.text == f"budget from a: {text}" for notice in notices)


def test_two_controllers_of_equal_priority_are_an_alarm_that_says_what_to_do() -> None:
    [notice] = about_messages([], ("a", "b"))
    assert (notice.event, notice.severity) == ("budget_conflict", Severity.WARNING)
    assert notice.text.startswith("a, b send budgets of equal priority")


@pytest.mark.parametrize(
    ("state", "capability", "event", "severity"),
    [
        (GpuState.LOST, Capability.LOST, "gpu_lost", Severity.CRITICAL),
        (GpuState.HUNG, Capability.SETTABLE, "gpu_hung", Severity.CRITICAL),
        (GpuState.OK, Capability.READABLE, "gpu_not_settable", Severity.WARNING),
        (GpuState.OK, Capability.OPAQUE, "gpu_not_settable", Severity.WARNING),
        (GpuState.OK, Capability.SETTABLE, "gpu_refuses_limit", Severity.CRITICAL),
    ],
)
def test_a_gpu_that_cannot_be_limited_is_told_with_what_it_counts(
    state: GpuState, capability: Capability, event: str, severity: Severity
) -> None:
    readings = [gpu(0), gpu(1, state=state, capability=capability)]
    [notice] = about_gpus(readings, {uuid(1): Step("not_controllable", 700 * W, "powerd", "why")})
    assert notice == Notice(event, severity, "GPU 1 why; counted at 700 W", uuid(1))


@pytest.mark.parametrize(
    ("infeasible", "braking", "events"),
    [
        (0, False, []),
        (1500, False, ["infeasible_budget"]),
        (0, True, ["power_brake"]),
        (1, True, ["infeasible_budget", "power_brake"]),
    ],
)
def test_an_unreachable_budget_and_a_power_brake_are_critical(
    infeasible: int, braking: bool, events: list[str]
) -> None:
    notices = list(about_budget(infeasible * W, braking=braking))
    assert [notice.event for notice in notices] == events
    assert all(notice.severity is Severity.CRITICAL for notice in notices)


def test_the_missing_watts_are_named() -> None:
    [notice] = about_budget(1500 * W, braking=False)
    assert "1500 W below what limiting can reach" in notice.text
