"""An order of an operator, and what is answered."""

from typing import NamedTuple

from powerd.core.model import Now, Severity
from powerd.errors import PowerdError
from powerd.history.happenings import Happening

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
        subject: UUID of the GPU that it is about, or what was said in its place; empty for the host.
        outcome: what `Done.text` says, or why it was refused.
    """

    now: Now
    order: str
    subject: str
    who: Who
    reason: str
    outcome: str
    refused: bool

    @property
    def happening(self) -> Happening:
        """Return it as the history keeps it."""
        refused = "refused: " if self.refused else ""
        text = f"{self.order} ({self.reason}): {refused}{self.outcome}"
        severity = Severity.WARNING if self.refused else Severity.INFO
        return Happening(self.now.boot_s, "order", severity, text, self.subject, by=self.who.name)
