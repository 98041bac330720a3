"""What a donor counts and what a borrower may use: never more used than counted, whatever happens."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.host_state import Hold, HostState, Key
from powerd.core.leases.leases import (
    CLOCK_RATE_ERROR,
    LARGEST_EPOCH,
    LeaseRules,
    Leases,
    Promise,
    counted_mw,
    counting,
    expire,
    hear,
    is_superseded,
    lease_end_boot_s,
    own_epoch_in,
    promise_end_boot_s,
)
from tests.core.make import W
from tests.core.make_leases import EPOCH, PEER_EPOCH, RULES, hold, leases, lend, lent_to_us, promise, says


def heard(known: Leases, *states: HostState) -> Leases:
    return hear(known, states, "h1")


# Which messages count


@pytest.mark.parametrize("old", [says(seq=5), says(seq=4), says(seq=99, epoch=PEER_EPOCH - 1)])
def test_what_is_not_newer_than_all_before_of_its_host_is_dropped(old: HostState) -> None:
    """A late, repeated or replayed message could show an acknowledgement or a lease that is over."""
    known = leases(says(seq=5, want=1000))
    assert heard(known, replace(old, received_boot_s=101.0)).peers == known.peers


@pytest.mark.parametrize("new", [says(seq=6), says(seq=1, epoch=PEER_EPOCH + 1)])
def test_a_larger_key_is_newer_and_a_new_epoch_before_all(new: HostState) -> None:
    assert heard(leases(says(seq=5)), new).peers == {"h2": new}


def test_the_first_receipt_counts_however_often_a_message_is_delivered() -> None:
    """A broker delivers what it retains at every new connection: that must not keep a lease alive."""
    known = heard(leases(), says(seq=5, at=100.0), says(seq=5, at=140.0))
    assert known.peers["h2"].received_boot_s == 100.0


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 4), st.booleans()), max_size=12), st.randoms())
def test_whatever_order_messages_come_in_the_newest_of_each_host_is_kept(
    keys: list[tuple[int, int, bool]], chance: random.Random
) -> None:
    states = [says("h2" if first else "h3", seq, epoch=epoch) for epoch, seq, first in keys]
    shuffled = states.copy()
    chance.shuffle(shuffled)
    newest = {state.host: state for state in sorted(states, key=lambda state: state.key)}
    assert heard(leases(), *shuffled).peers == newest
    assert heard(heard(leases(), *shuffled), *states).peers == newest


# The own name


def test_the_own_messages_are_no_peer() -> None:
    own = says("h1", 3, epoch=EPOCH)
    assert heard(leases(), own) == leases()


@pytest.mark.parametrize(
    "state",
    [
        says("h1", 1, epoch=EPOCH + 5),
        says(lends=(lend("h3", 5), lent_to_us(10, epoch=EPOCH + 5))),
        says(holds=(hold(0, 1, epoch=EPOCH + 9, donor="h3"), hold(0, 1, epoch=EPOCH + 5))),
    ],
    ids=["own message", "lease", "acknowledgement"],
)
def test_an_own_epoch_above_the_present_one_is_noticed_wherever_it_shows(state: HostState) -> None:
    """The clock was set back before the start, or somebody else uses the name."""
    known = heard(leases(), state)
    assert known.foreign_epoch == EPOCH + 5
    assert heard(known, says("h1", 1, epoch=EPOCH + 2)).foreign_epoch == EPOCH + 5
    assert heard(known, says("h1", 1, epoch=EPOCH + 7)).foreign_epoch == EPOCH + 7


def test_own_epochs_of_before_are_no_surprise() -> None:
    spoken = says(lends=(lent_to_us(10, epoch=EPOCH - 5),), holds=(hold(0, 1, epoch=EPOCH),))
    assert own_epoch_in(spoken, "h1") == EPOCH
    assert heard(leases(), spoken, says("h1", 9, epoch=EPOCH - 1)).foreign_epoch == 0
    assert own_epoch_in(says(), "h1") == 0


def test_an_own_epoch_that_no_clock_gives_is_not_believed() -> None:
    """Whoever speaks of one would leave this host none above it that peers accept."""
    assert heard(leases(), says("h1", 9, epoch=LARGEST_EPOCH + 1)).foreign_epoch == 0
    assert heard(leases(), says("h1", 9, epoch=LARGEST_EPOCH)).foreign_epoch == LARGEST_EPOCH


# What ends a promise


@pytest.mark.parametrize(
    ("holds", "epoch", "ends"),
    [
        ((), PEER_EPOCH, False),  # nothing is said of it
        ((hold(500, 5),), PEER_EPOCH, False),  # it is what is followed
        ((hold(0, 5),), PEER_EPOCH, False),  # and may be used again: nothing later is acknowledged
        ((hold(0, 4),), PEER_EPOCH, False),
        ((hold(0, 6),), PEER_EPOCH, True),
        ((hold(900, 6),), PEER_EPOCH, True),  # it was replaced, by more
        (
            (hold(0, 99, epoch=EPOCH - 1),),
            PEER_EPOCH,
            False,
        ),  # a message of before the restart, whatever its seq
        ((hold(0, 1, epoch=EPOCH + 1),), PEER_EPOCH, True),
        ((hold(0, 6, donor="h3"),), PEER_EPOCH, False),  # not ours
        (
            (),
            PEER_EPOCH + 1,
            True,
        ),  # the borrower has started again: it may not use what answers older messages
        ((hold(500, 5),), PEER_EPOCH + 1, True),
    ],
)
def test_a_promise_ends_by_a_later_acknowledgement_or_a_new_start_of_the_borrower(
    holds: tuple[Hold, ...], epoch: int, ends: bool
) -> None:
    made = promise("h2", 500, 5)
    state = says(seq=9, epoch=epoch, holds=holds)
    assert is_superseded(made, state, "h1") == ends
    assert heard(leases(promises=(made,)), state).promises == (() if ends else (made,))


def test_nobody_can_acknowledge_for_another() -> None:
    made = promise("h2", 500, 5)
    state = says("h3", 1, epoch=PEER_EPOCH + 1, holds=(hold(0, 9),))
    assert heard(leases(promises=(made,)), state).promises == (made,)


def test_a_replayed_acknowledgement_ends_nothing() -> None:
    """It is of before the promise, so it is older than the newest of the borrower's messages."""
    made = promise("h2", 500, 5, answers=8)
    known = leases(says(seq=8), promises=(made,))
    assert heard(known, says(seq=7, holds=(hold(0, 9),))).promises == (made,)


