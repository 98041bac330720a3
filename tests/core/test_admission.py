"""Which messages count: replays, clocks, leases (docs/signals.md, Clocks and Verdicts)."""

import pytest

from powerd.core.leases.host_state import HeardBudget
from powerd.core.rack.admission import AdmissionRules, admit
from powerd.core.rack.hearsay import adopt
from powerd.core.rack.timeline import HEARSAY, BudgetMessage, Ceiling, Timeline, Verdict, VerdictKind
from tests.core.make import W, at, budget

RULES = AdmissionRules(hard_limit_mw=6000 * W)
NOW = at(1000.0)


def hear(
    *messages: BudgetMessage, rules: AdmissionRules = RULES, failsafe_since_boot_s: float | None = None
) -> tuple[Timeline, list[Verdict]]:
    timeline, verdicts = Timeline(), []
    for message in messages:
        timeline, verdict = admit(timeline, message, rules, failsafe_since_boot_s)
        verdicts.append(verdict)
    return timeline, verdicts


@pytest.mark.parametrize(
    ("lease_s", "granted_s"), [(60, 60), (5, 5), (0, 5), (-10, 5), (300, 300), (301, 300), (86400, 300)]
)
def test_a_lease_outside_5_to_300_seconds_is_clamped_not_rejected(lease_s: float, granted_s: float) -> None:
    timeline, [verdict] = hear(budget(4000, 1, NOW, lease_s=lease_s))
    assert verdict.kind is VerdictKind.ACCEPTED
    assert timeline.statements["facility-a"].end_boot_s == NOW.boot_s + granted_s


def test_the_lease_of_a_live_message_counts_from_its_receipt_on_the_boot_clock() -> None:
    """No wall clock is needed: both stamps are the publisher's (docs/signals.md, Clocks)."""
    timeline, [verdict] = hear(budget(4000, 1, at(1000.0, synced=False, wall_offset_s=-1e6), age_s=12345))
    assert verdict.kind is VerdictKind.ACCEPTED
    assert timeline.statements["facility-a"].end_boot_s == 1060.0


@pytest.mark.parametrize(("age_s", "left_s"), [(0, 60), (20, 40), (59, 1), (-10, 60)])
def test_a_retained_lease_is_shorter_by_the_time_it_lay_in_the_broker(age_s: float, left_s: float) -> None:
    """A stamp ahead of our clock gives nothing on top."""
    timeline, [verdict] = hear(budget(4000, 1, NOW, age_s=age_s, retained=True))
    assert verdict.kind is VerdictKind.ACCEPTED
    assert timeline.statements["facility-a"].end_boot_s == NOW.boot_s + left_s


def test_a_retained_budget_may_be_older_than_the_skew_while_its_lease_runs() -> None:
    _, [verdict] = hear(budget(4000, 1, NOW, age_s=100, lease_s=300, retained=True))
    assert verdict.kind is VerdictKind.ACCEPTED


def test_above_the_hard_limit_is_clamped_and_told() -> None:
    timeline, [verdict] = hear(budget(9000, 1, NOW))
    assert timeline.statements["facility-a"].mw == 6000 * W
    assert (verdict.kind, verdict.reason) == (VerdictKind.ACCEPTED, "clamped_to_hard_limit")
    assert "rack.hard_limit_watts" in verdict.text


@pytest.mark.parametrize("watts", [0, 1, 1999, None, 6000])
def test_zero_null_and_below_the_floors_are_accepted_as_they_are(watts: float | None) -> None:
    """Lowering is always allowed, 0 is zero watts, and null is "no limit from me"."""
    timeline, [verdict] = hear(budget(watts, 1, NOW))
    assert (verdict.kind, verdict.reason, verdict.text) == (VerdictKind.ACCEPTED, "", "")
    assert timeline.statements["facility-a"].mw == (None if watts is None else watts * W)


FIRST = budget(4000, 10, NOW, epoch=5)


