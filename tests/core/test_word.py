"""What a host may say once its plan is done: only what is true by read-back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.host_state import HostState, Key
from powerd.core.leases.leases import Leases, counted_mw
from powerd.core.leases.place import Place
from powerd.core.leases.standing import Standing, standing
from powerd.core.leases.word import Reached, word
from tests.core.make import W
from tests.core.make_leases import (
    EPOCH,
    PEER_EPOCH,
    RULES,
    heard_budget,
    hold,
    leases,
    lend,
    lent_to_us,
    place,
    promise,
    says,
)

NOW_S = 101.0
IDLE = place(want=2000)
BUSY = place(want=4000)
BORROWER = says("h2", 9, want=3600, at=100.5)
DONOR = says("h2", 17, lends=(lent_to_us(400, 5),))


def stands(at: Place, known: Leases, boot_s: float = NOW_S) -> Standing:
    return standing(at, known, RULES, boot_s)


def spoken(
    at: Place,
    known: Leases,
    worst: float | None = 1000,
    *,
    settled: bool = True,
    aspects: str | None = None,
    boot_s: float = NOW_S,
) -> tuple[HostState | None, Leases]:
    """Say what may be said when the limits have come to be `worst` together."""
    reached = Reached(None if worst is None else round(worst * W), settled, aspects)
    return word(stands(at, known, boot_s), at, reached, known, RULES, boot_s)


def said(*args: object, **options: object) -> HostState:
    """Return what is said, where something is."""
    message, _ = spoken(*args, **options)  # type: ignore[arg-type] # of `spoken`
    assert message is not None
    return message


def in_a_word(state: HostState) -> tuple[dict[str, int], dict[str, int]]:
    """Return the watts of leases and of acknowledgements."""
    return {e.to: e.mw // W for e in state.lends}, {e.donor: e.mw // W for e in state.holds}


def test_a_message_says_all_that_peers_decide_by() -> None:
    known = leases(BORROWER, promises=(promise("h3", 200, 3),), sent={4: 100.0})
    assert said(IDLE, known, 2100) == HostState(
        host="h1",
        key=Key(EPOCH, 5),
        roster=IDLE.roster,
        is_leasing=True,
        rack_cap_mw=9000 * W,
        entitlement_mw=3000 * W,
        want_mw=2000 * W,
        spare_mw=1000 * W,
        lent_mw=800 * W,
        over_mw=0,
        worst_case_mw=2100 * W,
        budget=heard_budget(9000),
        lends=(lend("h2", 600, 9),),
        received_boot_s=NOW_S,
    )


# Only what is true


@pytest.mark.parametrize(
    ("worst", "settled", "lent"),
    [
        (2400, True, 600),
        (2400.001, True, 0),  # own limits have not made room yet
        (2400, False, 0),  # a raise that has not returned may still land
        (None, True, 0),  # nothing is known
    ],
)
def test_a_lease_is_said_only_once_the_own_limits_have_made_room_for_it(
    worst: float | None, settled: bool, lent: int
) -> None:
    message, after = spoken(IDLE, leases(BORROWER, sent={1: 100.0}), worst, settled=settled)
    assert message is not None
    assert in_a_word(message) == ({"h2": lent}, {})
    assert counted_mw(after) == ({"h2": lent * W} if lent else {})


@pytest.mark.parametrize(
    ("worst", "settled", "held"),
    [(3000, True, hold(0, 17, epoch=PEER_EPOCH, donor="h2")), (3000.001, True, None), (3000, False, None)],
)
def test_letting_go_is_said_only_once_the_limits_fit_without_what_was_recalled(
    worst: float, settled: bool, held: object
) -> None:
    """Until then the last acknowledgement stands: the donor must not raise yet."""
    used = hold(400, 16, epoch=PEER_EPOCH, donor="h2")
    recalled = replace(DONOR, lends=(lent_to_us(0, 5),))
    known = leases(recalled, sent={5: 100.0}, said=says("h1", 5, holds=(used,)))
    assert said(BUSY, known, worst, settled=settled).holds == (held or used,)


def test_what_is_used_is_acknowledged_with_the_message_that_grants_it() -> None:
    known = leases(DONOR, sent={5: 100.0})
    assert said(BUSY, known, 3400).holds == (hold(400, 17, epoch=PEER_EPOCH, donor="h2"),)
    assert said(BUSY, known, 3401).holds == ()


def test_of_a_donor_that_speaks_of_no_lease_any_more_nothing_is_repeated() -> None:
    used = hold(400, 16, epoch=PEER_EPOCH, donor="h2")
    known = leases(says("h2", 17), sent={5: 100.0}, said=says("h1", 5, holds=(used,)))
    assert said(BUSY, known, 3401).holds == ()


def test_at_the_floor_there_is_nothing_left_to_lower() -> None:
    """A donor whose cap is below its floor still has to acknowledge, and to recall."""
    known = leases(DONOR, says("h3", 4), promises=(promise("h3", 2500, 1),), sent={5: 100.0})
    message = said(place(want=1000, cap=3000), known, 1000)
    assert in_a_word(message) == ({"h3": 0}, {"h2": 0})


# Excess


@pytest.mark.parametrize(("worst", "over"), [(2900, 0), (3000, 0), (3100, 100)])
def test_what_may_be_drawn_above_the_cap_is_told(worst: float, over: int) -> None:
    message = said(BUSY, leases(sent={1: 100.0}), worst)
    assert (message.over_mw, message.worst_case_mw) == (over * W, worst * W)


def test_excess_counts_from_the_true_cap_also_below_the_floor() -> None:
    known = leases(says("h2"), promises=(promise("h2", 2500, 1),), sent={1: 100.0})
    assert said(place(want=1000, cap=3000), known, 1000).over_mw == 2500 * W


def test_while_nothing_is_known_the_last_excess_stands() -> None:
    known = leases(said=says("h1", 1, over=70))
    message = said(BUSY, known, None)
    assert (message.over_mw, message.worst_case_mw) == (70 * W, None)
    assert said(BUSY, leases(started=10.0), None, boot_s=NOW_S).over_mw == 0


def test_what_is_given_up_for_another_hides_no_excess() -> None:
    missed_a_cut = says("h3", cap=9000, at=10.0)
    known = leases(says("h2", cap=6000), missed_a_cut, sent={1: 100.0})
    at = place(want=2000, cap=6000)
    assert stands(at, known).part_mw == 500 * W
    assert said(at, known, 2000).over_mw == 0


def test_a_loan_that_was_not_made_is_neither_told_as_lent_nor_as_excess() -> None:
    """A GPU that is slow to come down on behalf of a loan does no harm."""
    message = said(IDLE, leases(BORROWER, promises=(promise("h3", 200, 3),), sent={4: 100.0}), 2700)
    assert in_a_word(message)[0] == {"h2": 0}
    assert (message.lent_mw, message.over_mw) == (200 * W, 0)


# The first message


def test_the_first_message_waits_until_nothing_borrowed_before_the_start_is_in_use() -> None:
    """It tells donors that their leases are over: they raise on it."""
    known = leases(started=100.0)
    assert spoken(BUSY, known, 3001)[0] is None
    assert spoken(BUSY, known, 3000, settled=False)[0] is None
    assert spoken(BUSY, known, 3000)[0] is not None


def test_the_first_message_does_not_wait_for_ever_for_a_gpu_that_will_not_be_lowered() -> None:
    known = leases(started=100.0)
    last_s = 100.0 + RULES.forget_s
    assert spoken(BUSY, known, 3001, boot_s=last_s)[0] is None
    assert said(BUSY, known, 3001, boot_s=last_s + 0.001).over_mw == 1 * W


def test_after_the_first_message_a_recall_waits_for_nothing() -> None:
    known = leases(BORROWER, promises=(promise("h2", 600, 1),), sent={1: 100.5}, started=100.0)
    assert in_a_word(said(IDLE, known, 2500))[0] == {"h2": 0}


def test_a_host_that_has_forgotten_what_it_lent_speaks_from_its_floor() -> None:
    """All above may be lent, and what it had borrowed is its donors' again once it has spoken."""
    lost = leases(started=100.0, lost=True)
    assert spoken(BUSY, lost, 1500)[0] is None
    message = said(BUSY, lost, 1000)
    assert (message.is_leasing, message.over_mw) == (False, 0)


