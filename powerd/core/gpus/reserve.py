"""What a GPU wants beyond what it draws.

A want stays as it is while it lies between the least and the most: not every flicker of the draw is worth a
write. Outside of that it becomes the draw and the reserve.
"""

from powerd.core.units import MilliWatts

RESERVE_PCT, RESERVE_MW = 106, 6_000
LEAST_PCT, LEAST_MW = 103, 3_000
MOST_PCT, MOST_MW = 110, 12_000
# An idle GPU starts work when its draw rises by more than the larger of these.
WAKE_PCT, WAKE_MW = 115, 30_000


def reserve_mw(draw_mw: MilliWatts) -> MilliWatts:
    """Return what a GPU that draws as much wants: 6 % and 6 W more."""
    return draw_mw * RESERVE_PCT // 100 + RESERVE_MW


def kept_mw(want_mw: MilliWatts, draw_mw: MilliWatts) -> MilliWatts:
    """Return the want as it was, or a new one if the reserve that it leaves is too small or too large."""
    least, most = draw_mw * LEAST_PCT // 100 + LEAST_MW, draw_mw * MOST_PCT // 100 + MOST_MW
    return want_mw if least <= want_mw <= most else reserve_mw(draw_mw)


def wakes_mw(idle_mw: MilliWatts) -> MilliWatts:
    """Return above which draw a GPU that drew as much while idle is taken to work."""
    return max(idle_mw * WAKE_PCT // 100, idle_mw + WAKE_MW)
