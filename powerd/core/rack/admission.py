"""Which messages count: replays, clocks and leases judged (docs/signals.md, Clocks and Verdicts).

Invariant: a rejected message changes nothing and extends no lease; a doubtful one can only lower. What is not
signed where signatures are asked for changes nothing that a signature stands behind.
"""

from dataclasses import dataclass, replace

from powerd.core.rack.newness import why_stale
from powerd.core.rack.timeline import (
    SILENT,
    BudgetMessage,
    Ceiling,
    Seen,
    Statement,
    Timeline,
    Verdict,
    VerdictKind,
    skew_s,
)
from powerd.core.rack.trust import Trust
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
    if message.trust is Trust.NONE:
        return _lower_unsigned(timeline, message, rules)
    seen = _last_word(timeline, message)
    refusal = _refusal(timeline, message, seen, rules)
    if refusal is not None:
        return timeline, refusal
    doubt = _doubt(message, seen, rules, failsafe_since_boot_s)
    if doubt is None:
        return _accept(timeline, message, seen, rules)
    return _lower(timeline, message, rules, *doubt)


def _verdict(kind: VerdictKind, message: BudgetMessage, reason: str = "", text: str = "") -> Verdict:
    ahead_s = skew_s(message.received, message.issued_at_s, retained=message.retained)
    return Verdict(kind, message.source, message.epoch, message.seq, reason, text, skew_s=ahead_s)


def _last_word(timeline: Timeline, message: BudgetMessage) -> Seen | None:
    """Return what is known of its source; what anybody may have said before it signed does not count."""
    seen = timeline.seen.get(message.source)
    is_hollow = seen is not None and message.trust is Trust.SIGNED and not seen.is_signed
    return None if is_hollow else seen


def _refusal(
    timeline: Timeline, message: BudgetMessage, seen: Seen | None, rules: AdmissionRules
) -> Verdict | None:
    """Refuse repeats, replays, and what would fill the memory; who signs does not: keys are few."""
    if seen is None:
        known = timeline.seen.keys() | timeline.ceilings.keys()
        is_known = message.trust is Trust.SIGNED or message.source in known
        if is_known or len(known) < rules.max_sources:
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
    message: BudgetMessage, seen: Seen | None, rules: AdmissionRules, failsafe_since_boot_s: float | None
) -> tuple[str, str] | None:
    """Return why the message may only lower, as (slug, text); None if it may do all."""
    age_s = _age_s(message, seen)
    if age_s is None:
        return _doubt_about_age(message)
    if age_s > _lease_s(message, rules):
        return "expired", f"it expired {age_s - _lease_s(message, rules):.0f} s before it arrived"
    if age_s < -rules.max_skew_s or (age_s > rules.max_skew_s and not message.retained):
        return "clock_skew", f"its sender's clock differs by {-age_s:+.0f} s"
    # Two ages are compared, not two stamps: the wall clock may have been set since failsafe was entered.
    if failsafe_since_boot_s is not None and age_s >= message.received.boot_s - failsafe_since_boot_s:
        return "before_failsafe", "it was issued before failsafe was entered"
    return None


def _age_s(message: BudgetMessage, seen: Seen | None) -> float | None:
    """Return how long ago the message was issued; None if no clock tells."""
    received = message.received
    if received.wall_synced:
        return received.wall_s - message.issued_at_s
    if message.retained or message.trust is not Trust.SIGNED or seen is None or seen.lag_s is None:
        return None
    return received.boot_s - seen.lag_s - message.issued_at_s


def _doubt_about_age(message: BudgetMessage) -> tuple[str, str] | None:
    """Return why a message of unknown age may only lower; live, the broker's word for it is enough."""
    if message.retained:
        return "unsynced_retained", "its age is unknown: retained, and our clock is not synchronised"
    if message.trust is Trust.SIGNED:  # that is not to rest on the broker: a recording comes live too
        text = "its age is unknown: it may be a recording, and our clock has not been synchronised yet"
        return "unsynced_signed", text
    return None


