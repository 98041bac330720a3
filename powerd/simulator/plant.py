"""The physics of one simulated GPU: what it draws, and what work gets done, under a limit and a load.

Pure arithmetic on the time it is given. A GPU that could do more than is asked for works at the pace its
limit allows and then rests, so its average draw lies between idle and busy in proportion to the time it is at
work. The draw follows its target like a first-order system; energy is the exact integral of that.
"""

import math

from powerd.core.units import MilliWatts
from powerd.simulator.curves import Curve, GpuModel

# The board's own control loop settles within milliseconds to tens of them; readings show it within 0.1 s.
LAG_S = 0.05


def target_draw_mw(model: GpuModel, curve: Curve, limit_mw: MilliWatts, load: float) -> float:
    """Return the steady draw under a limit and a load (0..1)."""
    share_at_work = min(1.0, load / curve.capacity(limit_mw))
    return model.idle_mw + share_at_work * (curve.busy_mw(limit_mw) - model.idle_mw)


class GpuPlant:
    """One GPU in time.

    Attributes:
        limit_mw: the limit in effect; set it between steps.
        draw_mw: the draw at `now_s`.
        energy_mj, capped_s, work_s: since the last `restart`: millijoules, seconds with less work done than
            asked for, and work in seconds at full speed.
    """

    def __init__(self, model: GpuModel, curve: Curve, now_s: float) -> None:
        self.model = model
        self.curve = curve
        self.now_s = now_s
        self.limit_mw = model.default_mw
        self.draw_mw = float(model.idle_mw)
        self.energy_mj = 0.0
        self.capped_s = 0.0
        self.work_s = 0.0

    def step(self, now_s: float, load: float) -> None:
        """Go on to `now_s` under a load (0..1) that holds since the last step; never backwards."""
        elapsed_s = now_s - self.now_s
        if elapsed_s <= 0:
            return
        target_mw = target_draw_mw(self.model, self.curve, self.limit_mw, load)
        above_mw = self.draw_mw - target_mw
        decay = math.exp(-elapsed_s / LAG_S)
        self.energy_mj += target_mw * elapsed_s + above_mw * LAG_S * (1 - decay)
        self.draw_mw = target_mw + above_mw * decay
        self.work_s += self.throughput(self.limit_mw, load) * elapsed_s
        if self.curve.is_capped(self.limit_mw, load):
            self.capped_s += elapsed_s
        self.now_s = now_s

    def throughput(self, limit_mw: MilliWatts, load: float) -> float:
        """Return the work per second, 0..1, under a limit when `load` (0..1) is asked for."""
        return self.curve.throughput(limit_mw, load)

    def restart(self) -> None:
        """Do what a reload of the driver does: default limit, counters at zero."""
        self.limit_mw = self.model.default_mw
        self.energy_mj = 0.0
        self.capped_s = 0.0
        self.work_s = 0.0
