"""Numbers and moments that may be unknown, as documents show them: null then."""

from powerd.core.units import MilliWatts, watts
from powerd.signals.rfc3339 import utc


def watts_or_none(mw: MilliWatts | None) -> float | None:
    """Return watts."""
    return None if mw is None else watts(mw)


def utc_or_none(wall_s: float | None) -> str | None:
    """Return Unix seconds as RFC 3339 in UTC."""
    return None if wall_s is None else utc(wall_s)
