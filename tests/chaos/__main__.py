"""`make soak`: a rack of real processes under faults that overlap, for as long as you like."""

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.course import Course, NotInControlError
from tests.chaos.report import explain, figures, render
from tests.chaos.stage import Stage
from tests.daemon.waiting import boot_s


def main() -> int:
    """Run; exit 1 if anything that is promised did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default 30)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of the faults (default: another one each time)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10_000) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    course = _run(directory, seed, options.minutes * 60)
    _say(render(course))
    if options.json:
        options.json.write_text(json.dumps(figures(course), indent=2) + "\n", encoding="utf-8")
    if not course.problems:
        shutil.rmtree(directory)
        return 0
    _say(f"{explain(course)}\nlogs are in {directory}")
    return 1


def _run(directory: Path, seed: int, seconds: float) -> Course:
    _say(f"seed {seed}")
    with Stage(directory) as stage:
        stage.rack.calm(watts=6400)
        course = Course(stage, seed)

        def told() -> None:
            tally = course.tally
            _say(
                f"{(boot_s() - course.begun_boot_s) / 60:5.1f} min: {tally.done.total()} faults, "
                f"{course.observer.found.writes} limits written, {len(course.problems)} violations, "
                f"in control again after {tally.back_s[-1]:.1f} s"
            )

        # Ctrl-C ends it earlier; what was seen until then is reported all the same.
        with contextlib.closing(course), contextlib.suppress(NotInControlError, KeyboardInterrupt):
            course.run(seconds, told=told)
    return course


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
