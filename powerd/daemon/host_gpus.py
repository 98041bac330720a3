"""This host's GPUs as the daemon knows them: the last readings, and what was written since.

Invariant: without a guard nothing is known; old readings are dropped, never served again.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

from powerd.clock import Clock
from powerd.core.model import GpuReading, Outcome, Plan, Result
from powerd.errors import GuardError, GuardRefusedError
from powerd.guard.client import GuardReport, PlanReport
from powerd.snapshot import GuardStatus

_Answer = TypeVar("_Answer")


class Guard(Protocol):
    """What is needed of the guard; `powerd.guard.client.GuardClient` is the one there is."""

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands, as far as is known."""

    async def connect(self) -> None:
        """Connect, or connect again."""

    async def close(self) -> None:
        """Give the connection up."""

    async def read(self) -> GuardReport:
        """Read all GPUs."""

    async def plan(self, plan: Plan) -> PlanReport:
        """Execute a plan; an empty one renews the hold."""

    async def release(self) -> tuple[Outcome, ...]:
        """Put back what GPUs had before the first write, and disarm."""

    async def detach(self, why: str) -> None:
        """Begin to let go of the driver, and stay away from it until `attach`."""

    async def attach(self) -> None:
        """Look for the driver again."""


class HostGpus:
    """Keeps readings current between samples.

    Args:
        read_within_s: a guard that has not answered a read for longer is given up, and connected to again.
        plan_within_s: likewise for a plan, which takes longer: its cuts and its raises may each have to wait
            for a GPU that hangs.

    Attributes:
        error: why the guard cannot be used; empty when it can.
        report: the guard's last report; None while it cannot be used.
        readings: every GPU, with what was written after its last sample; empty without a report.
    """

    def __init__(self, guard: Guard, clock: Clock, *, read_within_s: float, plan_within_s: float) -> None:
        self._guard = guard
        self._clock = clock
        self._read_within_s = read_within_s
        self._plan_within_s = plan_within_s
        self._connections = 0
        # By UUID: when its last write ended, and the fields that writes have changed since its sample.
        self._written: dict[str, tuple[float, dict[str, Any]]] = {}
        self.report: GuardReport | None = None
        self.readings: tuple[GpuReading, ...] = ()
        self.error = "the guard was not asked yet"

    @property
    def guard_status(self) -> GuardStatus:
        """Return how the guard stands."""
        again = max(0, self._connections - 1)
        if self.report is None:
            return GuardStatus(self.error, reconnections=again)
        report = self.report
        error = self.error or report.driver_error
        return GuardStatus(error, report.writes_forbidden, again, report.fallback_count, report.calls)

    @property
    def keeps_plans(self) -> bool:
        """Return whether the guard answers, and if it started again would know the plan in force."""
        return self.report is not None and self.report.keeps_plans

    @property
    def attachment(self) -> str:
        """Return how the driver stands, as `GuardReport` says; empty while the guard cannot be used."""
        return self.report.attachment if self.report is not None else ""

    @property
    def is_given_up(self) -> bool:
        """Return whether the guard keeps away from the driver on order, or is about to."""
        return self.attachment in ("letting go", "detached")

    async def sample(self) -> None:
        """Read all GPUs."""
        asked_boot_s = self._clock.now().boot_s
        report, self.error = await self._answer(self._connect_and_read(), self._read_within_s)
        if report is not None:
            self.report = report
            # The guard knows what came of them, also for a GPU that could not be read any more.
            self._written = {uuid: each for uuid, each in self._written.items() if each[0] > asked_boot_s}
            self.readings = self._put_together(report)

    async def _connect_and_read(self) -> GuardReport:
        if not self._guard.is_connected:
            await self._guard.connect()
            self._connections += 1
        return await self._guard.read()

    async def execute(self, plan: Plan) -> PlanReport | None:
        """Have a plan executed; None if the guard could not be asked, with `error` saying why.

        Without readings there is no plan: an empty one would disarm the fallback of the last.
        """
        if self.report is None or not self.report.generation:
            return None
        report, error = await self._answer(self._guard.plan(plan), self._plan_within_s)
        # A sample that ran beside and gave the guard up knows better why.
        self.error = self.error or error
        if report is not None:
            self._learn(report.outcomes)
        return report

    async def release(self) -> tuple[Outcome, ...]:
        """Have the limits put back that GPUs had before the first write; return how that went.

        Raises:
            GuardError: the guard does not answer, or refuses.
        """
        outcomes = await self._answer_or_raise(self._guard.release(), self._plan_within_s)
        await self.sample()
        return outcomes

    async def detach(self, why: str) -> None:
        """Have the guard begin to let go of the driver; `attachment` tells how far that is.

        Raises:
            GuardError: the guard does not answer, or refuses.
        """
        await self._answer_or_raise(self._guard.detach(why), self._read_within_s)
        await self.sample()

    async def stay_detached(self, why: str) -> None:
        """Say it again to a guard that has forgotten it."""
        if self.attachment in ("attached", "away"):
            await self._answer(self._guard.detach(why), self._read_within_s)

    async def attach(self) -> None:
        """Have the guard look for the driver again; `attachment` tells what comes of it.

        Raises:
            GuardError: the guard does not answer, or refuses.
        """
        await self._answer_or_raise(self._guard.attach(), self._read_within_s)

    async def _answer_or_raise(self, call: Awaitable[_Answer], within_s: float) -> _Answer:
        answer, error = await self._answer(call, within_s)
        if error:
            raise GuardError(error)
        return cast("_Answer", answer)

    async def _answer(self, call: Awaitable[_Answer], within_s: float) -> tuple[_Answer | None, str]:
        """Return the guard's answer, or why there is none; a guard that does not answer is given up."""
        try:
            async with asyncio.timeout(within_s):
                return await call, ""
        except GuardRefusedError as error:
            # Perhaps another client has taken over: a new connection gets a new token.
            return await self._give_up(f"the guard refused: {error}")
        except GuardError as error:
            return await self._give_up(str(error))
        except TimeoutError:
            return await self._give_up(f"the guard did not answer within {within_s:g} s")

    async def _give_up(self, why: str) -> tuple[None, str]:
        self.report = None
        self.readings = ()
        self._written.clear()
        await self._guard.close()
        return None, why

    def _learn(self, outcomes: Sequence[Outcome]) -> None:
        now_s = self._clock.now().boot_s
        sampled_boot_s = {reading.uuid: reading.sampled_boot_s for reading in self.readings}
        for outcome in outcomes:
            written_boot_s, known = self._written.get(outcome.uuid, (0.0, {}))
            if sampled_boot_s.get(outcome.uuid, 0.0) >= written_boot_s:
                known = {}  # the sample came after, and has seen it
            self._written[outcome.uuid] = (now_s, known | _changed_by(outcome))
        if outcomes and self.report is not None:
            self.readings = self._put_together(self.report)

    def _put_together(self, report: GuardReport) -> tuple[GpuReading, ...]:
        return tuple(self._with_writes(reading) for reading in report.readings)

    def _with_writes(self, reading: GpuReading) -> GpuReading:
        written_boot_s, changed = self._written.get(reading.uuid, (0.0, {}))
        return reading if reading.sampled_boot_s >= written_boot_s else replace(reading, **changed)


def _changed_by(outcome: Outcome) -> dict[str, Any]:
    """Return the fields of a reading that are different after a write, as far as that is known."""
    if outcome.result is Result.SKIPPED:
        return {}
    changed = {
        "requested_mw": outcome.requested_mw,
        "enforced_mw": outcome.enforced_mw,
        "worst_case_mw": outcome.worst_case_mw,
        "written_mw": None if outcome.result is Result.FAILED else outcome.target_mw,
    }
    return {name: mw for name, mw in changed.items() if mw is not None}
