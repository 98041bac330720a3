"""What holds at `now`: which messages count, for how long, and which of them governs.

Rules: signals.md B4 (precedence), B5 (clocks) and B6 (verdicts). A rejected message changes nothing and
extends no lease.
"""

from dataclasses import dataclass
from enum import StrEnum

from powerd.core.model import Now
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class BudgetMessage:
    """A rack budget as it was received, checked for form only (signals.md B2a).

    Attributes:
        mw: total for the rack at the meter; None = the sender is in control and sets no limit.
        issued_at_s, valid_until_s: the publisher's wall clock, Unix seconds.
        default_mw, failsafe_mw: a controller may lower the configured values, never raise them.
        retained: delivered from the broker's store, so its age is unknown to the boot clock.
        received: when it arrived.
        digest: of the payload, to tell a repeat from a different message under the same key.
    """

    source: str
    epoch: int
    seq: int
    issued_at_s: float
    valid_until_s: float
    mw: MilliWatts | None
    received: Now
    retained: bool = False
    priority: int = 100
    default_mw: MilliWatts | None = None
    failsafe_mw: MilliWatts | None = None
    reason: str = ""
    correlation_id: str = ""
    digest: str = ""


class VerdictKind(StrEnum):
    """What became of a message."""

    ACCEPTED = "accepted"
    LOWER_ONLY = "lower_only"  # may lower the cap; neither raises it nor extends a lease
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one message, and why.

    Attributes:
        reason: stable slug, the `reason` label of `powerd_signal_rejected_total`; empty if accepted.
        text: one line for the log, notices and status.
    """

    kind: VerdictKind
    source: str
    epoch: int
    seq: int
    reason: str = ""
    text: str = ""
