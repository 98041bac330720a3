"""Everything that can go wrong in a rack, each as something that begins and ends, alone or among others.

What is broken follows from a random generator; at which moment of an iteration it breaks does not. A fault
claims what it breaks, so that no two of them fight over one thing.
"""

from collections.abc import Iterable
from random import Random
from typing import ClassVar

from tests.chaos.stage import Stage
from tests.daemon.host import Host


class Fault:
    """One thing that goes wrong. Begin it, step it now and then, end it, and wait until it is over.

    Args:
        random: chooses what is broken, and how.

    Attributes:
        kind: in words.
        lasts_s: the shortest and the longest time between begin and end.
        weight: how often it is chosen, compared with others.
        claims: what is broken; nobody else may break it meanwhile.
    """

    kind: ClassVar[str]
    lasts_s: ClassVar[tuple[float, float]] = (0.3, 5.0)
    weight: ClassVar[int] = 2

    def __init__(self, stage: Stage, random: Random) -> None:
        self.stage = stage
        self.rack = stage.rack
        self.random = random
        self.claims: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Break it."""

    def step(self) -> None:
        """Go on with it; called several times a second between begin and end."""

    def end(self) -> None:
        """Break it no longer."""

    def is_over(self) -> bool:
        """Do what is left to do after the end, and say whether that is all."""
        return True

    def hosts(self) -> Iterable[str]:
        """Return the hosts where something is wrong because of it."""
        return ()

    def what(self) -> str:
        """Return the fault and whom it strikes, in words."""
        return " ".join((self.kind, *sorted(self.claims)))


class HostFault(Fault):
    """Something wrong with one host.

    Args:
        host: which; None = any.

    Attributes:
        needs: the parts of the host that are claimed.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, stage: Stage, random: Random, host: Host | None = None) -> None:
        super().__init__(stage, random)
        self.host = host or stage.hosts[random.choice(list(stage.hosts))]
        self.claims = frozenset(f"{self.host.name}/{part}" for part in self.needs)

    def hosts(self) -> Iterable[str]:
        return (self.host.name,)
