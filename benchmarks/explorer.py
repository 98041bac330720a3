"""Every interleaving of two hosts: none lets them draw more together than they own (docs/leases.md).

Breadth-first over all states that two small hosts can reach (`explorer_host` says what is real in them). A
message may arrive at any time, in any order, any number of times or never; a daemon may stop between any two
steps for as long as it likes; the guard acts at any moment up to its bound. How many messages and restarts
there are is bounded. So that "nothing found" means something, rules are taken out as well: then a violation
has to be found.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest

from benchmarks.explorer_host import OWN_MW, HostModel, HostNow, Move, Powers
from benchmarks.table import Figure, Table
from powerd.core.leases.host_state import HostState
from tests.cluster import mutants

BOUND_MW = 2 * OWN_MW

# A host in need wants what is its own and all of the other's, and never lends.
NEEDY = (BOUND_MW,)
EXPLORATIONS = {
    "one lends to the other": (Powers(), Powers(NEEDY)),
    "both lend": (Powers(), Powers()),
    "cuts fail": (Powers(fails=True), Powers(NEEDY, fails=True)),
    "the borrower restarts": (Powers(), Powers(NEEDY, restarts=1)),
    "the donor restarts": (Powers(restarts=1), Powers(NEEDY)),
    "the donor restarts, perhaps without its file": (
        Powers(restarts=1, losses=1),
        Powers(NEEDY, messages=1),
    ),
    "both restart": (Powers(restarts=1), Powers(NEEDY, messages=1, restarts=1)),
}
# What it takes for the lack of each rule to show.
RULES_OUT = (
    (mutants.count_ends_at_its_end, Powers(), Powers(NEEDY)),
    (mutants.counts_what_it_said_last, Powers(), Powers(NEEDY)),
    (mutants.counts_from_receipt, Powers(), Powers(NEEDY)),
    (mutants.follows_older_messages, Powers(), Powers(NEEDY)),
    (mutants.ignores_the_epoch_of_a_lease, Powers(), Powers(NEEDY, restarts=1)),
    (mutants.uses_an_epoch_again, Powers(), Powers(NEEDY, restarts=1)),
    (mutants.acknowledges_before_it_has_lowered, Powers(), Powers(NEEDY, fails=True)),
    (mutants.lends_before_it_has_lowered, Powers(fails=True), Powers(NEEDY)),
    (mutants.speaks_before_it_has_lowered, Powers(), Powers(NEEDY, restarts=1, fails=True)),
    (mutants.forgets_that_it_waits, Powers(restarts=2, losses=1), Powers(NEEDY, messages=1)),
)

Step = tuple[str, int]
# The states of both hosts in one integer: there are millions of them.
State = int
_BITS = 24
_MASK = (1 << _BITS) - 1


class Side:
    """One host with its states numbered, so that what follows from each is worked out once.

    Attributes:
        hosts, limits_mw, logs: by number: the state, its limit, and the number of what has been said so far.
    """

    def __init__(self, model: HostModel) -> None:
        self._model = model
        self._numbers: dict[HostNow, int] = {}
        self._moves: dict[int, list[Step]] = {}
        self._hearings: dict[tuple[int, int], list[Step]] = {}
        self._later: dict[int, int | None] = {}
        self._log_numbers: dict[tuple[HostState, ...], int] = {}
        self.hosts: list[HostNow] = []
        self.limits_mw: list[int] = []
        self.logs: list[int] = []
        self.first = self._number(model.first())

    def moves(self, number: int) -> list[Step]:
        """Return every step that needs neither time nor a message."""
        if number not in self._moves:
            self._moves[number] = self._numbered(self._model.moves(self.hosts[number]))
        return self._moves[number]

    def hearings(self, number: int, other: "Side", speaker: int) -> list[Step]:
        """Return what may be decided on each of the messages that the other host has sent so far."""
        key = (number, other.logs[speaker])
        if key not in self._hearings:
            host, said = self.hosts[number], other.hosts[speaker].said
            self._hearings[key] = [
                step for message in said for step in self._numbered(self._model.decisions(host, message))
            ]
        return self._hearings[key]

    def later(self, number: int) -> int | None:
        """Return the state a tick later; None if the guard must act first."""
        if number not in self._later:
            after = self._model.later(self.hosts[number])
            self._later[number] = None if after is None else self._number(after)
        return self._later[number]

    def _numbered(self, moves: Iterable[Move]) -> list[Step]:
        return [(f"{self._model.name} {move.name}", self._number(move.after)) for move in moves]

    def _number(self, host: HostNow) -> int:
        number = self._numbers.setdefault(host, len(self.hosts))
        if number == len(self.hosts):
            self.hosts.append(host)
            self.logs.append(self._log_numbers.setdefault(host.said, len(self._log_numbers)))
            self.limits_mw.append(host.limit_mw)
        return number


@dataclass(frozen=True, slots=True)
class Explored:
    """What an exploration came to.

    Attributes:
        way: the steps of a shortest way to a sum above the bound; empty if there is none.
    """

    states: int
    transitions: int
    way: tuple[str, ...]


def measure_explorer() -> Table:
    """Explore everything with all rules, and then without each of some."""
    started_s = time.process_time()
    found = {name: explore(*powers) for name, powers in EXPLORATIONS.items()}
    elapsed_s = time.process_time() - started_s
    unnoticed = [rule_out.__name__ for rule_out, *powers in RULES_OUT if not _without(rule_out, powers).way]
    ways = [f"{name}: {'; '.join(explored.way)}" for name, explored in found.items() if explored.way]
    return Table(
        "Two hosts in every order of events: no sum above what they own",
        (
            *(Figure(f"states, {name}", explored.states, "") for name, explored in found.items()),
            Figure("states in all", sum(explored.states for explored in found.values()), ""),
            Figure("steps between them", sum(explored.transitions for explored in found.values()), ""),
            Figure("violations", len(ways), "", 0),
            Figure("CPU time for these", elapsed_s, "s"),
            Figure(f"of {len(RULES_OUT)} rules taken out, not missed", len(unnoticed), "", 0),
        ),
        note="\n  ".join([*ways, *unnoticed]),
    )


def _without(rule_out: Callable[[pytest.MonkeyPatch], None], powers: Iterable[Powers]) -> Explored:
    with pytest.MonkeyPatch.context() as patch:
        rule_out(patch)
        return explore(*powers)


def explore(a: Powers, b: Powers) -> Explored:
    """Visit every state that can be reached, nearest first; stop at the first violation."""
    sides = Side(HostModel("a", a)), Side(HostModel("b", b))
    limits_a, limits_b = sides[0].limits_mw, sides[1].limits_mw
    first = sides[0].first << _BITS | sides[1].first
    before = {first: first}
    waiting = deque([first])
    transitions = 0
    while waiting:
        state = waiting.popleft()
        for _, after in successors(*sides, state):
            transitions += 1
            if after in before:
                continue
            before[after] = state
            if limits_a[after >> _BITS] + limits_b[after & _MASK] > BOUND_MW:
                return Explored(len(before), transitions, _way(*sides, before, after))
            waiting.append(after)
    return Explored(len(before), transitions, ())


def successors(a: Side, b: Side, state: State) -> Iterator[tuple[str, State]]:
    """Yield every step that one of the hosts, or time, can take."""
    number_a, number_b = state >> _BITS, state & _MASK
    high = number_a << _BITS
    for name, after in a.moves(number_a):
        yield name, after << _BITS | number_b
    for name, after in a.hearings(number_a, b, number_b):
        yield name, after << _BITS | number_b
    for name, after in b.moves(number_b):
        yield name, high | after
    for name, after in b.hearings(number_b, a, number_a):
        yield name, high | after
    later_a, later_b = a.later(number_a), b.later(number_b)
    if later_a is not None and later_b is not None:
        yield "a tick passes", later_a << _BITS | later_b


def _way(a: Side, b: Side, before: dict[State, State], end: State) -> tuple[str, ...]:
    steps = []
    while before[end] != end:
        start = before[end]
        steps.append(next(name for name, after in successors(a, b, start) if after == end))
        end = start
    return tuple(reversed(steps))
