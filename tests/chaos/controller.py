"""The facility's controller in a run of chaos: renews its budget, and changes it at random."""

import contextlib
from random import Random
from typing import Any

from tests.daemon.facility import Grant
from tests.daemon.rack import Rack
from tests.daemon.waiting import boot_s

LEASE_S = 8.0
RENEWED_EVERY_S = 1.0
# From what no limit can reach, over what failsafe is, to more than the rack may have. None = no limit.
BUDGETS_WATTS: tuple[float | None, ...] = (
    4000,
    4900,
    5200,
    5600,
    6000,
    6400,
    6800,
    7200,
    7600,
    8000,
    9000,
    None,
)

CEILING_WATTS = 9200.0
STEP_WATTS = 300.0


class Controller:
    """Says one budget again and again.

    Attributes:
        watts: what it says now.
        is_silent: it says nothing.
        said: what it has published, oldest first, at most the last fifty.
    """

    def __init__(self, rack: Rack) -> None:
        self._rack = rack
        self._due_boot_s = 0.0
        self.watts: float | None = 6400.0
        self.is_silent = False
        self.said: list[dict[str, Any]] = []

    def renew_when_due(self) -> None:
        """Publish the budget if it is time to."""
        if not self.is_silent and boot_s() >= self._due_boot_s:
            self.publish()

    def publish(self, lease_s: float = LEASE_S) -> None:
        """Publish the budget now; without a broker it is said again when there is one."""
        self._due_boot_s = boot_s() + RENEWED_EVERY_S
        facility = self._rack.facility
        now_s = boot_s()
        facility.grants.append(Grant(now_s, self.watts, now_s + lease_s))
        message = facility.budget(self.watts, lease_s)
        self.said = [*self.said[-49:], message]
        if self._rack.broker.running and not self.is_silent:
            with contextlib.suppress(OSError):
                facility.publish(message)

    def change(self, random: Random) -> None:
        """Say another budget from now on, higher or lower."""
        self._say(random.choice(BUDGETS_WATTS))

    def climb(self) -> None:
        """Say a somewhat higher budget from now on."""
        self._say(min(CEILING_WATTS, (self.watts or CEILING_WATTS) + STEP_WATTS))

    def _say(self, watts: float | None) -> None:
        self.watts = watts
        self._due_boot_s = 0.0
