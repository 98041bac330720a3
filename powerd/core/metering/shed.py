"""How much less could be drawn, how soon and for how long: what a grid can count on before it asks.

Only what powerd itself can bring about: limits of GPUs, down to their floors. What a GPU does not draw anyway
cannot be shed, so two numbers are told: `now_mw` is what a meter would see go away, `limit_mw` what limits
could be lowered by, which is the most that could be drawn less at full load.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from powerd.core.gpus.gpu_range import Range
from powerd.core.gpus.targets import may_draw_mw
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import LeaseRules
from powerd.core.leases.place import Place
from powerd.core.model import GpuReading
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class ShedRules:
    """How long it takes until a meter shows what was asked for. Bounds, not typical times.

    Attributes:
        iteration_s: from the message to the cuts: the iteration that is under way, and one of its own.
        driver_s: until all cuts are read back.
        settle_s: until the GPUs' own control loops follow their limits; depends on the boards and their load.
    """

    iteration_s: float = 1.0
    driver_s: float = 1.0
    settle_s: float = 3.0

    @property
    def host_s(self) -> float:
        """Return how long one host takes."""
        return self.iteration_s + self.driver_s + self.settle_s


@dataclass(frozen=True, slots=True)
class Shed:
    """What could be shed.

    Attributes:
        now_mw: sum of max(0, min(draw, limit in effect) - floor). None if one of the parts is not known.
        limit_mw: sum of max(0, limit in effect - floor). None likewise.
        within_s: how soon after it was asked for.
        for_s: for how long; None = as long as it is asked for. A limit costs nothing to keep and does not
            wear off: what bounds an event is the work that waits meanwhile, of which powerd knows nothing.
    """

    now_mw: MilliWatts | None
    limit_mw: MilliWatts | None
    within_s: float
    for_s: float | None = None


class HostPower(NamedTuple):
    """What a host draws, and may draw at the most, its overhead included; None where it is not known."""

    measured_mw: MilliWatts | None
    worst_case_mw: MilliWatts | None


# A peer's message says both as well.
Power: TypeAlias = HostPower | HostState
UNHEARD = HostPower(None, None)


class Sheds(NamedTuple):
    """What this host, and what its whole rack could shed, worked out when somebody asks for it.

    Attributes:
        readings, overhead_mw: of this host.
        ranges: of its GPUs that can be limited now, by UUID.
        peers: what the others said last.
    """

    readings: Sequence[GpuReading]
    ranges: Mapping[str, Range]
    overhead_mw: MilliWatts
    place: Place
    peers: Mapping[str, HostState]
    rules: ShedRules
    leases: LeaseRules
    boot_s: float

    @property
    def host(self) -> Shed:
        """Return what this host could shed."""
        floors_mw = {uuid: span.floor_mw for uuid, span in self.ranges.items()}
        return host_shed(self.readings, floors_mw, self.rules)

    @property
    def rack(self) -> Shed:
        """Return what its rack could shed."""
        own = HostPower(
            _sum([*(reading.draw_mw for reading in self.readings), self.overhead_mw]),
            _sum([*map(may_draw_mw, self.readings), self.overhead_mw]),
        )
        powers = powers_heard(self.peers.values(), self.leases.silent_s, self.boot_s)
        powers[self.place.host] = own
        return rack_shed(self.place.rack, powers, self.rules, self.leases)


def host_shed(readings: Iterable[GpuReading], floors_mw: Mapping[str, MilliWatts], rules: ShedRules) -> Shed:
    """Return what the GPUs of a host could shed.

    Args:
        floors_mw: of the GPUs that can be limited now, by UUID; the others shed nothing.
    """
    found = ((gpu.draw_mw, gpu.enforced_mw, floors_mw[gpu.uuid]) for gpu in readings if gpu.uuid in floors_mw)
    return Shed(*_above_floors_mw(found), rules.host_s)


def rack_shed(rack: Rack, powers: Mapping[str, Power], rules: ShedRules, leases: LeaseRules) -> Shed:
    """Return what all hosts of a rack could shed together, down to their floors in the roster.

    Every host hears an event itself, so the rack is as fast as its slowest host; but watts that one has lent
    are in use elsewhere until they are let go, at the latest when the lease is over.

    Args:
        powers: of the hosts that answer; without one of the roster nothing is known of the rack.
    """
    within_s = rules.host_s + (leases.ttl_s if len(rack.hosts) > 1 else 0.0)
    found = [(powers.get(host.name, UNHEARD), host.floor_mw) for host in rack.hosts]
    parts = ((power.measured_mw, power.worst_case_mw, floor_mw) for power, floor_mw in found)
    return Shed(*_above_floors_mw(parts), within_s)


def powers_heard(states: Iterable[HostState], silent_s: float, boot_s: float) -> dict[str, Power]:
    """Return what hosts said last, of those that were heard of late: a silent one may not hear either."""
    return {state.host: state for state in states if boot_s - state.received_boot_s <= silent_s}


def _above_floors_mw(
    parts_mw: Iterable[tuple[MilliWatts | None, MilliWatts | None, MilliWatts]],
) -> tuple[MilliWatts | None, MilliWatts | None]:
    """Add up what parts draw above their floors, and what they may draw above them.

    Args:
        parts_mw: draw, limit and floor of each. One that is not known leaves the sum unknown.
    """
    now_mw: MilliWatts | None = 0
    allowed_mw = 0
    for draw_mw, limit_mw, floor_mw in parts_mw:
        if limit_mw is None:
            return None, None
        if limit_mw > floor_mw:
            allowed_mw += limit_mw - floor_mw
        if draw_mw is None:
            now_mw = None
        elif now_mw is not None and draw_mw > floor_mw:
            now_mw += max(0, min(draw_mw, limit_mw) - floor_mw)
    return now_mw, allowed_mw


def _sum(parts_mw: Iterable[MilliWatts | None]) -> MilliWatts | None:
    parts = list(parts_mw)
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
