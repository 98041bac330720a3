"""What operators order at run time: who may change what, what becomes of it, and the line that tells of it.

Orders are carried out one after another, each between two iterations of the loop, never within one.
Invariant: no order gives the GPUs more than the budget leaves but `release`, which says so.
"""

from collections.abc import Callable
from typing import NamedTuple

from powerd.core.units import MilliWatts
from powerd.errors import PowerdError

MIN_TTL_S, MAX_TTL_S = 60.0, 86_400.0
MIN_DRILL_S, MAX_DRILL_S = 10.0, 3_600.0
MAX_REASON_CHARS = 256


class RefusedOrderError(PowerdError):
    """An order cannot be carried out as things are. The text says what stands in its way."""


class Who(NamedTuple):
    """Who gives an order, as the kernel knows the other end of the connection.

    Attributes:
        pid: of the process that gave it.
        name: of the user, or "uid 1234" where the host knows none.
    """

    uid: int
    gid: int
    pid: int
    name: str


class Done(NamedTuple):
    """An order that was carried out.

    Attributes:
        text: what was done and what follows, one line.
        until_wall_s: when it ends by itself; None if it does not.
    """

    text: str
    until_wall_s: float | None = None


class OrderEntry(NamedTuple):
    """What the log and the history keep of an order, carried out or not.

    Attributes:
        order: "override", "release", "detach", "attach", "mode" or "drill".
        subject: UUID of the GPU that it is about; empty if it is about the host.
        outcome: what `Done.text` says, or why it was refused.
    """

    wall_s: float
    order: str
    subject: str
    who: Who
    reason: str
    outcome: str
    refused: bool


class Desk:
    """Takes orders; one instance for the life of the daemon.

    Every order is answered: with `Done`, or with an error that says why not. Both are logged, as one line
    `order`, and handed to `on_order`.

    Raises, from every order:
        RefusedOrderError: it cannot be carried out as things are.
    """

    def __init__(self, on_order: Callable[[OrderEntry], None]) -> None:
        self._on_order = on_order

    async def override(self, gpu: str, mw: MilliWatts | None, ttl_s: float, reason: str, who: Who) -> Done:
        """Give one GPU exactly these watts for a while, before all others, as far as the budget reaches.

        Args:
            gpu: its index, its UUID, or the beginning of its UUID.
            mw: within the GPU's range; None ends its override.
            ttl_s: 60 .. 86,400; of no meaning where `mw` is None.

        Raises:
            UnknownGpuError: (powerd.errors) no GPU, or more than one, goes by that name.
        """
        raise RefusedOrderError(_NOT_YET)

    async def release(self, reason: str, who: Who) -> Done:
        """Put back the limits that were found, and write nothing any more: the mode is dry-run then.

        Watts lent and borrowed are given back first, which can take as long as a lease.
        """
        raise RefusedOrderError(_NOT_YET)

    async def detach(self, reason: str, who: Who, *, force: bool = False) -> Done:
        """Have the guard give up the driver until `attach`, so that GPUs can be reset or the driver replaced.

        Watts lent and borrowed are given back first, which can take as long as a lease.

        Args:
            force: also where the watts of this host do not cover what the GPUs may draw meanwhile.
        """
        raise RefusedOrderError(_NOT_YET)

    async def attach(self, reason: str, who: Who) -> Done:
        """Have the guard attach the driver again."""
        raise RefusedOrderError(_NOT_YET)

    async def mode(self, mode: str, reason: str, who: Who) -> Done:
        """Change the mode until the next start: monitor, dry-run or enforce."""
        raise RefusedOrderError(_NOT_YET)

    async def drill(self, duration_s: float, reason: str, who: Who) -> Done:
        """Hear no budgets for a while, as if the controller were lost.

        Args:
            duration_s: 10 .. 3,600; 0 ends it.
        """
        raise RefusedOrderError(_NOT_YET)


_NOT_YET = "this daemon does not carry out orders yet"
