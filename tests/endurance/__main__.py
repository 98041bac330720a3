"""A month of a rack in virtual time: `python -m tests.endurance --days 30 --seed 1`."""

import argparse
import sys
from pathlib import Path

from benchmarks.endurance import measure_month


def main() -> int:
    """Run it; exit 1 if a figure is above its bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--days", type=int, default=30, help="days of virtual time (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the loads (default 1)")
    parser.add_argument("--log", type=Path, help="write a line of JSON here after every day")
    options = parser.parse_args()
    table = measure_month(options.days, options.seed, options.log)
    sys.stdout.write(table.render())
    return 0 if all(figure.holds for figure in table.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
