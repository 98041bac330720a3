"""Two minutes of `make soak`: whatever happens to a rack, and however much at once, its budget holds."""

import contextlib
import math
from pathlib import Path

import pytest

from tests.chaos.catalogue import KILLS
from tests.chaos.course import Course, NotInControlError
from tests.chaos.report import explain
from tests.chaos.stage import Stage

SEED = 20261122
SECONDS = 120.0
KILLS_SEED = 20261121
STRIKES = 5


# Most of it is waiting; twice that and more on a machine that does other things too.
@pytest.mark.timeout(600)
def test_no_fault_and_no_two_let_a_rack_draw_more_than_its_budget(library: Path, tmp_path: Path) -> None:
    """And all of them end: nobody crashes, nothing grows, and the rack is back under control."""
    with Stage(tmp_path, library) as stage:
        stage.rack.calm(watts=6400)
        course = Course(stage, SEED)
        with contextlib.closing(course), contextlib.suppress(NotInControlError):
            course.run(SECONDS)
        assert course.problems == [], explain(course)
        assert course.observer.found.beyond_mws > 0
        assert course.tally.together > 2


@pytest.mark.timeout(300)
def test_no_kill_lets_the_rack_draw_more_than_its_budget(library: Path, tmp_path: Path) -> None:
    """`python -m benchmarks kills` does the same for as long as you like."""
    with Stage(tmp_path, library) as stage:
        stage.rack.calm(watts=6400)
        course = Course(stage, KILLS_SEED, KILLS, falls=False)
        with contextlib.closing(course), contextlib.suppress(NotInControlError):
            course.run(math.inf, strikes=STRIKES)
        assert course.problems == [], explain(course)
