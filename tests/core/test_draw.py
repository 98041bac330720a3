"""What the whole rack draws, and the mean of the last ten minutes."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.host_state import HostState
from powerd.core.metering.draw import LONGEST_GAP_S, WINDOW_S, DrawHistory, rack_draw, remember
from powerd.core.metering.meter import Meter, MeterReading, MeterRules, Quality
from powerd.core.model import GpuReading
from tests.core.make import W, gpu, rack
from tests.core.make_leases import says

OWN = (gpu(0, draw=300), gpu(1, draw=500))
METER = MeterRules(parts=("total",))


def peer(watts: float | None, received: float = 100.0) -> HostState:
    """Return the last state of h2."""
    return replace(says(at=received), measured_mw=None if watts is None else round(watts * W))


def metered(watts: float) -> Meter:
    return Meter({"total": MeterReading("total", round(watts * W), Quality.GOOD, 100.0)})


def draw_of(
    readings: Iterable[GpuReading] = OWN,
    peers: Iterable[HostState] = (),
    meter: Meter | None = None,
    *,
    hosts: int = 2,
) -> tuple[float | None, str, float | None, float | None]:
    """Return the draw in watts at 101 s: all of it, where from, by the meter, and by the hosts."""
    example = rack(hosts=rack().hosts[:hosts], overhead=100)
    found = rack_draw(example, readings, 200 * W, peers, meter or Meter(), METER, silent_s=3.5, boot_s=101.0)
    mws = [None if mw is None else mw / W for mw in (found.mw, found.metered_mw, found.accounted_mw)]
    return mws[0], found.source, mws[1], mws[2]


def test_hosts_account_for_their_gpus_and_overhead_and_the_rack_for_its_own() -> None:
    assert draw_of(peers=(peer(1500),)) == (2600, "hosts", None, 2600)
    assert draw_of(hosts=1) == (1100, "hosts", None, 1100)


def test_the_meter_is_believed_where_there_is_one() -> None:
    assert draw_of(peers=(peer(1500),), meter=metered(2700)) == (2700, "meter", 2700, 2600)
    assert draw_of(meter=metered(2700)) == (2700, "meter", 2700, None)


@pytest.mark.parametrize(
    ("readings", "peers"),
    [
        (OWN, ()),
        (OWN, (peer(None),)),
        (OWN, (peer(1500, received=97.4),)),
        ((gpu(0), gpu(1, draw=None)), (peer(1500),)),
        ((), (peer(1500),)),
    ],
)
def test_what_one_host_or_gpu_does_not_tell_makes_the_draw_unknown_and_not_smaller(
    readings: tuple[GpuReading, ...], peers: tuple[HostState, ...]
) -> None:
    """Without its guard, a host reads nothing, and draws what it drew."""
    assert draw_of(readings, peers) == (None, "", None, None)


# The mean


def over(
    history: DrawHistory, watts: float | None, since: float, until: float, step: float = 1.0
) -> DrawHistory:
    """Remember a draw from one moment to another."""
    boot_s = since
    while boot_s < until:
        boot_s += step
        history = remember(history, None if watts is None else round(watts * W), boot_s)
    return history


START = remember(DrawHistory(), 0, 0.0)


def mean_watts(history: DrawHistory) -> float | None:
    return None if history.mean_mw is None else history.mean_mw / W


def test_the_mean_is_over_time_and_not_over_readings() -> None:
    history = over(START, 1000, 0, 100, step=1)
    history = over(history, 3000, 100, 200, step=10)
    assert mean_watts(history) == 2000


def test_the_first_reading_says_nothing_of_the_time_before_it() -> None:
    assert START.mean_mw is None
    assert remember(START, 5, 0.0).mean_mw is None


def test_what_was_not_known_is_left_out() -> None:
    history = over(START, 1000, 0, 100)
    history = over(history, None, 100, 200)
    assert mean_watts(over(history, 3000, 200, 300)) == 2000


def test_ten_minutes_are_remembered_by_the_minute() -> None:
    history = over(over(START, 1000, 0, 1200), 3000, 1200, 1200 + WINDOW_S)
    assert mean_watts(history) == 3000
    assert len(history.buckets) == 10


def test_a_draw_of_long_ago_is_no_draw_of_now() -> None:
    """The meter has been silent for longer than what is asked about."""
    history = over(START, 1000, 0, 120)
    assert mean_watts(over(history, None, 120, 600)) == 1000
    assert mean_watts(over(history, None, 120, 900)) is None
    assert remember(history, 3000 * W, 5000.0).mean_mw is None


def test_a_pause_in_which_nobody_looked_is_not_counted() -> None:
    history = over(START, 1000, 0, 10)
    assert mean_watts(remember(history, 9000 * W, 10.0 + LONGEST_GAP_S + 1)) == 1000


def test_a_slow_period_is_counted() -> None:
    """Up to the longest that can be configured."""
    assert mean_watts(over(START, 1000, 0, 600, step=60.5)) == 1000


@given(st.lists(st.tuples(st.floats(0.05, 59), st.none() | st.integers(0, 10**8)), min_size=1, max_size=60))
def test_the_mean_lies_between_the_least_and_the_most(steps: list[tuple[float, int | None]]) -> None:
    history, boot_s = START, 0.0
    for elapsed_s, mw in steps:
        boot_s += elapsed_s
        history = remember(history, mw, boot_s)
        assert remember(history, mw, boot_s) == history
    known = [mw for _, mw in steps if mw is not None]
    if history.mean_mw is not None:
        assert min(known) - 1 <= history.mean_mw <= max(known) + 1
