"""Who should lend how much to whom: every host computes the same table, and acts on its own row."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.exchange import Trader, row
from tests.core.make import W


def trader(entitlement: int, want: int, spare: int | None = None, share: float = 1.0) -> Trader:
    """Return a host that tells the truth about what it could spare, unless said otherwise."""
    spare = max(0, entitlement - want) if spare is None else spare
    return Trader(entitlement * W, want * W, spare * W, round(share * 1_000_000))


def table(traders: dict[str, Trader]) -> dict[str, dict[str, int]]:
    return {host: {name: mw // W for name, mw in row(host, traders).items()} for host in traders}


def test_what_is_spare_goes_to_those_who_want_more() -> None:
    traders = {"a": trader(3000, 2000), "b": trader(3000, 3400)}
    assert table(traders) == {"a": {"b": 400}, "b": {}}


def test_borrowers_rise_together_until_each_has_what_it_wants() -> None:
    traders = {"a": trader(3000, 2000), "b": trader(3000, 3200), "c": trader(3000, 9000)}
    assert table(traders)["a"] == {"b": 200, "c": 800}


def test_the_lower_of_two_borrowers_is_filled_up_first() -> None:
    """Shares set the levels; the one with less is further from its own."""
    traders = {"a": trader(3000, 1000), "b": trader(3000, 9000), "c": trader(2000, 9000)}
    assert table(traders)["a"] == {"b": 500, "c": 1500}


def test_a_borrower_with_a_larger_share_rises_faster() -> None:
    traders = {"a": trader(3000, 0), "b": trader(2000, 9000, share=2), "c": trader(1000, 9000)}
    assert table(traders)["a"] == {"b": 2000, "c": 1000}


def test_donors_give_in_proportion_to_what_they_have() -> None:
    traders = {"a": trader(3000, 2000), "b": trader(3000, 2500), "c": trader(3000, 3300)}
    assert table(traders) == {"a": {"c": 200}, "b": {"c": 100}, "c": {}}


def test_whoever_has_nothing_to_spare_lends_nothing() -> None:
    assert table({"a": trader(3000, 3000), "b": trader(3000, 3400)}) == {"a": {}, "b": {}}


def test_who_wants_nothing_more_gets_nothing() -> None:
    assert table({"a": trader(3000, 2000), "b": trader(3000, 3000)})["a"] == {}


def test_less_than_a_watt_is_not_lent() -> None:
    donor = Trader(9000, 0, 9000, 1)
    assert row("a", {"a": donor, "b": Trader(5000, 5999, 0, 1)}) == {}
    assert row("a", {"a": donor, "b": Trader(5000, 6000, 0, 1)}) == {"b": 1000}


@st.composite
def racks(draw: st.DrawFn, *, honest: bool = False) -> dict[str, Trader]:
    """Draw what the hosts of a rack say of themselves, true or not."""
    amounts, shares = st.integers(0, 20_000_000), st.integers(1, 10_000_000)
    traders = {}
    for number in range(draw(st.integers(2, 18))):
        entitlement_mw, want_mw = draw(amounts), draw(amounts)
        spare_mw = max(0, entitlement_mw - want_mw)
        spare_mw = draw(st.integers(0, spare_mw)) if honest else draw(st.just(spare_mw) | amounts)
        traders[f"h{number}"] = Trader(entitlement_mw, want_mw, spare_mw, draw(shares))
    return traders


def missing_mw(host: Trader) -> int:
    return max(0, host.want_mw - host.entitlement_mw)


@given(racks())
def test_no_donor_lends_more_than_it_spares_and_no_borrower_gets_more_than_it_misses(
    traders: dict[str, Trader],
) -> None:
    """Also when hosts say what is not true: that may waste others' spare, never an entitlement."""
    rows = {host: row(host, traders) for host in traders}
    for host, each in traders.items():
        assert sum(rows[host].values()) <= each.spare_mw
        assert sum(one.get(host, 0) for one in rows.values()) <= missing_mw(each)
        assert all(mw >= W and mw % W == 0 for mw in rows[host].values())


@given(racks())
def test_all_that_is_wanted_is_lent_or_all_that_is_spare_but_for_rounding(traders: dict[str, Trader]) -> None:
    lent_mw = sum(sum(row(host, traders).values()) for host in traders)
    spare_mw = sum(each.spare_mw for each in traders.values())
    wanted_mw = sum(missing_mw(each) for each in traders.values())
    donors = sum(each.spare_mw > 0 for each in traders.values())
    borrowers = sum(missing_mw(each) > 0 for each in traders.values())
    assert min(spare_mw, wanted_mw) - donors * borrowers * W <= lent_mw <= min(spare_mw, wanted_mw)


@given(racks(honest=True))
def test_nobody_gives_up_what_it_wants_of_its_own(traders: dict[str, Trader]) -> None:
    for host, each in traders.items():
        left_mw = each.entitlement_mw - sum(row(host, traders).values())
        assert left_mw >= min(each.want_mw, each.entitlement_mw)


@given(racks(), st.randoms(use_true_random=False))
def test_the_order_in_which_hosts_were_heard_makes_no_difference(
    traders: dict[str, Trader], chance: random.Random
) -> None:
    names = list(traders)
    chance.shuffle(names)
    shuffled = {name: traders[name] for name in names}
    assert [row(host, shuffled) for host in traders] == [row(host, traders) for host in traders]


@given(racks())
def test_nobody_who_misses_watts_is_below_another_that_was_lent_any(traders: dict[str, Trader]) -> None:
    """Max-min, by share: more for one would have to come from somebody who has less."""
    rows = [row(host, traders) for host in traders]
    levels = []
    for host, each in traders.items():
        got_mw = sum(one.get(host, 0) for one in rows)
        slack_mw = len(traders) * W  # what rounding to whole watts may have cost, from every donor
        levels.append((each.entitlement_mw + got_mw, got_mw, missing_mw(each) - got_mw, slack_mw, each))
    for has_mw, _, misses_mw, slack_mw, each in levels:
        if misses_mw > slack_mw and any(one.spare_mw for one in traders.values()):
            for other_has_mw, other_got_mw, _, _, other in levels:
                if other_got_mw:
                    own_level = (has_mw + slack_mw) / each.share_units
                    assert other_has_mw / other.share_units <= own_level + 1 / other.share_units


@given(racks(honest=True), st.integers(0, 10))
def test_more_spare_never_gives_a_borrower_less(traders: dict[str, Trader], steps: int) -> None:
    """So a donor that frees watts takes none from anybody."""
    totals = []
    for extra in range(steps + 1):
        donor = Trader(0, 0, extra * 1_000_000, 1)
        everyone = {**traders, "donor": donor}
        rows = [row(host, everyone) for host in everyone]
        totals.append({name: sum(one.get(name, 0) for one in rows) for name in traders})
    for before, after in pairwise(totals):
        assert all(after[name] >= mw - len(traders) * W for name, mw in before.items())
