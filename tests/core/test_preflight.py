"""Why `enforce` must not start on this host."""

from powerd.core.model import Capability, GpuReading, GpuState
from powerd.core.preflight import objections
from powerd.core.topology import GpuPolicy
from tests.core.make import W, config, gpu, uuid

FOUR = [gpu(i) for i in range(4)]


def against(readings: list[GpuReading], overhead: int = 200, *, persistence_needed: bool = True) -> list[str]:
    return list(objections(readings, config(), overhead * W, persistence_needed=persistence_needed))


def test_a_host_that_is_as_configured_may_start() -> None:
    assert against(FOUR) == []


def test_without_persistence_mode_limits_would_vanish() -> None:
    readings = [*FOUR[:2], gpu(2, persistence_mode=False), gpu(3, persistence_mode=False)]
    [line] = against(readings)
    assert line.startswith("persistence mode is off on GPU 2, 3: run nvidia-smi -pm 1")
    assert against(readings, persistence_needed=False) == []


def test_a_gpu_that_tells_no_persistence_mode_is_no_objection() -> None:
    assert against([gpu(0, persistence_mode=None)]) == []


def test_a_host_whose_real_floor_is_above_the_rosters_must_not_start() -> None:
    [line] = against(FOUR, overhead=201)
    assert line.startswith("rack.hosts.h1.floor_watts is 1000, but")
    assert "are 1001 W: raise it" in line


def test_configured_floors_and_gpus_that_cannot_be_limited_count() -> None:
    own = {uuid(0): GpuPolicy(floor_mw=300 * W)}
    assert objections(FOUR, config(by_uuid=own), 200 * W, persistence_needed=True)
    opaque = gpu(3, capability=Capability.OPAQUE, limit=None, constraints=None, worst_case=450)
    [line] = against([*FOUR[:3], opaque])
    assert "are 1250 W" in line


def test_a_gpu_that_cannot_be_written_counts_what_it_may_draw_not_its_minimum() -> None:
    [line] = against([*FOUR[:3], gpu(3, capability=Capability.READABLE, limit=500)])
    assert "are 1300 W" in line


def test_a_gpu_that_does_not_answer_is_no_reason_to_leave_the_others_without_control() -> None:
    """Its driver may be exchanged just now; what it could be limited to is known."""
    lost = gpu(3, state=GpuState.LOST, capability=Capability.LOST, worst_case=700)
    assert against([*FOUR[:3], lost]) == []
