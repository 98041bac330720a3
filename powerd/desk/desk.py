"""What operators order at run time: who may change what, what becomes of it, and the line that tells of it.

Orders are carried out one after another, each between two iterations of the loop, never within one.
Invariant: no order gives the GPUs more than the budget leaves but `release`, which says so.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from powerd.core.model import GpuReading
from powerd.core.units import MilliWatts
from powerd.desk import driver, modes, overrides
from powerd.desk.hands import Hands
from powerd.desk.order import (
    MAX_DRILL_S,
    MAX_REASON_CHARS,
    MAX_TTL_S,
    MIN_DRILL_S,
    MIN_TTL_S,
    Done,
    OrderEntry,
    RefusedOrderError,
    Who,
)
from powerd.errors import PowerdError, UnknownGpuError
from powerd.snapshot import find_gpu

__all__ = [
    "MAX_DRILL_S",
    "MAX_REASON_CHARS",
    "MAX_TTL_S",
    "MIN_DRILL_S",
    "MIN_TTL_S",
    "Desk",
    "Done",
    "OrderEntry",
    "RefusedOrderError",
    "Who",
]

log = structlog.get_logger()


class Desk:
    """Takes orders; one instance for the life of the daemon.

    Every order is answered: with `Done`, or with an error that says why not. Both are logged, as one line
    `order`, and handed to `on_order`. An order is carried out to its end even if who gave it has gone.

    Raises, from every order:
        RefusedOrderError: it cannot be carried out as things are.
        GuardError: it needs the guard, which does not answer.

    Args:
        hands: what orders are carried out with.
        on_order: called with every order; must not block.
    """

    def __init__(self, hands: Hands, on_order: Callable[[OrderEntry], None]) -> None:
        self._hands = hands
        self._on_order = on_order
        self._one_at_a_time = asyncio.Lock()
        self._under_way: set[asyncio.Task[Done]] = set()

    async def override(self, gpu: str, mw: MilliWatts | None, ttl_s: float, reason: str, who: Who) -> Done:
        """Give one GPU exactly these watts for a while, before all others, as far as the budget reaches.

        Args:
            gpu: its index, its UUID, or the beginning of its UUID.
            mw: within the GPU's range, in whole watts; None ends its override.
            ttl_s: 60 .. 86,400; of no meaning where `mw` is None.

        Raises:
            UnknownGpuError: (powerd.errors) no GPU, or more than one, goes by that name.
        """

        async def carry_out() -> Done:
            reading = self._find(gpu)
            if mw is None:
                return await overrides.end_override(self._hands, reading)
            return await overrides.override(self._hands, reading, mw, ttl_s, reason, who)

        return await self._give("override", reason, who, carry_out, subject=self._uuid_or(gpu))

    async def release(self, reason: str, who: Who) -> Done:
        """Put back the limits that were found, and write nothing any more: the mode is dry-run then.

        Watts lent and borrowed are given back first, which can take as long as a lease.
        """
        return await self._give("release", reason, who, lambda: modes.release(self._hands))

    async def detach(self, reason: str, who: Who, *, force: bool = False) -> Done:
        """Have the guard give up the driver until `attach`, so that GPUs can be reset or the driver replaced.

        Watts lent and borrowed are given back first, which can take as long as a lease.

        Args:
            force: also where the watts of this host do not cover what the GPUs may draw meanwhile.
        """

        def carry_out() -> Awaitable[Done]:
            return driver.detach(self._hands, reason, who, force=force)

        return await self._give("detach", reason, who, carry_out)

    async def attach(self, reason: str, who: Who) -> Done:
        """Have the guard attach the driver again."""
        return await self._give("attach", reason, who, lambda: driver.attach(self._hands))

    async def mode(self, mode: str, reason: str, who: Who) -> Done:
        """Change the mode until the next start: monitor, dry-run or enforce."""
        return await self._give("mode", reason, who, lambda: modes.change_mode(self._hands, mode))

    async def drill(self, duration_s: float, reason: str, who: Who) -> Done:
        """Hear no budgets for a while, as if the controller were lost.

        Args:
            duration_s: 10 .. 3,600; 0 ends it.
        """

        def carry_out() -> Awaitable[Done]:
            return modes.drill(self._hands, duration_s, reason, who)

        return await self._give("drill", reason, who, carry_out)

    # How every order is given

    async def _give(
        self, order: str, reason: str, who: Who, carry_out: Callable[[], Awaitable[Done]], subject: str = ""
    ) -> Done:
        task = asyncio.create_task(self._carry_out(order, reason, who, carry_out, subject))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _carry_out(
        self, order: str, reason: str, who: Who, carry_out: Callable[[], Awaitable[Done]], subject: str
    ) -> Done:
        try:
            if not reason or len(reason) > MAX_REASON_CHARS or len(reason.splitlines()) > 1:
                raise RefusedOrderError(f"give a reason: one line of 1 to {MAX_REASON_CHARS} characters")
            async with self._one_at_a_time:
                done = await carry_out()
        except PowerdError as error:
            self._record(order, subject, who, reason, str(error), refused=True)
            raise
        self._record(order, subject, who, reason, done.text, refused=False)
        return done

    def _record(
        self, order: str, subject: str, who: Who, reason: str, outcome: str, *, refused: bool
    ) -> None:
        about = {"subject": subject} if subject else {}
        told = {"by": who.name, "uid": who.uid, "pid": who.pid, "reason": reason, "refused": refused}
        log.info("order", order=order, **about, **told, outcome=outcome)
        self._on_order(
            OrderEntry(self._hands.clock.now(), order, subject, who, reason, outcome, refused=refused)
        )

    # GPUs by name

    def _find(self, gpu: str) -> GpuReading:
        if not self._hands.gpus.readings and self._hands.gpus.guard_status.error:
            raise RefusedOrderError(f"no GPU is known: {self._hands.gpus.guard_status.error}")
        return find_gpu(self._hands.gpus.readings, gpu)

    def _uuid_or(self, gpu: str) -> str:
        try:
            return find_gpu(self._hands.gpus.readings, gpu).uuid
        except UnknownGpuError:
            return gpu[:MAX_REASON_CHARS]