@pytest.mark.parametrize(("boot_s", "counts"), [(114.9, True), (115.0, True), (115.001, False)])
def test_a_promise_counts_to_its_end_and_at_it(boot_s: float, counts: bool) -> None:
    known = leases(promises=(promise("h2", 500, 1, end=115.0),))
    assert bool(expire(known, boot_s).promises) == counts


# What counts


def test_of_several_promises_to_one_borrower_the_largest_counts() -> None:
    """It may have heard any of them."""
    made = (promise("h2", 300, 1), promise("h2", 500, 2), promise("h2", 200, 3), promise("h3", 50, 3))
    assert counted_mw(leases(promises=made)) == {"h2": 500 * W, "h3": 50 * W}
    assert counting(leases(promises=made)) == (made[1], made[3])


def test_of_equal_promises_the_last_to_end_is_shown() -> None:
    made = (
        promise("h2", 500, 1, end=115.0),
        promise("h2", 500, 2, end=116.0),
        promise("h2", 10, 3, end=117.0),
    )
    assert counting(leases(promises=made)) == (made[1],)
    assert counting(leases()) == ()


PROMISES = st.lists(
    st.builds(
        Promise,
        to=st.sampled_from(["h2", "h3"]),
        mw=st.integers(1, 10**6),
        key=st.builds(Key, st.integers(EPOCH - 1, EPOCH), st.integers(1, 9)),
        answers=st.builds(Key, st.integers(PEER_EPOCH - 1, PEER_EPOCH), st.integers(1, 9)),
        end_boot_s=st.floats(100, 130),
    ),
    max_size=8,
).map(tuple)
KEYS = st.builds(Key, st.integers(EPOCH - 1, EPOCH), st.integers(1, 10))


