"""A benchmark's result: rows of figures with the bounds they are held against."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

# The guard's files live in /run on a real host, which is in memory too.
RAM = "/dev/shm"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        bound: it should be at most this; None if it is only shown.
    """

    name: str
    value: float
    unit: str
    bound: float | None = None

    @property
    def holds(self) -> bool:
        """Say whether the figure is within its bound."""
        return self.bound is None or self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Table:
    """One benchmark."""

    title: str
    figures: tuple[Figure, ...]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the table for JSON."""
        return asdict(self) | {"holds": all(figure.holds for figure in self.figures)}

    def render(self) -> str:
        """Return the table for a terminal."""
        lines = [self.title, "-" * len(self.title)]
        for figure in self.figures:
            bound = "" if figure.bound is None else f"bound {figure.bound:g}"
            verdict = "" if figure.holds else "  ABOVE"
            lines.append(f"  {figure.name:<58}{figure.value:>10.3f} {figure.unit:<8}{bound:<14}{verdict}")
        return "\n".join([*lines, *([f"  {self.note}"] if self.note else []), ""])


def load_note() -> str:
    """Return how busy the machine is: figures of several processes mean little where others compete."""
    return f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the sorted values lie (nearest rank)."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]
