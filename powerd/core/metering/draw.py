"""What the whole rack draws: by its meter, or by what its hosts say; and the mean of the last ten minutes."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from powerd.core.leases.host_state import HostState
from powerd.core.metering.meter import Meter, MeterRules, total_mw
from powerd.core.model import GpuReading
from powerd.core.topology import Rack
from powerd.core.units import MilliWatts

WINDOW_S = 600.0
BUCKET_S = 60.0
# After a longer pause the draw says nothing of the time between. A period is a minute at most.
LONGEST_GAP_S = 90.0


class RackDraw(NamedTuple):
    """What the whole rack draws.

    Attributes:
        mw: by the meter; where there is none, or it is not known, what the hosts account for. None if that is
            not known either.
        source: "meter" or "hosts"; empty if nothing is known.
        metered_mw: by the meter; None if it is not known.
        accounted_mw: what the hosts say that they draw, and the rack's configured overhead; None if a host
            was not heard or does not know.
    """

    mw: MilliWatts | None
    source: Literal["meter", "hosts", ""]
    metered_mw: MilliWatts | None
    accounted_mw: MilliWatts | None


class Bucket(NamedTuple):
    """A minute of draw: energy in millijoules, and the seconds in which it was known."""

    number: int
    mj: float
    known_s: float


class DrawHistory(NamedTuple):
    """The last ten minutes, by the minute."""

    buckets: tuple[Bucket, ...] = ()
    last_boot_s: float | None = None

    @property
    def mean_mw(self) -> MilliWatts | None:
        """Return the mean over the time in which the draw was known; None if it never was."""
        known_s = sum(bucket.known_s for bucket in self.buckets)
        return round(sum(bucket.mj for bucket in self.buckets) / known_s) if known_s > 0 else None


def rack_draw(
    rack: Rack,
    readings: Iterable[GpuReading],
    overhead_mw: MilliWatts,
    peers: Iterable[HostState],
    meter: Meter,
    rules: MeterRules,
    *,
    silent_s: float,
    boot_s: float,
) -> RackDraw:
    """Return what the rack draws now.

    Args:
        readings, overhead_mw: of this host; without readings its draw is not known.
        peers: the last states of the others; one older than `silent_s` says nothing of now.
    """
    metered_mw = total_mw(meter, rules, boot_s)
    heard = [peer.measured_mw for peer in peers if boot_s - peer.received_boot_s <= silent_s]
    accounted_mw = None
    own = [reading.draw_mw for reading in readings]
    if own and len(heard) == len(rack.hosts) - 1:
        accounted_mw = _sum((*own, *heard))
    if accounted_mw is not None:
        accounted_mw += overhead_mw + rack.overhead_mw
    if metered_mw is not None:
        return RackDraw(metered_mw, "meter", metered_mw, accounted_mw)
    return RackDraw(accounted_mw, "" if accounted_mw is None else "hosts", None, accounted_mw)


def remember(history: DrawHistory, mw: MilliWatts | None, boot_s: float) -> DrawHistory:
    """Add what was drawn since the last time."""
    last_boot_s = boot_s if history.last_boot_s is None else history.last_boot_s
    elapsed_s = boot_s - last_boot_s
    number = int(boot_s // BUCKET_S)
    oldest = number - int(WINDOW_S // BUCKET_S)
    recent = tuple(bucket for bucket in history.buckets if oldest < bucket.number)
    if mw is None or not 0 < elapsed_s <= LONGEST_GAP_S:
        return DrawHistory(recent, boot_s)
    mj, known_s = mw * elapsed_s, elapsed_s
    if recent and recent[-1].number == number:
        mj, known_s, recent = recent[-1].mj + mj, recent[-1].known_s + known_s, recent[:-1]
    return DrawHistory((*recent, Bucket(number, mj, known_s)), boot_s)


def _sum(parts_mw: Iterable[MilliWatts | None]) -> MilliWatts | None:
    total = 0
    for part_mw in parts_mw:
        if part_mw is None:
            return None
        total += part_mw
    return total
