"""What the whole rack draws, how far that is from what its hosts account for, and what of it could go."""

from powerd.core.gpus import overhead
from powerd.core.metering import meter
from powerd.core.metering.draw import RackDraw, rack_draw, remember
from powerd.core.metering.shed import Sheds
from powerd.core.model import Now
from powerd.core.rack.host_share import HostShare
from powerd.core.state import Config, Inputs, State


def weigh(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[RackDraw, State]:
    """Find out what the whole rack draws, and how far that is from what its hosts account for."""
    draw = rack_draw(
        config.rack,
        inputs.readings,
        overhead.overhead_step(state.overhead, config.overhead_mw, now.boot_s).mw,
        state.leases.peers.values(),
        state.meter,
        config.meter,
        silent_s=config.leases.silent_s,
        boot_s=now.boot_s,
    )
    trimmed = state.meter
    if config.meter.parts:
        known = (draw.metered_mw, draw.accounted_mw)
        trimmed = meter.trim(trimmed, config.meter, *known, config.rack.hard_limit_mw, now.boot_s)
    return draw, state._replace(meter=trimmed, draws=remember(state.draws, draw.mw, now.boot_s))


def could_shed(inputs: Inputs, share: HostShare, state: State, now: Now, config: Config) -> Sheds:
    """Return what tells, when asked, what this host and its whole rack could shed at once."""
    return Sheds(
        inputs.readings,
        share.sharing.ranges,
        share.overhead_mw,
        share.place,
        state.leases.peers,
        config.shed,
        config.leases,
        now.boot_s,
    )
