"""What the hosts of a rack say to each other: one message each, complete every time (docs/leases.md).

A message is named by its key, which only grows. Watts of a host include its overhead.
"""

from dataclasses import dataclass
from typing import NamedTuple

from powerd.core.units import MilliWatts


class Key(NamedTuple):
    """Names one message of one host; compared as a pair, so that a restart is newer than all before it.

    Attributes:
        epoch: never used twice by a host, and larger with every start; Unix milliseconds where clocks allow.
        seq: grows with every message of an epoch.
    """

    epoch: int
    seq: int


class Lend(NamedTuple):
    """Watts that the sender lends.

    Attributes:
        to: the borrower.
        mw: 0 recalls what was lent before; the borrower is to say that it has let go.
        answers: the borrower's message that this one answers; the lease runs from when *that* was sent.
    """

    to: str
    mw: MilliWatts
    answers: Key


class Hold(NamedTuple):
    """Watts that the sender uses: its acknowledgement of a donor's message, also with 0 W.

    Attributes:
        key: the donor's message under which the sender's limits are confirmed; nothing older is used.
    """

    donor: str
    mw: MilliWatts
    key: Key


@dataclass(frozen=True, slots=True)
class HeardBudget:
    """The budget that governs at the sender.

    Attributes:
        mw: None = its source sets no limit.
        lease_s: how much of its lease was left when the message was made.
    """

    source: str
    epoch: int
    seq: int
    mw: MilliWatts | None
    lease_s: float


@dataclass(frozen=True, slots=True)
class HostState:
    """One host's state message, as far as its peers need it.

    Attributes:
        roster: digest of the rack's configuration; hosts that differ neither lend nor borrow.
        is_leasing: takes part: writes limits, and knows what it has lent.
        rack_cap_mw: what the rack may draw in the sender's view, before any ramp.
        budget: None in `init` and `failsafe`.
        entitlement_mw: what the sender's share is worth now.
        want_mw: what it would use if it could.
        spare_mw: what it could lend, what it has lent included.
        lent_mw: what it counts as lent, recalled watts included until they are acknowledged.
        worst_case_mw: the most it may draw now; None if that is not known.
        over_mw: how far that is above what it is entitled to, plus borrowed, less lent.
        measured_mw: what it draws, for people; None if that is not known.
        received_boot_s: when it first arrived, on the receiver's clock.
    """

    host: str
    key: Key
    roster: str
    is_leasing: bool
    rack_cap_mw: MilliWatts
    entitlement_mw: MilliWatts
    want_mw: MilliWatts
    spare_mw: MilliWatts
    lent_mw: MilliWatts
    over_mw: MilliWatts
    worst_case_mw: MilliWatts | None = None
    measured_mw: MilliWatts | None = None
    budget: HeardBudget | None = None
    lends: tuple[Lend, ...] = ()
    holds: tuple[Hold, ...] = ()
    received_boot_s: float = 0.0

    def lent_to(self, host: str) -> Lend | None:
        """Return the lease to one host; None if none is spoken of."""
        for lend in self.lends:
            if lend.to == host:
                return lend
        return None

    def held_from(self, host: str) -> Hold | None:
        """Return the acknowledgement to one host; None if none is spoken of."""
        for hold in self.holds:
            if hold.donor == host:
                return hold
        return None
