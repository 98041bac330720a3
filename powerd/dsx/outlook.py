"""What a decision means to each feed: its load targets, the one in force, and how the rack stands to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from powerd.core.decide import Decision
from powerd.core.dsx.flex import FeedNow, Told
from powerd.core.events.caps import EventStatus
from powerd.core.events.grid_event import ActionKind, GridEvent
from powerd.core.events.schedule import EventRules, Held, Schedule
from powerd.core.events.target import fraction
from powerd.core.events.turns import EventPhase
from powerd.core.state import Config
from powerd.core.units import MilliWatts
from powerd.dsx.load_target import ORIGIN
from powerd.dsx.status import FeedTarget, FeedView
from powerd.snapshot import Snapshot

# Targets of one feed in one status; of more, those that start first.
MAX_TARGETS = 128


@dataclass(frozen=True, slots=True)
class HeldTarget:
    """A target that is held.

    Attributes:
        key: as in `Schedule.held`.
    """

    key: str
    held: Held

    @property
    def event(self) -> GridEvent:
        """Return the target itself, which is about one feed and has one interval."""
        return self.held.event


@dataclass(frozen=True, slots=True)
class FeedOutlook:
    """One feed.

    Attributes:
        targets: all that are held, those that release and those that are over too.
        governing: the one in force that leaves the rack least; None if none is.
    """

    targets: tuple[HeldTarget, ...]
    active: frozenset[str]
    governing: EventStatus | None

    @property
    def limit_mw(self) -> MilliWatts | None:
        """Return what the target in force lets the rack draw; None without one."""
        return self.governing.target_mw if self.governing else None

    @property
    def newest(self) -> GridEvent | None:
        """Return the target that was issued last; None if there is none."""
        return max((each.event for each in self.targets), key=_issued, default=None)


@dataclass(slots=True)
class Targets:
    """The targets of each feed, sorted out once per schedule.

    Attributes:
        names: of every version of each, to tell a new one.
    """

    schedule: Schedule | None = None
    by_feed: dict[str, tuple[HeldTarget, ...]] = field(default_factory=dict)
    names: dict[str, frozenset[tuple[str, int, int]]] = field(default_factory=dict)

    def follow(self, schedule: Schedule, feeds: Mapping[str, float]) -> None:
        """Take in a schedule, if it is another one."""
        if schedule is self.schedule:
            return
        self.schedule = schedule
        found: dict[str, list[HeldTarget]] = {feed: [] for feed in feeds}
        for key, held in schedule.held.items():
            if held.event.origin == ORIGIN and held.event.program in found:
                found[held.event.program].append(HeldTarget(key, held))
        for feed, targets in found.items():
            targets.sort(key=lambda each: (each.event.start_s, each.event.epoch, each.event.seq))
            self.by_feed[feed] = tuple(targets)
            self.names[feed] = frozenset((each.key, each.event.epoch, each.event.seq) for each in targets)


def outlooks(decision: Decision, targets: Targets) -> dict[str, FeedOutlook]:
    """Return how each feed stands."""
    active: dict[str, list[EventStatus]] = {feed: [] for feed in targets.by_feed}
    for status in decision.events:
        event = status.event
        if event.origin == ORIGIN and event.program in active and status.phase is EventPhase.ACTIVE:
            active[event.program].append(status)
    return {
        feed: FeedOutlook(
            targets=held,
            active=frozenset(status.key for status in active[feed]),
            governing=min(
                (status for status in active[feed] if status.target_mw is not None),
                key=_target_mw,
                default=None,
            ),
        )
        for feed, held in targets.by_feed.items()
    }


def load_mw(decision: Decision) -> MilliWatts:
    """Return what the rack draws; what it may draw, if that is not known."""
    return decision.rack_cap_mw if decision.draw.mw is None else decision.draw.mw


def feed_now(outlook: FeedOutlook, decision: Decision, names: frozenset[tuple[str, int, int]]) -> FeedNow:
    """Return what the events of a status are worked out from."""
    limit_mw = outlook.limit_mw
    is_known = decision.draw.mw is not None or decision.compliant
    return FeedNow(
        targets=names,
        limit_mw=limit_mw,
        is_within=limit_mw is None or (is_known and load_mw(decision) <= limit_mw),
        is_climbing=any(step.rule == "ramp" for step in decision.rack_steps),
    )


def feed_view(outlook: FeedOutlook, snapshot: Snapshot, config: Config, told: Told) -> FeedView:
    """Return what a status says of a feed; no target is in force where nothing is written."""
    rack = config.rack
    active = outlook.active if snapshot.mode == "enforce" else frozenset()
    limits = [
        each
        for each in outlook.targets
        if each.event.intervals[0].action.kind is ActionKind.LIMIT
        and not each.held.is_over(snapshot.now.wall_s)
    ]
    limit_mw, now_mw = outlook.limit_mw, load_mw(snapshot.decision)
    return FeedView(
        minimum_mw=rack.least_mw,
        maximum_mw=rack.hard_limit_mw,
        default_mw=rack.hard_limit_mw if config.standing_mw is None else config.standing_mw,
        targets=tuple(
            _feed_target(each, config.events, is_active=each.key in active) for each in limits[:MAX_TARGETS]
        ),
        load_mw=now_mw,
        is_compliant=limit_mw is None or now_mw <= limit_mw,
        told=told,
    )


def _feed_target(each: HeldTarget, rules: EventRules, *, is_active: bool) -> FeedTarget:
    event = each.event
    part = fraction(event, rules)
    limit_mw = event.intervals[0].action.mw
    return FeedTarget(
        is_active=is_active,
        limit_mw=limit_mw if part is None else int(limit_mw * part),
        start_s=event.start_s,
        end_s=each.held.end_s,
        is_best_effort=event.is_best_effort,
        correlation_id=event.correlation_id,
    )


def _issued(event: GridEvent) -> tuple[float, int]:
    return event.issued_at_s, event.seq


def _target_mw(status: EventStatus) -> MilliWatts:
    return status.target_mw or 0
