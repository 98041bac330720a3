"""One host speaks for the rack: the first of the roster that is live, as far as each can tell."""

from dataclasses import replace

import pytest

from powerd.core.leases.duty import on_duty
from powerd.core.leases.host_state import HostState, Key
from powerd.core.leases.leases import LeaseRules, Leases
from powerd.core.topology import Host
from tests.core.make import W, rack

RULES = LeaseRules(silent_s=3.5)
NAMES = ("h1", "h2", "h3")
RACK = rack(hosts=tuple(Host(name, 1.0, 500 * W) for name in NAMES))
NOW_S = 100.0


def speaker(host: str, *, ages_s: dict[str, float], running_s: float = 60.0) -> str:
    """Return who is on duty as `host` sees it, which heard some others a while ago."""
    peers = {name: state(name, NOW_S - age_s) for name, age_s in ages_s.items()}
    return on_duty(RACK, host, Leases(started_boot_s=NOW_S - running_s, peers=peers), RULES, NOW_S)


def state(host: str, received_boot_s: float) -> HostState:
    return HostState(host, Key(1, 1), "", True, 0, 0, 0, 0, 0, 0, received_boot_s=received_boot_s)


@pytest.mark.parametrize("host", NAMES)
def test_hosts_that_hear_each_other_agree_on_the_first(host: str) -> None:
    assert speaker(host, ages_s={name: 0.5 for name in NAMES if name != host}) == "h1"


def test_the_order_is_that_of_the_roster_not_of_the_names() -> None:
    turned = replace(RACK, hosts=RACK.hosts[::-1])
    leases = Leases(peers={name: state(name, NOW_S) for name in NAMES[1:]})
    assert on_duty(turned, "h1", leases, RULES, NOW_S) == "h3"


def test_a_silent_host_is_passed_over() -> None:
    assert speaker("h3", ages_s={"h1": 3.6, "h2": 3.5}) == "h2"
    assert speaker("h3", ages_s={"h1": 3.6, "h2": 3.6}) == "h3"


def test_a_host_that_is_back_takes_over_again() -> None:
    assert speaker("h2", ages_s={"h1": 0.0, "h3": 0.0}) == "h1"


def test_a_host_that_was_never_heard_is_silent_once_there_was_time_to_hear_it() -> None:
    """Or each host would speak for the rack as long as it starts."""
    assert speaker("h3", ages_s={}, running_s=1.0) == "h1"
    assert speaker("h3", ages_s={}, running_s=3.6) == "h3"


def test_a_host_alone_in_its_rack_speaks_for_it() -> None:
    alone = rack(hosts=(Host("h1", 1.0, 500 * W),))
    assert on_duty(alone, "h1", Leases(), RULES, NOW_S) == "h1"
