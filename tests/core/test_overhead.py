"""What the host draws that is not GPU: up at once, down slowly, never given away for lack of news."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.gpus.overhead import Overhead, OverheadSample, overhead_step, smooth
from tests.core.make import W


def sample(watts: float, boot_s: float) -> OverheadSample:
    return OverheadSample(round(watts * W), boot_s, "rapl")


def measured(*samples: OverheadSample) -> Overhead:
    overhead = Overhead()
    for one in samples:
        overhead = smooth(overhead, one)
    return overhead


def test_a_rise_counts_at_once() -> None:
    assert measured(sample(500, 0), sample(900, 1)).smoothed_mw == 900 * W


def test_a_fall_counts_slowly() -> None:
    """63 % of the way down after one time constant of 60 s."""
    overhead = measured(sample(1000, 500), sample(0, 560))
    assert overhead.smoothed_mw == pytest.approx(1000 * W * 0.3679, rel=1e-3)


def test_the_same_sample_twice_an_older_one_or_none_changes_nothing() -> None:
    overhead = measured(sample(1000, 10), sample(800, 20))
    for again in (sample(800, 20), sample(2000, 5), None):
        assert smooth(overhead, again) == overhead


def test_a_sensor_below_zero_counts_as_zero() -> None:
    assert measured(sample(-50, 0)).smoothed_mw == 0
    assert measured(sample(10, 0), sample(-50, 600)).smoothed_mw >= 0


@pytest.mark.parametrize(
    ("configured", "measured_watts", "age_s", "watts", "source"),
    [
        (500, None, 0, 500, "host.overhead_watts"),
        (500, 400, 0, 500, "host.overhead_watts"),
        (500, 800, 0, 800, "rapl"),
        (500, 800, 60, 800, "rapl"),
        (500, 800, 61, 800, "rapl"),
        (None, 800, 0, 800, "rapl"),
        (None, 800, 61, 800, "rapl"),
        (None, None, 0, 0, "host.overhead_watts"),
    ],
)
def test_the_larger_of_configured_and_measured_counts_also_when_the_sensor_falls_silent(
    configured: int | None, measured_watts: int | None, age_s: float, watts: int, source: str
) -> None:
    """A measurement that is old stays: dropping it would raise the GPUs' budget for lack of news."""
    overhead = measured() if measured_watts is None else measured(sample(measured_watts, 0.0))
    step = overhead_step(overhead, None if configured is None else configured * W, age_s)
    assert (step.rule, step.mw, step.source) == ("host_overhead", watts * W, source)


def test_a_stale_measurement_says_that_it_is_stale() -> None:
    step = overhead_step(measured(sample(800, 0.0)), None, 61.0)
    assert step.note == "measured 61 s ago"


@given(st.lists(st.tuples(st.integers(-100, 5000), st.floats(0.1, 100)), min_size=1))
def test_never_below_the_latest_measurement(samples: list[tuple[int, float]]) -> None:
    overhead, boot_s = Overhead(), 0.0
    for watts, dt in samples:
        boot_s += dt
        overhead = smooth(overhead, sample(watts, boot_s))
        assert overhead.smoothed_mw >= max(0, watts * W)
