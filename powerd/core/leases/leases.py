"""Watts between hosts: what was lent, what may be used, and until when (docs/leases.md has rules and proof).

A donor counts what it has lent until the borrower acknowledges less, or until no borrower can use it any
more; a borrower uses a lease for a time that it counts from its own sending. So at every instant

    used by b of d's watts <= counted by d as lent to b

whatever the network did, and no two clocks are compared. Invariant: nothing in here raises a limit for lack
of news; a message that was lost, late, repeated or replayed costs watts, never safety.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from powerd.core.leases.host_state import HostState, Key, Lend
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts

# How far two quartz clocks may drift apart: 1000 ppm each, ten times what they do.
CLOCK_RATE_ERROR = 0.001
# No clock gives such an epoch: who speaks of one would leave this host none to go on with.
LARGEST_EPOCH = 2**62
# Boot clocks are read in nanoseconds, timers fire in milliseconds.
CLOCK_GRANULARITY_S = 0.01


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """The rack's lease parameters, in seconds and milliwatts: the same on every host (docs/leases.md).

    Attributes:
        ttl_s: how long a borrower may use a lease after sending the message that it answers.
        max_ttl_s: the longest `ttl_s` that was ever configured; what is waited for when memory is lost.
        guard_bound_s: by when after the end of a plan its GPUs are at the fallback, whatever dies.
        publish_s: a state message is sent at least this often.
        lead_s: the borrower lowers this much before the end, so that its guard need not.
        silent_s: a borrower that was not heard for so long is not lent to any more.
        least_mw: a host with less to spare lends nothing.
    """

    enabled: bool = True
    ttl_s: float = 5.0
    max_ttl_s: float = 10.0
    guard_bound_s: float = 10.0
    publish_s: float = 1.0
    lead_s: float = 1.0
    silent_s: float = 3.5
    least_mw: MilliWatts = 20_000

    @property
    def guard_time_s(self) -> float:
        """Return what a donor adds to the time a lease may be used: the borrower's guard, and drift."""
        use_s = self.max_ttl_s + self.guard_bound_s
        drift = (1 + CLOCK_RATE_ERROR) / (1 - CLOCK_RATE_ERROR)
        return use_s * drift - self.max_ttl_s + CLOCK_GRANULARITY_S

    @property
    def count_s(self) -> float:
        """Return how long a donor counts a lease after it heard what the lease answers."""
        return self.ttl_s + self.guard_time_s

    @property
    def forget_s(self) -> float:
        """Return after how long no lease made before can be in use: what a host without memory waits for."""
        return self.max_ttl_s + self.guard_time_s


class Promise(NamedTuple):
    """A lease that was published and may be in use.

    Attributes:
        key: of the own message that carried it.
        answers: the borrower's message that it answered.
        end_boot_s: it counts until this moment, which is included.
    """

    to: str
    mw: MilliWatts
    key: Key
    answers: Key
    end_boot_s: float


class Borrowed(NamedTuple):
    """What may be used of one donor's newest message.

    Attributes:
        key: of that message: to be acknowledged, also with 0 W.
        end_boot_s: when the lease ends; 0 when it cannot be used.
    """

    donor: str
    mw: MilliWatts
    key: Key
    end_boot_s: float


class Leases(NamedTuple):
    """What a host remembers of its dealings.

    Attributes:
        epoch, seq: of the last own message; seq 0 = none in this epoch yet.
        started_boot_s: when the daemon started.
        renewed_boot_s: when a new epoch was begun without a start; 0 if never.
        promises: every lease that may be in use, oldest first.
        peers: the newest message of each other host.
        sent_boot_s: when own messages of this epoch were made, by seq; only as long as a lease can last.
        said: the last own message; its `received_boot_s` is when it was made.
        said_aspects: what else it told.
        cut_boot_s: when a lease was made smaller last, by borrower: not raised again at once.
        is_lost: nothing is known of what was lent before; the floor holds until that cannot matter any more.
        wait_until_boot_s: while memory is lost, not before this moment.
        foreign_epoch: the largest own epoch, above `epoch`, that somebody else spoke of; 0 if nobody did.
        formers: the rack as it was, until all hosts agree on the new one: others may still go by an old one.
        heard: of before the start: the key of the newest message of each other host; none before it counts.
    """

    epoch: int = 0
    seq: int = 0
    started_boot_s: float = 0.0
    renewed_boot_s: float = 0.0
    promises: tuple[Promise, ...] = ()
    peers: Mapping[str, HostState] = MappingProxyType({})
    sent_boot_s: Mapping[int, float] = MappingProxyType({})
    said: HostState | None = None
    said_aspects: Hashable = None
    cut_boot_s: Mapping[str, float] = MappingProxyType({})
    is_lost: bool = False
    wait_until_boot_s: float = 0.0
    foreign_epoch: int = 0
    formers: tuple[Rack, ...] = ()
    heard: Mapping[str, Key] = MappingProxyType({})


