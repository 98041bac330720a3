"""Builders of grid events, and a desk at which they are heard and looked at without a host around it.

Times are seconds after boot, as in `make`. The desk's rack is the example rack: 6000 W at the most, 3000 W
without a controller; its budget is 4000 W unless said.
"""

from dataclasses import dataclass, field, replace

from powerd.core.events.admission import admit_event
from powerd.core.events.caps import EventStatus, statuses
from powerd.core.events.grid_event import (
    Action,
    ActionKind,
    Baseline,
    EventClass,
    EventRamp,
    GridEvent,
    Interval,
    Level,
)
from powerd.core.events.schedule import EventRules, Held, Schedule
from powerd.core.events.target import Ground
from powerd.core.events.turns import Agenda, EventPhase, agenda, begin
from powerd.core.model import Now
from powerd.core.rack.timeline import Verdict
from tests.core.make import WALL_AT_BOOT_S, W, at, rack

FLOOR = Action(ActionKind.FLOOR)
RELEASE = Action(ActionKind.RELEASE)
HEARD = at(0.0)
AT_ONCE = EventRamp()
RULES = EventRules(site_fraction=0.1, feeds={"a": 0.5, "b": 0.25})


def limit(watts: float) -> Action:
    """Ask for at most so many watts."""
    return Action(ActionKind.LIMIT, mw=round(watts * W))


def reduce(watts: float, baseline: Baseline = Baseline.BUDGET) -> Action:
    """Ask for so many watts less."""
    return Action(ActionKind.REDUCE, mw=round(watts * W), baseline=baseline)


def cut(pct: float, baseline: Baseline = Baseline.BUDGET) -> Action:
    """Ask for so much per cent less."""
    return Action(ActionKind.REDUCE_PCT, pct=pct, baseline=baseline)


def shed(level: int, baseline: Baseline = Baseline.BUDGET) -> Action:
    """Ask for a shed level."""
    return Action(ActionKind.SHED_LEVEL, level=level, baseline=baseline)


def wall(boot_s: float) -> float:
    """Return the wall-clock time so many seconds after boot."""
    return WALL_AT_BOOT_S + boot_s


def part(start: float, end: float | None, action: Action) -> Interval:
    """Return an interval."""
    return Interval(wall(start), None if end is None else wall(end), action)


def event(
    *intervals: Interval,
    name: str = "e1",
    seq: int = 1,
    epoch: int = 1,
    source: str = "grid",
    program: str = "",
    received: Now = HEARD,
    age_s: float = 0.0,
    event_class: EventClass = EventClass.MANDATORY,
    level: Level = Level.RACK,
    targets: tuple[str, ...] = (),
    cancelled: bool = False,
    ramp: EventRamp = AT_ONCE,
    priority: int | None = None,
    retained: bool = False,
    keeps_order: bool = False,
    digest: str = "",
) -> GridEvent:
    """Return a version of an event, issued `age_s` before it came; 3000 W from 100 to 200 s unless said."""
    return GridEvent(
        source=source,
        event_id=name,
        epoch=epoch,
        seq=seq,
        issued_at_s=received.wall_s - age_s,
        event_class=event_class,
        level=level,
        targets=targets,
        intervals=intervals or (part(100, 200, limit(3000)),),
        received=received,
        is_cancelled=cancelled,
        ramp=ramp,
        priority=priority,
        program=program,
        keeps_order=keeps_order,
        retained=retained,
        digest=digest or f"{name}/{epoch}/{seq}/{intervals}/{cancelled}",
    )


def flex(name: str, *intervals: Interval, time_s: float, digest: str = "", index: int = 0) -> GridEvent:
    """Return a load target of a source that keeps order, received when it was issued; by its feed."""
    heard = at(time_s)
    one = event(
        *intervals,
        name=name,
        seq=index,
        epoch=round(heard.wall_s * 1000),
        source="dsx",
        program="a",
        received=heard,
        level=Level.FEED,
        targets=("a",),
        keeps_order=True,
    )
    return replace(one, digest=digest or name)


@dataclass
class Desk:
    """Where events are heard, and looked at moment by moment.

    Attributes:
        base: the rack cap without events, in watts; None of it is climbed, so that caps show as they are.
        before: the cap in effect until now, which each look moves.
    """

    base: float = 4000.0
    before: float = 4000.0
    rules: EventRules = RULES
    is_controlled: bool = True
    measured: float | None = None
    host: str = "h1"
    schedule: Schedule = field(default_factory=Schedule)
    agenda: Agenda | None = None

    @property
    def ground(self) -> Ground:
        """Return what events are worked out from now."""
        return Ground(
            rack=rack(),
            host=self.host,
            base_mw=round(self.base * W),
            before_mw=round(self.before * W),
            failsafe_mw=3000 * W,
            is_controlled=self.is_controlled,
            measured_mw=None if self.measured is None else round(self.measured * W),
        )

    def hear(self, *events: GridEvent) -> list[Verdict]:
        """Hear events in order."""
        verdicts = []
        for each in events:
            self.schedule, verdict = admit_event(self.schedule, each, self.rules)
            verdicts.append(verdict)
        return verdicts

    def hear_one(self, one: GridEvent) -> tuple[str, str]:
        """Hear an event; return the kind of the verdict and its reason."""
        [verdict] = self.hear(one)
        return verdict.kind.value, verdict.reason

    def look(
        self, boot_s: float, *, synced: bool = True, wall_offset_s: float = 0.0
    ) -> tuple[EventStatus, ...]:
        """Return what has a say now."""
        now = at(boot_s, synced=synced, wall_offset_s=wall_offset_s)
        self.agenda = begin(agenda(self.agenda, self.schedule, self.ground, self.rules, now), self.ground)
        self.schedule = self.agenda.schedule
        found = statuses(self.agenda, self.ground, self.rules, now.wall_s)
        self.before = min([self.base, *(status.cap_mw / W for status in found)])
        return found

    def cap(self, boot_s: float, *, synced: bool = True, wall_offset_s: float = 0.0) -> float:
        """Return what the rack may draw now, in watts, without any ramp but the events' own."""
        self.look(boot_s, synced=synced, wall_offset_s=wall_offset_s)
        return self.before

    def caps(self, *boot_s: float) -> list[float]:
        """Return what the rack may draw at each of several moments."""
        return [self.cap(each) for each in boot_s]

    def governing(self, boot_s: float, *, synced: bool = True) -> list[str]:
        """Return the names of those that have a say now, the restoring ones marked."""
        return [
            status.event.event_id + ("" if status.phase is EventPhase.ACTIVE else " restoring")
            for status in self.look(boot_s, synced=synced)
        ]

    def next_change(self) -> float | None:
        """Return when the agenda changes by itself, after boot."""
        until_s = self.agenda.until_s if self.agenda else float("inf")
        return None if until_s == float("inf") else round(until_s - WALL_AT_BOOT_S, 6)

    def held(self, name: str = "e1", source: str = "grid") -> Held:
        """Return what is held of an event."""
        return self.schedule.held[f"{source}/{name}"]
