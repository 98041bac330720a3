"""What a watt is worth to a GPU, learned from what it shows: draw, clock, and time held down by its limit.

Nobody tells how fast a job works, and its clock is no measure of that: what waits for memory loses less than
its clock. But readings do tell the draw at which a limit ceases to matter, the natural draw:

    never held down     natural draw = draw
    always held down    natural draw = limit x (highest clock / clock)^3, as dynamic power goes with the cube
                        of the clock; where no clock can be read it stays unknown

Measured curves of unlike jobs have their knee at about the same part of the natural draw. Two things follow:
watts above its natural draw are worth little to a GPU, and of two that are held down beyond their knees the
one that would draw more gains more from the next watt: so there limits stand in proportion to natural draws.

Invariants: what is not yet sure counts as the average of the others; of a GPU that does not work, or is held
down only at times, nothing is known: it keeps all that it wants, as if there were no such thing as value.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from powerd.core.gpus.allocator import Request
from powerd.core.gpus.demand import Demand
from powerd.core.model import EventReason, GpuReading
from powerd.core.units import MilliWatts

# Parts of the time since the last reading.
HELD_AT_MOST = 0.02
HELD_AT_LEAST = 0.9
CLOCK_EXPONENT = 3
# A clock below this part of the highest is that of a card between two states: the law does not hold there.
LEAST_PACE = 0.4
# Draws differ from one reading to the next: a limit that close above the natural draw is not felt.
MARGIN = 1.07
# A limit that was felt stays the least that a GPU is thought to need: it can hold down peaks alone.
FELT_FOR_S = 600.0
# Estimates follow within such a time; what differs more is another job, of which nothing is known yet.
FOLLOW_S = 10.0
OTHER_JOB = 0.25
# An estimate that has held for so long is sure.
SURE_AFTER_S = 10.0


class Objective(StrEnum):
    """What a host's watts are shared out for, where they do not suffice."""

    FAIR = "fair"  # equal limits
    THROUGHPUT = "throughput"  # most work done


class Known(NamedTuple):
    """What is known of one GPU.

    Attributes:
        natural_mw: its draw if no limit held it down; None while unknown.
        steady_s: for how long the estimate has held.
        felt_mw, felt_until_boot_s: the highest limit that held it down all the time, of late, or the last one
            that did at times; and until when to keep above it.
        sampled_boot_s, energy_mj, capped_ns: of the last reading taken in.
    """

    sampled_boot_s: float
    energy_mj: int | None = None
    capped_ns: int | None = None
    natural_mw: MilliWatts | None = None
    steady_s: float = 0.0
    felt_mw: MilliWatts = 0
    felt_until_boot_s: float = 0.0

    @property
    def sureness(self) -> float:
        """Return how far the estimate is to be used, 0..1."""
        return 0.0 if self.natural_mw is None else min(1.0, self.steady_s / SURE_AFTER_S)


def learn(last: Known | None, reading: GpuReading, demand: Demand) -> Known:
    """Take in a reading; one that was already taken in changes nothing.

    Args:
        demand: what the same reading says of the power that the GPU could use.
    """
    if last is not None and reading.sampled_boot_s <= last.sampled_boot_s:
        return last
    boot_s = reading.sampled_boot_s
    works = demand in (Demand.BUSY, Demand.CAPPED)
    if last is None or not works or reading.draw_mw is None or not reading.enforced_mw:
        return Known(boot_s, reading.energy_mj, reading.capped_ns)
    passed_s = boot_s - last.sampled_boot_s
    draw_mw = max(reading.draw_mw, _mean_draw_mw(last, reading, passed_s))
    held = _held(last, reading, passed_s)
    if held <= HELD_AT_MOST:
        natural_mw, felt_mw, until_boot_s = _free(last, draw_mw, boot_s)
    else:
        natural_mw, felt_mw, until_boot_s = _held_down(last, reading, draw_mw, held)
    natural_mw, steady_s = _followed(last, natural_mw, passed_s)
    return Known(boot_s, reading.energy_mj, reading.capped_ns, natural_mw, steady_s, felt_mw, until_boot_s)


# Natural draw, the limit that was felt, and until when to keep above it.
_Seen = tuple[MilliWatts | None, MilliWatts, float]


def _free(last: Known, draw_mw: MilliWatts, boot_s: float) -> _Seen:
    """Learn from a time in which the limit did not matter."""
    if boot_s >= last.felt_until_boot_s:
        return draw_mw, 0, 0.0
    least_mw = max(draw_mw, last.felt_mw)
    # As far as it can be, it is still what it was while the limit was felt: else limits would go to and fro.
    natural_mw = min(max(least_mw, last.natural_mw or 0), round(least_mw * (1 + OTHER_JOB)))
    return natural_mw, last.felt_mw, last.felt_until_boot_s


