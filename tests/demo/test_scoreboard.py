"""The demo's arithmetic, against numbers worked out by hand."""

import math
from collections.abc import Sequence

import pytest

from powerd.core.units import MilliWatts
from powerd.demo.event_record import EventRecord
from powerd.demo.observation import GpuView, HostView
from powerd.demo.scenario import SCENARIOS
from powerd.demo.scoreboard import RackDraw, Scoreboard, Spread, spread
from powerd.snapshot import Reaction

FAILSAFE_WATTS = 500.0


def gpu(draw: float, limit: float) -> GpuView:
    return GpuView(
        draw_watts=draw,
        limit_watts=limit,
        worst_case_watts=limit,
        min_watts=100,
        max_watts=400,
        demand="busy",
    )


def view(
    at_s: float,
    *gpus: GpuView,
    host: str = "n1",
    state: str = "limited",
    lease: float | None = None,
    share: float = 500,
    borrowed: float = 0,
    lent: float = 0,
    reaction: Reaction | None = None,
) -> HostView:
    """Return a report whose GPUs were read the moment it arrived."""
    return HostView(
        host=host,
        received_boot_s=at_s,
        sampled_boot_s=at_s,
        state=state,
        connected=True,
        writes_forbidden=False,
        lease_watts=lease,
        rack_watts=1000,
        share_watts=share,
        cap_watts=share + borrowed - lent,
        overhead_watts=100,
        lent_watts=lent,
        borrowed_watts=borrowed,
        waits_s=None,
        reaction=reaction,
        gpus=gpus,
        problems=(),
    )


def drawing(watts: float) -> GpuView:
    """Return a GPU that makes its host draw so much, overhead included."""
    return gpu(watts - 100, 400)


def in_proportion(_host: str, _gpu: int, limit_mw: MilliWatts, _boot_s: float) -> float:
    return limit_mw / 400_000


def board(*hosts: str) -> Scoreboard:
    return Scoreboard(hosts or ("n1",), FAILSAFE_WATTS, in_proportion)


def test_draw_of_the_rack_is_the_sum_of_its_hosts_and_of_two_samples_the_higher_one_counts() -> None:
    draw = RackDraw(["n1", "n2"])
    assert draw.add("n1", 10.0, 300) == []
    assert draw.add("n2", 10.01, 50) == []
    assert draw.add("n1", 10.10, 200) == [(10.01, 350)]
    points = draw.add("n2", 10.12, 80)
    assert [at_s for at_s, _ in points] == pytest.approx([10.06])
    assert [watts for _, watts in points] == [380]


def test_draw_above_the_budget_counts_from_the_moment_the_budget_was_published() -> None:
    """1000 W from 9.0 on, 700 W in the sample at 10.42; 800 W published at 9.98.

    Points every 0.05 s: 10.00 to 10.40 are nine, each 200 W too high.
    """
    scores = board()
    scores.publish(9.0, 1200, lease_s=5)
    scores.add(view(9.0, drawing(1000)))
    scores.publish(9.98, 800, lease_s=5)
    scores.add(view(10.2, drawing(1000)))
    scores.add(view(10.42, drawing(700)))
    scores.add(view(12.0, drawing(700)))
    assert scores.exceeded_watt_s == pytest.approx(9 * 0.05 * 200)
    assert scores.exceeded_after_reaction_watt_s == 0
    assert scores.peak_watts == 1000


def test_a_cut_that_is_not_obeyed_in_time_shows_as_such() -> None:
    """Half a second after 9.98 s is 10.48 s: 10.50 to 11.00 are eleven points, each 200 W too high."""
    scores = board()
    scores.publish(9.0, 1200, lease_s=5)
    scores.add(view(9.0, drawing(1000)))
    scores.publish(9.98, 800, lease_s=5)
    scores.add(view(11.01, drawing(1000)))
    assert scores.exceeded_after_reaction_watt_s == pytest.approx(11 * 0.05 * 200)


