"""A rack that is asked for less: iterations in a row, as the recorder sees them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from powerd.core.events.caps import EventStatus
from powerd.core.events.grid_event import (
    Action,
    ActionKind,
    Baseline,
    EventClass,
    GridEvent,
    Interval,
    Level,
)
from powerd.core.events.turns import EventPhase
from powerd.core.metering.draw import RackDraw
from powerd.core.model import Now
from powerd.core.proof.ledger_entry import Body, Entry, Sample, Samples
from powerd.core.proof.recording import Recording, flush, record
from powerd.core.proof.stretch import Look

W = 1000
WALL_S = 1_763_690_000.0
KEY = "grid/e1"
HARD_WATTS = 40_000


def limit(watts: float) -> Action:
    return Action(ActionKind.LIMIT, mw=round(watts * W))


def reduction(pct: float, baseline: Baseline = Baseline.MEASURED) -> Action:
    return Action(ActionKind.REDUCE_PCT, pct=pct, baseline=baseline)


def event(*intervals: tuple[float, float | None, Action], **changes: object) -> GridEvent:
    """Return an event; its times are seconds after the first look, and it was received at 0."""
    made = GridEvent(
        source="grid",
        event_id="e1",
        epoch=1,
        seq=1,
        issued_at_s=WALL_S,
        event_class=EventClass.MANDATORY,
        level=Level.RACK,
        targets=(),
        intervals=tuple(
            Interval(WALL_S + start, None if end is None else WALL_S + end, action)
            for start, end, action in intervals
        ),
        received=Now(0.0, WALL_S),
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields by name


def status(asked: GridEvent, target_watts: float | None, **changes: object) -> EventStatus:
    """Return an event in force whose cap is its target, unless said otherwise; `None` restores."""
    target_mw = None if target_watts is None else round(target_watts * W)
    made = EventStatus(
        key=f"{asked.source}/{asked.event_id}",
        event=asked,
        phase=EventPhase.ACTIVE,
        cap_mw=HARD_WATTS * W if target_mw is None else target_mw,
        target_mw=target_mw,
        baseline_mw=30_000 * W,
        before_mw=HARD_WATTS * W,
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields by name


@dataclass
class Rack:
    """Iterates, and keeps what is written down.

    Attributes:
        at_s: seconds since the first look.
        stepped_s: how far the wall clock was set since then.
    """

    period_s: float = 1.0
    at_s: float = 0.0
    stepped_s: float = 0.0
    recording: Recording = field(default_factory=Recording)
    entries: list[Entry] = field(default_factory=list)

    def look(
        self,
        watts: float | None,
        *events: EventStatus,
        source: Literal["meter", "hosts"] = "hosts",
        cancelled: Iterable[str] = (),
    ) -> None:
        """Iterate once, and let a period pass."""
        mw = None if watts is None else round(watts * W)
        draw = RackDraw(mw, "" if mw is None else source, None, mw)
        now = Now(5000.0 + self.at_s, WALL_S + self.at_s + self.stepped_s)
        seen = Look(now, draw, HARD_WATTS * W, events, frozenset(cancelled))
        self.recording, entries = record(self.recording, seen, 3.0 * self.period_s)
        self.entries += entries
        self.at_s += self.period_s

    def run(
        self,
        seconds: float,
        watts: float | Callable[[float], float] | None,
        *events: EventStatus,
        source: Literal["meter", "hosts"] = "hosts",
    ) -> None:
        """Iterate for a while."""
        for _ in range(round(seconds / self.period_s)):
            self.look(watts(self.at_s) if callable(watts) else watts, *events, source=source)

    def restart(self) -> None:
        """Stop the daemon in good order, and start it anew."""
        _, entries = flush(self.recording)
        self.entries += entries
        self.recording = Recording()

    def bodies(self, kind: type[Body]) -> list[Body]:
        return [entry.body for entry in self.entries if isinstance(entry.body, kind)]

    @property
    def samples(self) -> list[Sample]:
        """Return every sample that was written down."""
        bodies = (entry.body for entry in self.entries)
        return [row for body in bodies if isinstance(body, Samples) for row in body.rows]

    @property
    def rows(self) -> list[tuple[float, float, float | None]]:
        """Return begin, length and mean in watts of the same."""
        return [
            (row.wall_s - WALL_S, row.span_s, None if row.mean_mw is None else row.mean_mw / W)
            for row in self.samples
        ]
