"""How a host stands with the others: what it may draw, what it may use of theirs, and what it lends."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.host_state import HostState, Key, Lend
from powerd.core.leases.leases import Borrowed, Leases, counted_mw
from powerd.core.leases.place import Place
from powerd.core.leases.standing import Standing, standing
from tests.core.make import W
from tests.core.make_leases import (
    HOSTS,
    PEER_EPOCH,
    RULES,
    heard_budget,
    leases,
    lend,
    lent_to_us,
    place,
    promise,
    says,
)

NOW_S = 101.0


def stands(at: Place, known: Leases | None = None, boot_s: float = NOW_S) -> Standing:
    return standing(at, known or leases(), RULES, boot_s)


def donor(watts: float, answers: int = 5, **options: object) -> HostState:
    """Return a donor's message with a lease to this host."""
    lease = lent_to_us(watts, answers)
    return says("h2", 17, lends=(lend("h3", 5), lease), **options)  # type: ignore[arg-type] # of `says`


# A host by itself


def test_a_host_may_draw_its_entitlement() -> None:
    result = stands(place(want=2990))
    assert (result.entitlement_mw, result.cap_mw, result.limit_mw) == (3000 * W,) * 3
    assert (result.borrowed, result.lends, result.lent_mw, result.borrowed_mw, result.part_mw) == (
        (),
        (),
        0,
        0,
        0,
    )
    assert result.end_boot_s == result.step_down_boot_s == math.inf


@pytest.mark.parametrize(
    ("at", "spare"),
    [
        (place(want=2500), 500),
        (place(want=200), 2000),  # it never lends below its floor
        (place(want=200, least=1300), 1700),  # nor below what its GPUs can be limited to
        (place(want=2980), 20),
        (place(want=2981), 0),  # not worth it
        (place(want=3500), 0),
        (place(want=2500, leasing=False), 0),
    ],
)
def test_what_its_gpus_do_not_want_could_be_lent(at: Place, spare: int) -> None:
    assert stands(at).spare_mw == spare * W


# Borrowing


@pytest.mark.parametrize(
    ("boot_s", "used"), [(101.0, 400), (103.999, 400), (104.0, 0), (105.0, 0), (200.0, 0)]
)
def test_a_lease_is_used_until_a_second_before_its_end(boot_s: float, used: int) -> None:
    """The end is counted from the own sending, and the way down takes time."""
    known = leases(donor(400), sent={5: 100.0})
    result = stands(place(want=4000), known, boot_s)
    assert (result.borrowed_mw, result.cap_mw, result.limit_mw) == (
        used * W,
        (3000 + used) * W,
        (3000 + used) * W,
    )
    ends = (105.0, 104.0) if used else (math.inf, math.inf)
    assert (result.end_boot_s, result.step_down_boot_s) == ends


def test_the_first_lease_to_end_sets_the_end() -> None:
    later = replace(donor(100, answers=6), host="h3")
    known = leases(donor(400), later, sent={5: 100.0, 6: 100.5})
    result = stands(place(want=4000), known)
    assert (result.borrowed_mw, result.end_boot_s) == (500 * W, 105.0)


@pytest.mark.parametrize(
    ("at", "state"),
    [
        (place(want=4000), donor(400, answers=4)),  # answers what is forgotten
        (
            place(want=4000),
            replace(donor(0), lends=(lent_to_us(400, epoch=99, answers=5),)),
        ),  # a former epoch
        (place(want=4000), donor(400, roster="another")),
        (
            place(want=4000),
            donor(400, cap=9001),
        ),  # the donor has missed a cut: its watts are not there any more
        (place(want=2000), donor(400)),  # a host with watts to spare uses nobody else's
        (place(want=4000, leasing=False), donor(400)),
        (place(want=4000), donor(0)),
    ],
    ids=[
        "forgotten",
        "other epoch",
        "other roster",
        "higher budget",
        "has spare",
        "takes no part",
        "recalled",
    ],
)
def test_a_lease_that_may_not_be_used_is_let_go_and_that_is_said(at: Place, state: HostState) -> None:
    result = stands(at, leases(state, sent={5: 100.0}))
    assert [(each.donor, each.mw, each.key) for each in result.borrowed] == [("h2", 0, Key(PEER_EPOCH, 17))]
    assert (result.cap_mw, result.end_boot_s) == (3000 * W, math.inf)


def test_a_donor_on_a_lower_budget_can_be_borrowed_from() -> None:
    assert stands(place(want=4000), leases(donor(400, cap=8000), sent={5: 100.0})).borrowed_mw == 400 * W


def test_what_a_donor_does_not_speak_of_is_neither_used_nor_acknowledged() -> None:
    known = leases(says("h2", 17, lends=(lend("h3", 400),)), sent={5: 100.0})
    assert stands(place(want=4000), known).borrowed == ()


