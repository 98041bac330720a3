"""One host as the explorer moves it: the core's own functions on leases, and the least model around them.

Real: hearing messages, letting promises end, what may be lent and used, what may be said, memory and its
recall (`powerd.core`: leases, memory, lending, exchange, standing, word). Modelled: one limit that a plan
sets at once or not at all, a guard that falls back at any moment up to its bound, a file that is written with
each message, and time in ticks. Every time is kept relative to now, so that what is the same to the host is
the same state. There is no budget: what the rack may draw stays what it is, and nobody compensates.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from powerd.core.leases import leases as exchange_of_words
from powerd.core.leases import memory, standing, word
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import LeaseRules, Leases, Promise
from powerd.core.leases.memory import LeaseMemory
from powerd.core.leases.place import Place
from powerd.core.leases.standing import Standing
from powerd.core.model import Now
from powerd.core.topology import Host, Rack

# Two watts are a host's own, and two may be lent.
OWN_MW = 2000
WISHES_MW = (0, 2 * OWN_MW)
RACK = Rack("s", "r", (Host("a", 1.0, 0), Host("b", 1.0, 0)), 2 * OWN_MW, 2 * OWN_MW, guard_band_pct=0.0)
ROSTER = "roster"
# Beyond this age nothing about a moment matters any more.
LONG_AGO = -4.0
OVER = -1.0


class Ticks(LeaseRules):
    """Lease parameters for clocks without error: the guard time is the guard's bound, to the tick."""

    @property
    def guard_time_s(self) -> float:
        """Return what a donor adds."""
        return self.guard_bound_s


RULES = Ticks(ttl_s=2, max_ttl_s=2, guard_bound_s=1, publish_s=0, lead_s=0, silent_s=2, least_mw=1)


@dataclass(frozen=True, slots=True)
class Powers:
    """What a host is able to do in one exploration.

    Attributes:
        wishes_mw: what it may want, at any decision.
        messages: how many it may publish.
        restarts: how often its daemon may end and start.
        losses: at how many of these starts the file is gone.
        fails: a cut may be carried out or not, without being confirmed.
    """

    wishes_mw: tuple[int, ...] = WISHES_MW
    messages: int = 2
    restarts: int = 0
    losses: int = 0
    fails: bool = False


class Order(NamedTuple):
    """A plan on its way to the guard, or what the guard has armed."""

    limit_mw: int
    fallback_mw: int
    end: float


class Mind(NamedTuple):
    """What the daemon remembers: `Leases`, without what means nothing here."""

    epoch: int
    seq: int
    started: float
    promises: tuple[Promise, ...]
    peer: HostState | None
    sent: tuple[tuple[int, float], ...]
    said: HostState | None
    is_lost: bool
    wait_until: float


class File(NamedTuple):
    """What is in the runtime file."""

    epoch: int
    promises: tuple[Promise, ...]
    is_lost: bool
    wait_until: float


class HostNow(NamedTuple):
    """A host at one moment.

    Attributes:
        mind: None while no daemon runs.
        decided: a decision that is being carried out, and the wish it was made with.
        plan: on its way to the guard; it stays there when the daemon dies.
        armed: what the guard falls back to, by when; the older ones first.
        said: every message so far; each may still arrive.
        restarts, losses: left.
        epochs: how many there have been.
    """

    mind: Mind | None
    file: File | None
    decided: tuple[Standing, int] | None
    plan: Order | None
    limit_mw: int
    armed: tuple[Order, ...]
    said: tuple[HostState, ...]
    restarts: int
    losses: int
    epochs: int


class Move(NamedTuple):
    """One step of a host."""

    name: str
    after: HostNow