@given(PROMISES, st.lists(KEYS, min_size=2, max_size=2).map(sorted), st.integers(0, 10**6))
def test_a_later_acknowledgement_never_leaves_more_counted(
    promises: tuple[Promise, ...], keys: list[Key], mw: int
) -> None:
    """And what is acknowledged to be in use makes no difference: the donor counts by its own words."""
    known = leases(promises=promises)
    earlier, later = (
        counted_mw(heard(known, says(seq=1, holds=(Hold("h1", mw, key),)))).get("h2", 0) for key in keys
    )
    assert later <= earlier <= counted_mw(known).get("h2", 0)


@given(PROMISES, st.floats(90, 140), st.floats(0, 50))
def test_time_alone_never_makes_more_count_and_counts_nothing_for_ever(
    promises: tuple[Promise, ...], boot_s: float, later_s: float
) -> None:
    earlier = counted_mw(expire(leases(promises=promises), boot_s))
    later = counted_mw(expire(leases(promises=promises), boot_s + later_s))
    assert all(later.get(name, 0) <= mw for name, mw in earlier.items())
    assert later.keys() <= earlier.keys()
    assert expire(leases(promises=promises), 130.1).promises == ()


# Ends


def test_a_lease_runs_from_the_sending_of_the_message_that_it_answers() -> None:
    """Not from its receipt: however late it comes, it is over at that time."""
    known = leases(sent={3: 100.0, 4: 101.0})
    assert lease_end_boot_s(known, lent_to_us(500, 3), RULES) == 105.0
    assert lease_end_boot_s(known, lent_to_us(500, 4), RULES) == 106.0


@pytest.mark.parametrize(
    "lease", [lent_to_us(500, 2), lent_to_us(500, 5), lent_to_us(500, 3, epoch=EPOCH - 1)]
)
def test_a_lease_that_answers_nothing_that_is_remembered_cannot_be_used(lease: object) -> None:
    """The message number may be the same after a restart: the epoch tells them apart."""
    assert lease_end_boot_s(leases(sent={3: 100.0}), lease, RULES) is None  # type: ignore[arg-type]


def test_publishing_a_lease_again_does_not_make_it_count_longer() -> None:
    borrower = says(at=100.0)
    assert promise_end_boot_s(borrower, RULES) == 100.0 + RULES.ttl_s + RULES.guard_time_s


TIMES = st.builds(
    LeaseRules,
    max_ttl_s=st.floats(0.1, 300),
    guard_bound_s=st.floats(0.1, 300),
)
DRIFTS = st.floats(1 - CLOCK_RATE_ERROR, 1 + CLOCK_RATE_ERROR)


@given(TIMES, st.floats(0.01, 1), st.floats(0, 1000), DRIFTS, DRIFTS)
def test_the_borrower_is_down_before_the_donor_stops_counting_whatever_delays_and_clocks_do(
    times: LeaseRules, ttl_part: float, delay_s: float, donor_rate: float, borrower_rate: float
) -> None:
    """In true time: by its guard at the latest, though its clock is slow and the donor's is fast."""
    rules = replace(times, ttl_s=ttl_part * times.max_ttl_s)
    down_s = (rules.ttl_s + rules.guard_bound_s) / borrower_rate
    counted_until_s = delay_s + rules.count_s / donor_rate
    assert down_s < counted_until_s


def test_a_donor_waits_no_longer_than_it_has_to() -> None:
    """The bound of the guard, and what two clocks may differ by."""
    assert RULES.guard_bound_s < RULES.guard_time_s < RULES.guard_bound_s + 0.1


def test_what_a_host_without_memory_waits_for_is_longer_than_any_lease_counts() -> None:
    assert RULES.forget_s == RULES.max_ttl_s + RULES.guard_time_s
    assert all(replace(RULES, ttl_s=ttl_s).count_s <= RULES.forget_s for ttl_s in (0.5, 5.0, RULES.max_ttl_s))
