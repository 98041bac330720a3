"""Grid event payloads for tests: one good one, and what to change in it."""

from typing import Any, Final

from powerd.core.model import Now
from tests.signals import payloads

EVENT_ID: Final = "vtn1-8842"
HARD_LIMIT_MW: Final = 40_000_000
NOW: Final = Now(boot_s=1000.0, wall_s=1795280100.5)

GOOD: Final[dict[str, Any]] = {
    "v": 1,
    "source": "openadr-vtn1",
    "epoch": 1763690000000,
    "seq": 7,
    "issued_at": "2026-11-21T16:55:00.000Z",
    "event_id": EVENT_ID,
    "class": "mandatory",
    "status": "active",
    "scope": {"level": "rack", "targets": ["r12", "r13"]},
    "ramp": {"down_s": 30, "up_s": 600, "up_jitter_s": 60.5},
    "priority": 2,
    "program": "capacity",
    "intervals": [
        {
            "start": "2026-11-21T17:00:00.000Z",
            "end": "2026-11-21T17:30:00.000Z",
            "action": {"limit_watts": 24000.5},
        },
        {
            "start": "2026-11-21T17:30:00.000Z",
            "end": None,
            "action": {"reduce_pct": 12.5, "baseline": "measured"},
        },
    ],
    "raw": {"standard": "openadr3.1", "event": "8842", "type": "IMPORT_CAPACITY_LIMIT"},
    "reason": "peak",
    "correlation_id": "9a1e",
}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the good event with one field changed, or left out where `ABSENT`; of arrays in the first."""
    return payloads.changed_at(GOOD, path, value)
