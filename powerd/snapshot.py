"""The immutable result of one iteration: all that status, metrics, telemetry and the page are made of.

One writer (the controller), many readers; nobody reads anything else.
"""

from dataclasses import dataclass

from powerd.core.decide import Decision
from powerd.core.model import GpuReading, Now, Outcome


@dataclass(frozen=True, slots=True)
class BusStatus:
    """How the connection to the broker stands. A hint only: leases decide.

    Attributes:
        url: without credentials.
        protocol: "5" or "3.1.1" once connected, empty before.
        error: why it is not connected; empty when it is.
        published, received, rejected: messages since the start.
    """

    url: str
    connected: bool = False
    protocol: str = ""
    error: str = ""
    received: int = 0
    rejected: int = 0
    published: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, or was: kept until it has not recurred for a while.

    Attributes:
        event: the same slug as in the log and in notices.
        severity: "info", "warning" or "critical".
        count: how often since `first_wall_s`.
    """

    event: str
    severity: str
    subject: str
    text: str
    first_wall_s: float
    last_wall_s: float
    count: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One iteration, finished.

    Attributes:
        iteration: counts from 1.
        period_s: the control period; an iteration older than three of them means a stalled loop.
        outcomes: of the writes of this iteration; empty when none was needed or `mode` forbids them.
        guard_error: why the guard cannot be used; empty when it can.
        writes_forbidden: POWERD_FORBID_WRITES is set at the guard.
        reaction_s: message received -> last cut read back, if this iteration reacted to a message.
        elapsed_s: from `now`, the iteration's start, to its last read-back.
    """

    now: Now
    iteration: int
    period_s: float
    mode: str
    site: str
    rack: str
    host: str
    readings: tuple[GpuReading, ...]
    decision: Decision
    outcomes: tuple[Outcome, ...]
    guard_error: str
    writes_forbidden: bool
    bus: BusStatus
    problems: tuple[Problem, ...]
    reaction_s: float | None = None
    elapsed_s: float = 0.0