@pytest.mark.parametrize(
    ("second", "kind", "reason"),
    [
        (FIRST, VerdictKind.DUPLICATE, "duplicate"),
        (budget(5000, 10, NOW, epoch=5), VerdictKind.REJECTED, "key_reused"),
        (budget(5000, 9, NOW, epoch=5), VerdictKind.REJECTED, "old_seq"),
        (budget(5000, 99, NOW, epoch=4), VerdictKind.REJECTED, "old_epoch"),
        (budget(5000, 0, NOW, epoch=6, age_s=31), VerdictKind.REJECTED, "backdated_epoch"),
    ],
)
def test_a_repeat_or_replay_changes_nothing(second: BudgetMessage, kind: VerdictKind, reason: str) -> None:
    before, _ = hear(FIRST)
    after, verdict = admit(before, second, RULES, None)
    assert (verdict.kind, verdict.reason) == (kind, reason)
    assert after == before
    assert bool(verdict.text) == (kind is VerdictKind.REJECTED)


@pytest.mark.parametrize(
    "second",
    [budget(5000, 11, NOW, epoch=5), budget(5000, 0, NOW, epoch=6), budget(5000, 0, NOW, epoch=6, age_s=30)],
)
def test_a_larger_key_is_newer(second: BudgetMessage) -> None:
    timeline, verdicts = hear(FIRST, second)
    assert verdicts[1].kind is VerdictKind.ACCEPTED
    assert timeline.statements["facility-a"].mw == 5000 * W


DOUBTFUL = [
    ("unsynced_retained", budget(3500, 2, at(1000.0, synced=False), retained=True)),
    ("expired", budget(3500, 2, NOW, age_s=61)),
    ("expired", budget(3500, 2, NOW, age_s=3600, retained=True)),
    ("clock_skew", budget(3500, 2, NOW, age_s=-31)),
    ("clock_skew", budget(3500, 2, NOW, age_s=-31, retained=True)),
    ("clock_skew", budget(3500, 2, NOW, age_s=31)),
]


@pytest.mark.parametrize(("reason", "message"), DOUBTFUL)
def test_a_doubtful_message_may_only_lower(reason: str, message: BudgetMessage) -> None:
    """It becomes a lid; what was said before keeps its lease."""
    before, _ = hear(budget(4000, 1, NOW))
    after, verdict = admit(before, message, RULES, None)
    assert (verdict.kind, verdict.reason) == (VerdictKind.LOWER_ONLY, reason)
    assert verdict.text.endswith("it may only lower")
    assert after.statements == before.statements
    lid = after.ceilings["facility-a"]
    assert (lid.mw, lid.until_boot_s, lid.reason) == (3500 * W, 1000.0 + 7200, reason)


def test_a_second_doubtful_message_cannot_lift_the_lid_of_the_first() -> None:
    timeline, _ = hear(budget(3500, 1, NOW, age_s=61), budget(5500, 2, NOW, age_s=61))
    assert timeline.ceilings["facility-a"].mw == 3500 * W


def test_no_limit_from_a_doubtful_sender_is_no_statement() -> None:
    """A rejected message changes nothing, not even what counts as newest."""
    before, _ = hear(budget(4000, 1, NOW))
    after, verdict = admit(before, budget(None, 2, NOW, age_s=61), RULES, None)
    assert (verdict.kind, verdict.reason) == (VerdictKind.REJECTED, "expired")
    assert after == before


def test_a_good_message_lifts_the_lid_that_its_sender_laid() -> None:
    timeline, _ = hear(budget(3500, 1, NOW, age_s=61), budget(5500, 2, NOW))
    assert not timeline.ceilings
    assert timeline.statements["facility-a"].mw == 5500 * W


def test_a_good_message_does_not_lift_the_lid_of_another_sender() -> None:
    timeline, _ = hear(budget(3500, 1, NOW, age_s=61, source="a"), budget(5500, 2, NOW, source="b"))
    assert timeline.ceilings["a"].mw == 3500 * W


def test_a_good_message_does_not_lift_a_lid_from_a_later_one() -> None:
    """Out of order: what the sender said last still counts, doubtful as it is."""
    timeline, verdicts = hear(budget(3500, 2, NOW, age_s=61), budget(5500, 1, NOW))
    assert verdicts[1].kind is VerdictKind.ACCEPTED
    assert timeline.ceilings["facility-a"].mw == 3500 * W


