"""Who gets how much: floors first, then weighted max-min water-filling, then the rest as spare.

    limit_i = clamp(weight_i * level, floor_i, want_i)   the one level at which the limits use up the budget

Within a priority class everybody rises with the water until satisfied (progressive filling; Bertsekas and
Gallager, Data Networks, 6.5.2). A class is served before the next. What nobody wants is spread evenly, up to
the ceilings, so that a GPU that wakes has room at once.

Where the value of a watt is known (value.py), a class rises by gain first, up to what its GPUs need, and then
fairly to what they want: the next watt goes where it is worth most, and nobody falls below a part of what
is fair.

Invariants: the sum is exactly min(max(budget, sum of floors), sum of ceilings), less what a job of n GPUs
cannot divide by n; floor <= limit <= ceiling; the order of the requests does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from powerd.core.gpus.filling import fill, fill_by_gain
from powerd.core.units import MilliWatts


class Request(NamedTuple):
    """What one GPU needs, may have, and could use; floor <= want <= ceiling.

    Attributes:
        weight: how fast it rises with the water, > 0.
        priority: lower is served first.
        job: GPUs with the same job share one limit; empty = on its own.
        need_mw, scale_mw: what is little worth to exceed, and its natural draw; of no meaning while
            `scale_mw` is 0, as it is where the value of a watt is not known to anybody.
    """

    uuid: str
    floor_mw: MilliWatts
    ceiling_mw: MilliWatts
    want_mw: MilliWatts
    weight: float = 1.0
    priority: int = 100
    job: str = ""
    need_mw: MilliWatts = 0
    scale_mw: float = 0.0


class Allocation(NamedTuple):
    """What one GPU gets: what it wants and can have, and what nobody wanted on top."""

    wanted_mw: MilliWatts
    spare_mw: MilliWatts

    @property
    def limit_mw(self) -> MilliWatts:
        """Return the whole."""
        return self.wanted_mw + self.spare_mw


@dataclass(slots=True)
class _Vessel:
    """GPUs that share one limit: one, or all of a job. Amounts are for all of them together."""

    uuids: tuple[str, ...]
    low: int
    want: int
    high: int
    weight: float
    priority: int
    need: int
    scale: float
    level: int = 0
    spare: int = 0


def allocate(budget_mw: MilliWatts, requests: Sequence[Request]) -> dict[str, Allocation]:
    """Share a budget among GPUs. A budget below the sum of floors leaves everyone at the floor."""
    vessels = sorted(_vessels(requests), key=attrgetter("priority", "uuids"))
    left = budget_mw - sum(vessel.low for vessel in vessels)
    for vessel in vessels:
        vessel.level = vessel.low
    for _, members in groupby(vessels, key=attrgetter("priority")):
        if left > 0:
            left -= _raise_to_want(list(members), left)
    if left > 0:
        _spread_spare(vessels, left)
    allocations = {}
    for vessel in vessels:
        n = len(vessel.uuids)
        allocation = Allocation(vessel.level // n, vessel.spare // n)
        for uuid in vessel.uuids:
            allocations[uuid] = allocation
    return allocations


def _vessels(requests: Sequence[Request]) -> list[_Vessel]:
    jobs: dict[str, list[Request]] = {}
    vessels = []
    for request in requests:
        if request.job:
            jobs.setdefault(request.job, []).append(request)
        else:
            vessels.append(_single(request))
    for members in jobs.values():
        vessels.extend(_job(members))
    return vessels


def _single(r: Request) -> _Vessel:
    need = min(r.want_mw, max(r.floor_mw, r.need_mw))
    return _Vessel((r.uuid,), r.floor_mw, r.want_mw, r.ceiling_mw, r.weight, r.priority, need, r.scale_mw)


def _job(members: list[Request]) -> list[_Vessel]:
    """Return one vessel for all members; constraints with no limit in common leave each on its own."""
    floor = max(member.floor_mw for member in members)
    ceiling = min(member.ceiling_mw for member in members)
    if floor > ceiling:
        return [_single(member) for member in members]
    n = len(members)
    want = min(ceiling, max(floor, *(member.want_mw for member in members)))
    uuids = tuple(sorted(member.uuid for member in members))
    weight = sum(member.weight for member in members)
    need = min(want, max(floor, *(member.need_mw for member in members)))
    scale = sum(member.scale_mw for member in members)
    priority = min(member.priority for member in members)
    return [_Vessel(uuids, n * floor, n * want, n * ceiling, weight, priority, n * need, scale)]


def _raise_to_want(vessels: list[_Vessel], extra: int) -> int:
    """Fill one class from its floors towards its wants; return what was used of `extra`."""
    reached = [vessel.low for vessel in vessels]
    lows = sum(reached)
    if all(vessel.scale for vessel in vessels):
        needs = [(v.low, v.need, v.weight, v.scale, len(v.uuids)) for v in vessels]
        reached = fill_by_gain(lows + extra, needs)
    wants = zip(reached, vessels, strict=True)
    amounts = fill(lows + extra, [(low, v.want, v.weight, len(v.uuids)) for low, v in wants])
    for vessel, amount in zip(vessels, amounts, strict=True):
        vessel.level = amount
    return sum(amounts) - lows


def _spread_spare(vessels: list[_Vessel], extra: int) -> None:
    rooms = [(0, v.high - v.level, float(len(v.uuids)), len(v.uuids)) for v in vessels]
    for vessel, amount in zip(vessels, fill(extra, rooms), strict=True):
        vessel.spare = amount
