"""When the state of a feed is worth telling: the events of a DSX Flex status, from what holds now.

    limit tightened   start_ramp_down ... end_ramp_down when the load is within it
    limit relaxed     start_ramp_up ... end_ramp_up when the cap has stopped climbing

Pure, and the same on every host of the rack: whichever of them speaks, it goes on where the last one stopped.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from powerd.core.model import Now
from powerd.core.units import MilliWatts


class FlexEvent(StrEnum):
    """Why a status is published."""

    TARGET_SET = "target_set"
    START_RAMP_DOWN = "start_ramp_down"
    END_RAMP_DOWN = "end_ramp_down"
    START_RAMP_UP = "start_ramp_up"
    END_RAMP_UP = "end_ramp_up"
    PERIODIC = "periodic"


class Ramp(StrEnum):
    """Where a feed is on its way to."""

    NONE = "none"
    DOWN = "down"
    UP = "up"


class FeedNow(NamedTuple):
    """A feed as it is found.

    Attributes:
        targets: names of all versions of all targets that are held; one more was set by somebody.
        limit_mw: of the target in force; None = there is none.
        is_within: the load is known to be within the limit.
        is_climbing: the cap is on its way up to what is allowed.
    """

    targets: frozenset[Hashable]
    limit_mw: MilliWatts | None
    is_within: bool
    is_climbing: bool


class Told(NamedTuple):
    """What a status says of one feed.

    Attributes:
        is_in_flight: between the start of a ramp and its end.
        since_s: when the power event began, on the wall clock; None while there is none.
    """

    event: FlexEvent
    is_in_flight: bool
    since_s: float | None


@dataclass(frozen=True, slots=True)
class FeedFlex:
    """What is remembered of a feed.

    Attributes:
        since_s: when the first limit came that has not been left behind since; None = there is none.
    """

    targets: frozenset[Hashable]
    limit_mw: MilliWatts | None
    ramp: Ramp = Ramp.NONE
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Flex:
    """What is remembered of all feeds.

    Attributes:
        told_boot_s: when the last status was due; None = none was yet.
    """

    feeds: dict[str, FeedFlex] = field(default_factory=dict)
    told_boot_s: float | None = None


def step(
    flex: Flex, seen: Mapping[str, FeedNow], now: Now, every_s: float
) -> tuple[Flex, tuple[dict[str, Told], ...]]:
    """Return the statuses that are due, in order; each speaks of every feed.

    Args:
        every_s: one is due at least this often.
    """
    feeds: dict[str, FeedFlex] = {}
    told: dict[str, list[Told]] = {}
    for name, feed in seen.items():
        feeds[name], told[name] = _step(flex.feeds.get(name), feed, now.wall_s)
    count = max(map(len, told.values()), default=0)
    is_due = flex.told_boot_s is None or now.boot_s >= flex.told_boot_s + every_s
    if count == 0 and not is_due:
        return replace(flex, feeds=feeds), ()
    # Where one feed has nothing new to say, the status repeats how it stands.
    statuses = tuple(
        {
            name: each[index] if index < len(each) else _told(FlexEvent.PERIODIC, feeds[name])
            for name, each in told.items()
        }
        for index in range(max(1, count))
    )
    return Flex(feeds, now.boot_s), statuses


def _told(event: FlexEvent, feed: FeedFlex) -> Told:
    return Told(event, feed.ramp is not Ramp.NONE, feed.since_s)


def _step(before: FeedFlex | None, seen: FeedNow, wall_s: float) -> tuple[FeedFlex, list[Told]]:
    if before is None:
        return _found(seen, wall_s), []
    told: list[Told] = []
    feed = replace(before, targets=seen.targets)
    if seen.targets - before.targets:
        told.append(_told(FlexEvent.TARGET_SET, feed))
    if seen.limit_mw != before.limit_mw:
        feed = _started(feed, seen.limit_mw, wall_s)
        event = FlexEvent.START_RAMP_DOWN if feed.ramp is Ramp.DOWN else FlexEvent.START_RAMP_UP
        told.append(_told(event, feed))
    if feed.ramp is Ramp.DOWN and seen.is_within:
        feed = replace(feed, ramp=Ramp.NONE)
        told.append(_told(FlexEvent.END_RAMP_DOWN, feed))
    elif feed.ramp is Ramp.UP and not seen.is_climbing:
        feed = replace(feed, ramp=Ramp.NONE)
        told.append(_told(FlexEvent.END_RAMP_UP, feed))
    if feed.limit_mw is None and feed.ramp is Ramp.NONE:
        feed = replace(feed, since_s=None)
    return feed, told


def _found(seen: FeedNow, wall_s: float) -> FeedFlex:
    """Take a feed as it is at the start, without making up how it came to be so."""
    if seen.limit_mw is None:
        return FeedFlex(seen.targets, None)
    return FeedFlex(seen.targets, seen.limit_mw, Ramp.NONE if seen.is_within else Ramp.DOWN, wall_s)


def _started(feed: FeedFlex, limit_mw: MilliWatts | None, wall_s: float) -> FeedFlex:
    is_tighter = limit_mw is not None and (feed.limit_mw is None or limit_mw < feed.limit_mw)
    since_s = wall_s if feed.since_s is None else feed.since_s
    return replace(feed, limit_mw=limit_mw, ramp=Ramp.DOWN if is_tighter else Ramp.UP, since_s=since_s)
