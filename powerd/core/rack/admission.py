"""Which messages count: replays, clocks and leases judged (docs/signals.md, Clocks and Verdicts).

Invariant: a rejected message changes nothing and extends no lease; a doubtful one can only lower.
"""

from dataclasses import dataclass, replace

from powerd.core.leases.host_state import HeardBudget
from powerd.core.rack.newness import why_stale
from powerd.core.rack.timeline import (
    HEARSAY,
    SILENT,
    BudgetMessage,
    Ceiling,
    Seen,
    Statement,
    Timeline,
    Verdict,
    VerdictKind,
    governing,
    skew_s,
)
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """What a message must satisfy (docs/signals.md, Clocks).

    Attributes:
        min_lease_s, max_lease_s: a lease outside is clamped, not rejected.
        max_skew_s: a publisher whose stamps differ more from our synchronised clock may only lower.
        max_sources: senders remembered; one more is rejected, so that no one can fill the memory.
        lower_only_hold_s: how long a doubtful message keeps the cap down when nothing better is heard.
    """

    hard_limit_mw: MilliWatts
    min_lease_s: float = 5.0
    max_lease_s: float = 300.0
    max_skew_s: float = 30.0
    max_sources: int = 32
    lower_only_hold_s: float = 7200.0


def admit(
    timeline: Timeline, message: BudgetMessage, rules: AdmissionRules, failsafe_since_boot_s: float | None
) -> tuple[Timeline, Verdict]:
    """Judge one message, at the moment it was received.

    Args:
        failsafe_since_boot_s: when failsafe was entered, None outside it. Only what was issued later ends it
            (LPC-916: a *following* limit write).
    """
    refusal = _refusal(timeline, message, rules)
    if refusal is not None:
        return timeline, refusal
    doubt = _doubt(message, rules, failsafe_since_boot_s)
    if doubt is None:
        return _accept(timeline, message, rules)
    return _lower(timeline, message, rules, *doubt)


def adopt(timeline: Timeline, heard: HeardBudget, rules: AdmissionRules, boot_s: float) -> Timeline:
    """Obey a lower budget that a peer has received and this host has not: as a lid, without any lease.

    Only the source that governs here is believed from hearsay, and only when its message is newer.
    """
    seen, old = timeline.seen.get(heard.source), timeline.ceilings.get(heard.source)
    if heard.mw is None or seen is None or (heard.epoch, heard.seq) <= (seen.epoch, seen.seq):
        return timeline
    governs, _ = governing(timeline)
    if (
        governs is None
        or heard.source != governs.source
        or (governs.mw is not None and heard.mw >= governs.mw)
    ):
        return timeline
    mw, until_boot_s = heard.mw, boot_s + rules.max_lease_s
    if old is not None:
        if (heard.epoch, heard.seq) <= (old.epoch, old.seq):
            return timeline
        mw, until_boot_s = min(mw, old.mw), max(until_boot_s, old.until_boot_s)
    ceiling = Ceiling(heard.epoch, heard.seq, mw, until_boot_s, HEARSAY)
    return replace(timeline, ceilings={**timeline.ceilings, heard.source: ceiling})


def _verdict(kind: VerdictKind, message: BudgetMessage, reason: str = "", text: str = "") -> Verdict:
    ahead_s = skew_s(message.received, message.issued_at_s, retained=message.retained)
    return Verdict(kind, message.source, message.epoch, message.seq, reason, text, skew_s=ahead_s)


def _refusal(timeline: Timeline, message: BudgetMessage, rules: AdmissionRules) -> Verdict | None:
    """Refuse repeats, replays, and what would fill the memory."""
    seen = timeline.seen.get(message.source)
    if seen is None:
        known = timeline.seen.keys() | timeline.ceilings.keys()
        if message.source in known or len(known) < rules.max_sources:
            return None
        text = (
            f"already {rules.max_sources} budget sources known, over restarts too; to forget them, stop "
            "powerd and remove runtime.json from host.state_dir"
        )
        return _verdict(VerdictKind.REJECTED, message, "too_many_sources", text)
    stale = why_stale(message, seen, rules.max_skew_s)
    return None if stale is None else _verdict(stale.kind, message, stale.reason, stale.text)


