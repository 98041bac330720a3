"""What a rack's meters are and where they speak: plain data, checked.

Each part is one feed or tap; their sum is the rack's power (docs/meters.md).
"""

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from powerd.core.units import MilliWatts
from powerd.meters.pointer import checked_pointer
from powerd.meters.topic_filter import checked_filter
from powerd.signals.topics import checked_segment, has_wildcard

# Milliwatts that one of a unit is. "mW" is left out: whoever writes it means megawatts.
UNITS_MW = {"W": 1e3, "kW": 1e6, "KW": 1e6, "MW": 1e9}
TIME_FORMATS = ("none", "s", "ms", "rfc3339")

# What a field of a payload can be compared with.
Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class NativePart:
    """A part of which a bridge tells in powerd's own format.

    Attributes:
        part: its name.
        feed: last level of its topic; empty = the part's name.
    """

    part: str
    feed: str = ""

    def __post_init__(self) -> None:
        checked_segment("feed", self.feed_or_part)

    @property
    def feed_or_part(self) -> str:
        """Return the last level of the topic."""
        return self.feed or self.part


@dataclass(frozen=True, slots=True)
class DsxPart:
    """A part that is a point of a DSX BMS bus.

    Attributes:
        object_id: of the power meter whose ActivePower it is, as in the metadata's objectId.
        rack_location: of the rack whose RackPower it is, as in rackLocationId or rackLocationName.
        point: what follows `Value/` in the topic. Alone it names the point; together with one of the above it
            may hold wildcards, and limits what is listened to.

    Raises:
        ValueError: it names no point, or two.
    """

    part: str
    object_id: str = ""
    rack_location: str = ""
    point: str = ""

    def __post_init__(self) -> None:
        if self.object_id and self.rack_location:
            raise ValueError("object_id and rack_location exclude each other: a part is one point")
        if not (self.object_id or self.rack_location or self.point):
            raise ValueError("one of object_id, rack_location and point is needed")
        checked_filter("point", self.point_filter)
        if not (self.object_id or self.rack_location) and has_wildcard(self.point):
            raise ValueError(
                f'point "{self.point}" has a wildcard: say which, with object_id or rack_location'
            )

    @property
    def point_filter(self) -> str:
        """Return which points may be the one."""
        return self.point or ("PowerMeter/ActivePower/#" if self.object_id else "Rack/RackPower/#")


@dataclass(frozen=True, slots=True)
class GenericPart:
    """A part of which something tells in a format of its own.

    Attributes:
        topic: filter of its topic; of several that match only one may speak at a time.
        value: JSON pointer (RFC 6901) to the power; empty = the payload is the number itself.
        unit: "W", "kW" or "MW".
        scale: what a number of the payload has to be multiplied with to be in that unit.
        time: JSON pointer to the time stamp.
        time_format: "s" or "ms" since 1970, "rfc3339", or "none".
        quality: JSON pointer to what says whether the reading is good; empty = all are.
        good: values of it that do.
        liveness_topic: filter of topics on which each message is a sign of life of the publisher, which then
            needs to speak of its power on change only; empty = each reading counts for itself.
        dead: payloads on it that say the opposite.

    Raises:
        ValueError: something does not fit; the text names the key.
    """

    part: str
    topic: str
    value: str = ""
    unit: str = "W"
    scale: float = 1.0
    time: str = ""
    time_format: str = "none"
    quality: str = ""
    good: tuple[Scalar, ...] = ()
    liveness_topic: str = ""
    dead: tuple[str, ...] = ("offline", "false")

    def __post_init__(self) -> None:
        checked_filter("topic", self.topic)
        if self.liveness_topic:
            checked_filter("liveness_topic", self.liveness_topic)
        for name, pointer in (("value", self.value), ("time", self.time), ("quality", self.quality)):
            checked_pointer(name, pointer)
        if self.unit not in UNITS_MW:
            raise ValueError(f'unit "{self.unit}" is not one of W, kW, MW')
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale {self.scale} is not a positive number")
        if self.time_format not in TIME_FORMATS:
            raise ValueError(f'time_format "{self.time_format}" is not one of {", ".join(TIME_FORMATS)}')
        if bool(self.time) != (self.time_format != "none"):
            raise ValueError("time and time_format belong together: set both or none")
        if bool(self.quality) != bool(self.good):
            raise ValueError("quality and good belong together: set both or none")
        if not self.value and (self.time or self.quality):
            raise ValueError("time and quality need value: a payload that is a number holds nothing else")


Part: TypeAlias = NativePart | DsxPart | GenericPart


@dataclass(frozen=True, slots=True)
class DsxOptions:
    """How a DSX BMS bus is laid out.

    Attributes:
        prefix: what all topics of the BMS start with.
        heartbeat: what follows `HeartbeatTimestampBms/` in the topic of the heartbeat that covers the meters;
            "#" = any.
        use_timestamps: whether readings are as old as they say. Where a BMS keeps the time of the last change
            when it repeats a value, they are not.
    """

    prefix: str = "BMS/v1/PUB"
    heartbeat: str = "#"
    use_timestamps: bool = True

    def __post_init__(self) -> None:
        checked_filter("prefix", self.prefix)
        checked_filter("heartbeat", self.heartbeat)
        if has_wildcard(self.prefix):
            raise ValueError(f'prefix "{self.prefix}" has a wildcard')


@dataclass(frozen=True, slots=True)
class MeterOptions:
    """All meters of the rack.

    Attributes:
        parts: their sum is the rack's power; empty = the rack has no meter.
        least_mw: a smaller reading of a part, other than 0, has the wrong unit; None = a thousandth of the
            hard limit.

    Raises:
        ValueError: two parts have one name.
    """

    parts: tuple[Part, ...] = ()
    dsx: DsxOptions = field(default_factory=DsxOptions)
    least_mw: MilliWatts | None = None

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError("two parts of the rack have one name")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the parts, as for `powerd.core.metering.meter.MeterRules`."""
        return tuple(part.part for part in self.parts)