class HostModel:
    """All that one host can do."""

    def __init__(self, name: str, powers: Powers) -> None:
        self.name = name
        self.peer = "b" if name == "a" else "a"
        self.powers = powers

    def first(self) -> HostNow:
        """Return the host with a daemon that has just started, at its entitlement, having lent nothing."""
        file = File(0, (), False, 0.0)
        return HostNow(
            mind=_mind(memory.recall(_memory(file), RACK, RULES, Now(0.0, 0.0))),
            file=file,
            decided=None,
            plan=None,
            limit_mw=OWN_MW,
            armed=(),
            said=(),
            restarts=self.powers.restarts,
            losses=self.powers.losses,
            epochs=1,
        )

    def moves(self, host: HostNow) -> Iterator[Move]:
        """Yield every step that needs neither time nor a message."""
        yield from self._guard_moves(host)
        if host.mind is None:
            yield from self._starts(host)
            return
        if host.decided is None:
            yield from self.decisions(host, None)
        elif host.plan is None:
            yield Move("says nothing", host._replace(decided=None))
            if len(host.said) < self.powers.messages:
                yield self._speaks(host, host.mind, *host.decided)
        if host.restarts:
            yield Move("dies", host._replace(mind=None, decided=None, restarts=host.restarts - 1))

    def decisions(self, host: HostNow, message: HostState | None) -> Iterator[Move]:
        """Yield what may be decided with a message, or without one."""
        if host.mind is None or host.decided is not None:
            return
        leases = _leases(host.mind, self.peer)
        if message is not None:
            leases = exchange_of_words.hear(leases, (message,), self.name)
        leases = memory.tend(leases, RACK, 0.0, roster=ROSTER, knows_budget=True)
        heard = "" if message is None else f" on {message.key}"
        for wish_mw in self.powers.wishes_mw:
            stands = standing.standing(self._place(wish_mw), leases, RULES, 0.0)
            fallback_mw = min(stands.limit_mw, OWN_MW - stands.lent_mw)
            plan = Order(stands.limit_mw, fallback_mw, stands.end_boot_s)
            timeless = stands._replace(end_boot_s=0.0, step_down_boot_s=0.0)
            timeless = timeless._replace(borrowed=tuple(b._replace(end_boot_s=0.0) for b in stands.borrowed))
            decided = host._replace(mind=_mind(leases), decided=(timeless, wish_mw), plan=plan)
            yield Move(f"decides{heard} on {stands.limit_mw}", decided)

    def later(self, host: HostNow) -> HostNow | None:
        """Return the host a tick later; None if its guard must act first."""
        if any(order.end + RULES.guard_bound_s < 1 for order in _due(host)):
            return None
        mind, file, plan = host.mind, host.file, host.plan
        return host._replace(
            mind=mind and _mind_later(mind),
            file=file
            and file._replace(
                promises=_promises_later(file.promises), wait_until=_less(file.wait_until, OVER)
            ),
            plan=plan and plan._replace(end=_less(plan.end, OVER)),
            armed=tuple(order._replace(end=order.end - 1) for order in host.armed),
        )

    def _guard_moves(self, host: HostNow) -> Iterator[Move]:
        for order in _due(host):
            if order.end <= 0:
                rest = tuple(other for other in host.armed if other is not order)
                fallen = host._replace(limit_mw=min(host.limit_mw, order.fallback_mw), armed=rest)
                yield Move("falls back", _settled(fallen))
        plan = host.plan
        if plan is None:
            return
        if plan.end <= 0:
            yield Move("plan refused", host._replace(plan=None, decided=None))
            return
        yield Move("plan done", _settled(host._replace(plan=None, limit_mw=plan.limit_mw, armed=(plan,))))
        if self.powers.fails and plan.limit_mw < host.limit_mw:
            yield Move("cut fails", _settled(host._replace(plan=None, armed=(*host.armed, plan))))

    def _starts(self, host: HostNow) -> Iterator[Move]:
        yield self._start(host, host.file)
        if host.losses:
            yield self._start(host._replace(losses=host.losses - 1), None)

    def _start(self, host: HostNow, file: File | None) -> Move:
        # The wall clock, in milliseconds, counts the starts: a later one is a later time.
        now = Now(0.0, host.epochs / 1000)
        leases = memory.recall(file and _memory(file), RACK, RULES, now)
        started = host._replace(mind=_mind(leases), file=file, plan=None, epochs=host.epochs + 1)
        return Move("starts" if file else "starts without its file", started)

    def _speaks(self, host: HostNow, mind: Mind, stands: Standing, wish_mw: int) -> Move:
        leases = _leases(mind, self.peer)
        reached = word.Reached(host.limit_mw, is_settled=True)
        said, leases = word.word(stands, self._place(wish_mw), reached, leases, RULES, 0.0)
        silent = host._replace(decided=None)
        if said is None:
            return Move("must not speak", silent)
        # What only compensation looks at makes no difference here.
        said = replace(said, lent_mw=0, over_mw=0, worst_case_mw=None, received_boot_s=0.0)
        kept = memory.keep(leases, RACK)
        file = File(kept.epoch, kept.promises, kept.is_lost, kept.wait_until_boot_s)
        mind = _mind(leases._replace(said=said))
        return Move(f"says {said.key}", silent._replace(mind=mind, file=file, said=(*host.said, said)))

    def _place(self, wish_mw: int) -> Place:
        return Place(
            rack=RACK,
            host=self.name,
            roster=ROSTER,
            has_peers=True,
            is_leasing=True,
            budget=None,
            asked_mw=RACK.hard_limit_mw,
            since_boot_s=0.0,
            cap_mw=RACK.hard_limit_mw,
            least_mw=0,
            want_mw=wish_mw,
        )


def _due(host: HostNow) -> tuple[Order, ...]:
    """Return what the guard has yet to lower."""
    return tuple(order for order in host.armed if order.fallback_mw < host.limit_mw)


def _settled(host: HostNow) -> HostNow:
    """Forget ends that lower nothing, or never come."""
    return host._replace(armed=tuple(order for order in _due(host) if order.end < math.inf))


def _less(time: float, least: float) -> float:
    return max(time - 1, least)


def _promises_later(promises: tuple[Promise, ...]) -> tuple[Promise, ...]:
    return tuple(each._replace(end_boot_s=_less(each.end_boot_s, OVER)) for each in promises)


def _mind_later(mind: Mind) -> Mind:
    peer = mind.peer
    return mind._replace(
        started=_less(mind.started, LONG_AGO),
        promises=_promises_later(mind.promises),
        peer=peer and replace(peer, received_boot_s=_less(peer.received_boot_s, LONG_AGO)),
        sent=tuple((seq, sent - 1) for seq, sent in mind.sent if sent - 1 + RULES.ttl_s > 0),
        wait_until=_less(mind.wait_until, OVER),
    )


def _mind(leases: Leases) -> Mind:
    return Mind(
        leases.epoch,
        leases.seq,
        LONG_AGO if leases.seq else leases.started_boot_s,
        leases.promises,
        next(iter(leases.peers.values()), None),
        tuple(sorted(leases.sent_boot_s.items())),
        leases.said,
        leases.is_lost,
        leases.wait_until_boot_s,
    )


def _leases(mind: Mind, peer: str) -> Leases:
    return Leases(
        epoch=mind.epoch,
        seq=mind.seq,
        started_boot_s=mind.started,
        promises=mind.promises,
        peers={peer: mind.peer} if mind.peer else {},
        sent_boot_s=dict(mind.sent),
        said=mind.said,
        is_lost=mind.is_lost,
        wait_until_boot_s=mind.wait_until,
    )


def _memory(file: File) -> LeaseMemory:
    return LeaseMemory(file.epoch, file.promises, file.is_lost, file.wait_until, RACK)