def _held_down(last: Known, reading: GpuReading, draw_mw: MilliWatts, held: float) -> _Seen:
    """Learn from a time in which the limit held the GPU down; at times only, that tells no natural draw."""
    boot_s, limit_mw = reading.sampled_boot_s, reading.enforced_mw or 0
    until_boot_s = boot_s + FELT_FOR_S
    if held < HELD_AT_LEAST:
        return None, limit_mw, until_boot_s
    is_felt = last.felt_mw > limit_mw and last.felt_until_boot_s > boot_s
    pace = _pace(reading)
    # Boards that keep their peaks below the limit draw less on average.
    natural_mw = None if pace is None else round(max(draw_mw, limit_mw) / pace**CLOCK_EXPONENT)
    return natural_mw, last.felt_mw if is_felt else limit_mw, until_boot_s


def _followed(last: Known, natural_mw: MilliWatts | None, passed_s: float) -> tuple[MilliWatts | None, float]:
    """Let the estimate follow what was seen, and say for how long it has held.

    A jump is a change of work and starts it anew.
    """
    before_mw = last.natural_mw
    if natural_mw is None or before_mw is None or abs(natural_mw - before_mw) > OTHER_JOB * before_mw:
        return natural_mw, 0.0
    part = min(1.0, passed_s / FOLLOW_S)
    follows_mw = before_mw + round((natural_mw - before_mw) * part)
    return follows_mw, min(SURE_AFTER_S, last.steady_s + passed_s)


def _mean_draw_mw(last: Known, reading: GpuReading, passed_s: float) -> MilliWatts:
    if last.energy_mj is None or reading.energy_mj is None:
        return 0
    return max(0, round((reading.energy_mj - last.energy_mj) / passed_s))


def _held(last: Known, reading: GpuReading, passed_s: float) -> float:
    """Return the part of the time in which the power cap held the clocks down."""
    if last.capped_ns is None or reading.capped_ns is None or reading.capped_ns < last.capped_ns:
        return float(bool(reading.event_reasons & EventReason.SW_POWER_CAP))
    return (reading.capped_ns - last.capped_ns) * 1e-9 / passed_s


def _pace(reading: GpuReading) -> float | None:
    """Return the clock as a part of the highest; None where it tells nothing."""
    if reading.sm_clock_mhz is None or not reading.max_sm_clock_mhz:
        return None
    pace = reading.sm_clock_mhz / reading.max_sm_clock_mhz
    return min(1.0, pace) if pace >= LEAST_PACE else None


def appraise(requests: Sequence[Request], known: Mapping[str, Known]) -> tuple[Request, ...]:
    """Return the requests with what is known of the value of watts to each; as they are if nothing is."""
    found = [(request, known.get(request.uuid)) for request in requests]
    natural_mw = {
        request.uuid: _capped(each, request.ceiling_mw)
        for request, each in found
        if each and each.sureness > 0
    }
    if not natural_mw:
        return tuple(_with_felt(request, each) for request, each in found)
    average_mw = sum(natural_mw.values()) / len(natural_mw)
    return tuple(
        _appraised(_with_felt(request, each), each, natural_mw.get(request.uuid), average_mw)
        for request, each in found
    )


def _with_felt(request: Request, known: Known | None) -> Request:
    """Let a GPU want more than a limit that was felt: it can hold down peaks that no mean draw shows."""
    if known is None or known.natural_mw is None or not known.felt_mw:
        return request
    least_mw = min(request.ceiling_mw, round(max(known.felt_mw, known.natural_mw) * MARGIN))
    return request if request.want_mw >= least_mw else request._replace(want_mw=least_mw)


def _capped(known: Known, ceiling_mw: MilliWatts) -> MilliWatts:
    # Clocks that are low for another reason would make it anything.
    return max(1, min(known.natural_mw or 0, 2 * ceiling_mw))


def _appraised(
    request: Request, known: Known | None, natural_mw: MilliWatts | None, average_mw: float
) -> Request:
    uuid, floor_mw, ceiling_mw, want_mw, weight, priority, job, *_ = request
    if natural_mw is None or known is None:
        return Request(uuid, floor_mw, ceiling_mw, want_mw, weight, priority, job, want_mw, average_mw)
    sure = known.sureness
    enough_mw = min(want_mw, max(floor_mw, round(natural_mw * MARGIN)))
    need_mw = want_mw - round((want_mw - enough_mw) * sure)
    valued_mw = average_mw * (natural_mw / average_mw) ** sure
    return Request(uuid, floor_mw, ceiling_mw, want_mw, weight, priority, job, need_mw, valued_mw)