def test_a_host_without_peers_says_at_once_what_there_is() -> None:
    assert (
        said(place(want=4000, peers=False, leasing=False), leases(started=100.0), None).worst_case_mw is None
    )


# What it leaves behind


def test_a_lease_counts_from_the_receipt_of_what_it_answers_however_often_it_is_said() -> None:
    _, after = spoken(IDLE, leases(BORROWER), 2400)
    end_boot_s = 100.5 + RULES.count_s
    assert [(p.to, p.mw, p.key, p.answers, p.end_boot_s) for p in after.promises] == [
        ("h2", 600 * W, Key(EPOCH, 1), BORROWER.key, end_boot_s)
    ]
    _, later = spoken(IDLE, after, 2400, boot_s=NOW_S + 1)
    assert [p.end_boot_s for p in later.promises] == [end_boot_s] * 2
    assert [p.key.seq for p in later.promises] == [1, 2]


def test_when_messages_were_made_is_remembered_as_long_as_a_lease_can_last() -> None:
    _, after = spoken(BUSY, leases(sent={3: NOW_S - RULES.ttl_s, 4: NOW_S - RULES.ttl_s + 0.1}), 3000)
    assert after.sent_boot_s == {4: NOW_S - RULES.ttl_s + 0.1, 5: NOW_S}
    assert after.seq == 5


