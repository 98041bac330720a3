"""Who gets how much: floors, then weighted max-min water-filling by class, then the rest evenly."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from powerd.core.gpus.allocator import KNEE, Request, allocate
from powerd.core.gpus.filling import fill
from tests.core.make import W


def request(
    name: str,
    want: float,
    *,
    floor: float = 200,
    ceiling: float = 700,
    weight: float = 1.0,
    priority: int = 100,
    job: str = "",
) -> Request:
    return Request(name, round(floor * W), round(ceiling * W), round(want * W), weight, priority, job)


def limits(budget: float, *requests: Request) -> list[float]:
    result = allocate(round(budget * W), requests)
    return [result[one.uuid].limit_mw / W for one in requests]


@pytest.mark.parametrize(
    ("budget", "wants", "expected"),
    [
        (0, (700, 700), [200, 200]),  # below the floors everyone is at the floor
        (400, (700, 700), [200, 200]),
        (1000, (700, 700), [500, 500]),
        (1000, (700, 300), [700, 300]),  # what one does not want the other has
        (900, (700, 300), [600, 300]),
        (600, (700, 300), [300, 300]),
        (1200, (700, 300), [700, 500]),  # what nobody wants is spare
        (1400, (700, 300), [700, 700]),
        (9999, (700, 300), [700, 700]),  # never above the ceiling
        (1000, (300, 300), [500, 500]),  # spare is spread evenly
        (1100, (200, 600), [400, 700]),
    ],
)
def test_two_equal_gpus(budget: float, wants: tuple[float, float], expected: list[float]) -> None:
    a, b = (request(name, want) for name, want in zip("ab", wants, strict=True))
    assert limits(budget, a, b) == expected
    assert limits(budget, b, a) == expected[::-1]


def test_what_was_wanted_and_what_was_spare_are_told_apart() -> None:
    result = allocate(1200 * W, [request("a", 700), request("b", 300)])
    assert result["a"] == (700 * W, 0)
    assert result["b"] == (300 * W, 200 * W)


def test_a_higher_class_is_served_before_a_lower_one_rises_above_its_floor() -> None:
    first, second = request("a", 700, priority=1), request("b", 700, priority=2)
    assert limits(800, first, second) == [600, 200]
    assert limits(1000, first, second) == [700, 300]


def test_weights_set_how_fast_each_rises_with_the_water() -> None:
    assert limits(900, request("a", 700, weight=2.0), request("b", 700)) == [600, 300]
    assert limits(600, request("a", 700, weight=2.0), request("b", 700)) == [400, 200]
    assert limits(1200, request("a", 700, weight=2.0), request("b", 700)) == [700, 500]


def test_gpus_of_one_job_share_the_limit_that_its_neediest_wants() -> None:
    """The slowest sets the pace of a synchronous job."""
    job = [request("a", 600, job="j"), request("b", 300, job="j")]
    assert limits(1300, *job, request("c", 200)) == [550, 550, 200]
    assert limits(1400, *job, request("c", 200)) == [600, 600, 200]


def test_a_job_is_limited_by_its_smallest_ceiling_and_its_largest_floor() -> None:
    job = [request("a", 700, job="j", ceiling=500), request("b", 700, job="j", floor=300)]
    assert limits(0, *job) == [300, 300]
    assert limits(9999, *job) == [500, 500]


def test_a_job_has_the_priority_of_its_most_important_member() -> None:
    job = [request("a", 700, job="j", priority=1), request("b", 700, job="j", priority=9)]
    assert limits(1400, *job, request("c", 700, priority=5)) == [600, 600, 200]


def test_a_job_whose_gpus_have_no_limit_in_common_leaves_each_on_its_own() -> None:
    job = [request("a", 250, job="j", ceiling=250), request("b", 400, job="j", floor=300)]
    assert limits(0, *job) == [200, 300]
    assert limits(9999, *job) == [250, 700]


def test_what_a_job_cannot_divide_stays_unused() -> None:
    result = allocate(1_000_001, [request("a", 700, job="j"), request("b", 700, job="j")])
    assert [one.limit_mw for one in result.values()] == [500_000, 500_000]


def test_nothing_to_share_among_nobody() -> None:
    assert allocate(1000, []) == {}


@st.composite
def requests(draw: st.DrawFn, *, with_jobs: bool = True, top: int = 1_000_000) -> list[Request]:
    """Draw requests of any shape, in milliwatts so that rounding shows."""
    jobs = st.sampled_from(["", "", "j1", "j2"]) if with_jobs else st.just("")
    drawn = []
    for i in range(draw(st.integers(1, 12))):
        floor, want, ceiling = sorted(draw(st.tuples(*[st.integers(0, top)] * 3)))
        weight = draw(st.sampled_from([0.1, 0.5, 1.0, 1.0, 3.0, 7.77]))
        drawn.append(Request(f"g{i}", floor, ceiling, want, weight, draw(st.integers(1, 3)), draw(jobs)))
    return drawn


BUDGETS = st.integers(-1000, 15_000_000)


def shared_floor_and_ceiling(one: Request, everyone: list[Request]) -> tuple[int, int]:
    """Return the range of a GPU within its job."""
    members = [other for other in everyone if one.job and other.job == one.job] or [one]
    floor, ceiling = max(m.floor_mw for m in members), min(m.ceiling_mw for m in members)
    return (floor, ceiling) if floor <= ceiling else (one.floor_mw, one.ceiling_mw)


@given(BUDGETS, requests(with_jobs=False))
def test_the_sum_is_exact(budget: int, everyone: list[Request]) -> None:
    total = sum(one.limit_mw for one in allocate(budget, everyone).values())
    floors, ceilings = (sum(getattr(r, key) for r in everyone) for key in ("floor_mw", "ceiling_mw"))
    assert total == min(max(budget, floors), ceilings)


@given(BUDGETS, requests())
def test_with_jobs_the_sum_is_short_by_less_than_one_unit_of_a_job(
    budget: int, everyone: list[Request]
) -> None:
    total = sum(one.limit_mw for one in allocate(budget, everyone).values())
    spans = [shared_floor_and_ceiling(one, everyone) for one in everyone]
    aim = min(max(budget, sum(floor for floor, _ in spans)), sum(ceiling for _, ceiling in spans))
    assert aim - len(everyone) < total <= aim


@given(BUDGETS, requests())
def test_every_limit_is_between_floor_and_ceiling_and_a_job_has_one_limit(
    budget: int, everyone: list[Request]
) -> None:
    result = allocate(budget, everyone)
    by_job: dict[str, set[int]] = {}
    for one in everyone:
        floor, ceiling = shared_floor_and_ceiling(one, everyone)
        assert floor <= result[one.uuid].limit_mw <= ceiling
        if one.job and (floor, ceiling) != (one.floor_mw, one.ceiling_mw):
            by_job.setdefault(one.job, set()).add(result[one.uuid].limit_mw)
    assert all(len(different) == 1 for different in by_job.values())


@given(BUDGETS, requests(), st.randoms(use_true_random=False))
def test_the_order_of_the_requests_does_not_matter(
    budget: int, everyone: list[Request], chance: random.Random
) -> None:
    shuffled = everyone.copy()
    chance.shuffle(shuffled)
    assert allocate(budget, shuffled) == allocate(budget, everyone)


@given(BUDGETS, requests(), st.integers(0, 1_000_000))
def test_a_smaller_budget_never_raises_anyone_beyond_rounding(
    budget: int, everyone: list[Request], less: int
) -> None:
    larger, smaller = allocate(budget, everyone), allocate(budget - less, everyone)
    assert sum(a.limit_mw for a in smaller.values()) <= sum(a.limit_mw for a in larger.values()) + len(
        everyone
    )
    for uuid, allocation in smaller.items():
        assert allocation.limit_mw <= larger[uuid].limit_mw + len(everyone)


@given(BUDGETS, requests(with_jobs=False))
def test_within_a_class_nobody_who_wants_more_is_below_another_of_its_weight(
    budget: int, everyone: list[Request]
) -> None:
    """Max-min fairness: more for one would have to come from someone who has less."""
    result = allocate(budget, everyone)
    for one in everyone:
        if result[one.uuid].wanted_mw == one.want_mw:
            continue
        for other in everyone:
            if (other.priority, other.weight) == (one.priority, one.weight):
                assert result[other.uuid].wanted_mw <= max(other.floor_mw, result[one.uuid].wanted_mw) + 1


@given(BUDGETS, requests(with_jobs=False))
def test_a_lower_class_rises_only_when_the_higher_ones_have_what_they_want(
    budget: int, everyone: list[Request]
) -> None:
    result = allocate(budget, everyone)
    raised = [r.priority for r in everyone if result[r.uuid].limit_mw > r.floor_mw]
    for one in everyone:
        if raised and one.priority < max(raised):
            assert result[one.uuid].wanted_mw == one.want_mw


@given(BUDGETS, requests())
def test_nobody_has_spare_watts_while_somebody_wants_more(budget: int, everyone: list[Request]) -> None:
    result = allocate(budget, everyone)
    if any(allocation.spare_mw for allocation in result.values()):
        plain = allocate(budget, [r._replace(ceiling_mw=r.want_mw) for r in everyone if not r.job])
        for one in everyone:
            if not one.job:
                assert result[one.uuid].wanted_mw == one.want_mw == plain[one.uuid].limit_mw


def test_pouring_less_than_the_vessels_hold_takes_nothing_out() -> None:
    assert fill(5, [(10, 10, 1.0, 1), (10, 10, 2.0, 1)]) == [10, 10]
    assert fill(5, [(10, 20, 1.0, 1), (10, 20, 2.0, 1)]) == [10, 10]


VESSELS = st.lists(
    st.tuples(
        st.integers(0, 10**9),
        st.integers(0, 10**9),
        st.floats(1e-3, 1e6, allow_nan=False),
        st.integers(1, 16),
    ).map(lambda v: (v[0] * v[3], (v[0] + v[1]) * v[3], v[2], v[3])),
    min_size=1,
    max_size=80,
)


@given(VESSELS, st.floats(0, 1.1))
@example([(0, 1, 32768.0, 1), (0, 582_368_448, 0.001, 16)], 0.5)  # a tiny weight beside a huge one
@example([(0, 1, 1.0, 1)] * 5 + [(0, 34, 1.0, 1), (0, 4_387_543_422, 0.001, 6)], 0.34375)
def test_pouring_stays_exact_for_amounts_far_above_any_rack(
    vessels: list[tuple[int, int, float, int]], part: float
) -> None:
    low, high = sum(v[0] for v in vessels), sum(v[1] for v in vessels)
    total = low + int((high - low) * part)
    amounts = fill(total, vessels)
    assert min(total, high) - max(v[3] for v in vessels) < sum(amounts) <= min(total, high)
    for amount, (bottom, top, _, unit) in zip(amounts, vessels, strict=True):
        assert bottom <= amount <= top
        assert amount % unit == 0


@st.composite
def appraised(draw: st.DrawFn) -> list[Request]:
    """Draw requests whose value is known to some degree."""
    return [
        one._replace(
            need_mw=draw(st.integers(one.floor_mw, one.want_mw)), natural_mw=draw(st.floats(1.0, 2e6))
        )
        for one in draw(requests())
    ]


@given(BUDGETS, appraised())
def test_with_values_known_too_the_sum_is_exact_and_every_limit_within_its_range(
    budget: int, everyone: list[Request]
) -> None:
    result = allocate(budget, everyone)
    spans = [shared_floor_and_ceiling(one, everyone) for one in everyone]
    aim = min(max(budget, sum(floor for floor, _ in spans)), sum(ceiling for _, ceiling in spans))
    assert aim - len(everyone) < sum(one.limit_mw for one in result.values()) <= aim
    for one, (floor, ceiling) in zip(everyone, spans, strict=True):
        assert floor <= result[one.uuid].limit_mw <= ceiling


@given(BUDGETS, appraised(), st.integers(0, 10**6))
def test_with_values_known_too_a_smaller_budget_raises_nobody_beyond_rounding(
    budget: int, everyone: list[Request], less: int
) -> None:
    larger, smaller = allocate(budget, everyone), allocate(max(0, budget - less), everyone)
    for one in everyone:
        assert smaller[one.uuid].wanted_mw <= larger[one.uuid].wanted_mw + 3 * len(everyone)


def held_down(*natural_w: int) -> list[Request]:
    """Return GPUs from 100 to 700 W that want all they can have, of natural draws in watts."""
    watt = 1000
    return [
        Request(f"GPU-{i}", 100 * watt, 700 * watt, 700 * watt, need_mw=700 * watt, natural_mw=watts * watt)
        for i, watts in enumerate(natural_w)
    ]


def limits_w(budget_w: int, everyone: list[Request]) -> list[float]:
    return [one.limit_mw / 1000 for one in allocate(budget_w * 1000, everyone).values()]


def test_below_everybodys_knee_limits_are_equal_whatever_the_natural_draws() -> None:
    assert limits_w(460, held_down(400, 600)) == [230, 230]


def test_beyond_the_knees_limits_stand_in_proportion_to_natural_draws() -> None:
    assert limits_w(800, held_down(400, 600)) == pytest.approx([320, 480], abs=0.002)


def test_between_two_knees_only_the_one_that_has_not_reached_its_own_rises() -> None:
    limits = limits_w(560, held_down(400, 600))
    assert limits == pytest.approx([400 * KNEE, 560 - 400 * KNEE], abs=0.002)


def test_beyond_the_knees_weights_count_as_they_do_below() -> None:
    first, second = held_down(400, 400)
    heavy = [first._replace(weight=2.0), second]
    assert limits_w(900, heavy) == [pytest.approx(600, abs=1), pytest.approx(300, abs=1)]
