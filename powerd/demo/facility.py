"""The facility of the demo: says one budget after another, each again and again, and then falls silent.

It sends what any facility would, by `powerd.publish`. The silence is long enough for the lease to run out and
the failsafe to be seen.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from powerd.clock import Clock
from powerd.demo.rack import DemoRack
from powerd.errors import BusError, ConfigError
from powerd.publish import Budget, BudgetPublisher
from powerd.signals.outbox import Outgoing

SCENARIO = "stepped-budget"
SCENARIOS = (SCENARIO,)

BUDGETS_PCT = (100, 70, 50, 85)
# The shortest that hosts accept. Said three times within it, as a real facility does.
LEASE_S = 5.0
EVERY_S = 1.5
_SILENT_PART = 13 / 60
# After the end of the lease, so that the failsafe can be seen.
_FAILSAFE_SHOWN_S = 3.0
_SHORTEST_PHASE_S = 1.0
# What `--duration 0` repeats.
CYCLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of the scenario.

    Attributes:
        pct: of the nominal budget; None = silent.
    """

    pct: int | None
    duration_s: float


def schedule(duration_s: float) -> tuple[Phase, ...]:
    """Divide a duration among the budgets and the silence.

    Raises:
        ConfigError: it is too short for a lease to run out, or not finite.
    """
    shortest_s = LEASE_S + _FAILSAFE_SHOWN_S + _SHORTEST_PHASE_S * len(BUDGETS_PCT)
    if not shortest_s <= duration_s < math.inf:
        raise ConfigError(
            f"--duration {duration_s:g}: for a lease of {LEASE_S:g} s to run out it takes at least "
            f"{shortest_s:g}; 0 goes on until Ctrl-C"
        )
    silent_s = max(LEASE_S + _FAILSAFE_SHOWN_S, duration_s * _SILENT_PART)
    each_s = (duration_s - silent_s) / len(BUDGETS_PCT)
    return (*(Phase(pct, each_s) for pct in BUDGETS_PCT), Phase(None, silent_s))


class Facility:
    """Follows the scenario.

    Args:
        said: told the watts just before each message leaves.

    Attributes:
        phase: the step it is in; None before the first.
        trouble: why it cannot publish; empty when it can.
    """

    def __init__(self, rack: DemoRack, clock: Clock, said: Callable[[float], None]) -> None:
        self._rack = rack
        self._said = said
        self._publisher = BudgetPublisher(rack.topics, source="demo-facility", clock=clock)
        self.phase: Phase | None = None
        self.trouble = ""

    async def run(self, duration_s: float) -> None:
        """Go through the scenario once, or for ever if the duration is 0.

        Raises:
            PublishRefusedError: the broker does not let it publish.
        """
        for phase in schedule(duration_s or CYCLE_S):
            await self._go_through(phase)
        while not duration_s:
            await self.run(CYCLE_S)

    async def _go_through(self, phase: Phase) -> None:
        self.phase = phase
        if phase.pct is None:
            await asyncio.sleep(phase.duration_s)
            return
        watts = self._rack.budget_watts(phase.pct)

        def budget() -> Budget:
            self._said(watts)
            return Budget(watts, LEASE_S, reason=f"{phase.pct} % of nominal")

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(phase.duration_s):
                await self._publisher.publish_every(
                    self._rack.bus_options("facility"),
                    budget,
                    every_s=EVERY_S,
                    on_published=self._published,
                    on_trouble=self._not_published,
                )

    def _published(self, _message: Outgoing) -> None:
        self.trouble = ""

    def _not_published(self, error: BusError) -> None:
        self.trouble = str(error)
