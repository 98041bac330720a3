"""The facility of the demo: says one budget after another, each again and again, and may fall silent.

It sends what any facility would, by `powerd.facility.publish`.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable

from powerd.clock import Clock
from powerd.demo.rack import DemoRack
from powerd.demo.scenario import CYCLE_S, EVERY_S, LEASE_S, Phase, Scenario
from powerd.errors import BusError
from powerd.facility.publish import Budget, BudgetPublisher
from powerd.signals.outbox import Outgoing


class Facility:
    """Follows the scenario.

    Args:
        said: told the watts just before each message leaves.

    Attributes:
        phase: the step it is in; None before the first.
        trouble: why it cannot publish; empty when it can.
    """

    def __init__(
        self, rack: DemoRack, scenario: Scenario, clock: Clock, said: Callable[[float], None]
    ) -> None:
        self._rack = rack
        self._scenario = scenario
        self._said = said
        self._publisher = BudgetPublisher(rack.topics, source="demo-facility", clock=clock)
        self.phase: Phase | None = None
        self.trouble = ""

    async def open(self) -> None:
        """Give the whole budget until cancelled: before the scenario begins.

        Raises:
            PublishRefusedError: the broker does not let it publish.
        """
        await self._go_through(Phase(100, math.inf))

    async def run(self, duration_s: float) -> None:
        """Go through the scenario once, or for ever if the duration is 0.

        Raises:
            PublishRefusedError: the broker does not let it publish.
        """
        for phase in self._scenario.phases(duration_s or CYCLE_S):
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
            async with asyncio.timeout(phase.duration_s if phase.duration_s < math.inf else None):
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
