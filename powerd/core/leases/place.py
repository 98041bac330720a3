"""Where a host stands in its rack at one moment: what dealings with the others are decided from."""

from typing import NamedTuple

from powerd.core.leases.host_state import HeardBudget
from powerd.core.leases.leases import Leases
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts


class Place(NamedTuple):
    """Where a host stands.

    Attributes:
        roster: digest of the rack's configuration.
        has_peers: there are other hosts, and they lend each other watts.
        is_leasing: this one may: it writes limits, and its memory of leases is kept.
        budget: the one that governs here; None in `init` and `failsafe`.
        asked_mw: what the rack may draw in this host's view, before any ramp and what lowers this host alone.
        since_boot_s: since when that has been asked for.
        cap_mw: the rack cap in effect here.
        least_mw: the least that this host can be limited to, overhead included.
        want_mw: what it would use if it could.
        trim_mw: what the rack's meter shows beyond what its hosts account for.
    """

    rack: Rack
    host: str
    roster: str
    has_peers: bool
    is_leasing: bool
    budget: HeardBudget | None
    asked_mw: MilliWatts
    since_boot_s: float
    cap_mw: MilliWatts
    least_mw: MilliWatts
    want_mw: MilliWatts
    trim_mw: MilliWatts = 0

    @property
    def floor_mw(self) -> MilliWatts:
        """Return the host's floor in the roster."""
        return self.rack.host(self.host).floor_mw


def entitlement_mw(place: Place, leases: Leases, cap_mw: MilliWatts) -> MilliWatts:
    """Return what the host's share of a rack cap is worth; the least of all while the roster changes."""
    return least_entitlement_mw(place.rack, leases.formers, place.host, cap_mw, place.trim_mw)


def least_entitlement_mw(
    rack: Rack, formers: tuple[Rack, ...], host: str, cap_mw: MilliWatts, trim_mw: MilliWatts
) -> MilliWatts:
    """Return the least of what a host's share is worth under a roster and those of before."""
    mw = rack.entitlement_mw(host, rack.usable_mw(cap_mw) - trim_mw)
    for former in formers:
        is_in_it = any(each.name == host for each in former.hosts)
        former_mw = (
            former.entitlement_mw(host, former.usable_mw(cap_mw) - trim_mw)
            if is_in_it
            else rack.host(host).floor_mw
        )
        mw = min(mw, former_mw)
    return mw
