"""What the rack draws, measured now and then, as stretches of time with a mean, a maximum and gaps."""

from dataclasses import dataclass, replace

from powerd.core.events.caps import EventStatus
from powerd.core.metering.draw import RackDraw
from powerd.core.model import Now
from powerd.core.proof.ledger_entry import Sample
from powerd.core.units import MilliWatts


@dataclass(frozen=True, slots=True)
class Look:
    """What one iteration saw and decided.

    Attributes:
        events: those that have a say in the rack cap.
        cancelled: keys of events that are cancelled, of those that have, or just had, a say.
    """

    now: Now
    draw: RackDraw
    rack_cap_mw: MilliWatts
    events: tuple[EventStatus, ...] = ()
    cancelled: frozenset[str] = frozenset()

    @property
    def caps_mw(self) -> tuple[MilliWatts, ...]:
        """Return the rack's cap, then that of each event."""
        return (self.rack_cap_mw, *(status.cap_mw for status in self.events))

    @property
    def source(self) -> str:
        """Return where the draw is from; empty if it is not known."""
        return "" if self.draw.mw is None else self.draw.source


@dataclass(frozen=True, slots=True)
class Stretch:
    """A sample in the making: sums over time instead of means."""

    wall_s: float
    source: str
    span_s: float
    energy_mj: float
    max_mw: MilliWatts
    caps_mj: tuple[float, ...]
    over_mj: tuple[float, ...]

    @property
    def sample(self) -> Sample:
        """Return it as a sample."""
        is_known = bool(self.source)
        return Sample(
            wall_s=round(self.wall_s, 3),
            span_s=round(self.span_s, 3),
            mean_mw=round(self.energy_mj / self.span_s) if is_known else None,
            max_mw=self.max_mw if is_known else None,
            source=self.source,
            caps_mw=tuple(round(mj / self.span_s) for mj in self.caps_mj),
            over_mj=tuple(round(mj) for mj in self.over_mj),
        )


def lengthen(stretch: Stretch | None, look: Look, seconds: float) -> Stretch:
    """Let a stretch, or a new one, last longer by a time in which everything stood as one look saw it.

    Args:
        look: of the same source and events as the stretch.
    """
    caps_mw, mw = look.caps_mw, look.draw.mw or 0
    if stretch is None:
        none = (0.0,) * len(caps_mw)
        stretch = Stretch(look.now.wall_s, look.source, 0.0, 0.0, 0, none, none)
    caps = zip(stretch.caps_mj, caps_mw, strict=True)
    over = zip(stretch.over_mj, caps_mw, strict=True)
    return replace(
        stretch,
        span_s=stretch.span_s + seconds,
        energy_mj=stretch.energy_mj + mw * seconds,
        max_mw=max(stretch.max_mw, mw),
        caps_mj=tuple(sum_mj + cap * seconds for sum_mj, cap in caps),
        over_mj=tuple(sum_mj + max(0, mw - cap) * seconds for sum_mj, cap in over),
    )


def gap(look: Look, after_s: float, seconds: float) -> Sample:
    """Return a stretch of which nothing is known, so long after a look."""
    caps_mw = look.caps_mw
    wall_s = round(look.now.wall_s + after_s, 3)
    return Sample(wall_s, round(seconds, 3), None, None, "", caps_mw, (0,) * len(caps_mw))