def test_a_lease_names_its_donor_its_message_and_its_end() -> None:
    result = stands(place(want=4000), leases(donor(400), sent={5: 100.0}))
    assert result.borrowed == (Borrowed("h2", 400 * W, Key(PEER_EPOCH, 17), 105.0),)


# Lending


def test_what_is_about_to_be_lent_is_taken_off_before_it_is_said() -> None:
    result = stands(place(want=2000), leases(says(want=3600)))
    assert result.lends == (lend("h2", 600),)
    assert (result.lent_mw, result.cap_mw, result.limit_mw) == (600 * W, 2400 * W, 2400 * W)


def test_recalled_watts_count_until_they_are_let_go() -> None:
    known = leases(says(seq=9), promises=(promise("h2", 600, 1),))
    result = stands(place(want=3500), known)
    assert result.lends == (lend("h2", 0, 9),)
    assert (result.lent_mw, result.cap_mw) == (600 * W, 2400 * W)


def test_borrowed_watts_are_never_lent() -> None:
    """Three in a row: what the first takes back, the second could not give."""
    known = leases(donor(400), says("h3", want=4000), sent={5: 100.0})
    result = stands(place(want=4000), known)
    assert result.borrowed_mw == 400 * W
    assert result.lends == ()


def test_a_borrower_that_has_watts_to_spare_again_lets_go_before_it_lends() -> None:
    result = stands(place(want=2000), leases(donor(400), says("h3", want=4000), sent={5: 100.0}))
    assert result.borrowed_mw == 0
    assert result.lends == (lend("h3", 1000),)


def test_a_cut_that_leaves_less_than_what_is_lent_lends_nothing_on_top() -> None:
    borrower = says(want=4000, cap=6000, entitlement=2000)
    fits, too_much = (leases(borrower, promises=(promise("h2", watts, 1),)) for watts in (1000, 1001))
    assert stands(place(want=1000, cap=6000), fits).lends == (lend("h2", 1000),)
    assert stands(place(want=1000, cap=6000), too_much).lends == (lend("h2", 0),)


def test_lent_watts_are_never_written_off_even_where_they_leave_less_than_nothing() -> None:
    """Entitlement 3000 to 1000 W with 2000 lent: the cap is what is true, the floor what can be done."""
    known = leases(says(), promises=(promise("h2", 2000, 1),))
    result = stands(place(want=3000, cap=3000), known)
    assert (result.entitlement_mw, result.cap_mw, result.limit_mw) == (1000 * W, -1000 * W, 1000 * W)


# Not taking part


def test_without_memory_the_floor_holds_and_nothing_is_lent_or_used() -> None:
    """All above the floor may be lent: that is the cap, too, which excess is measured by."""
    known = leases(donor(400), says("h3", want=4000), sent={5: 100.0}, lost=True)
    for want in (1000, 4000):
        result = stands(place(want=want), known)
        assert (result.cap_mw, result.limit_mw, result.spare_mw) == (1000 * W, 1000 * W, 0)
        assert (result.lends, result.borrowed_mw) == ((), 0)


def test_while_somebody_else_may_be_using_the_name_nothing_is_lent_or_used() -> None:
    known = leases(donor(400), says("h3", want=4000), sent={5: 100.0}, foreign_epoch=500)
    assert stands(place(want=4000), known).borrowed_mw == 0
    idle = stands(place(want=1000), known)
    assert (idle.lends, idle.spare_mw) == ((), 0)


# Compensation

MISSED_A_CUT = says("h3", cap=9000, at=10.0)


def test_what_is_given_up_for_another_is_neither_drawn_nor_lent() -> None:
    known = leases(says("h2", cap=6000, want=4000), MISSED_A_CUT)
    busy = stands(place(want=2000, cap=6000), known)
    assert (busy.part_mw, busy.cap_mw, busy.limit_mw) == (500 * W, 2000 * W, 1500 * W)
    idle = stands(place(want=1000, cap=6000), known)
    assert (idle.spare_mw, idle.lent_mw, idle.limit_mw) == (500 * W, 500 * W, 1000 * W)


def test_own_excess_is_made_up_for_too() -> None:
    known = leases(says("h2", cap=6000), says("h3", cap=6000), said=says("h1", 4, over=300))
    assert stands(place(cap=6000), known).part_mw == 100 * W


def test_a_lease_is_not_made_again_where_giving_up_leaves_too_little_for_it() -> None:
    """A budget that is climbing again: 1800 W of 2000, 600 lent, 400 given up, 1000 W of floor."""
    known = leases(says(want=4000, cap=6000), MISSED_A_CUT, promises=(promise("h2", 600, 1),))
    result = stands(place(want=1000, cap=5400, asked=6000), known)
    assert (result.part_mw, result.spare_mw, result.lends) == (400 * W, 400 * W, (lend("h2", 0),))


