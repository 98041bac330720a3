"""How a whole rack stands, for people: said by one host on behalf of all (docs/signals.md, Rack summary)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from powerd.core.leases.host_state import HostState
from powerd.core.metering.shed import Shed
from powerd.core.units import MilliWatts
from powerd.signals.strict_json import JsonObject
from powerd.signals.wire import total_mw, watts_or_null


@dataclass(frozen=True, slots=True)
class HostSummary:
    """One host of the roster, as it was last heard; None is not known.

    Attributes:
        is_live: heard of late.
        cap_mw: what it may draw: entitlement + borrowed - lent.
        worst_case_mw: what its limits let it draw; they outlive its daemon.
        measured_mw: what it draws; of a silent host that is not known any more.
    """

    host: str
    is_live: bool
    cap_mw: MilliWatts | None = None
    worst_case_mw: MilliWatts | None = None
    measured_mw: MilliWatts | None = None
    lent_mw: MilliWatts | None = None
    borrowed_mw: MilliWatts | None = None


def host_summary(host: str, state: HostState | None, *, is_live: bool) -> HostSummary:
    """Return what people are told of a host by its last message; None if it was never heard."""
    if state is None:
        return HostSummary(host, is_live)
    borrowed_mw = sum(hold.mw for hold in state.holds)
    return HostSummary(
        host=host,
        is_live=is_live,
        cap_mw=max(0, state.entitlement_mw + borrowed_mw - state.lent_mw),
        worst_case_mw=state.worst_case_mw,
        measured_mw=state.measured_mw if is_live else None,
        lent_mw=state.lent_mw,
        borrowed_mw=borrowed_mw,
    )


def summary_fields(rack_cap_mw: MilliWatts, hosts: Iterable[HostSummary]) -> JsonObject:
    """Return the summary of a rack, without its envelope.

    Args:
        rack_cap_mw: what the rack may draw in the view of the host that speaks.
        hosts: in the order of the roster.
    """
    hosts = tuple(hosts)
    return {
        "rack_cap_watts": watts_or_null(rack_cap_mw),
        "live_hosts": sum(each.is_live for each in hosts),
        "total": {name: watts_or_null(total_mw(map(of, hosts))) for name, of in _FIGURES.items()},
        "hosts": [
            {"host": each.host, "live": each.is_live}
            | {name: watts_or_null(of(each)) for name, of in _FIGURES.items()}
            for each in hosts
        ],
    }


def shed_fields(shed: Shed) -> JsonObject:
    """Return how much less could be drawn, how soon and for how long; null is as long as it is asked for."""
    return {
        "watts": watts_or_null(shed.now_mw),
        "limit_watts": watts_or_null(shed.limit_mw),
        "within_s": shed.within_s,
        "for_s": shed.for_s,
    }


_FIGURES: dict[str, Callable[[HostSummary], MilliWatts | None]] = {
    "cap_watts": lambda each: each.cap_mw,
    "worst_case_watts": lambda each: each.worst_case_mw,
    "measured_watts": lambda each: each.measured_mw,
    "lent_watts": lambda each: each.lent_mw,
    "borrowed_watts": lambda each: each.borrowed_mw,
}
