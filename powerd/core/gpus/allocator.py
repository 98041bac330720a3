"""Who gets how much: floors first, then weighted max-min water-filling, then the rest as spare.

    limit_i = clamp(weight_i * level, floor_i, want_i)   the one level at which the limits use up the budget

Within a priority class everybody rises with the water until satisfied (progressive filling; Bertsekas and
Gallager, Data Networks, 6.5.2). A class is served before the next. What nobody wants is spread evenly, up to
the ceilings, so that a GPU that wakes has room at once.

Where natural draws are known (value.py), a class rises in three steps, each to one level of its own: equally
up to a part of everybody's natural draw, then in proportion to it up to what is needed, then equally to the
wants.

Invariants: the sum is exactly min(max(budget, sum of floors), sum of ceilings), less what a job of n GPUs
cannot divide by n; floor <= limit <= ceiling; the order of the requests does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from powerd.core.gpus.filling import fill
from powerd.core.units import MilliWatts

# Up to about this part of its natural draw, a watt does as much work on one job as on another; beyond it the
# less, the closer it is to its natural draw. From the measured curves of three boards (docs/policy.md).
KNEE = 0.58


class Request(NamedTuple):
    """What one GPU needs, may have, and could use; floor <= want <= ceiling.

    Attributes:
        weight: how fast it rises with the water, > 0.
        priority: lower is served first.
        job: GPUs with the same job share one limit; empty = on its own.
        need_mw, natural_mw: what is little worth to exceed, and its natural draw; of no meaning while
            `natural_mw` is 0, as it is where no natural draw is known.
    """

    uuid: str
    floor_mw: MilliWatts
    ceiling_mw: MilliWatts
    want_mw: MilliWatts
    weight: float = 1.0
    priority: int = 100
    job: str = ""
    need_mw: MilliWatts = 0
    natural_mw: float = 0.0


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
    """GPUs that share one limit: one, or all of a job. Amounts are for all of them together.

    Attributes:
        level: what it gets of what it wants; at first its floor.
        spare: what it gets of what nobody wants.
    """

    uuids: tuple[str, ...]
    low: int
    want: int
    high: int
    weight: float
    priority: int
    need: int
    natural: float
    level: int
    spare: int = 0


def allocate(budget_mw: MilliWatts, requests: Sequence[Request]) -> dict[str, Allocation]:
    """Share a budget among GPUs. A budget below the sum of floors leaves everyone at the floor."""
    vessels = _vessels(requests)
    left = budget_mw - sum([vessel.low for vessel in vessels])
    if left > 0:
        vessels.sort(key=attrgetter("priority", "uuids"))
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


def _single(request: Request) -> _Vessel:
    uuid, floor, ceiling, want, weight, priority, _, need, natural = request
    if natural:
        need = min(want, max(floor, need))
    return _Vessel((uuid,), floor, want, ceiling, weight, priority, need, natural, floor)


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
    natural = sum(member.natural_mw for member in members)
    priority = min(member.priority for member in members)
    return [_Vessel(uuids, n * floor, n * want, n * ceiling, weight, priority, n * need, natural, n * floor)]


def _raise_to_want(vessels: list[_Vessel], extra: int) -> int:
    """Fill one class from its floors towards its wants; return what was used of `extra`."""
    left = extra
    for goal in _goals(vessels):
        if left > 0:
            left -= _raise_to(goal, vessels, left)
    return extra - left


def _goals(vessels: list[_Vessel]) -> list[list[tuple[int, float]]]:
    """Return the steps to the wants: how far each vessel rises, and its weight on the way."""
    wants = [(v.want, v.weight) for v in vessels]
    if not all(v.natural for v in vessels):
        return [wants]
    knees = [(min(v.need, int(v.natural * KNEE)), v.weight) for v in vessels]
    return [knees, [(v.need, v.weight * v.natural / len(v.uuids)) for v in vessels], wants]


def _raise_to(goal: list[tuple[int, float]], vessels: list[_Vessel], extra: int) -> int:
    rooms = []
    for vessel, (high, weight) in zip(vessels, goal, strict=True):
        n = len(vessel.uuids)
        rooms.append((vessel.level, max(vessel.level, high - high % n), weight, n))
    before = sum([vessel.level for vessel in vessels])
    amounts = fill(before + extra, rooms)
    for vessel, amount in zip(vessels, amounts, strict=True):
        vessel.level = amount
    return sum(amounts) - before


def _spread_spare(vessels: list[_Vessel], extra: int) -> None:
    rooms = [(0, v.high - v.level, float(len(v.uuids)), len(v.uuids)) for v in vessels]
    for vessel, amount in zip(vessels, fill(extra, rooms), strict=True):
        vessel.spare = amount
