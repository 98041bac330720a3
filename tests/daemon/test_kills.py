"""Any process of a running rack may be killed at any moment: the rack's budget holds at every instant."""

from pathlib import Path

from tests.daemon.kills import TABLES, TIMES, Kills
from tests.daemon.rack import Rack
from tests.daemon.rack_observer import borrowing, violations

SEED = 20261121
KILLS = 12


def test_no_kill_lets_the_rack_draw_more_than_its_budget(library: Path, tmp_path: Path) -> None:
    """`python -m benchmarks kills` does the same for as long as you like."""
    with Rack(tmp_path, library, times=TIMES, tables=TABLES) as rack:
        rack.calm(watts=6400)
        kills = Kills(rack, SEED)
        kills.run(KILLS)
        assert list(violations(rack, kills.begun_boot_s)) == [], f"seed {SEED}"
        assert borrowing(rack, kills.begun_boot_s) > 0
