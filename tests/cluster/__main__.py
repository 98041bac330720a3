"""Replay one seed, or try many: `python -m tests.cluster --seed 17 --verbose`."""

import argparse
import sys
from collections import Counter

from tests.cluster.grid_day import run_with_events
from tests.cluster.rack import run_seed


def main() -> int:
    """Run seeds; exit 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--count", type=int, default=1, help="how many, from that one on (default 1)")
    parser.add_argument("--verbose", action="store_true", help="print every event")
    parser.add_argument("--events", action="store_true", help="with grid events")
    options = parser.parse_args()
    one_day = run_with_events if options.events else run_seed
    steps, violated = 0, 0
    faults: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.count):
        result = one_day(seed, show=options.verbose)
        steps += result.steps
        faults += result.faults
        if result.violation:
            violated += 1
            say(str(result))
        elif options.count == 1:
            say(f"seed {seed}: everything held, digest {result.digest}")
    say(f"{options.count} seeds, {steps} steps, {violated} violated, {faults.total()} faults:")
    for kind, count in sorted(faults.items()):
        say(f"  {kind:<48}{count:>8}")
    return 1 if violated else 0


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
