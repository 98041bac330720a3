"""Signed budgets: a forger can lower, and so can whoever sends a recording (docs/signals.md)."""

import pytest

from powerd.core.hearing import hear as take_in
from powerd.core.leases.host_state import HeardBudget
from powerd.core.model import Now
from powerd.core.rack.admission import AdmissionRules, admit
from powerd.core.rack.hearsay import adopt
from powerd.core.rack.rack_view import rack_view
from powerd.core.rack.timeline import (
    SILENT,
    BudgetMessage,
    Ceiling,
    Timeline,
    Verdict,
    VerdictKind,
    lapse,
    only_from,
)
from powerd.core.rack.trust import Trust
from powerd.core.state import Inputs, initial_state
from tests.core.make import W, at, budget, config

RULES = AdmissionRules(hard_limit_mw=6000 * W)
NOW = at(1000.0)
HUGE = 2**60
A = "facility-a"


def signed(watts: float | None, seq: int, received: Now = NOW, **more: object) -> BudgetMessage:
    return budget(watts, seq, received, trust=Trust.SIGNED, **more)  # type: ignore[arg-type]


def forged(watts: float | None, seq: int = HUGE, received: Now = NOW, **more: object) -> BudgetMessage:
    return budget(watts, seq, received, trust=Trust.NONE, **more)  # type: ignore[arg-type]


def hear(*messages: BudgetMessage, before: Timeline | None = None) -> tuple[Timeline, list[Verdict]]:
    timeline, verdicts = before or Timeline(), []
    for message in messages:
        timeline, verdict = admit(timeline, message, RULES, None)
        verdicts.append(verdict)
    return timeline, verdicts


# What is not signed


def test_what_is_not_signed_lowers_and_touches_nothing_that_is() -> None:
    before, _ = hear(signed(4000, 1, failsafe_watts=2500))
    after, [verdict] = hear(forged(1000, epoch=HUGE, failsafe_watts=100, lease_s=20), before=before)
    assert (verdict.kind, verdict.reason) == (VerdictKind.LOWER_ONLY, "unsigned")
    assert (after.statements, after.seen, after.ceilings) == (before.statements, before.seen, {})
    assert after.unsigned == {A: Ceiling(HUGE, HUGE, 1000 * W, 1020.0, "unsigned")}


def test_its_lid_is_on_the_cap_of_the_rack() -> None:
    timeline, _ = hear(signed(4000, 1), forged(2500), forged(1000, source="zzz"))
    view, _ = rack_view(Inputs(()), initial_state(NOW, timeline), NOW, config())
    lids = [(step.source, step.mw, step.note) for step in view.steps if step.rule == "lower_only"]
    assert lids == [(A, 2500 * W, "unsigned"), ("zzz", 1000 * W, "unsigned")]
    assert view.asked_mw == view.cap_mw <= 2000 * W  # no rack goes below its floors


def test_a_forged_number_makes_no_signed_word_old() -> None:
    """The next word of the source itself is the newest, and ends the forger's lid at once."""
    before, _ = hear(signed(4000, 1), forged(1000, epoch=HUGE))
    after, [verdict] = hear(signed(4000, 2), before=before)
    assert verdict.kind is VerdictKind.ACCEPTED
    assert (after.unsigned, after.ceilings) == ({}, {})


def test_a_signed_word_of_another_source_ends_no_lid() -> None:
    after, _ = hear(forged(1000, source="bms"), signed(4000, 1))
    assert after.unsigned["bms"].mw == 1000 * W


def test_what_is_not_signed_cannot_lift_what_was_not_signed() -> None:
    """Anybody may have said either, so the lower one holds, for the longer of the two leases."""
    timeline, _ = hear(forged(1000, lease_s=300), forged(3000, received=at(1200.0), lease_s=300))
    assert (timeline.unsigned[A].mw, timeline.unsigned[A].until_boot_s) == (1000 * W, 1300.0)
    timeline, _ = hear(forged(900, received=at(1001.0), lease_s=5), before=timeline)
    assert (timeline.unsigned[A].mw, timeline.unsigned[A].until_boot_s) == (900 * W, 1300.0)


def test_its_lid_ends_with_its_lease() -> None:
    timeline, _ = hear(signed(4000, 1), forged(1000, lease_s=20))
    assert lapse(timeline, 1019.9, 7200.0) == timeline
    over = lapse(timeline, 1020.0, 7200.0)
    assert (over.unsigned, over.statements) == ({}, timeline.statements)


def test_no_limit_without_a_signature_is_no_statement() -> None:
    before, _ = hear(signed(4000, 1))
    after, [verdict] = hear(forged(None), before=before)
    assert (verdict.kind, verdict.reason) == (VerdictKind.REJECTED, "unsigned")
    assert after == before


def test_forged_names_fill_no_memory_and_keep_no_signer_out() -> None:
    rules = AdmissionRules(6000 * W, max_sources=2)
    timeline, kinds = Timeline(), []
    for message in [
        *(forged(3000, source=f"name-{i}") for i in range(4)),
        *(budget(3000, 1, NOW, source=f"other-{i}") for i in range(3)),
        signed(4000, 1),
    ]:
        timeline, verdict = admit(timeline, message, rules, None)
        kinds.append(verdict.kind)
    assert len(timeline.unsigned) == 2
    assert kinds[2:4] == [VerdictKind.REJECTED] * 2
    assert kinds[6:] == [VerdictKind.REJECTED, VerdictKind.ACCEPTED]


def test_a_sender_that_is_not_listened_to_any_more_leaves_no_lid() -> None:
    timeline, _ = hear(forged(1000, source="bms"), forged(2000))
    assert set(only_from(timeline, [A]).unsigned) == {A}


