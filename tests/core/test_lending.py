"""What a donor lends: own watts only, to hosts that answer and agree, and not another amount every second."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.exchange import Trader
from powerd.core.leases.host_state import HostState, Key, Lend
from powerd.core.leases.leases import Leases, counted_mw
from powerd.core.leases.lending import DWELL_PERIODS, is_partner, lends, with_recalls
from tests.core.make import W
from tests.core.make_leases import PEER_EPOCH, RULES, leases, lend, place, promise, says

NOW_S = 101.0


def chosen(known: Leases, spare: int = 1000, *, boot_s: float = NOW_S) -> dict[str, int]:
    """Return what h1 lends, in watts."""
    trader = Trader(3000 * W, (3000 - spare) * W, spare * W, 1_000_000)
    lent = lends(place(want=3000 - spare), known, RULES, counted_mw(known), trader, boot_s)
    return {each.to: each.mw // W for each in lent}


def test_spare_watts_are_lent_to_who_wants_more_in_answer_to_its_newest_message() -> None:
    known = leases(says("h2", 17, want=3400), says("h3", 4))
    trader = Trader(3000 * W, 2000 * W, 1000 * W, 1_000_000)
    assert lends(place(), known, RULES, {}, trader, NOW_S) == (Lend("h2", 400 * W, Key(PEER_EPOCH, 17)),)


@pytest.mark.parametrize(
    ("peer", "is_one"),
    [
        (says(at=NOW_S - RULES.silent_s), True),
        (says(at=NOW_S - RULES.silent_s - 0.001), False),
        (says(leasing=False), False),
        (says(roster="another"), False),
        (says(cap=9001), False),  # it has missed a cut
        (says(cap=8999), True),  # it follows less: it cannot exceed what this host's budget allows it
    ],
    ids=["just heard", "silent", "takes no part", "other roster", "higher budget", "lower budget"],
)
def test_only_a_host_that_answers_and_agrees_is_lent_to(peer: HostState, is_one: bool) -> None:
    assert is_partner(peer, place(), RULES, NOW_S) == is_one
    assert bool(chosen(leases(replace(peer, want_mw=4000 * W)))) == is_one


def test_watts_that_somebody_may_still_be_using_are_not_lent_to_another() -> None:
    """Even though they were recalled: a recall may be lost."""
    known = leases(says("h2"), says("h3", want=4000), promises=(promise("h2", 700, 1),))
    assert chosen(known) == {"h3": 300}


def test_a_silent_borrower_is_not_lent_to_again_while_what_it_has_counts() -> None:
    known = leases(says("h2", want=3500, at=90.0), says("h3", want=4000), promises=(promise("h2", 400, 1),))
    assert chosen(known) == {"h3": 600}


def test_a_lease_is_made_again_out_of_what_counts_already() -> None:
    known = leases(says(want=3700), promises=(promise("h2", 700, 1),))
    assert chosen(known, 700) == {"h2": 700}


def test_when_less_is_spare_than_counts_a_lease_is_not_raised() -> None:
    known = leases(says("h2", want=3900), says("h3", want=4000), promises=(promise("h2", 700, 1),))
    assert sum(chosen(known, 500).values()) <= 500


# Calm


@pytest.mark.parametrize(
    ("said", "wish", "lent"),
    [
        (400, 401.9, 400),  # less than 2 W
        (400, 398.1, 400),
        (100, 102, 102),
        (100, 101.9, 100),
        (400, 409, 409),  # 2 % are 8 W
        (400, 407, 400),
        (400, 391, 391),
        (50, 53, 53),
        (400, 0, None),  # an end is an end
    ],
)
def test_a_small_change_of_want_does_not_change_a_lease(said: int, wish: float, lent: int | None) -> None:
    before = says("h1", 9, lends=(lend("h2", said),))
    known = leases(says(want=3000 + wish), promises=(promise("h2", said, 9),), said=before)
    assert chosen(known).get("h2") == lent


def test_a_lease_that_was_made_smaller_is_not_raised_again_at_once() -> None:
    """Hosts that change places would pass the same watts to and fro."""
    before = says("h1", 9, lends=(lend("h2", 100),))
    known = leases(says(want=4000), promises=(promise("h2", 100, 9),), said=before)
    known = known._replace(cut_boot_s={"h2": NOW_S})
    dwell_s = DWELL_PERIODS * RULES.publish_s
    assert chosen(known, boot_s=NOW_S + dwell_s - 0.001) == {"h2": 100}
    assert chosen(known, boot_s=NOW_S + dwell_s) == {"h2": 1000}


def test_after_a_recall_a_lease_waits_too_and_another_borrower_does_not() -> None:
    known = leases(says("h2", want=3500), says("h3", want=3500), said=says("h1", 9))
    known = known._replace(cut_boot_s={"h2": NOW_S - 0.5})
    assert chosen(known) == {"h3": 500}


def test_a_cut_waits_for_nothing() -> None:
    before = says("h1", 9, lends=(lend("h2", 900),))
    known = leases(says(want=3100), promises=(promise("h2", 900, 9),), said=before)
    known = known._replace(cut_boot_s={"h2": NOW_S})
    assert chosen(known) == {"h2": 100}


# Recalls


def test_a_lease_that_still_counts_is_spoken_of_with_no_watts() -> None:
    """So that the borrower says that it has let go, and the donor need not wait for the end."""
    known = leases(says("h2", 17), says("h3", 4))
    recalled = with_recalls((lend("h3", 200, 4),), {"h2": 500 * W, "h3": 100 * W}, known)
    assert recalled == (lend("h3", 200, 4), lend("h2", 0, 17))


def test_a_borrower_that_was_not_heard_since_the_start_cannot_be_answered() -> None:
    assert with_recalls((), {"h2": 500 * W}, leases()) == ()


@st.composite
def racks(draw: st.DrawFn) -> Leases:
    """Draw what was lent, was said, and is heard."""
    watts, times = st.integers(0, 3000), st.floats(95.0, NOW_S)
    peers, promises, said, cuts = [], [], [], {}
    for name in ("h2", "h3"):
        if draw(st.booleans()):
            peers.append(says(name, want=draw(watts) * 2, spare=draw(watts), at=draw(times)))
        promises += [promise(name, draw(watts) + 1, 1) for _ in range(draw(st.integers(0, 2)))]
        said += [lend(name, draw(watts))] if draw(st.booleans()) else []
        if draw(st.booleans()):
            cuts[name] = draw(times)
    known = leases(*peers, promises=tuple(promises), said=says("h1", 1, lends=tuple(said)))
    return known._replace(cut_boot_s=cuts)


@given(racks(), st.integers(0, 3000))
def test_whatever_was_said_and_heard_lent_watts_never_grow_beyond_what_is_spare(
    known: Leases, spare: int
) -> None:
    """Together with what counts already, which may be more: then nothing is added."""
    before = {name: mw // W for name, mw in counted_mw(known).items()}
    lent = chosen(known, spare)
    after = {name: max(lent.get(name, 0), before.get(name, 0)) for name in lent.keys() | before.keys()}
    assert sum(after.values()) <= max(spare, sum(before.values()))
