"""When a host speaks: once a period, and at once what peers or people should not have to wait for."""

from dataclasses import replace

import pytest

from powerd.core.leases.host_state import HostState, Key
from powerd.core.leases.leases import Leases
from powerd.core.leases.news import BEAT, NEWS_MW, concerns, is_news
from powerd.core.leases.place import Place
from powerd.core.leases.standing import standing
from powerd.core.leases.word import ALONE_S, Reached, word
from tests.core.make import W
from tests.core.make_leases import EPOCH, PEER_EPOCH, RULES, hold, leases, lend, lent_to_us, place, says

NOW_S = 101.0


def spoken(
    at: Place, known: Leases, *, aspects: str = "", boot_s: float = NOW_S
) -> tuple[HostState | None, Leases]:
    """Say what is due of a host whose limits have come to be all it is entitled to."""
    reached = Reached(3000 * W, is_settled=True, aspects=aspects)
    return word(standing(at, known, RULES, boot_s), at, reached, known, RULES, boot_s)


@pytest.mark.parametrize(("peers", "every_s"), [(True, BEAT * RULES.publish_s), (False, BEAT * ALONE_S)])
def test_without_news_a_message_goes_out_once_a_period(peers: bool, every_s: float) -> None:
    at = place(want=3000, peers=peers, leasing=peers)
    _, after = spoken(at, leases())
    assert spoken(at, after, boot_s=NOW_S + every_s - 0.001) == (None, after)
    message, later = spoken(at, after, boot_s=NOW_S + every_s)
    assert message is not None
    assert message.key == later.said.key == Key(EPOCH, 2)  # type: ignore[union-attr]


def test_what_people_should_see_at_once_is_said_at_once_and_once() -> None:
    at = place(want=3000)
    _, after = spoken(at, leases(), aspects="limited")
    assert spoken(at, after, aspects="limited")[0] is None
    message, later = spoken(at, after, aspects="failsafe")
    assert message is not None
    assert spoken(at, later, aspects="failsafe")[0] is None


SAID = says("h1", 3, epoch=EPOCH, lends=(lend("h2", 100),), holds=(hold(50, 4, donor="h3"),))


@pytest.mark.parametrize(
    "change",
    [
        {"key": Key(EPOCH + 1, 1)},
        {"rack_cap_mw": 8999 * W},
        {"roster": "another"},
        {"is_leasing": False},
        {"lends": (lend("h2", 80),)},
        {"lends": (lend("h2", 0),)},
        {"lends": ()},
        {"holds": (hold(30, 5, donor="h3"),)},
        {"holds": (hold(0, 5, donor="h3"),)},
        {"holds": ()},
        {"want_mw": 3000 * W + NEWS_MW + 1},
        {"spare_mw": NEWS_MW + 1},
        {"over_mw": NEWS_MW + 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_peers_act_on_does_not_wait_for_the_period(change: dict[str, object]) -> None:
    assert is_news(SAID, replace(SAID, **change))  # type: ignore[arg-type] # names of the class
    assert is_news(replace(SAID, **change), SAID)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"lends": (lend("h2", 99),)}, {"holds": (hold(49, 5, donor="h3"),)}],
    ids=lambda change: next(iter(change)),
)
def test_a_few_watts_more_or_less_wait_for_the_period(change: dict[str, object]) -> None:
    after = replace(SAID, **change)  # type: ignore[arg-type]
    assert not is_news(SAID, after)
    assert not concerns(SAID, after, "h2", lends=True)
    assert not concerns(SAID, after, "h3", lends=True)


def test_a_donor_need_not_wait_to_hear_that_what_it_recalls_is_not_in_use_any_more() -> None:
    let_go = replace(SAID, holds=(hold(0, 4, donor="h3"),))
    assert is_news(let_go, replace(let_go, holds=(hold(0, 5, donor="h3"),)))
    assert not is_news(let_go, replace(let_go, key=Key(EPOCH, 4)))


@pytest.mark.parametrize(
    "change",
    [
        {"key": Key(EPOCH, 4)},
        {"lends": (lend("h2", 100, 2),)},
        {"holds": (hold(50, 5, donor="h3"),)},
        {"want_mw": 3000 * W + NEWS_MW},
        {"want_mw": 1000 * W},  # below its entitlement it wants nothing of others
        {"spare_mw": NEWS_MW},
        {"over_mw": NEWS_MW},
        {"worst_case_mw": 0},
        {"entitlement_mw": 3500 * W},
    ],
    ids=lambda change: next(iter(change)),
)
def test_trifles_wait(change: dict[str, object]) -> None:
    assert not is_news(SAID, replace(SAID, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "anybody", "with_spare"),
    [
        ({"key": Key(PEER_EPOCH + 1, 1)}, True, True),
        ({"rack_cap_mw": 8999 * W}, True, True),
        ({"roster": "another"}, True, True),
        ({"is_leasing": False}, True, True),
        ({"over_mw": NEWS_MW + 1}, True, True),
        ({"want_mw": 3000 * W + NEWS_MW + 1}, False, True),
        ({"lends": (lent_to_us(100),)}, True, True),
        ({"lends": (lend("h3", 100),)}, False, False),
        ({"lends": (lent_to_us(0),)}, False, False),
        ({"holds": (hold(100, 1),)}, True, True),
        ({"holds": (hold(100, 1, donor="h3"),)}, False, False),
        ({}, False, False),
    ],
)
def test_a_message_is_decided_on_at_once_by_those_whom_it_concerns(
    change: dict[str, object], anybody: bool, with_spare: bool
) -> None:
    before = says("h2", 3)
    after = replace(before, **change)  # type: ignore[arg-type]
    assert concerns(before, after, "h1", lends=False) == anybody
    assert concerns(before, after, "h1", lends=True) == with_spare


def test_for_a_peer_with_more_to_spare_no_donor_decides_at_once() -> None:
    """Whoever uses watts has them; a peer that has fewer may leave somebody short of them."""
    less, more = says("h2", 3), says("h2", 4, spare=500)
    assert not concerns(less, more, "h1", lends=True)
    assert concerns(more, less, "h1", lends=True)


def test_a_host_decides_nothing_anew_because_its_own_message_comes_back() -> None:
    before = says("h1", 3, epoch=EPOCH)
    assert not concerns(before, replace(before, want_mw=9000 * W, spare_mw=900 * W), "h1", lends=True)
    assert concerns(before, replace(before, key=Key(EPOCH + 1, 1)), "h1", lends=True)