def test_a_doubtful_message_again_neither_prolongs_nor_lowers() -> None:
    """A broker delivers its retained message at every new connection."""
    message = budget(3500, 1, NOW, age_s=3600, retained=True)
    before, _ = hear(message)
    again = budget(3500, 1, at(1500.0), age_s=4100, retained=True)
    after, verdict = admit(before, again, RULES, None)
    assert verdict.kind is VerdictKind.DUPLICATE
    assert after == before


def test_what_was_doubtful_for_our_clock_counts_once_the_clock_is_right() -> None:
    unsynced = budget(5500, 1, at(1000.0, synced=False), lease_s=300, retained=True)
    synced = budget(5500, 1, at(1010.0), age_s=10, lease_s=300, retained=True)
    timeline, verdicts = hear(unsynced, synced)
    assert [v.kind for v in verdicts] == [VerdictKind.LOWER_ONLY, VerdictKind.ACCEPTED]
    assert not timeline.ceilings


def test_a_sender_whose_clock_was_a_day_ahead_is_heard_again_once_it_is_right() -> None:
    """Its epoch and stamps came from the wrong clock; they must not lock it out for good."""
    day_s = 86400.0
    wrong = budget(4000, 1, NOW, epoch=1_000_000, age_s=-day_s)
    right = budget(5000, 1, at(1100.0), epoch=900_000)
    timeline, verdicts = hear(wrong, right)
    assert [v.kind for v in verdicts] == [VerdictKind.LOWER_ONLY, VerdictKind.ACCEPTED]
    assert timeline.statements["facility-a"].mw == 5000 * W


def test_a_failsafe_from_a_controller_is_kept_when_the_next_message_says_nothing_of_it() -> None:
    timeline, _ = hear(budget(4000, 1, NOW, failsafe_watts=2500), budget(4000, 2, NOW))
    assert timeline.failsafe_mw == 2500 * W


def test_a_controller_may_change_the_failsafe_it_asked_for() -> None:
    timeline, _ = hear(budget(4000, 1, NOW, failsafe_watts=2500), budget(4000, 2, NOW, failsafe_watts=2800))
    assert timeline.failsafe_mw == 2800 * W


def test_of_several_controllers_the_lowest_failsafe_counts() -> None:
    timeline, _ = hear(
        budget(4000, 1, NOW, failsafe_watts=2500, source="a"),
        budget(4000, 1, NOW, failsafe_watts=2800, source="b"),
    )
    assert timeline.failsafe_mw == 2500 * W


SINCE_BOOT_S = 990.0


@pytest.mark.parametrize(("age_s", "accepted"), [(9.99, True), (10.0, False), (20.0, False), (-5.0, True)])
def test_failsafe_is_left_only_on_what_was_issued_after_it_was_entered(age_s: float, accepted: bool) -> None:
    """LPC-916: a heartbeat is not enough, a following limit write is needed."""
    timeline, [verdict] = hear(budget(4000, 1, NOW, age_s=age_s), failsafe_since_boot_s=SINCE_BOOT_S)
    assert (verdict.kind is VerdictKind.ACCEPTED) == accepted
    assert bool(timeline.statements) == accepted
    if not accepted:
        assert (verdict.kind, verdict.reason) == (VerdictKind.LOWER_ONLY, "before_failsafe")


def test_a_wall_clock_set_back_during_failsafe_does_not_keep_the_controller_out() -> None:
    """Failsafe began on a clock that was a day ahead; only its age on the boot clock counts."""
    _, [verdict] = hear(budget(4000, 1, at(1000.0), age_s=1), failsafe_since_boot_s=SINCE_BOOT_S)
    assert verdict.kind is VerdictKind.ACCEPTED


def test_without_a_synchronised_clock_a_live_newer_message_ends_failsafe() -> None:
    _, [verdict] = hear(
        budget(4000, 1, at(1000.0, synced=False), age_s=500), failsafe_since_boot_s=SINCE_BOOT_S
    )
    assert verdict.kind is VerdictKind.ACCEPTED


@pytest.mark.parametrize("age_s", [0.0, 61.0])
def test_no_one_can_fill_the_memory_with_senders(age_s: float) -> None:
    """Doubtful ones take a place too."""
    rules = AdmissionRules(6000 * W, max_sources=2)
    messages = [budget(4000, 1, NOW, source=name, age_s=age_s) for name in ("a", "b", "c")]
    timeline, verdicts = hear(*messages, rules=rules)
    assert (verdicts[2].kind, verdicts[2].reason) == (VerdictKind.REJECTED, "too_many_sources")
    assert "remove runtime.json" in verdicts[2].text
    assert "c" not in timeline.seen.keys() | timeline.ceilings.keys()
    _, verdict = admit(timeline, budget(4000, 2, NOW, source="a"), rules, None)
    assert verdict.kind is VerdictKind.ACCEPTED


