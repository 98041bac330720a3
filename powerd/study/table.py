"""Results side by side: one row per policy, mean and spread over the seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from powerd.study.policies import MEASURED
from powerd.study.runner import Case, Result

# Below this gap there is next to nothing to be shared out better, and a share of it says nothing.
LEAST_GAP = 0.02


@dataclass(frozen=True, slots=True)
class Row:
    """What one policy reached over all seeds.

    Attributes:
        throughput, spread: mean over the seeds, and largest distance of one from it.
        gap_share: part of the way from uniform to the oracle, over all seeds together; None where one of
            the two was not run, or they are too near to each other.
        against_uniform: of the throughput, relative; the mean.
        least_against_uniform: the same of the worst seed.
    """

    policy: str
    throughput: float
    spread: float
    gap_share: float | None
    gap_shares: tuple[float, ...]
    against_uniform: float | None
    least_against_uniform: float | None
    jain: float
    worst: float
    over_ws: float
    over_limits_ws: float
    excess_ws: float
    changes_per_gpu_min: float
    backlog_p99_s: float | None
    energy_kwh: float
    excess_w: float
    told_ws: float | None
    told_w: float | None


@dataclass(frozen=True)
class Comparison:
    """All policies on one rack.

    Attributes:
        gap: between oracle and uniform, in parts of the work asked for; None where one was not run.
    """

    case: Case
    seeds: int
    gap: float | None
    rows: tuple[Row, ...]

    def row(self, policy: str) -> Row:
        """Return the row of a policy."""
        return next(row for row in self.rows if row.policy == policy)

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data for JSON."""
        case = self.case
        return {
            "rack": case.rack,
            "gpus": case.gpus,
            "racks": case.racks,
            "model": case.model or None,
            "budget": [{"from_s": change.from_s, "part": change.part} for change in case.budget],
            "hours": case.hours,
            "period_s": case.period_s,
            "seeds": self.seeds,
            "gap": self.gap,
            "policies": [asdict(row) for row in self.rows],
        }


def compare(case: Case, results: Iterable[Result]) -> Comparison:
    """Put results together; policies in the order of their first result."""
    runs: dict[str, dict[int, Result]] = {}
    for result in results:
        runs.setdefault(result.policy, {})[result.seed] = result
    uniform, oracle = runs.get("uniform"), runs.get("oracle")
    gap = _mean(oracle) - _mean(uniform) if uniform and oracle else None
    rows = tuple(_row(policy, run, uniform, oracle) for policy, run in runs.items())
    return Comparison(case, max(len(run) for run in runs.values()), gap, rows)


def _mean(runs: Mapping[int, Result]) -> float:
    return float(np.mean([run.throughput for run in runs.values()]))


def _row(
    policy: str,
    runs: Mapping[int, Result],
    uniform: Mapping[int, Result] | None,
    oracle: Mapping[int, Result] | None,
) -> Row:
    share, shares = None, []
    if uniform and oracle and _mean(oracle) - _mean(uniform) >= LEAST_GAP:
        share = (_mean(runs) - _mean(uniform)) / (_mean(oracle) - _mean(uniform))
        shares = [
            (runs[seed].throughput - uniform[seed].throughput) / gap
            for seed in runs
            if (gap := oracle[seed].throughput - uniform[seed].throughput) >= LEAST_GAP
        ]
    ratios = [runs[seed].throughput / uniform[seed].throughput - 1 for seed in runs] if uniform else []
    throughputs = [run.throughput for run in runs.values()]
    backlogs = [run.backlog_p99_s for run in runs.values() if run.backlog_p99_s is not None]
    each = list(runs.values())
    return Row(
        policy=policy,
        throughput=_mean(runs),
        spread=max(abs(throughput - _mean(runs)) for throughput in throughputs),
        gap_share=share,
        gap_shares=tuple(shares),
        against_uniform=float(np.mean(ratios)) if ratios else None,
        least_against_uniform=min(ratios) if ratios else None,
        jain=float(np.mean([run.jain for run in each])),
        worst=min(run.worst for run in each),
        over_ws=max(run.over_ws for run in each),
        over_limits_ws=max(run.over_limits_ws for run in each),
        excess_ws=max(run.excess_ws for run in each),
        changes_per_gpu_min=float(np.mean([run.changes_per_gpu_min for run in each])),
        backlog_p99_s=float(np.mean(backlogs)) if backlogs else None,
        energy_kwh=float(np.mean([run.energy_kwh for run in each])),
        excess_w=max(run.excess_w for run in each),
        told_ws=_most(run.told_ws for run in each),
        told_w=_most(run.told_w for run in each),
    )


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


_HEAD = (
    "policy",
    "throughput",
    "of the gap",
    "seeds",
    "vs uniform",
    "Jain",
    "worst",
    "W s over",
    "cap changes",
    "backlog",
)
# With accounting `measured`: draw above the budget as powerd told it, the most that it was, and was told.
_EXCESS_HEAD = ("W s told", "W over", "W told")


def render(comparison: Comparison) -> str:
    """Return a table for people."""
    case = comparison.case
    budget = ", ".join(
        f"{change.part:.4g} from {change.from_s:g} s" if change.from_s else f"{change.part:.0%}"
        for change in case.budget
    )
    gpus = f"{case.gpus} GPUs" + (f" in {case.racks} racks" if case.racks > 1 else "")
    title = f"{case.rack}: {gpus}, budget {budget}, {case.hours:g} h, {comparison.seeds} seeds"
    head: tuple[str, ...] = _HEAD
    lines = [_cells(row) for row in comparison.rows]
    if any(row.policy == MEASURED for row in comparison.rows):
        head += _EXCESS_HEAD
        lines = [line + _excess(row) for line, row in zip(lines, comparison.rows, strict=True)]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    return "\n".join([title, *(_line(cells, widths) for cells in [head, *lines])])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join(["  " + first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


def _cells(row: Row) -> tuple[str, ...]:
    shares = row.gap_shares
    return (
        row.policy,
        f"{row.throughput:.2%} ± {row.spread:.2%}",
        "-" if row.gap_share is None else f"{row.gap_share:.1%}",
        f"{min(shares):.0%}..{max(shares):.0%}" if shares else "-",
        "-" if row.against_uniform is None else f"{row.against_uniform:+.2%}",
        f"{row.jain:.4f}",
        f"{row.worst:.1%}",
        f"{row.over_ws:.0f}",
        f"{row.changes_per_gpu_min:.2f}",
        "-" if row.backlog_p99_s is None else f"{row.backlog_p99_s:.2f} s",
    )


def _excess(row: Row) -> tuple[str, ...]:
    told_ws = "-" if row.told_ws is None else f"{row.told_ws:.0f}"
    told_w = "-" if row.told_w is None else f"{row.told_w:.0f}"
    return (told_ws, f"{row.excess_w:.0f}", told_w)
