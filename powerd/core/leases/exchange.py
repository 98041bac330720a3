"""Who should lend how much to whom: the same water-filling on every host, from the states it has.

Nobody gives up what it wants of its own entitlement. What is spare rises over those who want more, weighted
by their shares, and each donor gives its part of that. A donor acts on its own row only, so hosts that see
different states lend less or more than they could, and never too much (docs/leases.md).
"""

from collections.abc import Mapping
from typing import NamedTuple

from powerd.core.gpus.filling import fill
from powerd.core.gpus.plan import LIMIT_STEP_MW
from powerd.core.units import MilliWatts


class Trader(NamedTuple):
    """What one host could give, or use, beyond its entitlement."""

    entitlement_mw: MilliWatts
    want_mw: MilliWatts
    spare_mw: MilliWatts
    share_units: int


def row(host: str, traders: Mapping[str, Trader]) -> dict[str, MilliWatts]:
    """Return what `host` should lend to each of the others, by name; in whole watts, zeros left out."""
    spare_mw = sum(trader.spare_mw for trader in traders.values())
    own_mw = traders[host].spare_mw
    if own_mw <= 0:
        return {}
    short = sorted(name for name, trader in traders.items() if trader.want_mw > trader.entitlement_mw)
    vessels = [
        (trader.entitlement_mw, trader.want_mw, float(trader.share_units), 1)
        for trader in (traders[name] for name in short)
    ]
    levels = fill(sum(low for low, *_ in vessels) + spare_mw, vessels)
    lends = {}
    for name, level, (low, *_) in zip(short, levels, vessels, strict=True):
        mw = (level - low) * own_mw // spare_mw
        if mw >= LIMIT_STEP_MW:
            lends[name] = mw - mw % LIMIT_STEP_MW
    return lends
