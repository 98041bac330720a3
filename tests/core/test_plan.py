"""What to write and in which order: every cut before any raise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.gpus.plan import DeadBand, whole_watts, writes
from powerd.core.model import Write
from tests.core.make import W

BAND = DeadBand(mw=5 * W, pct=2.0)
Watts = dict[str, int]


def plan(
    current: dict[str, int | None], targets: Watts, budget: int, wants: Watts | None = None
) -> tuple[Watts, Watts]:
    cuts, raises = writes(
        {uuid: None if watts is None else watts * W for uuid, watts in current.items()},
        {uuid: watts * W for uuid, watts in targets.items()},
        {uuid: watts * W for uuid, watts in (targets if wants is None else wants).items()},
        budget * W,
        BAND,
    )
    return {w.uuid: w.mw // W for w in cuts}, {w.uuid: w.mw // W for w in raises}


@pytest.mark.parametrize(
    ("current", "targets", "budget", "cuts", "raises"),
    [
        ({"a": 500}, {"a": 500}, 500, {}, {}),
        ({"a": 500}, {"a": 400}, 400, {"a": 400}, {}),
        ({"a": 500}, {"a": 600}, 600, {}, {"a": 600}),
        ({"a": 500, "b": 300}, {"a": 300, "b": 500}, 800, {"a": 300}, {"b": 500}),
        # A raise below 5 W and below 2 %, which is 4 W of 200 W, is not worth a write ...
        ({"a": 500}, {"a": 504}, 600, {}, {}),
        ({"a": 500}, {"a": 505}, 600, {}, {"a": 505}),
        ({"a": 200}, {"a": 203}, 600, {}, {}),
        ({"a": 200}, {"a": 204}, 600, {}, {"a": 204}),
        # ... nor a cut that the budget does not need; one that it needs is made, however small.
        ({"a": 500}, {"a": 496}, 500, {}, {}),
        ({"a": 500}, {"a": 496}, 499, {"a": 496}, {}),
        # Only as many small cuts as are needed, the largest first.
        ({"a": 500, "b": 500}, {"a": 498, "b": 496}, 997, {"b": 496}, {}),
        ({"a": 500, "b": 500}, {"a": 498, "b": 496}, 994, {"a": 498, "b": 496}, {}),
        # A raise elsewhere may need a small cut.
        ({"a": 500, "b": 300}, {"a": 496, "b": 400}, 897, {"a": 496}, {"b": 400}),
        # What a GPU may draw now is not known: it is written first, as a cut.
        ({"a": None, "b": 300}, {"a": 500, "b": 400}, 900, {"a": 500}, {"b": 400}),
        ({}, {}, 0, {}, {}),
    ],
)
def test_cuts_and_raises(
    current: dict[str, int | None], targets: Watts, budget: int, cuts: Watts, raises: Watts
) -> None:
    assert plan(current, targets, budget) == (cuts, raises)


@pytest.mark.parametrize(
    ("want", "target", "cuts", "raises"),
    [
        # Spare watts are given and taken in steps of 20 W or 8 %, the less of the two ...
        (300, 519, {}, {}),
        (300, 520, {}, {"a": 520}),
        (300, 481, {}, {}),
        (300, 480, {"a": 480}, {}),
        # ... as is what a GPU loses because others want more: the budget says when that is needed.
        (700, 481, {}, {}),
        # What it wants is worth a write from 5 W on, as is its ceiling.
        (700, 505, {}, {"a": 505}),
        (495, 495, {"a": 495}, {}),
    ],
)
def test_a_change_that_nobody_needs_waits_until_it_is_large(
    want: int, target: int, cuts: Watts, raises: Watts
) -> None:
    assert plan({"a": 500}, {"a": target}, 600, {"a": want}) == (cuts, raises)


def test_writes_are_in_order_of_uuid() -> None:
    cuts, _ = writes(
        {"b": 500 * W, "a": 500 * W},
        {"b": 300 * W, "a": 300 * W},
        {"b": 300 * W, "a": 300 * W},
        600 * W,
        BAND,
    )
    assert cuts == (Write("a", 300 * W), Write("b", 300 * W))


@pytest.mark.parametrize(
    ("mw", "floor_mw", "rounded"),
    [(450_999, 200_000, 450_000), (450_000, 0, 450_000), (200_400, 200_500, 200_500)],
)
def test_limits_are_whole_watts_but_not_below_the_floor(mw: int, floor_mw: int, rounded: int) -> None:
    assert whole_watts(mw, floor_mw) == rounded


LIMITS = st.integers(100, 700).map(lambda watts: watts * W)
GPUS = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(LIMITS, LIMITS, LIMITS))


@given(GPUS, st.integers(0, 6000).map(lambda watts: watts * W))
def test_no_prefix_exceeds_the_larger_of_before_and_after(
    gpus: dict[str, tuple[int, int, int]], budget: int
) -> None:
    """I3, wherever the plan stops; and the sum fits afterwards whenever the targets do."""
    limits = {uuid: before for uuid, (before, _, _) in gpus.items()}
    targets = {uuid: target for uuid, (_, target, _) in gpus.items()}
    wants = {uuid: want for uuid, (_, _, want) in gpus.items()}
    cuts, raises = writes(limits, targets, wants, budget, BAND)
    assert all(write.mw < limits[write.uuid] for write in cuts)
    assert all(write.mw > limits[write.uuid] for write in raises)
    sums = [sum(limits.values())]
    for write in cuts + raises:
        limits[write.uuid] = write.mw
        sums.append(sum(limits.values()))
    assert max(sums) <= max(sums[0], sums[-1])
    assert sums[-1] <= max(budget, sum(targets.values()))


@given(GPUS, st.integers(0, 6000).map(lambda watts: watts * W))
def test_after_a_plan_the_same_targets_give_an_empty_one(
    gpus: dict[str, tuple[int, int, int]], budget: int
) -> None:
    limits = {uuid: before for uuid, (before, _, _) in gpus.items()}
    targets = {uuid: target for uuid, (_, target, _) in gpus.items()}
    wants = {uuid: want for uuid, (_, _, want) in gpus.items()}
    cuts, raises = writes(limits, targets, wants, budget, BAND)
    limits |= {write.uuid: write.mw for write in cuts + raises}
    if sum(targets.values()) <= budget:
        assert writes(limits, targets, wants, budget, BAND) == ((), ())