def test_after_the_lease_the_failsafe_budget_is_the_measure() -> None:
    """The lease ends at 14.02; after half a second more, 14.55 to 15.00 are ten points, 200 W above 500 W."""
    scores = board()
    scores.publish(9.02, 1200, lease_s=5)
    scores.add(view(9.0, drawing(700)))
    scores.add(view(15.01, drawing(700)))
    assert scores.exceeded_after_reaction_watt_s == pytest.approx(10 * 0.05 * 200)


def test_what_was_drawn_before_the_first_budget_does_not_count() -> None:
    scores = board()
    scores.add(view(1.0, drawing(2000)))
    scores.add(view(2.0, drawing(300)))
    scores.publish(2.5, 1000, lease_s=5)
    scores.add(view(3.0, drawing(300)))
    assert scores.peak_watts == 300
    assert (scores.exceeded_watt_s, scores.work, scores.recovered_watt_s) == (0, 0, 0)


def test_watts_that_cross_hosts_are_what_is_borrowed_and_what_is_drawn_of_it() -> None:
    """n2 may draw 200 W of n1 for a minute; it draws 600 W, 100 W more than its share, for half of that."""
    scores = board("n1", "n2")
    scores.publish(0.0, 1000, lease_s=300)
    for at_s in (1.0, 61.0):
        scores.add(view(at_s, drawing(300), lent=200))
    for at_s, watts in ((1.0, 600), (31.0, 400), (61.0, 400)):
        scores.add(view(at_s, drawing(watts), host="n2", borrowed=200))
    assert scores.crossed_wh == pytest.approx(200 / 60)
    assert scores.crossed_used_wh == pytest.approx(100 / 120)


def test_no_more_of_the_borrowed_watts_is_used_than_was_borrowed() -> None:
    """A draw that has not come down yet after a cut is not another host's doing."""
    scores = board()
    scores.publish(0.0, 1000, lease_s=300)
    scores.add(view(1.0, drawing(900), borrowed=50))
    scores.add(view(3601.0, drawing(900), borrowed=50))
    assert scores.crossed_used_wh == pytest.approx(50)


def test_equal_caps_are_those_of_the_hosts_own_share_whatever_crossed() -> None:
    """A share of 500 W less 100 W overhead is 200 W for each; one draws 280 W, with 80 W of another host."""
    scores = board()
    scores.publish(0.0, 1000, lease_s=300)
    for at_s in (1.0, 11.0):
        scores.add(view(at_s, gpu(280, 280), gpu(200, 200), borrowed=80))
    assert scores.recovered_watt_s == pytest.approx(800)
    assert scores.work_vs_uniform == pytest.approx((280 + 200) / 400)


def test_work_and_recovered_watts_are_measured_against_equal_parts_of_the_hosts_share() -> None:
    """400 W for two GPUs are 200 W each. One has 300 W and draws 280: 80 W recovered, for ten seconds.

    In units of 400 W: 0.75 + 0.25 against 0.5 + 0.5.
    """
    scores = board()
    scores.publish(0.0, 1000, lease_s=300)
    scores.add(view(1.0, gpu(280, 300), gpu(60, 100)))
    scores.add(view(11.0, gpu(280, 300), gpu(60, 100)))
    assert scores.recovered_watt_s == pytest.approx(800)
    assert scores.recovered_wh == pytest.approx(800 / 3600)
    assert scores.work == pytest.approx(10)
    assert scores.work_uniform == pytest.approx(10)
    assert scores.work_vs_uniform == pytest.approx(1)


def test_watts_given_to_a_gpu_without_work_do_no_work() -> None:
    def only_the_first_works(_host: str, index: int, limit_mw: MilliWatts, _boot_s: float) -> float:
        return limit_mw / 400_000 if index == 0 else 0.0

    scores = Scoreboard(["n1"], FAILSAFE_WATTS, only_the_first_works)
    scores.publish(0.0, 1000, lease_s=300)
    scores.add(view(1.0, gpu(280, 300), gpu(60, 100)))
    scores.add(view(2.0, gpu(280, 300), gpu(60, 100)))
    assert scores.work_vs_uniform == pytest.approx(0.75 / 0.5)