def _accept(
    timeline: Timeline, message: BudgetMessage, before: Seen | None, rules: AdmissionRules
) -> tuple[Timeline, Verdict]:
    lease_s, received = _lease_s(message, rules), message.received
    if message.retained:  # part of the lease passed while the broker kept it
        lease_s = min(lease_s, message.issued_at_s + lease_s - received.wall_s)
    failsafe_mw, default_mw = message.failsafe_mw, message.default_mw
    if before is not None:  # a missing field is no statement
        failsafe_mw = before.failsafe_mw if failsafe_mw is None else failsafe_mw
        default_mw = before.default_mw if default_mw is None else default_mw
    mw, text = message.mw if message.mw is not None else default_mw, ""
    if mw is not None and mw > rules.hard_limit_mw:
        mw, text = rules.hard_limit_mw, "above rack.hard_limit_watts: the hard limit holds"
    key, labels = (message.epoch, message.seq), (message.reason, message.correlation_id)
    statement = Statement(message.source, *key, mw, message.priority, received.boot_s + lease_s, *labels)
    is_signed = message.trust is Trust.SIGNED
    lag_s = before.lag_s if before else None
    if received.wall_synced:
        lag_s = received.boot_s - received.wall_s
    stamps = (message.issued_at_s, message.digest)
    updated = Timeline(
        {**timeline.statements, message.source: statement},
        {k: v for k, v in timeline.ceilings.items() if not _lifts(message, k, v)},
        {**timeline.seen, message.source: Seen(*key, *stamps, failsafe_mw, default_mw, is_signed, lag_s)},
        {k: v for k, v in timeline.unsigned.items() if not (is_signed and k == message.source)},
    )
    reason = "clamped_to_hard_limit" if text else ""
    return updated, _verdict(VerdictKind.ACCEPTED, message, reason, text)


def _lifts(message: BudgetMessage, source: str, ceiling: Ceiling) -> bool:
    """Say whether a message ends a ceiling: a newer word of its source, or anybody's after a silence."""
    if source == message.source:
        is_proven = message.trust is Trust.SIGNED and not ceiling.is_signed
        return is_proven or (ceiling.epoch, ceiling.seq) <= (message.epoch, message.seq)
    return ceiling.reason == SILENT and not message.retained


def _lower(
    timeline: Timeline, message: BudgetMessage, rules: AdmissionRules, reason: str, why: str
) -> tuple[Timeline, Verdict]:
    """Let a doubtful message lower what holds; it renews nothing, raises nothing, and makes nothing old."""
    if message.mw is None:
        return timeline, _verdict(VerdictKind.REJECTED, message, reason, why)
    mw, old = message.mw, timeline.ceilings.get(message.source)
    is_signed = message.trust is Trust.SIGNED
    if old is not None:
        is_ordered = old.is_signed or not is_signed
        if is_ordered and (message.epoch, message.seq) <= (old.epoch, old.seq):
            return timeline, _verdict(VerdictKind.DUPLICATE, message, "duplicate")
        mw = min(mw, old.mw)
    until_boot_s = message.received.boot_s + rules.lower_only_hold_s
    ceiling = Ceiling(message.epoch, message.seq, mw, until_boot_s, reason, is_signed)
    updated = replace(timeline, ceilings={**timeline.ceilings, message.source: ceiling})
    return updated, _verdict(VerdictKind.LOWER_ONLY, message, reason, f"{why}: it may only lower")


def _lower_unsigned(
    timeline: Timeline, message: BudgetMessage, rules: AdmissionRules
) -> tuple[Timeline, Verdict]:
    """Let what is not signed lower what holds, for its lease; it has no order, so nothing of it can lift.

    The next signed word of the same name ends it.
    """
    why = "it is not signed"
    old = timeline.unsigned.get(message.source)
    if message.mw is None or (old is None and len(timeline.unsigned) >= rules.max_sources):
        return timeline, _verdict(VerdictKind.REJECTED, message, "unsigned", why)
    if old is None or message.mw <= old.mw:
        until_boot_s = message.received.boot_s + _lease_s(message, rules)
        until_boot_s = until_boot_s if old is None else max(until_boot_s, old.until_boot_s)
        ceiling = Ceiling(message.epoch, message.seq, message.mw, until_boot_s, "unsigned")
        timeline = replace(timeline, unsigned={**timeline.unsigned, message.source: ceiling})
    return timeline, _verdict(VerdictKind.LOWER_ONLY, message, "unsigned", f"{why}: it may only lower")
