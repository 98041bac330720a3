"""How often a GPU may be raised: as often as the fastest control loop does it, not as fast as one can ask.

A daemon that somebody has taken over stays within the ceilings; this keeps it from wearing out drivers and
boards by flipping limits between them. Lowering is never held up.
"""

from typing import Final

# The shortest control.period_s is 0.05 s.
RAISES_PER_S: Final = 20.0


class RaisePace:
    """Counts the raises of each GPU: a second's worth at once, then as they come back; main loop only."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def may_raise(self, uuid: str, now_boot_s: float) -> bool:
        """Say whether a GPU may be raised now, and count that raise if so."""
        left, since_boot_s = self._left.get(uuid, (RAISES_PER_S, now_boot_s))
        left = min(RAISES_PER_S, left + (now_boot_s - since_boot_s) * RAISES_PER_S)
        may = left >= 1.0
        self._left[uuid] = (left - 1.0 if may else left, now_boot_s)
        return may
