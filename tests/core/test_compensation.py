"""Watts given up for a host that follows a higher budget: only ever subtracted, by all who are heard."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.compensation import ANSWER_S, followed_mw, knows_better, part_mw
from powerd.core.leases.host_state import HostState
from powerd.core.topology import Host, Rack
from tests.core.make import W, rack
from tests.core.make_leases import RACK, RULES, heard_budget, says

NOW_S = 101.0
AGREES = says("h2", cap=6000)


def part(
    *peers: HostState,
    lent: float = 0,
    over: float = 0,
    cap: int = 6000,
    of: Rack = RACK,
    since: float = 0.0,
) -> float:
    """Return what h1 gives up, in watts, where a rack cap holds."""
    mw = part_mw(
        of,
        "h1",
        {peer.host: peer for peer in peers},
        budget=heard_budget(cap, seq=5),
        rack_cap_mw=cap * W,
        lent_mw=round(lent * W),
        over_mw=round(over * W),
        since_boot_s=since,
        boot_s=NOW_S,
        silent_s=RULES.silent_s,
    )
    return mw / W


def test_while_all_follow_the_same_budget_nobody_gives_up_anything() -> None:
    assert part(AGREES, says("h3", cap=6000)) == 0


def test_a_host_that_was_never_heard_is_taken_to_follow_the_budget_that_holds() -> None:
    assert part() == 0


def test_those_who_are_heard_share_what_a_host_on_a_higher_budget_has_too_much() -> None:
    """h3 missed a cut from 9000 to 6000 W: 1000 W of its 3000 are not there any more."""
    assert part(AGREES, says("h3", cap=9000, at=10.0)) == 500
    assert part(AGREES, says("h3", cap=9000)) == 500, "slow to come down, but heard"
    just_heard = replace(AGREES, received_boot_s=NOW_S - RULES.silent_s)
    assert part(just_heard, says("h3", cap=9000)) == 500
    silent = replace(AGREES, received_boot_s=NOW_S - RULES.silent_s - 0.001)
    assert part(silent, says("h3", cap=9000)) == 1000, "nobody else to share"


def test_a_host_that_is_heard_has_a_moment_to_follow_a_new_budget() -> None:
    """All hosts hear of it at the same time: the first to act must not make room for the others."""
    others = AGREES, says("h3", cap=9000)
    assert part(*others, since=NOW_S - ANSWER_S + 0.01) == 0
    assert part(*others, since=NOW_S - ANSWER_S) == 500
    silent = says("h3", cap=9000, at=10.0)
    assert part(says("h2", cap=9000), silent, since=NOW_S) == 500, "nothing is to be expected of a silent one"


def test_shares_of_the_deficit_are_as_shares_of_the_budget() -> None:
    hosts = (Host("h1", 3.0, 1000 * W), Host("h2", 1.0, 1000 * W), Host("h3", 2.0, 1000 * W))
    uneven = replace(RACK, hosts=hosts)
    assert part(AGREES, says("h3", cap=9000), of=uneven) == 750


@pytest.mark.parametrize(("lent", "given_up"), [(0, 500), (500, 500), (600, 400), (1000, 0), (2500, 0)])
def test_nobody_goes_below_its_floor_and_what_it_has_lent(lent: float, given_up: float) -> None:
    """What is lent is in use elsewhere: it cannot be given up twice."""
    assert part(AGREES, says("h3", cap=9000), lent=lent) == given_up


def test_what_one_cannot_give_the_others_do() -> None:
    assert part(replace(AGREES, lent_mw=800 * W), says("h3", cap=9000)) == 800


def test_excess_counts_wherever_it_is_and_also_ones_own() -> None:
    assert part(AGREES, says("h3", cap=6000, over=200)) == pytest.approx(200 / 3, abs=0.001)
    assert part(AGREES, says("h3", cap=6000), over=200) == pytest.approx(200 / 3, abs=0.001)


def test_a_host_on_a_lower_budget_lessens_what_is_missing_and_never_more() -> None:
    assert part(says("h2", cap=4500), says("h3", cap=9000)) == 500
    assert part(says("h2", cap=3000), says("h3", cap=6000)) == 0


def test_a_peers_sacrifice_is_no_slack() -> None:
    """What it draws says nothing of what it may draw: reading it as slack would raise, on others' data."""
    frugal = replace(AGREES, worst_case_mw=1000 * W, want_mw=1000 * W, spare_mw=1000 * W)
    assert part(frugal, says("h3", cap=9000)) == part(AGREES, says("h3", cap=9000))


