"""What holds at `now`: what was said, by whom, until when, and which of it governs.

Precedence: docs/signals.md. What may enter is decided in `admission`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum

from powerd.core.model import Now
from powerd.core.rack.trust import Trust
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class BudgetMessage:
    """A rack budget as it was received, checked for form only (docs/signals.md, Rack budget).

    Attributes:
        mw: total for the rack at the meter; None = the sender is in control and sets no limit.
        issued_at_s, valid_until_s: the publisher's wall clock, Unix seconds.
        default_mw: what holds where `mw` sets no limit; kept until the source says another one.
        failsafe_mw: a controller may lower the configured one, never raise it; kept likewise.
        retained: delivered from the broker's store, so its age is unknown to the boot clock.
        received: when it arrived.
        digest: of the payload, to tell a repeat from a different message under the same key.
        trust: what stands behind it.
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
    trust: Trust = Trust.BROKER


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
        about: what kind of message, for the same.
        skew_s: how far our clock is ahead of the sender's, the way of the message included; None where that
            cannot be told: it came from a store, or our clock is not synchronised.
    """

    kind: VerdictKind
    source: str
    epoch: int
    seq: int
    reason: str = ""
    text: str = ""
    about: str = "budget"
    skew_s: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest accepted message of one source: older ones are replays.

    Attributes:
        failsafe_mw: the failsafe this source asked for; only ever used to lower the configured one.
        default_mw: what holds where this source sets no limit; None = the hard limit.
        is_signed: it was; what was not makes nothing old that is.
        lag_s: the boot clock less the wall clock when that was last known to be right; None = never, in this
            boot. It tells the age of what comes while the wall clock is not synchronised.
    """

    epoch: int
    seq: int
    issued_at_s: float
    digest: str
    failsafe_mw: MilliWatts | None = None
    default_mw: MilliWatts | None = None
    is_signed: bool = False
    lag_s: float | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A budget that holds until `end_boot_s`, unless its source says something newer."""

    source: str
    epoch: int
    seq: int
    mw: MilliWatts | None
    priority: int
    end_boot_s: float
    reason: str = ""
    correlation_id: str = ""


def skew_s(received: Now, issued_at_s: float, *, retained: bool) -> float | None:
    """Return what the stamp of a message tells of its sender's clock, as `Verdict.skew_s`."""
    return None if retained or not received.wall_synced else received.wall_s - issued_at_s


# The reason of a ceiling that a source left behind when it fell silent.
SILENT = "source_silent"
# The reason of a ceiling that a peer spoke of: its source's message did not get here.
HEARSAY = "heard_from_peer"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a doubtful message, or a source that fell silent, lowers the cap to: no lease, only a lid.

    It stays until its source says something newer without doubt, or its time is over.
    """

    epoch: int
    seq: int
    mw: MilliWatts
    until_boot_s: float
    reason: str
    is_signed: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """All that was said and still counts, by source.

    Attributes:
        unsigned: what was said in the name of a source without a signature where one is asked for. It is
            kept apart, so that no forgery makes old what the source itself says.
    """

    statements: dict[str, Statement] = field(default_factory=dict)
    ceilings: dict[str, Ceiling] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    unsigned: dict[str, Ceiling] = field(default_factory=dict)

    @property
    def failsafe_mw(self) -> MilliWatts | None:
        """Return the lowest failsafe that a controller asked for; None if none did."""
        asked = [seen.failsafe_mw for seen in self.seen.values() if seen.failsafe_mw is not None]
        return min(asked, default=None)


# The source of a budget that the operator has set for good.
STANDING = "rack.default_watts"


def with_standing(timeline: Timeline, mw: MilliWatts, boot_s: float, lease_s: float) -> Timeline:
    """Renew the operator's own budget: where nobody else publishes any, it is in force while powerd runs."""
    statement = Statement(STANDING, 0, 0, mw, 0, boot_s + lease_s)
    seen = Seen(0, 0, 0.0, "")
    return replace(
        timeline,
        statements={**timeline.statements, STANDING: statement},
        seen={**timeline.seen, STANDING: seen},
    )


def only_from(timeline: Timeline, sources: Collection[str]) -> Timeline:
    """Drop what was said by others than these sources; keys stay known."""
    return replace(
        timeline,
        statements={k: v for k, v in timeline.statements.items() if k in sources},
        ceilings={k: v for k, v in timeline.ceilings.items() if k in sources},
        unsigned={k: v for k, v in timeline.unsigned.items() if k in sources},
    )


def lapse(timeline: Timeline, boot_s: float, hold_s: float) -> Timeline:
    """Drop what is over. Keys stay: a replay must be known for ever.

    When the source that governed falls silent and a less strict one is left, the last word of the silent one
    stays as a ceiling until somebody says something new, or for `hold_s`: silence never raises the cap.
    """
    statements = {k: v for k, v in timeline.statements.items() if boot_s < v.end_boot_s}
    ceilings = {k: v for k, v in timeline.ceilings.items() if boot_s < v.until_boot_s}
    unsigned = {k: v for k, v in timeline.unsigned.items() if boot_s < v.until_boot_s}
    if len(unsigned) < len(timeline.unsigned):
        timeline = replace(timeline, unsigned=unsigned)
    if len(statements) == len(timeline.statements) and len(ceilings) == len(timeline.ceilings):
        return timeline
    governed, _ = governing(timeline)
    if governed is not None and governed.mw is not None and statements and governed.source not in statements:
        seen = timeline.seen.get(governed.source)
        signed = seen is not None and seen.is_signed
        silent = Ceiling(governed.epoch, governed.seq, governed.mw, boot_s + hold_s, SILENT, signed)
        ceilings = {**ceilings, governed.source: silent}
    return replace(timeline, statements=statements, ceilings=ceilings)


def governing(timeline: Timeline) -> tuple[Statement | None, tuple[str, ...]]:
    """Return the statement in force, and the sources in conflict over it.

    The lowest priority number governs; between equals the lowest watts, and that is a conflict worth an
    alarm (docs/signals.md, Precedence). `mw=None` sets no limit, so any number is lower.
    """
    if not timeline.statements:
        return None, ()
    first = min(statement.priority for statement in timeline.statements.values())
    rivals = [statement for statement in timeline.statements.values() if statement.priority == first]
    rivals.sort(key=lambda s: (s.mw is None, s.mw or 0, s.source))
    conflict = tuple(sorted(s.source for s in rivals)) if len(rivals) > 1 else ()
    return rivals[0], conflict
