"""Who wants more power: judged by mean draw and by the power-cap counter, never by utilisation."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.gpus.demand import Demand, DemandRules, GpuDemand, assess
from powerd.core.gpus.reserve import reserve_mw
from powerd.core.model import EventReason, GpuReading
from tests.core.make import MAX_W, W, gpu

RULES = DemandRules(idle_after_s=30.0, warmup_s=10.0)
S = 1_000_000_000  # one second of the power-cap counter, in nanoseconds


def watch(readings: Iterable[GpuReading], start: GpuDemand | None = None) -> GpuDemand:
    known = start
    for reading in readings:
        known = assess(known, reading, MAX_W * W, RULES)
    assert known is not None
    return known


def idle_since_long() -> GpuDemand:
    known = watch(gpu(draw=60, sampled=t, capped_ns=0) for t in range(41))
    assert known.demand is Demand.IDLE
    return known


def at_work() -> GpuDemand:
    """Return what is known of a GPU that has drawn 500 of 700 W for 20 s."""
    return watch(gpu(draw=500, sampled=t, capped_ns=0) for t in range(21))


def test_a_gpu_seen_for_the_first_time_is_given_its_ceiling() -> None:
    known = watch([gpu(draw=60, sampled=1.0)])
    assert (known.demand, known.want_mw) == (Demand.WAKING, MAX_W * W)


def test_a_gpu_that_works_below_its_limit_wants_its_draw_and_a_reserve() -> None:
    known = at_work()
    assert (known.demand, known.want_mw) == (Demand.BUSY, 536 * W)


@pytest.mark.parametrize(("draw", "reserve"), [(0, 6), (60, 69.6), (200, 218), (700, 748)])
def test_the_reserve_is_6_percent_and_6_watts(draw: int, reserve: float) -> None:
    assert reserve_mw(draw * W) == round(reserve * W)


@pytest.mark.parametrize(("draw", "want"), [(500, 536), (509, 536), (485, 536), (530, 567.8), (470, 510.885)])
def test_a_want_stays_while_its_reserve_is_neither_too_small_nor_too_large(draw: int, want: float) -> None:
    """Not every flicker is worth a write; a fall is followed as the usual draw of half a minute falls."""
    known = watch((gpu(draw=draw, sampled=21.0 + t, capped_ns=0) for t in range(300)), at_work())
    assert known.want_mw == round(want * W)


@pytest.mark.parametrize(
    ("draw", "capped_s", "demand"),
    [
        (690, 0.06, Demand.CAPPED),  # near its limit
        (690, 0.05, Demand.BUSY),  # not more than 5 % of the period
        (640, 0.97, Demand.CAPPED),
        (640, 0.96, Demand.BUSY),  # for a part of the time: perhaps it has slack
        (640, 1.5, Demand.CAPPED),
        (640, 1.6, Demand.BUSY),  # a counter faster than time is not believed, and the bit is not set
        (640, -0.1, Demand.BUSY),  # nor is one that went backwards
        (559, 1.0, Demand.BUSY),  # an idle card can count, too: 0.8 x 700 = 560
        (560, 1.0, Demand.CAPPED),
    ],
)
def test_wanting_more_needs_the_counter_and_the_draw(draw: float, capped_s: float, demand: Demand) -> None:
    known = watch([gpu(draw=draw, sampled=21.0, capped_ns=round(capped_s * S))], at_work())
    assert known.demand is demand


@pytest.mark.parametrize(
    ("draw", "bit", "demand"),
    [
        (640, EventReason.SW_POWER_CAP, Demand.CAPPED),
        (640, 0, Demand.BUSY),
        (600, EventReason.SW_POWER_CAP, Demand.BUSY),
    ],
)
@pytest.mark.parametrize("counter", [None, 1000 * S])
def test_without_a_counter_to_believe_the_momentary_bit_must_do(
    draw: float, bit: int, demand: Demand, counter: int | None
) -> None:
    known = watch([gpu(draw=draw, sampled=21.0, capped_ns=counter, reasons=bit)], at_work())
    assert known.demand is demand


@pytest.mark.parametrize(
    "bit",
    [
        EventReason.HW_SLOWDOWN,
        EventReason.SW_THERMAL,
        EventReason.HW_THERMAL,
        EventReason.HW_POWER_BRAKE,
    ],
)
def test_held_back_by_heat_or_hardware_is_not_wanting_more(bit: int) -> None:
    reading = gpu(draw=650, sampled=21.0, capped_ns=S, reasons=bit | EventReason.SW_POWER_CAP)
    known = watch([reading], at_work())
    assert (known.demand, known.want_mw) == (Demand.HELD, reserve_mw(650 * W))


def test_a_gpu_is_idle_only_after_30_seconds_of_little_draw() -> None:
    low = [gpu(draw=60, sampled=float(t), capped_ns=0) for t in range(21, 60)]
    states = {reading.sampled_boot_s: watch(low[: i + 1], at_work()) for i, reading in enumerate(low)}
    assert (states[50.0].demand, states[50.0].want_mw) == (Demand.BUSY, 700 * W)  # keeps what it has
    assert (states[51.0].demand, states[51.0].want_mw) == (Demand.IDLE, 69.6 * W)


def test_a_moment_of_work_starts_the_30_seconds_again() -> None:
    readings = [gpu(draw=60, sampled=float(t), capped_ns=0) for t in range(21, 45)]
    readings += [gpu(draw=500, sampled=45.0, capped_ns=0)]
    readings += [gpu(draw=60, sampled=float(t), capped_ns=0) for t in range(46, 70)]
    assert watch(readings, at_work()).demand is Demand.BUSY


def test_an_idle_gpu_stays_idle_when_its_limit_comes_down_to_its_draw() -> None:
    """Its draw is no longer small against its limit, but it has not grown."""
    readings = [gpu(limit=90, draw=80, sampled=float(t), capped_ns=0) for t in range(41, 60)]
    known = watch(readings, idle_since_long())
    assert (known.demand, known.want_mw) == (Demand.IDLE, 90.8 * W)


@pytest.mark.parametrize(("limit", "draw", "capped_ns"), [(700, 91, 0), (90, 85, S)])
def test_an_idle_gpu_that_starts_work_has_its_ceiling_at_once(limit: int, draw: int, capped_ns: int) -> None:
    known = watch([gpu(limit=limit, draw=draw, sampled=41.0, capped_ns=capped_ns)], idle_since_long())
    assert (known.demand, known.want_mw) == (Demand.WAKING, MAX_W * W)


@pytest.mark.parametrize("woke_s_ago", [0.1, 0.5, 0.8])
def test_an_idle_gpu_that_woke_since_the_last_sample_has_its_ceiling_at_once(woke_s_ago: float) -> None:
    """Its low limit holds it down for a part of the time already: watts are to be there within a period."""
    idle = [replace(gpu(draw=60, sampled=t, capped_ns=0), energy_mj=60 * W * t) for t in range(41)]
    drawn_mj = 60 * W * 40 + round((60 + 115 * woke_s_ago) * W)
    woken = gpu(limit=175, draw=175, sampled=41.0, capped_ns=round(woke_s_ago * S))
    known = watch([*idle, replace(woken, energy_mj=drawn_mj)])
    assert (known.demand, known.want_mw) == (Demand.WAKING, MAX_W * W)


def test_the_ceiling_holds_for_the_warm_up_and_then_the_draw_decides() -> None:
    woken = watch([gpu(draw=300, sampled=41.0, capped_ns=0)], idle_since_long())
    warm = watch([gpu(draw=450, sampled=float(t), capped_ns=0) for t in range(42, 51)], woken)
    assert (warm.demand, warm.want_mw) == (Demand.WAKING, MAX_W * W)
    assert watch([gpu(draw=450, sampled=51.0, capped_ns=0)], warm).demand is Demand.BUSY


def test_a_gpu_that_is_held_back_while_warming_up_is_capped() -> None:
    woken = watch([gpu(draw=300, sampled=41.0, capped_ns=0)], idle_since_long())
    assert watch([gpu(draw=690, sampled=42.0, capped_ns=S)], woken).demand is Demand.CAPPED


def test_a_lowest_idle_draw_is_the_one_to_wake_from() -> None:
    """A slow rise does not creep up with the reserve."""
    readings = [gpu(draw=60 + t, sampled=41.0 + t, capped_ns=0) for t in range(32)]
    assert watch(readings[:31], idle_since_long()).demand is Demand.IDLE
    assert watch(readings, idle_since_long()).demand is Demand.WAKING


def test_the_same_sample_again_changes_nothing() -> None:
    known = at_work()
    assert watch([gpu(draw=60, sampled=20.0)], known) == known


@pytest.mark.parametrize(
    "broken",
    [
        gpu(draw=None, sampled=20.0, worst_case=650),  # not sampled in time: the stamp is the old one
        gpu(draw=None, sampled=21.0, worst_case=650),
        gpu(limit=None, sampled=21.0, worst_case=650),
        gpu(limit=0, sampled=21.0, worst_case=650),
    ],
)
def test_a_missing_reading_frees_no_watts(broken: GpuReading) -> None:
    for start in (at_work(), None):
        known = watch([broken], start)
        assert (known.demand, known.want_mw) == (Demand.UNKNOWN, 650 * W)


def test_a_gpu_of_which_nothing_is_known_may_want_all() -> None:
    known = watch([gpu(draw=None, limit=None)])
    assert (known.demand, known.want_mw) == (Demand.UNKNOWN, MAX_W * W)


def test_after_a_gap_the_counter_is_compared_over_the_whole_gap() -> None:
    gap = gpu(draw=None, sampled=20.0)
    back = gpu(draw=690, sampled=30.0, capped_ns=S)
    assert watch([gap, back], at_work()).demand is Demand.CAPPED
    assert watch([gap, gpu(draw=690, sampled=30.0, capped_ns=S // 10)], at_work()).demand is Demand.BUSY


DRAWS = st.none() | st.floats(0, 700, allow_nan=False)


@given(st.lists(st.tuples(DRAWS, st.integers(0, 10 * S), st.integers(0, 255)), max_size=50))
def test_every_want_covers_what_is_drawn_and_a_reserve(readings: list[tuple[float | None, int, int]]) -> None:
    known = None
    for i, (draw, counter, bits) in enumerate(readings):
        reading = gpu(draw=draw, sampled=float(i), capped_ns=counter, reasons=bits)
        known = assess(known, reading, MAX_W * W, RULES)
        assert assess(known, reading, MAX_W * W, RULES) == known
        assert known.want_mw >= min(MAX_W * W, (reading.draw_mw or 0) * 103 // 100)


def flickering(load: float, limit: float, t: float) -> GpuReading:
    """Return a GPU at work for a part of the time, in turns too short to see: samples show all or nothing."""
    joules = 1000 * (60 + load * (limit - 60)) * t
    draw = limit if int(t) % 2 else 60
    return replace(gpu(limit=limit, draw=draw, sampled=t, capped_ns=0), energy_mj=round(joules))


def test_the_mean_draw_counts_and_not_the_moment_of_a_sample() -> None:
    wants = []
    known = None
    for t in range(60):
        reading = flickering(0.5, 400, 100.0 + t)
        known = assess(known, reading, MAX_W * W, RULES)
        wants.append(known.want_mw)
    assert set(wants[31:]) == {reserve_mw(230 * W)}


def test_held_back_all_the_time_it_wants_more_from_period_to_period() -> None:
    readings = (gpu(limit=300, draw=295, sampled=21.0 + t, capped_ns=(t + 1) * S) for t in range(4))
    known, wants = at_work()._replace(want_mw=300 * W), []
    for reading in readings:
        known = assess(known, reading, MAX_W * W, RULES)
        wants.append(known.want_mw)
    assert wants == [330 * W, 396 * W, 554.4 * W, MAX_W * W]


def test_the_next_burst_has_the_ceiling_at_once() -> None:
    burst = [
        gpu(limit=400, draw=395, sampled=21.0, capped_ns=S),
        gpu(limit=400, draw=250, sampled=22.0, capped_ns=S),
    ]
    between = watch(burst, at_work())
    assert between.want_mw < MAX_W * W
    again = watch([gpu(limit=400, draw=395, sampled=23.0, capped_ns=2 * S)], between)
    assert (again.demand, again.want_mw) == (Demand.CAPPED, MAX_W * W)


def test_after_a_burst_a_limit_that_holds_for_a_part_of_the_time_is_not_tried_for_slack() -> None:
    """The load comes in bursts: between two of them its want is kept, not lowered by way of trial."""
    burst = watch([gpu(draw=690, sampled=21.0, capped_ns=S)], at_work())
    assert burst.demand is Demand.CAPPED
    after = watch([gpu(draw=640, sampled=22.0, capped_ns=S + S // 2)], burst)
    assert (after.demand, after.want_mw, after.slack.from_mw) == (Demand.BUSY, burst.want_mw, 0)
