"""An observer of a whole rack from outside: replays all write logs on one clock against the budgets granted.

It knows what was published and what was written, and nothing of what powerd thinks. One claim holds in every
test with a rack, whatever happens in it (docs/leases.md): the sum of what the hosts may draw is at most what
the newest budget allows, or one that may still have been in force at some host X = T + g + G ago (theorem B);
as long as budgets do not fall, these are the same (theorem A).
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import merge
from typing import NamedTuple

from tests.daemon.facility import Grant
from tests.daemon.host import GPU_MAX_WATTS, GPU_MIN_WATTS, OVERHEAD_WATTS, Host
from tests.daemon.rack import FAILSAFE_WATTS, HARD_LIMIT_WATTS, Rack, entitlement_mw
from tests.daemon.waiting import boot_s

_TICK_S = 0.001


class Moment(NamedTuple):
    """What each host may draw from one moment on, overhead included."""

    boot_s: float
    worst_mw: dict[str, int]

    @property
    def sum_mw(self) -> int:
        """Return what they may draw together."""
        return sum(self.worst_mw.values())


def history(rack: Rack, since_boot_s: float = 0.0) -> list[Moment]:
    """Return how it went, oldest first, a moment per change of a limit; the first one is `since_boot_s`."""
    changes = merge(*map(_changes, rack.hosts.values()))
    worst_mw: dict[str, int] = {}
    moments = [Moment(since_boot_s, worst_mw)]
    for at_boot_s, name, gpus_mw in changes:
        worst_mw = {**worst_mw, name: OVERHEAD_WATTS * 1000 + gpus_mw}
        if at_boot_s <= since_boot_s:
            moments = []
        moments.append(Moment(max(at_boot_s, since_boot_s), worst_mw))
    return moments


def _changes(host: Host) -> list[tuple[float, str, int]]:
    return [(each.boot_ns / 1e9, host.name, each.enforced_mw) for each in host.gpus.limit_sums()]


@contextmanager
def judged(rack: Rack) -> Iterator[Rack]:
    """Yield the rack at rest: everyone idle, at its entitlement, ready to deal. It breaks no rule."""
    rack.calm()
    begun_boot_s = boot_s()
    yield rack
    assert list(violations(rack, begun_boot_s)) == []


def violations(rack: Rack, since_boot_s: float) -> Iterator[str]:
    """Yield every time at which hosts might have drawn more together than any budget allowed.

    And every limit that was outside what its GPU can be set to.
    """
    for host in rack.hosts.values():
        yield from _out_of_range(host)
    bounds = Bounds(rack)
    for moment in _with_looks(history(rack, since_boot_s), [*bounds.lapses_boot_s, boot_s()]):
        allowed_mw = bounds.allowed_mw(moment.boot_s)
        if moment.sum_mw > allowed_mw:
            each = ", ".join(f"{name} {mw / 1000:g}" for name, mw in moment.worst_mw.items())
            yield f"{moment.boot_s:.3f}: {moment.sum_mw / 1000:g} W of {allowed_mw / 1000:g} W ({each})"


def _out_of_range(host: Host) -> Iterator[str]:
    for write in host.write_log():
        if not GPU_MIN_WATTS <= write.enforced_mw / 1000 <= GPU_MAX_WATTS:
            yield f"{write.boot_ns / 1e9:.3f}: {host.name} has {write.enforced_mw / 1000:g} W on a GPU"


def _with_looks(moments: list[Moment], times_boot_s: list[float]) -> Iterator[Moment]:
    """Yield the moments, and what holds at other times too: at each of these the bound may have fallen."""
    looks = [Moment(each, {}) for each in times_boot_s if moments[0].boot_s < each <= boot_s()]
    worst_mw: dict[str, int] = {}
    for moment in merge(moments, sorted(looks), key=lambda moment: moment.boot_s):
        worst_mw = moment.worst_mw or worst_mw
        yield Moment(moment.boot_s, worst_mw)


class Bounds:
    """What theorem B allows: for each host the largest entitlement under a budget that may count there.

    A budget is in force at a host until that was seen to follow a newer one, and at most for its lease and
    the guard's bound. It may matter for the time X after that, since leases were made under it.

    Args:
        since_boot_s: nobody asks for an earlier moment.

    Attributes:
        lapses_boot_s: times at which a budget has just ceased to count somewhere.
    """

    def __init__(self, rack: Rack, since_boot_s: float = 0.0) -> None:
        self._counts = {
            name: [each for each in _counts(rack, name) if each[1] >= since_boot_s] for name in rack.hosts
        }
        self.lapses_boot_s = [
            until_boot_s + _TICK_S for grants in self._counts.values() for _, until_boot_s in grants
        ]

    def allowed_mw(self, at_boot_s: float) -> int:
        """Return the largest sum that may be justified at a moment."""
        return sum(self.of_host_mw(name, at_boot_s) for name in self._counts)

    def of_host_mw(self, name: str, at_boot_s: float) -> int:
        """Return the largest entitlement of one host that may be justified at a moment."""
        counting = (
            HARD_LIMIT_WATTS if grant.watts is None else grant.watts
            for grant, until_boot_s in self._counts[name]
            if grant.published_boot_s <= at_boot_s <= until_boot_s
        )
        return entitlement_mw(max((FAILSAFE_WATTS, *counting)))


def _counts(rack: Rack, name: str) -> Iterator[tuple[Grant, float]]:
    """Yield each budget with the time until which it counts at a host."""
    followed = rack.followed[name]
    for number, grant in enumerate(rack.grants, 1):
        position = bisect_right(followed, number, key=lambda seen: seen[1])
        replaced_boot_s = followed[position][0] if position < len(followed) else math.inf
        last_boot_s = grant.end_boot_s + rack.times.guard_bound_s
        yield grant, min(replaced_boot_s, last_boot_s) + rack.times.memory_s
