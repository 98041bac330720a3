"""Reads measured curves and traces from a directory of CSV files; docs/study.md names their columns.

A file is read when something asks for it. What is wrong with one is told in one line: file, line, column.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from powerd.errors import ConfigError

BUNDLED = Path(__file__).parent / "data"

# More than any GPU draws: tables have an entry for each watt.
MOST_W = 100_000.0
# Of all other numbers, so that their sums are finite.
_MOST = 1e12


class DataError(ConfigError):
    """A data file cannot be used. The text names file, line and column."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measured operating point; throughput in any unit that is the same all along the curve."""

    limit_w: float
    throughput: float
    draw_w: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One workload on one GPU model, as measured: the points in ascending order of their limits."""

    name: str
    gpu_model: str
    is_inference: bool
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """A trace: values over time, each holding until the next. Times in seconds, ascending."""

    times_s: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """A directory of measured data.

    Raises:
        DataError: a file is missing, or says something that cannot be used; from every method.
    """

    directory: Path = BUNDLED

    def curves(self) -> tuple[Measured, ...]:
        """Return all measured curves, in the order of the file."""
        heads: dict[str, tuple[str, bool]] = {}
        points: dict[str, list[Point]] = {}
        for row in self._rows("power_curves.csv"):
            name, workload, variant = row.text("curve_id"), row.text("workload"), row.text("variant")
            head = row.text("gpu_model"), "inference" in variant or workload.startswith("infer")
            if heads.setdefault(name, head) != head:
                raise row.error("curve_id", f'"{name}" is another model or kind of work further up')
            point = Point(
                row.positive("power_limit_w", MOST_W), row.number("throughput"), row.positive("avg_power_w")
            )
            points.setdefault(name, []).append(point)
        path = self.directory / "power_curves.csv"
        if not points:
            raise DataError(f"{path}:1: no curves below the header")
        return tuple(_measured(path, name, *heads[name], points[name]) for name in heads)

    def occupancy(self) -> Mapping[str, Series]:
        """Return the part of its GPUs that each partition had in use, 0..1."""
        read: dict[str, list[tuple[float, float]]] = {}
        for row in self._rows("traces/gpu_occupancy.csv"):
            part = row.number("running_gpus") / row.positive("total_gpus")
            if part > 1:
                raise row.error("running_gpus", "more than total_gpus")
            _append(read.setdefault(row.text("vc"), []), row, "t_s", part)
        return {name: _series(rows) for name, rows in read.items()}

    def service_rates(self) -> Mapping[str, Series]:
        """Return the request rate of every client of LLM services, in requests per second."""
        for name in ("traces/llm_service_7d_rate.csv", "traces/llm_service_1d_rate.csv"):
            if (self.directory / name).exists():
                return self._service_rates(name)
        raise DataError(f"{self.directory / 'traces/llm_service_7d_rate.csv'}: no such file")

    def _service_rates(self, name: str) -> Mapping[str, Series]:
        read: dict[str, list[tuple[float, float]]] = {}
        for row in self._rows(name):
            for client in row.cells:
                if client != "time_s":
                    _append(read.setdefault(client, []), row, "time_s", row.number(client))
        return {client: _series(rows) for client, rows in read.items()}

    def arrivals(self) -> Mapping[str, Series]:
        """Return the requests that arrived in each second, by trace."""
        read: dict[str, list[tuple[float, float]]] = {}
        for row in self._rows("traces/llm_arrivals_1s.csv"):
            _append(read.setdefault(row.text("trace"), []), row, "t_s", row.number("requests"))
        return {name: _series(rows) for name, rows in read.items()}

    def _rows(self, name: str) -> "Iterator[_Row]":
        path = self.directory / name
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                for cells in reader:
                    if None in cells or None in cells.values():
                        columns = len(reader.fieldnames or ())
                        raise DataError(f"{path}:{reader.line_num}: not {columns} columns as in line 1")
                    yield _Row(path, reader.line_num, cells)
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from None


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    line: int
    cells: dict[str, str]

    def error(self, column: str, what: str) -> DataError:
        return DataError(f"{self.path}:{self.line}: column {column}: {what}")

    def text(self, column: str) -> str:
        if column not in self.cells:
            raise DataError(f"{self.path}:1: column {column} is missing")
        return self.cells[column]

    def number(self, column: str, most: float = _MOST) -> float:
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            raise self.error(column, f'"{text}" is not a number') from None
        if not math.isfinite(value) or value < 0:
            raise self.error(column, f"{text} is not a number >= 0")
        if value > most:
            raise self.error(column, f"{text} is above {most:g}")
        return value

    def positive(self, column: str, most: float = _MOST) -> float:
        value = self.number(column, most)
        if value == 0:
            raise self.error(column, "must be above 0")
        return value


def _append(rows: list[tuple[float, float]], row: _Row, column: str, value: float) -> None:
    time_s = row.number(column)
    if rows and time_s <= rows[-1][0]:
        raise row.error(column, f"{time_s:g} is not after {rows[-1][0]:g}")
    rows.append((time_s, value))


def _series(rows: list[tuple[float, float]]) -> Series:
    times_s, values = zip(*rows, strict=True)
    return Series(times_s, values)


def _measured(path: Path, name: str, model: str, is_inference: bool, points: list[Point]) -> Measured:
    ordered = tuple(sorted(points, key=lambda point: point.limit_w))
    limits = [point.limit_w for point in ordered]
    if len(set(limits)) < max(2, len(limits)):
        raise DataError(f'{path}: curve "{name}" needs two or more limits, and each of them once')
    if not max(point.throughput for point in ordered):
        raise DataError(f'{path}: curve "{name}": column throughput: 0 everywhere')
    return Measured(name, model, is_inference, ordered)