# A budget that only a peer has heard


def hearsay(watts: float | None, seq: int, *, source: str = "facility-a", epoch: int = 1) -> HeardBudget:
    mw = None if watts is None else round(watts * W)
    return HeardBudget(source, epoch, seq, mw, lease_s=50.0)


def adopted(timeline: Timeline, *heard: HeardBudget, boot_s: float = 1001.0) -> Timeline:
    for one in heard:
        timeline = adopt(timeline, one, RULES, boot_s)
    return timeline


def test_a_lower_budget_that_only_a_peer_has_heard_is_a_lid_and_extends_no_lease() -> None:
    before, _ = hear(budget(4000, 3, NOW))
    after = adopted(before, hearsay(3000, 4))
    assert after.ceilings == {"facility-a": Ceiling(1, 4, 3000 * W, 1301.0, HEARSAY)}
    assert (after.statements, after.seen) == (before.statements, before.seen)


@pytest.mark.parametrize(
    "heard",
    [
        hearsay(3000, 3),  # not newer than what was received
        hearsay(3000, 99, epoch=0),
        hearsay(4000, 4),  # not lower
        hearsay(5000, 4),
        hearsay(None, 4),
        hearsay(3000, 4, source="unknown"),  # nobody this host has heard
        hearsay(3000, 4, source="facility-b"),  # known, and does not govern
    ],
)
def test_nothing_else_is_believed_from_hearsay(heard: HeardBudget) -> None:
    before, _ = hear(budget(4000, 3, NOW), budget(3500, 1, NOW, source="facility-b", priority=200))
    assert adopted(before, heard) == before


def test_without_a_controller_hearsay_counts_for_nothing() -> None:
    """The failsafe holds then, on this host's own account."""
    before, _ = hear(budget(4000, 3, NOW))
    silent = Timeline(seen=before.seen)
    assert adopted(silent, hearsay(3000, 4)) == silent


def test_where_the_controller_sets_no_limit_any_is_lower() -> None:
    before, _ = hear(budget(None, 3, NOW))
    assert adopted(before, hearsay(5900, 4)).ceilings["facility-a"].mw == 5900 * W


def test_the_same_hearsay_from_every_peer_does_not_prolong_the_lid() -> None:
    before, _ = hear(budget(4000, 3, NOW))
    once = adopted(before, hearsay(3000, 4))
    assert adopted(once, hearsay(3000, 4), hearsay(2900, 4), boot_s=1100.0) == once


def test_newer_hearsay_lowers_a_lid_and_never_lifts_it() -> None:
    before, _ = hear(budget(4000, 3, NOW))
    assert adopted(before, hearsay(3000, 4), hearsay(2500, 5)).ceilings["facility-a"].mw == 2500 * W
    assert adopted(before, hearsay(3000, 4), hearsay(3500, 5)).ceilings["facility-a"].mw == 3000 * W


def test_hearsay_does_not_shorten_what_a_doubtful_message_holds() -> None:
    before, _ = hear(budget(5000, 3, NOW), budget(3000, 4, NOW, age_s=61))
    lid = adopted(before, hearsay(4000, 5)).ceilings["facility-a"]
    assert (lid.mw, lid.until_boot_s) == (3000 * W, 1000.0 + RULES.lower_only_hold_s)


def test_the_word_of_its_source_lifts_the_lid_of_hearsay() -> None:
    before, _ = hear(budget(4000, 3, NOW))
    timeline = adopted(before, hearsay(3000, 4))
    after, _ = admit(timeline, budget(3000, 4, at(1002.0)), RULES, None)
    assert (after.ceilings, after.statements["facility-a"].mw) == ({}, 3000 * W)
    late, _ = admit(timeline, budget(3900, 3, at(1002.0), epoch=1), RULES, None)
    assert late.ceilings == timeline.ceilings, "an older one does not"
