"""What read-back teaches: refused writes, other writers, limiters out of band."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.gpus.observed import Observed, ObservedRules, learn_from_outcome, learn_from_reading
from powerd.core.model import GpuReading, GpuState, Notice, Outcome, Result
from tests.core.make import W, gpu, uuid

RULES = ObservedRules(ceiling_hold_s=600.0, out_of_band_after_s=30.0)


def outcome(result: Result, watts: int = 400) -> Outcome:
    return Outcome(uuid(0), watts * W, result)


def see(observed: Observed, reading: GpuReading, boot_s: float) -> tuple[Observed, list[str]]:
    after, notices = learn_from_reading(observed, reading, boot_s, RULES)
    return after, [notice.event for notice in notices]


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (50, 60)])
def test_a_gpu_that_refuses_is_left_alone_longer_each_time_up_to_a_minute(
    failures: int, wait_s: float
) -> None:
    observed = Observed()
    for _ in range(failures):
        observed = learn_from_outcome(observed, outcome(Result.FAILED), 100.0)
    assert observed.is_stuck(100.0)
    assert observed.is_stuck(100.0 + wait_s - 0.001)
    assert not observed.is_stuck(100.0 + wait_s)


@pytest.mark.parametrize("result", [Result.APPLIED, Result.CLAMPED])
def test_one_write_that_works_ends_it(result: Result) -> None:
    stuck = learn_from_outcome(Observed(), outcome(Result.FAILED), 100.0)
    assert learn_from_outcome(stuck, outcome(result), 100.0) == Observed()


def test_a_raise_that_was_not_started_teaches_nothing() -> None:
    stuck = learn_from_outcome(Observed(), outcome(Result.FAILED), 100.0)
    assert learn_from_outcome(stuck, outcome(Result.SKIPPED), 101.0) == stuck


def test_a_lower_limit_by_someone_else_becomes_a_ceiling_for_ten_minutes() -> None:
    seen, events = see(Observed(), gpu(limit=300, written=500), 100.0)
    assert (seen.ceiling_mw, seen.ceiling_source, seen.ceiling_until_boot_s) == (
        300 * W,
        "other_writer",
        700.0,
    )
    assert events == ["other_writer"]


def test_the_ceiling_ends_after_ten_minutes_so_that_powerd_tries_again() -> None:
    """The foreign limit is still there, since nothing was written meanwhile: it is no news."""
    reading = gpu(limit=300, written=500)
    seen, _ = see(Observed(), reading, 100.0)
    held, events = see(seen, reading, 699.9)
    assert (held.ceiling_mw, events) == (300 * W, [])
    over, events = see(held, reading, 700.0)
    assert (over.ceiling_mw, events) == (None, [])
    assert see(over, reading, 700.0) == (over, [])


def test_a_rival_that_sets_its_limit_again_after_that_is_respected_again() -> None:
    reading = gpu(limit=300, written=500)
    over, _ = see(see(Observed(), reading, 100.0)[0], reading, 700.0)
    written = learn_from_outcome(over, outcome(Result.APPLIED, 500), 700.1)
    again, events = see(written, reading, 701.0)
    assert (again.ceiling_mw, again.ceiling_until_boot_s, events) == (300 * W, 1301.0, ["other_writer"])


def test_a_rival_that_goes_still_lower_is_followed_and_told() -> None:
    first, _ = see(Observed(), gpu(limit=300, written=500), 100.0)
    second, events = see(first, gpu(limit=250, written=500), 101.0)
    assert (second.ceiling_mw, events) == (250 * W, ["other_writer"])
    third, events = see(second, gpu(limit=280, written=500), 102.0)
    assert (third.ceiling_mw, events) == (250 * W, ["other_writer"])


def test_a_higher_limit_by_someone_else_is_told_once_and_gives_nothing() -> None:
    reading = gpu(limit=700, written=500)
    seen, events = see(Observed(), reading, 100.0)
    assert (seen.ceiling_mw, events) == (None, ["other_writer"])
    assert see(seen, reading, 101.0) == (seen, [])


def test_a_write_that_had_no_effect_is_no_rival() -> None:
    """The driver accepted 500 W and still reads 700 W: what stands there is our own old limit."""
    failed = Outcome(uuid(0), 500 * W, Result.FAILED, requested_mw=700 * W)
    observed = learn_from_outcome(Observed(), failed, 100.0)
    assert see(observed, gpu(limit=700, written=500), 100.2)[1] == []
    assert see(observed, gpu(limit=600, written=500), 100.2)[1] == ["other_writer"]


@pytest.mark.parametrize("requested", [499, 500, 501])
def test_rounding_to_whole_watts_is_no_rival(requested: float) -> None:
    assert see(Observed(), gpu(limit=requested, written=500), 100.0) == (Observed(), [])


@pytest.mark.parametrize("reading", [gpu(limit=300), gpu(limit=None, written=500)])
def test_no_rival_can_be_seen_before_the_first_write_or_without_a_reading(reading: GpuReading) -> None:
    assert see(Observed(), reading, 100.0) == (Observed(), [])


def test_when_the_rival_is_gone_its_next_visit_is_told_again() -> None:
    first, _ = see(Observed(), gpu(limit=700, written=500), 100.0)
    gone, _ = see(first, gpu(limit=500, written=500), 101.0)
    assert see(gone, gpu(limit=700, written=500), 102.0)[1] == ["other_writer"]


OUT_OF_BAND = gpu(limit=500, requested=700)


def test_an_out_of_band_limit_is_told_at_once_and_its_watts_given_away_after_30_seconds() -> None:
    seen, events = see(Observed(), OUT_OF_BAND, 100.0)
    assert (seen.ceiling_mw, events) == (None, ["out_of_band_limit"])
    seen, events = see(seen, OUT_OF_BAND, 129.9)
    assert (seen.ceiling_mw, events) == (None, [])
    seen, events = see(seen, OUT_OF_BAND, 130.0)
    assert (seen.ceiling_mw, seen.ceiling_source, events) == (500 * W, "out_of_band", [])
    assert seen.ceiling_until_boot_s == 730.0


def test_a_short_out_of_band_limit_gives_nothing_away() -> None:
    seen, _ = see(Observed(), OUT_OF_BAND, 100.0)
    seen, _ = see(seen, gpu(limit=700), 120.0)
    seen, events = see(seen, OUT_OF_BAND, 140.0)
    assert (seen.ceiling_mw, events) == (None, ["out_of_band_limit"])


@pytest.mark.parametrize("state", [GpuState.HUNG, GpuState.LOST])
def test_nothing_new_is_learned_from_a_gpu_that_does_not_answer(state: GpuState) -> None:
    assert see(Observed(), gpu(limit=300, written=500, state=state), 100.0) == (Observed(), [])


def test_a_ceiling_ends_on_a_gpu_that_does_not_answer_too() -> None:
    seen, _ = see(Observed(), gpu(limit=300, written=500), 100.0)
    assert see(seen, gpu(limit=300, written=500, state=GpuState.HUNG), 700.0)[0].ceiling_mw is None


def test_a_notice_says_who_what_and_for_how_long() -> None:
    _, [notice] = learn_from_reading(Observed(), gpu(limit=300, written=500), 100.0, RULES)
    assert isinstance(notice, Notice)
    assert notice.subject == uuid(0)
    assert notice.text == "another writer set 300 W where powerd wrote 500 W: kept as a ceiling for 600 s"


@given(
    st.lists(
        st.tuples(st.floats(0, 700), st.integers(200, 700), st.integers(200, 700), st.integers(200, 700))
    )
)
def test_while_it_holds_a_ceiling_only_comes_down(steps: list[tuple[float, int, int, int]]) -> None:
    observed, boot_s = Observed(), 0.0
    for dt, written, requested, enforced in steps:
        boot_s += dt
        reading = gpu(limit=min(enforced, requested), requested=requested, written=written)
        after, _ = see(observed, reading, boot_s)
        assert see(after, reading, boot_s) == (after, [])
        if observed.ceiling_mw is not None and boot_s < observed.ceiling_until_boot_s:
            assert after.ceiling_mw is not None
            assert after.ceiling_mw <= observed.ceiling_mw
        observed = after