def hear(leases: Leases, states: Iterable[HostState], host: str) -> Leases:
    """Take in messages of hosts of the rack, this one's own included.

    Only what is newer than all before of the same host counts; keys are kept for ever.
    """
    peers = dict(leases.peers)
    news: dict[str, list[HostState]] = {}
    own_epoch = max(leases.epoch, leases.foreign_epoch)
    for state in states:
        if state.host == host:
            epoch = state.key.epoch
        else:
            newest, last = peers.get(state.host), leases.heard.get(state.host, state.key)
            if state.key < last or (newest is not None and state.key <= newest.key):
                continue
            peers[state.host] = state
            news.setdefault(state.host, []).append(state)
            epoch = own_epoch_in(state, host)
        own_epoch = epoch if own_epoch < epoch <= LARGEST_EPOCH else own_epoch
    promises = tuple(
        promise
        for promise in leases.promises
        if not any(is_superseded(promise, state, host) for state in news.get(promise.to, ()))
    )
    # An own epoch that this run does not know: the clock was set back, or the name is used twice.
    foreign = own_epoch if own_epoch > leases.epoch else 0
    return leases._replace(peers=peers, promises=promises, foreign_epoch=foreign)


def own_epoch_in(state: HostState, host: str) -> int:
    """Return the epoch of `host` that a peer speaks of; 0 if it speaks of none."""
    if not state.lends and not state.holds:
        return 0
    lend, hold = state.lent_to(host), state.held_from(host)
    return max(lend.answers.epoch if lend else 0, hold.key.epoch if hold else 0)


def is_superseded(promise: Promise, state: HostState, host: str) -> bool:
    """Say whether a message of its borrower ends a promise.

    It does if the borrower has started again since, or confirms that it follows a later message.
    """
    hold = state.held_from(host)
    acknowledged = hold is not None and promise.key < hold.key
    return acknowledged or promise.answers.epoch < state.key.epoch


def expire(leases: Leases, boot_s: float) -> Leases:
    """Drop the promises that no borrower can use any more."""
    kept = tuple(promise for promise in leases.promises if promise.end_boot_s >= boot_s)
    return leases if len(kept) == len(leases.promises) else leases._replace(promises=kept)


def counted_mw(leases: Leases) -> dict[str, MilliWatts]:
    """Return what each borrower may be using: the largest of what was said and may still be followed."""
    counted: dict[str, MilliWatts] = {}
    for promise in leases.promises:
        counted[promise.to] = max(promise.mw, counted.get(promise.to, 0))
    return counted


def counting(leases: Leases) -> tuple[Promise, ...]:
    """Return the promise that counts of each borrower, by name: the largest, of equals the last to end."""
    by_borrower: dict[str, Promise] = {}
    for promise in leases.promises:
        known = by_borrower.get(promise.to)
        if known is None or (promise.mw, promise.end_boot_s) > (known.mw, known.end_boot_s):
            by_borrower[promise.to] = promise
    return tuple(by_borrower[name] for name in sorted(by_borrower))


def lease_end_boot_s(leases: Leases, lend: Lend, rules: LeaseRules) -> float | None:
    """Return when a lease ends on this host's clock; None if it answers no message that is remembered.

    It runs from the sending of the message that it answers, which was before the donor heard it.
    """
    is_ours = lend.answers.epoch == leases.epoch
    sent_boot_s = leases.sent_boot_s.get(lend.answers.seq) if is_ours else None
    return None if sent_boot_s is None else sent_boot_s + rules.ttl_s


def promise_end_boot_s(borrower: HostState, rules: LeaseRules) -> float:
    """Return until when a lease counts that answers this message, however often it is published."""
    return borrower.received_boot_s + rules.count_s
