"""Rings of numbers: samples, and the means of longer and longer steps made of them.

Memory is taken when a GPU is seen first, and stays. A number is in tenths of a watt: four bytes, and exact
when it is divided by ten.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

Number = TypeVar("Number", int, float)
Tenths: TypeAlias = int
UNKNOWN: Tenths = -1
Row: TypeAlias = tuple[Tenths, ...]
Fold: TypeAlias = Callable[[Sequence[Tenths]], Tenths]


class Point(NamedTuple):
    """A sample, or a step.

    Attributes:
        boot_s: when it was taken, or the step began.
        phase: the higher, the further from the ordinary; a step has the highest of its samples'.
        host, gpus: columns of the host, and of each GPU by UUID, each followed by its extremes.
    """

    boot_s: float
    phase: int
    host: Row
    gpus: dict[str, Row]


class Points(NamedTuple):
    """Points by column, the oldest first; all columns are of one length."""

    times_boot_s: list[float]
    phases: list[int]
    host: list[list[Tenths]]
    gpus: dict[str, list[list[Tenths]]]


class Layout(NamedTuple):
    """How each column of the host and of a GPU is summed up over a step."""

    host: tuple[Fold, ...]
    gpu: tuple[Fold, ...]


def mean(values: Sequence[Tenths]) -> Tenths:
    """Return the mean of what is known."""
    known = [value for value in values if value >= 0]
    return round(sum(known) / len(known)) if known else UNKNOWN


def highest(values: Sequence[Tenths]) -> Tenths:
    """Return the highest that is known."""
    return max(values)


def lowest(values: Sequence[Tenths]) -> Tenths:
    """Return the lowest that is known."""
    return min((value for value in values if value >= 0), default=UNKNOWN)


class Tier:
    """The points of some time, each standing for a step.

    Args:
        step_s: seconds in a step.
        rows: how many are kept.
        layout: the columns that are kept; the rest of a point is not.
        coarser: is fed with every point of this one.
    """

    def __init__(self, step_s: float, rows: int, layout: Layout, coarser: "Tier | None" = None) -> None:
        self.step_s = step_s
        self._rows = rows
        self._layout = layout
        self._coarser = coarser
        self._next = 0
        self._is_full = False
        self._times = array("d", bytes(8 * rows))
        self._phases = array("b", bytes(rows))
        self._host = self._columns(layout.host)
        self._gpus: dict[str, list[array[int]]] = {}
        self._running: list[Point] = []

    @property
    def reach_s(self) -> float:
        """Return how many seconds it reaches back."""
        return self.step_s * self._rows

    @property
    def size_bytes(self) -> int:
        """Return how much memory the numbers take."""
        columns = [*self._host, *(column for gpu in self._gpus.values() for column in gpu)]
        return self._rows * (self._times.itemsize + self._phases.itemsize + sum(c.itemsize for c in columns))

    def put(self, point: Point) -> None:
        """Add a point, in place of the oldest one when it is full."""
        row = self._next
        self._times[row], self._phases[row] = point.boot_s, point.phase
        _write(self._host, row, point.host)
        for uuid in point.gpus.keys() - self._gpus.keys():
            self._gpus[uuid] = self._columns(self._layout.gpu)
        unknown = (UNKNOWN,) * len(self._layout.gpu)
        for uuid, columns in self._gpus.items():
            _write(columns, row, point.gpus.get(uuid, unknown))
        self._next = (row + 1) % self._rows
        self._is_full = self._is_full or self._next == 0
        if self._coarser is not None:
            self._coarser.collect(point)

    def collect(self, point: Point) -> None:
        """Make a finer tier's point a part of a step; one of a later step ends it."""
        if self._running and point.boot_s // self.step_s != self._running[0].boot_s // self.step_s:
            self.put(self._step())
            self._running.clear()
        self._running.append(point)

    def since(self, from_boot_s: float) -> Points:
        """Return the points that stand for any time after a moment, also the step that has not ended."""
        times = self._read(self._times)
        first = bisect_right(times, from_boot_s - self.step_s)
        host = [self._read(column)[first:] for column in self._host]
        gpus = {uuid: [self._read(c)[first:] for c in columns] for uuid, columns in self._gpus.items()}
        points = Points(times[first:], self._read(self._phases)[first:], host, gpus)
        return _with(points, self._step()) if self._running else points

    def _step(self) -> Point:
        """Return the running step as a point."""
        points, layout = self._running, self._layout
        uuids = {uuid for point in points for uuid in point.gpus}
        start_boot_s = points[0].boot_s // self.step_s * self.step_s
        return Point(
            start_boot_s,
            max(point.phase for point in points),
            _folded(layout.host, [point.host for point in points]),
            {u: _folded(layout.gpu, [p.gpus[u] for p in points if u in p.gpus]) for u in uuids},
        )

    def _columns(self, folds: Sequence[Fold]) -> "list[array[int]]":
        return [array("i", [UNKNOWN]) * self._rows for _ in folds]

    def _read(self, column: "array[Number]") -> "list[Number]":
        """Return a column, the oldest first."""
        newer = column[: self._next].tolist()
        return column[self._next :].tolist() + newer if self._is_full else newer


def _write(columns: "Iterable[array[int]]", row: int, values: Row) -> None:
    for column, value in zip(columns, values, strict=False):  # samples have no extremes
        column[row] = value


def _folded(folds: Sequence[Fold], rows: Sequence[Row]) -> Row:
    return tuple(fold(values) for fold, values in zip(folds, zip(*rows, strict=True), strict=True))


def _with(points: Points, last: Point) -> Points:
    """Return points and one more."""
    points.times_boot_s.append(last.boot_s)
    points.phases.append(last.phase)
    _append(points.host, last.host)
    for uuid, columns in points.gpus.items():
        _append(columns, last.gpus.get(uuid, (UNKNOWN,) * len(columns)))
    return points


def _append(columns: list[list[Tenths]], values: Row) -> None:
    for column, value in zip(columns, values, strict=True):
        column.append(value)