def test_a_forgery_with_the_number_of_a_remembered_budget_does_not_count_as_hearing_it() -> None:
    """What is only remembered may have been lowered meanwhile: nothing is raised on it."""
    remembered, _ = hear(signed(4000, 1))
    state, _ = take_in(Inputs((), messages=(forged(4000, 1),)), initial_state(NOW, remembered), NOW, config())
    assert A not in state.heard
    state, _ = take_in(Inputs((), messages=(signed(4000, 1),)), state, NOW, config())
    assert A in state.heard


# Before there was a key


def test_what_was_taken_unsigned_before_there_was_a_key_orders_nothing() -> None:
    """Anybody may have said it, with any number, failsafe or default."""
    before, _ = hear(
        budget(3000, HUGE, NOW, epoch=HUGE, failsafe_watts=100),
        budget(1000, HUGE + 1, NOW, epoch=HUGE, age_s=61),
    )
    assert before.ceilings
    after, [verdict] = hear(signed(4000, 1), before=before)
    assert verdict.kind is VerdictKind.ACCEPTED
    assert (after.ceilings, after.failsafe_mw, after.statements[A].mw) == ({}, None, 4000 * W)


def test_a_doubtful_signed_budget_lowers_below_a_lid_of_before() -> None:
    before, _ = hear(budget(3000, HUGE, NOW, epoch=HUGE, age_s=61))
    after, [verdict] = hear(signed(2500, 1, age_s=61), before=before)
    assert verdict.kind is VerdictKind.LOWER_ONLY
    assert (after.ceilings[A].mw, after.ceilings[A].is_signed) == (2500 * W, True)


def test_lids_of_a_signed_source_keep_their_order() -> None:
    """What it said last, doubtful or by hearsay, is not lifted by what it said before."""
    doubtful, _ = hear(signed(3000, 5, age_s=61), signed(4000, 4))
    assert doubtful.ceilings[A].mw == 3000 * W
    heard = adopt(hear(signed(4000, 4))[0], HeardBudget(A, 1, 6, 2500 * W, 50.0), RULES, 1000.0)
    assert hear(signed(4000, 5), before=heard)[0].ceilings == heard.ceilings


def test_the_last_word_of_a_signer_that_fell_silent_is_a_signed_lid() -> None:
    both, _ = hear(signed(3000, 1, lease_s=20), signed(5000, 1, source="facility-b", lease_s=60))
    silent = lapse(both, 1030.0, 7200.0)
    assert (silent.ceilings[A].reason, silent.ceilings[A].is_signed) == (SILENT, True)


# Recordings: what is signed can be sent again by whoever heard it


UNSYNCED = at(1000.0, synced=False)


def test_a_recording_is_old_while_its_source_is_remembered() -> None:
    timeline, verdicts = hear(signed(5500, 1), signed(2000, 2), signed(5500, 1))
    assert (verdicts[2].kind, verdicts[2].reason) == (VerdictKind.REJECTED, "old_seq")
    assert timeline.statements[A].mw == 2000 * W


@pytest.mark.parametrize("age_s", [31, 59, 61, 86400])
@pytest.mark.parametrize("retained", [False, True])
def test_without_memory_a_recording_is_told_by_its_age(age_s: float, retained: bool) -> None:
    """Live, what is older than the clocks may differ only lowers; retained, it ends with its own lease."""
    timeline, [verdict] = hear(signed(5500, 1, age_s=age_s, retained=retained))
    if retained and age_s < 60:
        assert timeline.statements[A].end_boot_s == NOW.boot_s + 60 - age_s
    else:
        assert verdict.kind is VerdictKind.LOWER_ONLY
        assert not timeline.statements


@pytest.mark.parametrize("retained", [False, True])
def test_with_no_clock_and_no_memory_a_signed_budget_may_only_lower(retained: bool) -> None:
    """It may be of any age. Live and unsigned, the broker's word would be enough."""
    timeline, [verdict] = hear(signed(5500, 1, UNSYNCED, retained=retained))
    expected = "unsynced_retained" if retained else "unsynced_signed"
    assert (verdict.kind, verdict.reason) == (VerdictKind.LOWER_ONLY, expected)
    assert not timeline.statements
    _, [verdict] = hear(budget(5500, 1, UNSYNCED))
    assert verdict.kind is VerdictKind.ACCEPTED


def test_a_clock_that_was_right_once_goes_on_telling_ages() -> None:
    """The time service is lost, and the wall clock may go anywhere: the boot clock still counts."""
    lost = at(1500.0, synced=False, wall_offset_s=-1e6)
    fresh = signed(5000, 3, lost, age_s=-1e6)  # issued now, by a clock that is right
    recorded = signed(5500, 2, lost, age_s=-1e6 + 400)
    first, [verdict] = hear(signed(4000, 1))
    assert verdict.kind is VerdictKind.ACCEPTED
    _, [verdict] = hear(recorded, before=first)
    assert (verdict.kind, verdict.reason) == (VerdictKind.LOWER_ONLY, "expired")
    after, [verdict] = hear(fresh, before=first)
    assert verdict.kind is VerdictKind.ACCEPTED
    assert after.seen[A].lag_s == first.seen[A].lag_s
    assert after.statements[A].end_boot_s == 1560.0


def test_what_was_only_ever_heard_without_a_clock_tells_no_ages() -> None:
    unsigned, _ = hear(budget(4000, 1, UNSYNCED))
    assert unsigned.seen[A].lag_s is None
    _, [verdict] = hear(signed(5000, 2, UNSYNCED), before=unsigned)
    assert verdict.reason == "unsynced_signed"
    _, [verdict] = hear(budget(5000, 2, UNSYNCED), before=unsigned)
    assert verdict.kind is VerdictKind.ACCEPTED