def test_a_host_that_is_silent_at_a_multiple_costs_the_others_that_and_no_more() -> None:
    """Entitled to 2000 W of 6000 each, one silent at 5000: neither 2500 each for ever, nor 200 and back."""
    hosts = tuple(Host(name, 1.0, 500 * W) for name in ("h1", "h2", "h3"))
    small = rack(hosts=hosts, hard_limit=15000, failsafe=6000)
    assert part(AGREES, says("h3", cap=15000, at=10.0), of=small) == 1500


# Which budget a host follows


def test_after_its_lease_a_silent_host_is_at_the_failsafe_or_below() -> None:
    peer = says(cap=9000, at=100.0, budget=heard_budget(9000, lease_s=20.0))
    assert followed_mw(peer, RACK, 119.9) == 9000 * W
    assert followed_mw(peer, RACK, 120.0) == 4500 * W
    assert followed_mw(replace(peer, rack_cap_mw=4000 * W), RACK, 120.0) == 4000 * W
    assert followed_mw(replace(peer, budget=None), RACK, 1e6) == 9000 * W


@pytest.mark.parametrize(
    ("heard", "better"),
    [
        (None, False),
        (heard_budget(9000, seq=6), True),
        (heard_budget(9000, seq=5), False),
        (heard_budget(9000, seq=4), False),
        (heard_budget(9000, seq=6, source="another"), False),
    ],
)
def test_nothing_is_given_up_for_a_host_that_has_heard_a_newer_budget(heard: object, better: bool) -> None:
    """It is this host that is late, not the other."""
    peer = says("h3", cap=9000, budget=heard)  # type: ignore[arg-type]
    assert knows_better(peer, heard_budget(6000, seq=5)) == better
    assert part(AGREES, peer) == (0 if better else 500)


# All hosts at once


@st.composite
def views(draw: st.DrawFn) -> tuple[Rack, int, list[HostState]]:
    """Draw a rack, the cap that holds, and what every host said last: heard and agreeing, or not."""
    count = draw(st.integers(2, 9))
    floors = [draw(st.integers(1, 2000)) * W for _ in range(count)]
    shares = [draw(st.integers(1, 50)) / 10 for _ in range(count)]
    hosts = tuple(Host(f"h{i}", share, mw) for i, (share, mw) in enumerate(zip(shares, floors, strict=True)))
    least = sum(floors) // W
    example = rack(hosts=hosts, hard_limit=4 * least + 60_000, failsafe=least)
    caps = st.integers(least, 4 * least + 60_000)
    cap = draw(caps)
    states = []
    for host in hosts:
        agrees = draw(st.booleans())
        states.append(
            says(
                host.name,
                cap=cap if agrees else draw(caps),
                at=NOW_S if agrees else 10.0,
                lent=draw(st.just(0) | st.integers(0, 3000)),
                over=draw(st.just(0) | st.integers(0, 3000)),
            )
        )
    return example, cap, states


@given(views())
def test_hosts_with_equal_views_make_up_for_all_that_is_too_much_or_are_all_at_the_bottom(
    view: tuple[Rack, int, list[HostState]],
) -> None:
    """And in one step: what is given up does not depend on what others give up."""
    example, cap, states = view
    agreed = example.entitlements_mw(example.usable_mw(cap * W))
    allowed_mw, rooms_mw = 0, {}
    for state in states:
        entitled_mw = example.entitlements_mw(example.usable_mw(state.rack_cap_mw))[state.host]
        allowed_mw += entitled_mw + state.over_mw
        if state.rack_cap_mw == cap * W and state.received_boot_s == NOW_S:
            floor_mw = example.host(state.host).floor_mw
            rooms_mw[state.host] = max(0, agreed[state.host] - floor_mw - state.lent_mw)
    parts_mw = {}
    for state in states:
        if state.host in rooms_mw:
            parts_mw[state.host] = part_mw(
                example,
                state.host,
                {peer.host: peer for peer in states if peer is not state},
                budget=heard_budget(cap),
                rack_cap_mw=cap * W,
                lent_mw=state.lent_mw,
                over_mw=state.over_mw,
                since_boot_s=0.0,
                boot_s=NOW_S,
                silent_s=RULES.silent_s,
            )
    assert all(0 <= mw <= rooms_mw[host] for host, mw in parts_mw.items())
    left_mw = allowed_mw - sum(parts_mw.values())
    assert left_mw <= example.usable_mw(cap * W) or parts_mw == rooms_mw
