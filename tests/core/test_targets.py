"""From a GPU budget and readings to one target per GPU."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.gpus.demand import Demand, GpuDemand
from powerd.core.gpus.gpu_range import gpu_range
from powerd.core.gpus.observed import UNKNOWN, Observed
from powerd.core.gpus.targets import GpuTarget, Sharing, share_out, sort_out
from powerd.core.model import Capability, GpuReading, GpuState
from powerd.core.topology import GpuPolicies, GpuPolicy
from tests.core.make import W, gpu, rules, uuid

STUCK = Observed(refusals=1, retry_boot_s=100.0)


@pytest.mark.parametrize(
    ("policy", "ceiling", "expected"),
    [
        (GpuPolicy(), None, (200, 700, "ceiling", "gpu")),
        (GpuPolicy(floor_mw=300 * W), None, (300, 700, "ceiling", "gpu")),
        (GpuPolicy(floor_mw=100 * W), None, (200, 700, "ceiling", "gpu")),
        (GpuPolicy(floor_mw=900 * W), None, (700, 700, "ceiling", "gpu")),
        (GpuPolicy(ceiling_mw=500 * W), None, (200, 500, "ceiling", "gpu.ceiling_watts")),
        (GpuPolicy(ceiling_mw=900 * W), None, (200, 700, "ceiling", "gpu")),
        (GpuPolicy(ceiling_mw=700 * W), None, (200, 700, "ceiling", "gpu")),
        (GpuPolicy(ceiling_mw=100 * W), None, (200, 200, "ceiling", "gpu.ceiling_watts")),
        (GpuPolicy(), 400, (200, 400, "other_writer", "read-back")),
        (GpuPolicy(ceiling_mw=300 * W), 400, (200, 300, "ceiling", "gpu.ceiling_watts")),
        (GpuPolicy(), 150, (200, 200, "other_writer", "read-back")),
    ],
)
def test_configuration_and_read_back_narrow_what_the_gpu_accepts(
    policy: GpuPolicy, ceiling: int | None, expected: tuple[int, int, str, str]
) -> None:
    known = Observed() if ceiling is None else Observed(ceiling_mw=ceiling * W, ceiling_source="other_writer")
    span = gpu_range(gpu(), policy, known)
    assert span is not None
    found = (span.floor_mw // W, span.ceiling_mw // W, span.ceiling_rule, span.ceiling_source)
    assert found == expected


def test_a_gpu_that_tells_no_constraints_has_no_range() -> None:
    assert gpu_range(gpu(constraints=None), GpuPolicy(), Observed()) is None


def wanting(watts: float, *readings: GpuReading) -> dict[str, GpuDemand]:
    return {reading.uuid: GpuDemand(Demand.BUSY, round(watts * W), 0.0) for reading in readings}


def sorted_out(
    readings: Sequence[GpuReading],
    demands: dict[str, GpuDemand],
    policies: GpuPolicies,
    observed: dict[str, Observed],
) -> Sharing:
    ranges = {r.uuid: gpu_range(r, policies.of(r.uuid), observed.get(r.uuid, UNKNOWN)) for r in readings}
    return sort_out(readings, policies, demands, observed, ranges, 50.0)


def targets(
    budget: int,
    *readings: GpuReading,
    want: float = 700,
    policies: GpuPolicies | None = None,
    observed: dict[str, Observed] | None = None,
) -> tuple[GpuTarget, ...]:
    demands = wanting(want, *readings)
    sharing = sorted_out(readings, demands, policies or GpuPolicies(), observed or {})
    return share_out(sharing, budget * W, demands)


UNCONTROLLABLE = [
    (gpu(0, state=GpuState.LOST, capability=Capability.LOST), "lost"),
    (gpu(0, state=GpuState.HUNG), "hung"),
    (gpu(0, capability=Capability.READABLE), "its limit is readable only"),
    (gpu(0, capability=Capability.OPAQUE), "its limit is opaque only"),
    (gpu(0, constraints=None), "tells no constraints"),
]


@pytest.mark.parametrize(("bad", "why"), UNCONTROLLABLE)
def test_a_gpu_that_cannot_be_limited_counts_its_worst_case_and_the_others_share_the_rest(
    bad: GpuReading, why: str
) -> None:
    fixed, *others = targets(1500, bad, gpu(1), gpu(2))
    assert (fixed.limit_mw, fixed.counted_mw) == (None, 700 * W)
    assert (rules(fixed.steps), fixed.steps[0].note) == (["not_controllable"], why)
    assert [other.limit_mw for other in others] == [400 * W, 400 * W]


def test_the_drivers_own_words_are_kept() -> None:
    hung = replace(gpu(0, state=GpuState.HUNG), detail="no answer for 3.0 s")
    assert targets(700, hung)[0].steps[0].note == "hung: no answer for 3.0 s"


def test_a_gpu_that_refused_is_counted_until_it_is_tried_again() -> None:
    stuck, other = targets(1000, gpu(0), gpu(1), observed={uuid(0): STUCK})
    assert (stuck.limit_mw, stuck.counted_mw, other.limit_mw) == (None, 700 * W, 300 * W)
    due = Observed(refusals=1, retry_boot_s=50.0)
    assert [t.limit_mw for t in targets(1000, gpu(0), gpu(1), observed={uuid(0): due})] == [500 * W, 500 * W]


@pytest.mark.parametrize(
    ("reading", "ceiling", "counted"),
    [
        (gpu(0, state=GpuState.LOST, limit=600, worst_case=650), 400, 650),
        (gpu(0, capability=Capability.READABLE, limit=500, requested=650), 400, 650),
        (gpu(0, state=GpuState.LOST, limit=None), 400, 400),
        (gpu(0, state=GpuState.LOST, limit=None), None, 700),
        (gpu(0, capability=Capability.OPAQUE, limit=None, constraints=None), None, 1000),
    ],
)
def test_what_an_unknown_gpu_counts_comes_from_the_best_knowledge_there_is(
    reading: GpuReading, ceiling: int | None, counted: int
) -> None:
    """Its worst case or request, its configured ceiling, its maximum, or that of its largest neighbour."""
    policy = GpuPolicy(ceiling_mw=None if ceiling is None else ceiling * W)
    policies = GpuPolicies(by_uuid={uuid(0): policy})
    big = gpu(1, constraints=(200, 1000))
    assert targets(5000, reading, big, gpu(2), policies=policies)[0].counted_mw == counted * W


def test_without_any_constraints_on_the_host_there_is_nothing_to_count_by() -> None:
    lonely = gpu(0, capability=Capability.OPAQUE, limit=None, constraints=None)
    assert targets(5000, lonely)[0].counted_mw == 0


def test_policies_reach_the_allocator() -> None:
    policies = GpuPolicies(by_uuid={uuid(0): GpuPolicy(priority=1), uuid(1): GpuPolicy(weight=2.0)})
    first, heavy, light = targets(1300, gpu(0), gpu(1), gpu(2), policies=policies)
    assert [t.limit_mw for t in (first, heavy, light)] == [700 * W, 400 * W, 200 * W]


@pytest.mark.parametrize(
    ("budget", "want", "chain"),
    [
        (400, 700, [("fair_share", 400)]),
        (100, 700, [("fair_share", 200), ("floor", 200)]),
        (700, 700, [("fair_share", 700), ("ceiling", 700)]),
        (500, 300, [("fair_share", 300), ("spare", 500)]),
        (900, 300, [("fair_share", 300), ("spare", 700), ("ceiling", 700)]),
        (200, 90, [("fair_share", 200), ("floor", 200)]),
    ],
)
def test_the_chain_ends_with_the_rule_that_binds(
    budget: int, want: float, chain: list[tuple[str, int]]
) -> None:
    [target] = targets(budget, gpu(0), want=want)
    assert [(step.rule, step.mw // W) for step in target.steps] == chain
    assert target.limit_mw == chain[-1][1] * W


def test_a_gpu_whose_range_is_a_point_is_at_its_ceiling() -> None:
    [target] = targets(9000, gpu(0, constraints=(300, 300)))
    assert rules(target.steps) == ["fair_share", "ceiling"]


def test_the_chain_says_what_the_gpu_wants() -> None:
    [target] = targets(400, gpu(0), want=650)
    assert target.steps[0].note == "busy: wants 650 W"
    assert (target.demand, target.want_mw) == (Demand.BUSY, 650 * W)


def test_limits_are_whole_watts() -> None:
    assert [t.limit_mw for t in targets(1000, gpu(0), gpu(1), gpu(2))] == [333 * W] * 3


STATES = st.sampled_from(list(GpuState))
CAPABILITIES = st.sampled_from(list(Capability))


@given(
    st.integers(-1000, 6000),
    st.lists(st.tuples(STATES, CAPABILITIES, st.integers(0, 900), st.booleans()), max_size=8),
)
def test_everything_that_counts_fits_the_budget_or_all_are_at_their_floor(
    budget: int, gpus: list[tuple[GpuState, Capability, int, bool]]
) -> None:
    readings = [
        gpu(i, state=state, capability=capability) for i, (state, capability, _, _) in enumerate(gpus)
    ]
    demands = {uuid(i): GpuDemand(Demand.BUSY, want * W, 0.0) for i, (_, _, want, _) in enumerate(gpus)}
    observed = {uuid(i): STUCK for i, (_, _, _, refuses) in enumerate(gpus) if refuses}
    sharing = sorted_out(readings, demands, GpuPolicies(), observed)
    result = share_out(sharing, budget * W, demands)
    assert [target.uuid for target in result] == sorted(reading.uuid for reading in readings)
    controlled = [target.limit_mw for target in result if target.limit_mw is not None]
    assert sum(t.counted_mw for t in result) <= budget * W or all(mw == 200 * W for mw in controlled)
    assert all(200 * W <= mw <= 700 * W for mw in controlled)
    assert sharing.floors_mw == sharing.fixed_mw + 200 * W * len(controlled)