def test_equal_caps_stay_within_what_the_gpu_accepts() -> None:
    scores = board()
    scores.publish(0.0, 1000, lease_s=300)
    scores.add(view(1.0, gpu(100, 100), share=140))
    scores.add(view(2.0, gpu(100, 100), share=140))
    assert scores.work_vs_uniform == pytest.approx(1)
    assert scores.recovered_watt_s == 0


def test_reaction_is_from_published_to_read_back_and_only_of_hosts_that_had_to_cut() -> None:
    scores = board("n1", "n2")
    scores.add(view(9.0, drawing(300)))
    scores.add(view(9.0, drawing(300), host="n2"))
    scores.publish(9.0, 1200, lease_s=5)
    scores.publish(10.0, 800, lease_s=5)
    before, during = Reaction(8.0, 8.1), Reaction(10.002, 10.006)
    scores.add(view(10.003, drawing(300), lease=1200, reaction=during))  # still follows the old one
    assert scores.reactions_ms == []
    scores.add(view(10.007, drawing(300), lease=800, reaction=during))
    scores.add(view(10.1, drawing(300), lease=800, reaction=during))
    scores.add(view(10.1, drawing(300), host="n2", lease=800, reaction=before))
    assert scores.reactions_ms == pytest.approx([6])
    assert scores.reactions_in_host_ms == pytest.approx([4])


def test_an_event_without_notice_is_a_cut_and_an_announced_one_is_not() -> None:
    def announced(told_boot_s: float) -> Scoreboard:
        scores = board()
        scores.publish(9.0, 1200, lease_s=60)
        scores.add(view(9.0, drawing(300)))
        [call] = SCENARIOS["london"].calls
        scores.announce(EventRecord(call, 10.0, told_boot_s, 600.0, 1000.0))
        scores.add(view(11.001, drawing(300), reaction=Reaction(8.0, 8.1)))
        scores.add(view(11.1, drawing(300), reaction=Reaction(11.002, 11.006)))
        return scores

    assert announced(11.0).reactions_ms == pytest.approx([6])
    assert announced(10.5).reactions_ms == []


def test_events_are_weighed_against_the_draw_of_the_whole_rack() -> None:
    """600 W are 100 W below the target of 700 W; after the event the draw is what it was."""
    scores = board()
    scores.publish(0.0, 1000, lease_s=300)
    scores.add(view(9.0, drawing(1000)))
    [call] = SCENARIOS["london"].calls
    scores.announce(EventRecord(call, 10.0, 10.0, 600.0, 1000.0))
    for at_s, watts in ((10.9, 1000), (11.1, 600), (14.0, 600), (16.0, 1000)):
        scores.add(view(at_s, drawing(watts)))
    [score] = scores.events
    assert max(score.errors_pct) == pytest.approx(100 / 7)
    assert scores.asked_watts(12.0) == 700
    assert scores.asked_watts(16.0) == math.inf
    assert score.rebound_watts == 0


def test_renewals_and_raises_are_no_cuts() -> None:
    scores = board()
    scores.add(view(9.0, drawing(300)))
    for watts in (800, 800, 900):
        scores.publish(10.0, watts, lease_s=5)
    assert scores.cut is None
    assert scores.reactions_ms == []


def test_every_entry_into_failsafe_counts_once() -> None:
    scores = board()
    scores.publish(0.0, 1000, lease_s=5)
    for at_s, state in enumerate(["limited", "failsafe", "failsafe", "limited", "failsafe"]):
        scores.add(view(float(at_s), drawing(300), state=state))
    assert scores.failsafe_entries == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Spread(None, None, None)),
        ([7.0], Spread(7, 7, 7)),
        (list(range(1, 101)), Spread(50, 99, 100)),
        ([3.0, 1.0, 2.0], Spread(2, 3, 3)),
    ],
)
def test_percentiles_are_values_that_occurred(values: Sequence[float], expected: Spread) -> None:
    assert spread(values) == expected