@pytest.mark.parametrize(
    ("before", "after", "is_cut"),
    [(700, 600, True), (600, 600, False), (500, 600, False), (None, 600, False)],
)
def test_when_a_lease_was_made_smaller_is_remembered(before: int | None, after: int, is_cut: bool) -> None:
    last = says("h1", 3, lends=() if before is None else (lend("h2", before),))
    made = (promise("h2", before, 3),) if before else ()
    _, known = spoken(IDLE, leases(BORROWER, promises=made, said=last), 2300)
    assert known.said is not None
    assert in_a_word(known.said)[0] == {"h2": after}
    assert known.cut_boot_s == ({"h2": NOW_S} if is_cut else {})


def test_what_a_lower_budget_recalls_may_be_lent_again_at_once() -> None:
    """Nobody has changed their mind: hosts that are cut would else throttle beside idle ones for seconds."""
    last = says("h1", 9, cap=9000, lends=(lend("h2", 400),))
    lower = place(want=1000, cap=6000)
    message, known = spoken(
        lower, leases(says("h2", 8, want=3600), said=last, promises=(promise("h2", 400, 9),))
    )
    assert message is not None
    assert in_a_word(message) == ({"h2": 0}, {})
    assert known.cut_boot_s == {}


def test_a_lease_that_is_not_spoken_of_any_more_was_made_smaller_too() -> None:
    last = says("h1", 3, lends=(lend("h3", 500),))
    assert spoken(BUSY, leases(said=last), 3000)[1].cut_boot_s == {"h3": NOW_S}


# Two of one name, or a clock that was set back


def test_a_larger_own_epoch_is_answered_by_a_new_one_above_it_once_nothing_is_borrowed() -> None:
    known = leases(BORROWER, DONOR, sent={5: 100.0}, foreign_epoch=500, promises=(promise("h3", 10, 5),))
    waiting = said(BUSY, known, 3001)
    assert (waiting.key, waiting.is_leasing) == (Key(EPOCH, 6), False)
    message, after = spoken(BUSY, known, 2990)
    assert message is not None
    assert (message.key, message.is_leasing) == (Key(501, 1), True)
    assert (after.epoch, after.foreign_epoch, after.sent_boot_s) == (501, 0, {1: NOW_S})
    assert after.promises == known.promises, "what was lent under the old one still counts"


def test_the_first_new_epoch_waits_for_nothing_also_right_after_the_boot() -> None:
    assert said(BUSY, leases(sent={5: 4.0}, foreign_epoch=500), 3000, boot_s=5.0).key == Key(501, 1)


def test_two_of_one_name_do_not_race_for_the_largest_epoch() -> None:
    """After one new epoch each they stand aside, so that people can find out."""
    known = leases(sent={5: 100.0}, foreign_epoch=500, renewed=100.0)
    again_s = 100.0 + RULES.forget_s
    message = said(BUSY, known, 3000, boot_s=again_s - 0.001)
    assert (message.key, message.is_leasing) == (Key(EPOCH, 6), False)
    assert said(BUSY, known, 3000, boot_s=again_s).key == Key(501, 1)


# Whatever happens


@given(
    want=st.integers(0, 5000),
    worst=st.none() | st.integers(0, 5000),
    settled=st.booleans(),
    cap=st.sampled_from([3000, 4500, 6000, 9000]),
    made=st.lists(st.tuples(st.sampled_from(["h2", "h3"]), st.integers(1, 3000)), max_size=3),
    wants=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
    used=st.integers(0, 1000),
)
def test_what_is_said_is_covered_by_limits_that_were_read_back(
    want: int,
    worst: int | None,
    settled: bool,
    cap: int,
    made: list[tuple[str, int]],
    wants: tuple[int, int],
    used: int,
) -> None:
    """The worst case, and all that may be in use elsewhere, are together no more than what the host has."""
    peers = [
        says(name, 9, cap=cap, entitlement=cap // 3, want=wants[i], lends=(lent_to_us(used, 5),) if i else ())
        for i, name in enumerate(("h2", "h3"))
    ]
    promises = tuple(promise(name, mw, seq) for seq, (name, mw) in enumerate(made))
    known = leases(*peers, promises=promises, sent={5: 100.0})
    at = place(want=want, cap=cap)
    result = stands(at, known)
    message, after = spoken(at, known, worst, settled=settled)
    assert message is not None
    if any(each.mw for each in message.lends):
        assert worst is not None
        assert settled
        own_mw = result.entitlement_mw
        assert worst * W + sum(counted_mw(after).values()) <= own_mw
        assert result.borrowed_mw == 0
    else:
        assert counted_mw(after) == counted_mw(known)
    if message.holds:
        assert worst is not None
        assert settled
        assert worst * W <= max(at.floor_mw, result.cap_mw)