@pytest.mark.parametrize(
    ("at", "lost"),
    [
        (place(cap=6000)._replace(budget=None), False),  # the failsafe is no news
        (place(cap=6000, peers=False), False),
        (place(cap=6000), True),
    ],
)
def test_nothing_is_given_up_without_a_budget_peers_or_memory(at: Place, lost: bool) -> None:
    assert stands(at, leases(says("h2", cap=6000), MISSED_A_CUT, lost=lost)).part_mw == 0


def test_what_is_given_up_never_takes_the_host_below_its_floor() -> None:
    """A cap that is still climbing leaves less to give than the budget it climbs to."""
    known = leases(says("h2", cap=6000), MISSED_A_CUT)
    result = stands(place(want=2000, cap=3300, asked=6000), known)
    assert (result.entitlement_mw, result.part_mw, result.limit_mw) == (1100 * W, 500 * W, 1000 * W)


# Whatever is remembered and heard


@st.composite
def moments(draw: st.DrawFn) -> tuple[Place, Leases]:
    """Draw where a host stands and what it remembers: also what no host of ours would say."""
    watts = st.integers(0, 9000)
    caps = st.sampled_from([3000, 3300, 4500, 6000, 9000])
    cap = draw(caps)
    at = place(
        want=draw(watts),
        cap=cap,
        asked=draw(st.just(cap) | caps.filter(lambda asked: asked >= cap)),
        least=draw(st.just(1000) | watts),
        leasing=draw(st.booleans()),
    )
    at = at._replace(budget=draw(st.none() | st.just(heard_budget(cap, seq=2))))
    peers, promises = [], []
    for name in HOSTS[1:]:
        promises += [promise(name, draw(watts) + 1, seq) for seq in range(draw(st.integers(0, 2)))]
        lease = Lend("h1", draw(watts) * W, Key(draw(st.sampled_from([99, 100])), draw(st.integers(1, 3))))
        peers.append(
            says(
                name,
                cap=draw(st.just(cap) | caps),
                at=draw(st.floats(95.0, NOW_S)),
                entitlement=cap // 3,
                want=draw(watts),
                spare=draw(watts),
                lent=draw(watts),
                over=draw(st.just(0) | watts),
                leasing=draw(st.booleans()),
                lends=draw(st.sampled_from([(), (lease,)])),
            )
        )
    known = leases(
        *peers[: draw(st.integers(0, 2))],
        promises=tuple(promises),
        sent={1: 95.5, 2: 100.0},
        said=says(
            "h1", 2, over=draw(st.just(0) | watts), lends=tuple(lend(n, draw(watts)) for n in HOSTS[1:])
        ),
        lost=draw(st.booleans()),
        foreign_epoch=draw(st.sampled_from([0, 0, 500])),
    )
    return at, known


@given(moments())
def test_whatever_is_remembered_and_heard_the_arithmetic_of_leases_holds(
    moment: tuple[Place, Leases],
) -> None:
    at, known = moment
    result = stands(at, known)
    before, planned = counted_mw(known), {each.to: each.mw for each in result.lends}
    assert result.limit_mw >= at.floor_mw
    assert result.limit_mw <= max(at.floor_mw, result.cap_mw)
    own_mw = result.entitlement_mw + result.borrowed_mw - sum(before.values())
    assert result.cap_mw <= (at.floor_mw if known.is_lost else own_mw)
    lent = {name: max(before.get(name, 0), planned.get(name, 0)) for name in before.keys() | planned.keys()}
    assert result.lent_mw == sum(lent.values())
    if any(planned.values()):
        least_mw = max(at.floor_mw, at.least_mw)
        kept_mw = result.entitlement_mw - result.part_mw - result.lent_mw
        assert least_mw <= kept_mw, "what is lent is the host's own"
        assert result.borrowed_mw == 0, "and not another's"
        assert at.is_leasing
    if result.borrowed_mw:
        assert result.spare_mw == 0
        assert result.step_down_boot_s > NOW_S
    heard = {name for name in before if name in known.peers}
    assert heard <= planned.keys(), "every lease that counts is spoken of"
    assert {each.donor for each in result.borrowed} == {
        name for name, peer in known.peers.items() if peer.lent_to("h1") is not None
    }


@given(moments())
def test_lying_about_what_one_wants_never_costs_a_donor_what_it_wants_itself(
    moment: tuple[Place, Leases],
) -> None:
    """Of its own watts, less what counts already and what it gives up."""
    at, known = moment
    result = stands(at, known)
    kept_mw = min(at.want_mw, result.entitlement_mw - result.part_mw - sum(counted_mw(known).values()))
    assert result.limit_mw >= kept_mw or known.is_lost
