"""Budget payloads for tests: one good one, and what to change in it."""

from typing import Final

from powerd.core.model import Now
from tests.signals import payloads

RACK: Final = "r12"
HARD_LIMIT_MW: Final = 40_000_000
NOW: Final = Now(boot_s=1000.0, wall_s=1795280400.5)

GOOD: Final[dict[str, object]] = {
    "v": 1,
    "source": "facility-a",
    "epoch": 1763690000000,
    "seq": 1842,
    "issued_at": "2026-11-21T17:00:00.000Z",
    "valid_until": "2026-11-21T17:01:00.000Z",
    "rack": RACK,
    "watts": 30000,
    "priority": 90,
    "default_watts": 34000,
    "failsafe_watts": 20000.5,
    "reason": "normal",
    "correlation_id": "9a1e",
}


def changed(**changes: object) -> dict[str, object]:
    """Return the good budget with some fields changed, or left out where `ABSENT`."""
    return payloads.changed(GOOD, **changes)
