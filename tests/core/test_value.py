"""What a watt is worth to a GPU, learned from draw, clock and the time held down."""

from dataclasses import dataclass, replace

import pytest

from powerd.core.gpus.allocator import KNEE, Request, allocate
from powerd.core.gpus.demand import Demand
from powerd.core.gpus.value import FELT_FOR_S, Known, appraise, learn
from tests.core.make import W, gpu

MAX_CLOCK_MHZ = 1980


@dataclass
class Board:
    """A GPU whose job would draw `natural` watts; its clock goes with a root of the draw."""

    natural: float
    limit: float = 700
    exponent: float = 1 / 3
    tells_clock: bool = True
    held_part: float = 1.0
    now_s: float = 0.0
    capped_ns: int = 0
    known: Known | None = None

    def run(self, seconds: int, demand: Demand | None = None) -> Known:
        """Take in a reading per second."""
        for _ in range(seconds):
            held = self.natural > self.limit
            self.now_s += 1.0
            self.capped_ns += round(held * self.held_part * 1e9)
            draw = min(self.natural, self.limit)
            clock = round(MAX_CLOCK_MHZ * (draw / self.natural) ** self.exponent)
            reading = replace(
                gpu(limit=self.limit, draw=draw, sampled=self.now_s, capped_ns=self.capped_ns),
                sm_clock_mhz=clock if self.tells_clock else None,
                max_sm_clock_mhz=MAX_CLOCK_MHZ,
            )
            self.known = learn(self.known, reading, demand or (Demand.CAPPED if held else Demand.BUSY))
        assert self.known is not None
        return self.known


def natural_watts(known: Known) -> float:
    assert known.natural_mw is not None
    return known.natural_mw / W


def test_the_draw_of_a_gpu_that_is_not_held_down_is_what_it_needs() -> None:
    assert natural_watts(Board(300).run(2)) == 300


def test_the_clock_of_a_gpu_that_is_held_down_tells_how_much_more_it_would_draw() -> None:
    assert natural_watts(Board(600, limit=300).run(2)) == pytest.approx(600, rel=0.01)


def test_without_a_clock_nothing_is_known_of_a_gpu_that_is_held_down() -> None:
    known = Board(600, limit=300, tells_clock=False).run(30)
    assert (known.natural_mw, known.sureness) == (None, 0)


def test_a_gpu_that_is_held_down_at_times_only_may_have_peaks_that_no_mean_shows() -> None:
    assert Board(600, limit=300, held_part=0.5).run(30).sureness == 0


@pytest.mark.parametrize("demand", [Demand.IDLE, Demand.WAKING, Demand.HELD, Demand.UNKNOWN])
def test_nothing_is_learned_while_a_gpu_does_not_simply_work(demand: Demand) -> None:
    board = Board(300)
    board.run(30)
    assert board.run(1, demand).sureness == 0


def test_what_is_known_becomes_sure_with_time_and_unsure_with_another_job() -> None:
    board = Board(300)
    sureness = [board.run(1).sureness for _ in range(15)]
    assert sureness == sorted(sureness)
    assert (sureness[0], sureness[-1]) == (0, 1)
    board.natural = 500
    assert board.run(1).sureness == 0
    assert natural_watts(board.run(1)) == 500


def test_a_reading_that_was_taken_in_changes_nothing() -> None:
    board = Board(300)
    known = board.run(5)
    again = gpu(limit=700, draw=650, sampled=board.now_s)
    assert learn(known, again, Demand.BUSY) == known


def test_a_limit_that_was_felt_is_not_tried_again_soon() -> None:
    """Else a GPU whose peaks are above its mean draw would be cut, felt for, raised and cut again."""
    board = Board(300)
    board.run(20)
    board.natural, board.limit = 330, 320
    board.run(1)
    board.natural, board.limit = 300, 400
    assert natural_watts(board.run(60)) == pytest.approx(320, abs=1)
    assert natural_watts(board.run(round(FELT_FOR_S) + 120)) == pytest.approx(300, abs=1)


def test_an_estimate_made_under_a_limit_is_kept_for_a_while_once_the_limit_is_not_felt_any_more() -> None:
    """A board whose clock makes it look hungrier than it is would else sink, and feel its limit again."""
    board = Board(234, limit=200, exponent=0.7)
    known = board.run(20)
    board.limit = 236
    assert natural_watts(board.run(30)) == pytest.approx(natural_watts(known), rel=0.01)


