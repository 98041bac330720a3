"""Load targets: from what an energy service signed to grid events, checked for form (docs/dsx-flex.md).

One message holds several targets, and a target is about several feeds. Each pair becomes an event of its own,
under the name of its feed: so the latest target that covers an instant wins, feed by feed.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from powerd.core.events.grid_event import Action, ActionKind, EventClass, GridEvent, Interval, Level
from powerd.core.model import Now
from powerd.core.units import MW_PER_W, MilliWatts
from powerd.dsx.cloud_event import CloudEvent
from powerd.signals.fields import MAX_SITE_WATTS, UNIT_ERROR_FACTOR, Fields
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject

KIND = "grid.loadtarget.set.v1"
SUBJECT = "loadtarget"
# In status, ledger and logs: what standard and message an event was made from.
ORIGIN = "dsx-flex loadtarget"
SOURCE_PREFIX = "dsx:"

MAX_TARGETS = 256
MAX_TAGS = 256
MAX_TAG_CHARACTERS = 64

_MOST_MW = MAX_SITE_WATTS * MW_PER_W


class Unit(StrEnum):
    """Of a load constraint."""

    WATT = "watt"
    KILOWATT = "kilowatt"
    MEGAWATT = "megawatt"


_MW_PER_UNIT = {Unit.WATT: MW_PER_W, Unit.KILOWATT: 10**3 * MW_PER_W, Unit.MEGAWATT: 10**6 * MW_PER_W}


@dataclass(frozen=True, slots=True)
class Feeds:
    """The feeds that targets may be about.

    Attributes:
        whole_mw: of each feed that supplies this rack, what all of it could carry, as far as that can be
            told from here: the rack's hard limit by the rack's part of the feed. To tell a wrong unit.
        others: of the site, and none of this rack's business.
    """

    whole_mw: Mapping[str, MilliWatts]
    others: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, hard_limit_mw: MilliWatts, fractions: Mapping[str, float], others: Iterable[str] = ()
    ) -> "Feeds":
        """Return the feeds of a rack.

        Args:
            hard_limit_mw: of the rack.
            fractions: the rack's part of each feed that supplies it.
        """
        whole_mw = {feed: round(hard_limit_mw / fraction) for feed, fraction in fractions.items()}
        return cls(whole_mw, frozenset(others))


@dataclass(frozen=True, slots=True)
class Targets:
    """What one message asks for.

    Attributes:
        unknown: feed tags that no configured feed has.
    """

    events: tuple[GridEvent, ...]
    unknown: tuple[str, ...] = ()


def load_targets(
    message: CloudEvent,
    data: JsonObject,
    *,
    sender: str,
    label: str,
    feeds: Feeds,
    received: Now,
    retained: bool,
    raw: bytes,
) -> Targets:
    """Read one message.

    Args:
        message: the envelope.
        data: what was in it, verified.
        sender: the identifier of the energy service.
        label: under which refusals are counted.
        received: when it arrived, which is when a target without a start begins.
        retained: delivered from the broker's store.
        raw: the payload. Signed data has the same digest in whatever envelope it comes again; data that
            nobody signed has nothing but its envelope to be known by.

    Raises:
        SignalRejectedError: the form of one target is wrong, so the message counts for nothing.
    """
    source = f"{SOURCE_PREFIX}{sender}"
    signed = message.data.encode() if isinstance(message.data, str) else raw
    digest = hashlib.blake2b(signed, digest_size=8).hexdigest()
    events: list[GridEvent] = []
    unknown: dict[str, None] = {}
    for index, target in enumerate(Fields(data, label).each("targets", MAX_TARGETS, least=1)):
        tags = _tags(target)
        unknown.update((tag, None) for tag in tags if tag not in feeds.whole_mw.keys() | feeds.others)
        concerned = [feed for feed in feeds.whole_mw if not tags or feed in tags]
        intervals = (_interval(target, [feeds.whole_mw[feed] for feed in concerned], received.wall_s),)
        is_best_effort = _is_best_effort(target)
        events += [
            GridEvent(
                source=source,
                event_id=f"{message.id}.{index}.{feed}",
                epoch=round(message.time_s * 1000),
                seq=index,
                issued_at_s=message.time_s,
                event_class=EventClass.MANDATORY,
                level=Level.FEED,
                targets=(feed,),
                intervals=intervals,
                received=received,
                program=feed,
                is_best_effort=is_best_effort,
                keeps_order=True,
                origin=ORIGIN,
                # In status it has to be a UUID, also of what came without one.
                correlation_id=message.correlation_id or message.id,
                retained=retained,
                digest=digest,
            )
            for feed in concerned
        ]
    return Targets(tuple(events), tuple(unknown))


def _tags(target: Fields) -> tuple[str, ...]:
    if not target.has("feed_tags"):
        return ()
    return target.texts("feed_tags", MAX_TAGS, MAX_TAG_CHARACTERS, least=0)


def _interval(target: Fields, whole_mw: list[MilliWatts], now_s: float) -> Interval:
    interval = target.inner("interval")
    start_s = interval.unix_s("start_time") if interval.has("start_time") else now_s
    end_s = interval.unix_s("end_time") if interval.has("end_time") else None
    if end_s is not None and end_s <= start_s:
        interval.refuse(Reason.ORDER, "end_time is not after start_time")
    return Interval(start_s, end_s, _action(target, whole_mw))


def _action(target: Fields, whole_mw: list[MilliWatts]) -> Action:
    if target.is_null("load_constraint"):
        return Action(ActionKind.RELEASE)
    constraint = target.inner("load_constraint")
    value = constraint.number("value", -math.inf, math.inf)
    unit = constraint.choice("unit", Unit, Reason.UNIT)
    if value < 0:
        constraint.refuse(Reason.NEGATIVE, f"value is {value:g}; power cannot be negative")
    most_mw = min(UNIT_ERROR_FACTOR * max(whole_mw, default=_MOST_MW), _MOST_MW)
    # Judged before it is an integer, which a double beyond all bounds cannot become.
    if value * _MW_PER_UNIT[unit] > most_mw:
        constraint.refuse(
            Reason.UNIT_ERROR,
            f"value is {value:g} {unit}, more than {UNIT_ERROR_FACTOR} times what the feed can carry: "
            "is the unit right?",
        )
    # To the nearest: a decimal number of megawatts can be a little less as a double.
    return Action(ActionKind.LIMIT, mw=round(value * _MW_PER_UNIT[unit]))


def _is_best_effort(target: Fields) -> bool:
    if not target.has("strategy"):
        return False
    strategy = target.inner("strategy")
    return strategy.boolean("best_effort") if strategy.has("best_effort") else False
