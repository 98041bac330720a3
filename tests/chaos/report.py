"""What a run of chaos came to, as a table and as JSON."""

from typing import Any

from tests.chaos.course import Course
from tests.daemon.waiting import boot_s


def figures(course: Course) -> dict[str, Any]:
    """Return all figures of a run."""
    found, tally, health = course.observer.found, course.tally, course.health
    return {
        "seed": course.seed,
        "seconds": round(boot_s() - course.begun_boot_s, 1),
        "faults": tally.done.total(),
        "most faults at once": tally.together,
        "faults while watts of others were in use": tally.on_lease,
        "budgets published": len(course.stage.rack.grants),
        "messages on the bus": course.messages,
        "limits written": found.writes,
        "violations": len(course.problems),
        "crashes": health.crashes,
        "calms": len(tally.back_s),
        "longest way back to control in s": round(max(tally.back_s, default=0.0), 2),
        "moments above the bound by GPUs that do not obey": found.excused,
        "guards that the machine brought back too late": sum(map(len, course.stage.late.values())),
        "least distance from the bound in W": round(found.closest_mw / 1000, 1),
        "borrowed in Wh": round(found.beyond_mws / 3.6e6, 1),
        **{f"largest {part} in MiB": round(mib, 1) for part, mib in health.largest_rss_mib.items()},
        **{f"most descriptors of a {part}": fds for part, fds in health.largest_fds.items()},
        "faults by kind": dict(sorted(tally.done.items())),
    }


def render(course: Course) -> str:
    """Return the table for a terminal."""
    found = figures(course)
    kinds = found.pop("faults by kind")
    lines = [f"  {name:<58}{value:>12}" for name, value in found.items()]
    return "\n".join(
        ["A rack in chaos", "-" * 15, *lines, "", *(f"  {k:<58}{n:>12}" for k, n in kinds.items())]
    )


def explain(course: Course) -> str:
    """Return the problems of a run, and what happened before its end."""
    return "\n".join(
        [
            f"seed {course.seed}: {len(course.problems)} violations",
            *course.problems[:20],
            "the 30 s before the first was seen:",
            *course.before_first,
        ]
    )