def test_of_two_limits_that_were_felt_all_the_time_the_higher_one_counts_and_at_once() -> None:
    """Else feeling the lower one would make it forget the higher, and limits would go round in a circle."""
    board = Board(600, limit=320)
    board.run(2)
    board.limit = 250
    board.run(1)
    board.natural, board.limit = 240, 400
    known = board.run(1)
    assert known.sureness == 0
    one = Request("a", 100 * W, 700 * W, 250 * W)
    assert appraise([one], {"a": known})[0].want_mw > 320 * W


def test_a_limit_that_is_felt_at_times_only_may_be_below_one_that_was_felt() -> None:
    """A service with slack works longer under a lower limit, and is none the worse for it."""
    board = Board(330, limit=320, held_part=0.5)
    board.run(1)
    board.limit = 250
    assert board.run(1).felt_mw == 250 * W


@pytest.mark.parametrize("exponent", [1 / 5, 1 / 4, 1 / 3, 1 / 2])
def test_whatever_the_law_of_its_clock_a_gpu_is_never_kept_below_what_it_could_use(exponent: float) -> None:
    """The estimate is above the limit as long as the limit is felt, so the limit rises until it is not."""
    board = Board(600, limit=300, exponent=exponent)
    for _ in range(60):
        board.run(5)
        one = Request("a", 200 * W, 700 * W, 700 * W)
        assert board.known is not None
        board.limit = appraise([one], {"a": board.known})[0].need_mw / W
    assert board.limit >= 600


def needs_of(*naturals: float, limit: float = 300, seconds: int = 60) -> list[Request]:
    names = "abcdefgh"[: len(naturals)]
    known = {n: Board(watts, limit=limit).run(seconds) for n, watts in zip(names, naturals, strict=True)}
    return list(appraise([Request(n, 100 * W, 700 * W, 700 * W) for n in names], known))


def test_of_two_that_are_held_down_the_one_that_would_draw_more_gets_more_but_nobody_loses_its_knee() -> None:
    result = allocate(600 * W, needs_of(350, 700))
    small, large = (result[name].limit_mw / W for name in "ab")
    assert KNEE * 350 - 1 <= small < 300 < large
    assert small + large == 600


def test_two_that_would_draw_the_same_share_equally() -> None:
    result = allocate(600 * W, needs_of(500, 500))
    assert result["a"].limit_mw == pytest.approx(result["b"].limit_mw, abs=2)


def test_watts_that_do_no_work_go_where_they_do() -> None:
    result = allocate(950 * W, needs_of(250, 700))
    assert result["a"].limit_mw == pytest.approx(250 * W, abs=W)
    assert sum(each.limit_mw for each in result.values()) == 950 * W


def test_what_nobody_needs_is_given_to_whoever_asked_for_it() -> None:
    result = allocate(1200 * W, needs_of(250, 400))
    assert sum(each.limit_mw for each in result.values()) == 1200 * W
    assert result["a"].limit_mw == pytest.approx(600 * W, abs=2)


def test_unknown_gpus_share_as_if_there_were_no_value() -> None:
    requests = [Request(name, 100 * W, 700 * W, 700 * W) for name in "ab"]
    assert appraise(requests, {}) == tuple(requests)
    assert appraise(requests, {"a": Known(1.0)}) == tuple(requests)


def test_a_gpu_of_which_nothing_is_known_counts_as_the_average_of_the_others() -> None:
    known = {"a": Board(400, limit=300).run(60), "b": Board(600, limit=300).run(60)}
    requests = [Request(name, 100 * W, 700 * W, 700 * W) for name in "abc"]
    appraised = {one.uuid: one for one in appraise(requests, known)}
    assert appraised["c"].natural_mw == pytest.approx(500 * W, rel=0.02)
    assert appraised["c"].need_mw == 700 * W
    limits = allocate(900 * W, list(appraised.values()))
    assert limits["a"].limit_mw < limits["c"].limit_mw < limits["b"].limit_mw


def test_a_limit_that_was_felt_is_wanted_even_where_the_mean_draw_is_lower() -> None:
    """A limit can hold down peaks that no mean shows; a want below it would come and go."""
    board = Board(330, limit=320)
    board.run(30)
    board.natural, board.limit = 300, 400
    one = appraise([Request("a", 200 * W, 700 * W, 310 * W)], {"a": board.run(30)})[0]
    assert one.need_mw >= 320 * W
