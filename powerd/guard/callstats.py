"""How long driver calls take: cumulative histograms, the source of `powerd_nvml_call_seconds`."""

from bisect import bisect_left
from typing import Any, Final

BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class CallStats:
    """Histograms per driver call."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}

    def add(self, call: str, seconds: float) -> None:
        """Count one call."""
        counts = self._counts.setdefault(call, [0] * (len(BOUNDS_S) + 1))
        counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sums_s[call] = self._sums_s.get(call, 0.0) + seconds

    def wire(self) -> dict[str, Any]:
        """Return, per call, the count in each bucket (the last one is above all bounds) and the sum."""
        return {
            call: {"bounds_s": BOUNDS_S, "counts": counts, "sum_s": self._sums_s[call]}
            for call, counts in self._counts.items()
        }
