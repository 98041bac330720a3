"""What makes a drill passed, and what makes it failed."""

import json
from dataclasses import replace
from typing import Any

import pytest

from powerd.core.model import Capability, GpuState
from powerd.ctl.client import RequestFailedError
from powerd.ctl.drill import planned
from powerd.ctl.drill_course import BACK_WITHIN_S, LATE_S, Course
from powerd.errors import ConfigError
from powerd.web import views
from tests.web import host
from tests.web.host import moment

LEASE_S = 41.0


def status(state: str, *, is_drilled: bool, **changes: Any) -> dict[str, Any]:
    """Return the status of a host with five good GPUs."""
    snapshot = host.snapshot(host.decided())
    good = tuple(
        reading
        for reading in snapshot.readings
        if reading.state is GpuState.OK and reading.capability is Capability.SETTABLE
    )
    document = views.status(replace(snapshot, readings=good), moment(0.0)).model_dump_json()
    orders = {"drill": {"until": "2026-11-21T17:01:30Z"} if is_drilled else None}
    return {**json.loads(document), "state": state, "compliant": True, "orders": orders, **changes}


HELD = status("limited", is_drilled=True)
FALLEN = status("failsafe", is_drilled=True)
OVER = status("failsafe", is_drilled=False)
BACK = status("limited", is_drilled=False)


def ran(*taken: tuple[float, dict[str, Any]]) -> tuple[Course, list[str]]:
    """Return the course and the events that were told."""
    course = Course(LEASE_S, period_s=1.0)
    return course, [entry.event for after_s, document in taken for entry in course.take(after_s, document)]


def test_a_host_that_falls_reads_back_and_is_controlled_again_has_passed() -> None:
    course, told = ran((10.0, HELD), (41.2, FALLEN), (60.0, FALLEN), (90.0, OVER), (93.0, BACK))
    assert told == ["failsafe", "verified", "drill_over", "control_back"]
    assert course.is_over(93.0)
    assert course.verdict() == "passed: failsafe after 41.2 s, every limit read back after 41.2 s"


def test_a_drill_is_not_over_while_control_may_still_come_back() -> None:
    course, _ = ran((41.2, FALLEN), (90.0, OVER))
    assert not course.is_over(90.0 + BACK_WITHIN_S)
    assert course.is_over(90.1 + BACK_WITHIN_S)
    assert course.verdict() == "failed: no controller was heard within 120 s after the drill"


def test_failsafe_that_never_comes_fails() -> None:
    course, _ = ran((10.0, HELD), (90.0, BACK))
    assert course.verdict() == "failed: failsafe was not reached before the drill was over"


def test_failsafe_that_comes_late_fails() -> None:
    late_s = LEASE_S + 3.0 + LATE_S + 0.1
    course, _ = ran((late_s, FALLEN), (90.0, BACK))
    assert course.verdict() == f"failed: failsafe came after {late_s:.1f} s, due by 49.0 s"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"compliant": False}, "what the GPUs may draw is above their budget"),
        (
            {"gpus": [{**FALLEN["gpus"][0], "requested_watts": 700.0}]},
            "GPU 0 GPU-00aa-0: target 400 W, requested 700 W, enforced 400 W",
        ),
    ],
)
def test_limits_that_never_fit_fail(changes: dict[str, Any], why: str) -> None:
    unfit = {**FALLEN, **changes}
    course, told = ran((41.2, unfit), (60.0, unfit), (90.0, BACK))
    assert "verified" not in told
    assert course.verdict() == f"failed: limits did not come to fit: {why}"


def test_limits_that_fit_late_or_no_longer_fail() -> None:
    unfit = {**FALLEN, "compliant": False}
    late, _ = ran((41.2, unfit), (60.0, FALLEN), (90.0, BACK))
    assert late.verdict() == "failed: limits were read back only 18.8 s after failsafe began"
    lost, _ = ran((41.2, FALLEN), (60.0, unfit), (90.0, BACK))
    assert lost.verdict().startswith("failed: limits did not stay as decided")


def test_a_host_that_writes_nothing_is_not_said_to_be_limited() -> None:
    course, told = ran((41.2, {**FALLEN, "mode": "dry-run"}), (90.0, {**BACK, "mode": "dry-run"}))
    assert "verified" not in told
    assert course.verdict() == "passed, but no limit was written: the mode is dry-run"


def test_a_host_without_a_controller_has_nothing_to_lose() -> None:
    with pytest.raises(RequestFailedError, match="a controller that is not heard cannot be lost"):
        planned(FALLEN, 90.0)


def test_a_drill_that_ends_before_the_lease_is_not_begun() -> None:
    with pytest.raises(ConfigError, match="the lease has 41 s left: --for 50s or more shows failsafe"):
        planned(HELD, 45.0)
