"""Figures of what was drawn in a window of time, from known stretches only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from powerd.core.proof.ledger_entry import Sample, Samples
from powerd.core.units import MilliWatts

# Draw counts as having come down once it stays down for so long.
STAYS_S = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One stretch as one event sees it.

    Attributes:
        cap_mw: what the event let the rack draw; None where it had no say.
        over_mj: energy above that.
    """

    sample: Sample
    cap_mw: MilliWatts | None
    over_mj: int

    @property
    def is_known(self) -> bool:
        """Say whether anything is known of it."""
        return self.sample.mean_mw is not None

    @property
    def mean_mw(self) -> MilliWatts:
        """Return the mean; only of what is known."""
        return self.sample.mean_mw or 0


def measured(bodies: Iterable[Samples], key: str) -> tuple[Measured, ...]:
    """Return all stretches as one event sees them, in the order of time."""
    found = []
    for body in bodies:
        at = 1 + body.events.index(key) if key in body.events else None
        for row in body.rows:
            cap_mw, over_mj = (None, 0) if at is None else (row.caps_mw[at], row.over_mj[at])
            found.append(Measured(row, cap_mw, over_mj))
    return tuple(sorted(found, key=_wall_s))


def window(rows: Iterable[Measured], from_s: float, to_s: float) -> tuple[Measured, ...]:
    """Return the stretches that begin within a window; its end is not included."""
    return tuple(row for row in rows if from_s <= row.sample.wall_s < to_s)


def known_s(rows: Iterable[Measured]) -> float:
    """Return how much time is known."""
    return sum(row.sample.span_s for row in rows if row.is_known)


def share_pct(part_s: float, whole_s: float) -> float | None:
    """Return a share of time in per cent; None of no time at all."""
    return min(100.0, 100 * part_s / whole_s) if whole_s > 0 else None


def mean_mw(rows: Iterable[Measured]) -> MilliWatts | None:
    """Return the mean draw over the known time; None if there is none."""
    known = [row for row in rows if row.is_known]
    if not known:
        return None
    return round(sum(row.mean_mw * row.sample.span_s for row in known) / known_s(known))


def mean_cap_mw(rows: Iterable[Measured]) -> float | None:
    """Return the mean of an event's cap over the known time in which it had a say."""
    known = [row for row in rows if row.is_known and row.cap_mw is not None]
    if not known:
        return None
    return sum((row.cap_mw or 0) * row.sample.span_s for row in known) / known_s(known)


def peak_mw(rows: Iterable[Measured]) -> MilliWatts | None:
    """Return the highest draw; None if nothing is known."""
    return max((row.sample.max_mw for row in rows if row.sample.max_mw is not None), default=None)


def below_mj(rows: Iterable[Measured], level_mw: MilliWatts) -> int | None:
    """Return the energy by which the draw stayed below a level; negative if it was above."""
    known = [row for row in rows if row.is_known]
    return round(sum((level_mw - row.mean_mw) * row.sample.span_s for row in known)) if known else None


def source(rows: Iterable[Measured]) -> str:
    """Name what the figures were measured by: meter, hosts, both, or unknown."""
    return "+".join(sorted({row.sample.source for row in rows if row.is_known}, reverse=True)) or "unknown"


def down_since_s(rows: Sequence[Measured], bound_mw: float, *, is_over: bool) -> float | None:
    """Return since when the draw was at most `bound_mw` and stayed so for `STAYS_S`; None if it never did.

    Args:
        is_over: nothing will follow `rows`: what stayed down to their end counts even if that came sooner.
    """
    since_s, stayed_s = None, 0.0
    for row in rows:
        peak = row.sample.max_mw
        if peak is None or peak > bound_mw:
            since_s, stayed_s = None, 0.0
            continue
        since_s = row.sample.wall_s if since_s is None else since_s
        stayed_s += row.sample.span_s
        if stayed_s >= STAYS_S:
            return since_s
    return since_s if is_over else None


def _wall_s(row: Measured) -> float:
    return row.sample.wall_s