def _lease_s(message: BudgetMessage, rules: AdmissionRules) -> float:
    asked = message.valid_until_s - message.issued_at_s
    return min(max(asked, rules.min_lease_s), rules.max_lease_s)


def _doubt(
    message: BudgetMessage, rules: AdmissionRules, failsafe_since_boot_s: float | None
) -> tuple[str, str] | None:
    """Return why the message may only lower, as (slug, text); None if it may do all."""
    received = message.received
    if not received.wall_synced:
        if message.retained:
            return "unsynced_retained", "its age is unknown: retained, and our clock is not synchronised"
        return None  # live and newer than all before: fresh, whatever the clocks say
    age_s = received.wall_s - message.issued_at_s
    if age_s > _lease_s(message, rules):
        return "expired", f"it expired {age_s - _lease_s(message, rules):.0f} s before it arrived"
    if age_s < -rules.max_skew_s or (age_s > rules.max_skew_s and not message.retained):
        return "clock_skew", f"its sender's clock differs by {-age_s:+.0f} s"
    # Two ages are compared, not two stamps: the wall clock may have been set since failsafe was entered.
    if failsafe_since_boot_s is not None and age_s >= received.boot_s - failsafe_since_boot_s:
        return "before_failsafe", "it was issued before failsafe was entered"
    return None


def _accept(timeline: Timeline, message: BudgetMessage, rules: AdmissionRules) -> tuple[Timeline, Verdict]:
    lease_s = _lease_s(message, rules)
    if message.retained:  # part of the lease passed while the broker kept it
        lease_s = min(lease_s, message.issued_at_s + lease_s - message.received.wall_s)
    before = timeline.seen.get(message.source)
    failsafe_mw, default_mw = message.failsafe_mw, message.default_mw
    if before is not None:  # a missing field is no statement
        failsafe_mw = before.failsafe_mw if failsafe_mw is None else failsafe_mw
        default_mw = before.default_mw if default_mw is None else default_mw
    mw, text = message.mw if message.mw is not None else default_mw, ""
    if mw is not None and mw > rules.hard_limit_mw:
        mw, text = rules.hard_limit_mw, "above rack.hard_limit_watts: the hard limit holds"
    statement = Statement(
        message.source,
        message.epoch,
        message.seq,
        mw,
        message.priority,
        message.received.boot_s + lease_s,
        message.reason,
        message.correlation_id,
    )
    seen = Seen(message.epoch, message.seq, message.issued_at_s, message.digest, failsafe_mw, default_mw)
    updated = Timeline(
        {**timeline.statements, message.source: statement},
        {k: v for k, v in timeline.ceilings.items() if not _lifts(message, k, v)},
        {**timeline.seen, message.source: seen},
    )
    reason = "clamped_to_hard_limit" if text else ""
    return updated, _verdict(VerdictKind.ACCEPTED, message, reason, text)


def _lifts(message: BudgetMessage, source: str, ceiling: Ceiling) -> bool:
    """Say whether a message ends a ceiling: a newer word of its source, or anybody's after a silence."""
    if source == message.source:
        return (ceiling.epoch, ceiling.seq) <= (message.epoch, message.seq)
    return ceiling.reason == SILENT and not message.retained


def _lower(
    timeline: Timeline, message: BudgetMessage, rules: AdmissionRules, reason: str, why: str
) -> tuple[Timeline, Verdict]:
    """Let a doubtful message lower what holds; it renews nothing, raises nothing, and makes nothing old."""
    if message.mw is None:
        return timeline, _verdict(VerdictKind.REJECTED, message, reason, why)
    mw, old = message.mw, timeline.ceilings.get(message.source)
    if old is not None:
        if (message.epoch, message.seq) <= (old.epoch, old.seq):
            return timeline, _verdict(VerdictKind.DUPLICATE, message, "duplicate")
        mw = min(mw, old.mw)
    until_boot_s = message.received.boot_s + rules.lower_only_hold_s
    ceiling = Ceiling(message.epoch, message.seq, mw, until_boot_s, reason)
    updated = replace(timeline, ceilings={**timeline.ceilings, message.source: ceiling})
    return updated, _verdict(VerdictKind.LOWER_ONLY, message, reason, f"{why}: it may only lower")
