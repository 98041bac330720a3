"""The tree that a budget comes down: site > feed > rack > host > gpu. Configuration, checked once.

Invariant: a `Rack` that was constructed is feasible: its failsafe is at least the sum of its floors plus
what is taken off before sharing, and at most its hard limit (I7).
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from powerd.core.units import MilliWatts, watts

SHARE_UNITS = 1_000_000
PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class GpuPolicy:
    """What the configuration says of one GPU, in milliwatts.

    Attributes:
        floor_mw, ceiling_mw: narrow the GPU's own constraints; None = the constraint itself.
        priority: lower is served first.
        weight: share within a priority class, > 0.
        job: GPUs of one synchronous job share one limit, since the slowest sets the pace; empty = none.
    """

    floor_mw: MilliWatts | None = None
    ceiling_mw: MilliWatts | None = None
    priority: int = 100
    weight: float = 1.0
    job: str = ""


@dataclass(frozen=True, slots=True)
class GpuPolicies:
    """Policies by UUID, and the one for all others."""

    default: GpuPolicy = field(default_factory=GpuPolicy)
    by_uuid: dict[str, GpuPolicy] = field(default_factory=dict)

    def of(self, uuid: str) -> GpuPolicy:
        """Return the policy of one GPU."""
        return self.by_uuid.get(uuid, self.default)


class Host(NamedTuple):
    """One host of the roster.

    Attributes:
        share: its part of what the rack has above the floors, relative to the other shares, > 0.
        floor_mw: minimum limits of its GPUs plus its overhead: what it draws at the very least under load.
    """

    name: str
    share: float
    floor_mw: MilliWatts

    @property
    def share_units(self) -> int:
        """Return the share as an integer, so that splitting is exact."""
        return max(1, round(self.share * SHARE_UNITS))


@dataclass(frozen=True)
class Rack:
    """A rack and its roster.

    Attributes:
        hard_limit_mw: no signal can raise the rack above this.
        failsafe_mw: the budget when no controller is heard.
        overhead_mw: drawn by the rack and by no host: switches, shelves, fans.
        guard_band_pct: kept unused for the error of the boards' own sensors.

    Raises:
        ValueError: the tree is infeasible; the text names the key and the missing watts.
    """

    site: str
    name: str
    hosts: tuple[Host, ...]
    hard_limit_mw: MilliWatts
    failsafe_mw: MilliWatts
    overhead_mw: MilliWatts = 0
    guard_band_pct: float = 2.0

    def __post_init__(self) -> None:
        if not self.hosts:
            raise ValueError("rack.hosts is empty: list every host of the rack with its share and floor")
        if self.failsafe_mw > self.hard_limit_mw:
            raise ValueError(
                f"rack.failsafe_watts {watts(self.failsafe_mw):g} is above "
                f"rack.hard_limit_watts {watts(self.hard_limit_mw):g}"
            )
        missing = self.floors_mw - self.usable_mw(self.failsafe_mw)
        if missing > 0:
            raise ValueError(
                f"rack.failsafe_watts {watts(self.failsafe_mw):g} is infeasible: floors "
                f"{watts(self.floors_mw):g} + rack overhead {watts(self.overhead_mw):g} + guard band "
                f"{watts(self.guard_band_mw(self.failsafe_mw)):g} need {watts(missing):g} watts more"
            )

    @cached_property
    def floors_mw(self) -> MilliWatts:
        """Return the sum of the hosts' floors."""
        return sum(host.floor_mw for host in self.hosts)

    @cached_property
    def least_mw(self) -> MilliWatts:
        """Return the lowest cap that limiting can reach: the floors, and what is taken off before sharing."""
        return -(-(self.floors_mw + self.overhead_mw) * PPM // (PPM - self._guard_band_ppm))

    def host(self, name: str) -> Host:
        """Return one host of the roster.

        Raises:
            ValueError: there is no host of that name.
        """
        host = self._by_name.get(name)
        if host is not None:
            return host
        roster = ", ".join(host.name for host in self.hosts)
        raise ValueError(f'host.name "{name}" is not in rack.hosts ({roster})')

    @cached_property
    def _by_name(self) -> dict[str, Host]:
        return {host.name: host for host in self.hosts}

    @cached_property
    def units(self) -> dict[str, int]:
        """Return `Host.share_units` by name."""
        return {host.name: host.share_units for host in self.hosts}

    @cached_property
    def shares_units(self) -> int:
        """Return the sum of the hosts' shares, in the units of `Host.share_units`."""
        return sum(self.units.values())

    def guard_band_mw(self, cap_mw: MilliWatts) -> MilliWatts:
        """Return what is kept unused of a rack cap, rounded up."""
        return -(-cap_mw * self._guard_band_ppm // PPM)

    @cached_property
    def _guard_band_ppm(self) -> int:
        """Return the guard band as an integer, so that both directions of the sum agree to the milliwatt."""
        return round(self.guard_band_pct * PPM / 100)

    def usable_mw(self, cap_mw: MilliWatts) -> MilliWatts:
        """Return what of a rack cap the hosts may draw together; may be below the sum of floors."""
        return cap_mw - self.overhead_mw - self.guard_band_mw(cap_mw)

    def entitlement_mw(self, name: str, usable_mw: MilliWatts) -> MilliWatts:
        """Return what a host's share is worth: its floor plus its part of the rest, rounded down.

        Never below the floor, since no GPU can be limited below its minimum.
        """
        host = self.host(name)
        above_floors = max(0, usable_mw - self.floors_mw)
        return host.floor_mw + above_floors * self.units[name] // self.shares_units

    def cap_for_mw(self, name: str, mw: MilliWatts) -> MilliWatts:
        """Return the rack cap under which a host's share is worth `mw`, rounded down.

        Below the host's floor, where no cap is low enough, as far below as `mw` is.
        """
        host = self.host(name)
        above_mw = mw - host.floor_mw
        if above_mw > 0:
            above_mw = above_mw * self.shares_units // self.units[name]
        return max(0, (self.floors_mw + above_mw + self.overhead_mw) * PPM // (PPM - self._guard_band_ppm))

    def entitlements_mw(self, usable_mw: MilliWatts) -> dict[str, MilliWatts]:
        """Return what every host's share is worth, by name."""
        above_floors, units = max(0, usable_mw - self.floors_mw), self.shares_units
        shares = self.units
        return {name: floor_mw + above_floors * shares[name] // units for name, _, floor_mw in self.hosts}
