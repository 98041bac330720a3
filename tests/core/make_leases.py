"""Builders for what hosts say to each other and remember of it. Arguments are in watts and seconds.

The example rack: three equal hosts h1, h2 and h3 with a floor of 1000 W each. This host is h1.

    rack budget    9000   6000   4500 (failsafe)   3000 (floors)
    entitlement    3000   2000   1500              1000
"""

from collections.abc import Mapping

from powerd.core.leases.host_state import HeardBudget, Hold, HostState, Key, Lend
from powerd.core.leases.leases import LeaseRules, Leases, Promise
from powerd.core.leases.memory import roster_digest
from powerd.core.leases.place import Place
from powerd.core.topology import Host, Rack
from tests.core.make import W, rack

RULES = LeaseRules()
HOSTS = ("h1", "h2", "h3")
RACK = rack(hosts=tuple(Host(name, 1.0, 1000 * W) for name in HOSTS), hard_limit=9000, failsafe=4500)
ROSTER = roster_digest(RACK, RULES)
# Of this host and of its peers.
EPOCH, PEER_EPOCH = 100, 7


def heard_budget(
    watts: float | None = 9000, seq: int = 1, *, source: str = "facility-a", lease_s: float = 60.0
) -> HeardBudget:
    """Return the budget that a host follows."""
    return HeardBudget(source, 1, seq, None if watts is None else round(watts * W), lease_s)


def lend(to: str, watts: float, answers: int = 1, *, epoch: int = PEER_EPOCH) -> Lend:
    """Return a lease of this host's in answer to a message of a peer."""
    return Lend(to, round(watts * W), Key(epoch, answers))


def lent_to_us(watts: float, answers: int = 1, *, epoch: int = EPOCH) -> Lend:
    """Return a lease of a peer's in answer to a message of this host."""
    return Lend("h1", round(watts * W), Key(epoch, answers))


def hold(watts: float, seq: int, *, epoch: int = EPOCH, donor: str = "h1") -> Hold:
    """Return the acknowledgement of a message, of this host's unless said."""
    return Hold(donor, round(watts * W), Key(epoch, seq))


def says(
    host: str = "h2",
    seq: int = 1,
    *,
    epoch: int = PEER_EPOCH,
    at: float = 100.0,
    cap: float = 9000,
    entitlement: float = 3000,
    want: float = 3000,
    spare: float = 0,
    lent: float = 0,
    over: float = 0,
    leasing: bool = True,
    roster: str = ROSTER,
    budget: HeardBudget | None = None,
    lends: tuple[Lend, ...] = (),
    holds: tuple[Hold, ...] = (),
) -> HostState:
    """Return a peer's message, received `at` this moment. It wants what it has unless said."""
    return HostState(
        host=host,
        key=Key(epoch, seq),
        roster=roster,
        is_leasing=leasing,
        rack_cap_mw=round(cap * W),
        entitlement_mw=round(entitlement * W),
        want_mw=round(want * W),
        spare_mw=round(spare * W),
        lent_mw=round(lent * W),
        over_mw=round(over * W),
        budget=budget,
        lends=lends,
        holds=holds,
        received_boot_s=at,
    )


def promise(to: str, watts: float, seq: int, *, answers: int = 1, end: float = 115.0) -> Promise:
    """Return a lease that this host published in its message `seq`."""
    return Promise(to, round(watts * W), Key(EPOCH, seq), Key(PEER_EPOCH, answers), end)


def leases(
    *peers: HostState,
    promises: tuple[Promise, ...] = (),
    sent: Mapping[int, float] | None = None,
    said: HostState | None = None,
    lost: bool = False,
    wait_until: float = 0.0,
    foreign_epoch: int = 0,
    renewed: float = 0.0,
    started: float = 0.0,
    formers: tuple[Rack, ...] = (),
) -> Leases:
    """Return what this host remembers: peers' newest messages, own promises, and when it sent what."""
    sent = dict(sent or {})
    return Leases(
        epoch=EPOCH,
        seq=max(sent, default=said.key.seq if said else 0),
        started_boot_s=started,
        renewed_boot_s=renewed,
        promises=promises,
        peers={peer.host: peer for peer in peers},
        sent_boot_s=sent,
        said=said,
        is_lost=lost,
        wait_until_boot_s=wait_until,
        foreign_epoch=foreign_epoch,
        formers=formers,
    )


def place(
    *,
    want: float = 3000,
    cap: float = 9000,
    asked: float | None = None,
    least: float = 1000,
    leasing: bool = True,
    peers: bool = True,
    budget: HeardBudget | None = None,
    of: Rack = RACK,
) -> Place:
    """Return where h1 stands; it goes by a budget of what was asked for unless another is given."""
    asked = cap if asked is None else asked
    return Place(
        rack=of,
        host="h1",
        roster=ROSTER,
        has_peers=peers,
        is_leasing=leasing,
        budget=budget or heard_budget(asked),
        asked_mw=round(asked * W),
        since_boot_s=0.0,
        cap_mw=round(cap * W),
        least_mw=round(least * W),
        want_mw=round(want * W),
    )
