"""The native topic tree: the one place where topics are built.

Invariant: every topic that comes out is made of segments that each broker family accepts literally. NATS
maps `/` to `.` and refuses spaces, so segments are lower case letters, digits, `_` and `-` only.
"""

import re
from dataclasses import dataclass

DEFAULT_PREFIX = "powerd/v1"

_SEGMENT = re.compile(r"[a-z0-9_-]{1,64}")


def checked_segment(name: str, value: str) -> str:
    """Return `value` if it can be one level of a topic.

    Args:
        name: what the value is, for the error text.
        value: the level.

    Raises:
        ValueError: it cannot; the text names it and what is allowed.
    """
    if not _SEGMENT.fullmatch(value):
        raise ValueError(f'{name} "{value}" cannot be part of a topic: use 1 to 64 of a-z, 0-9, "_" and "-"')
    return value


def host_of(topic: str) -> str:
    """Return the host that a topic below `host/` belongs to."""
    return topic.rsplit("/", 2)[-2]


def event_id_of(topic: str) -> str:
    """Return the event that a topic below `grid/event/` belongs to."""
    return topic.rpartition("/")[2]


def signal_and_zone_of(topic: str) -> tuple[str, str]:
    """Return what a topic below `signal/` is about, and of which zone."""
    _, signal, zone = topic.rsplit("/", 2)
    return signal, zone


def has_wildcard(topic_filter: str) -> bool:
    """Say whether a filter takes in more than one topic."""
    return "+" in topic_filter or "#" in topic_filter


@dataclass(frozen=True, slots=True)
class SiteTopics:
    """Topics of a site, as a grid bridge uses them.

    Attributes:
        prefix: one or more levels above the site, without a slash at either end.

    Raises:
        ValueError: a part cannot be in a topic.
    """

    prefix: str
    site: str

    def __post_init__(self) -> None:
        for level in self.prefix.split("/"):
            checked_segment("prefix", level)
        checked_segment("site", self.site)

    @property
    def base(self) -> str:
        """Return what all topics of the site start with."""
        return f"{self.prefix}/{self.site}"

    @property
    def grid_events(self) -> str:
        """Return the filter for all grid events of the site."""
        return f"{self.base}/grid/event/+"

    def grid_event(self, event_id: str) -> str:
        """Return where a grid bridge publishes one event (retained)."""
        return f"{self.base}/grid/event/{checked_segment('event id', event_id)}"

    def bridge_online(self, name: str) -> str:
        """Return where a bridge says that it is alive (retained, last will)."""
        return f"{self.base}/bridge/{checked_segment('bridge', name)}/online"

    @property
    def summaries(self) -> str:
        """Return the filter for what all racks of the site say of themselves."""
        return f"{self.base}/rack/+/summary"

    @property
    def signals(self) -> str:
        """Return the filter for the advisory signals of all zones."""
        return f"{self.base}/signal/+/+"

    def signal(self, kind: str, zone: str) -> str:
        """Return where advisory signals of a zone are published; `kind` is `ghg` or `price`."""
        return f"{self.base}/signal/{checked_segment('signal', kind)}/{checked_segment('zone', zone)}"


@dataclass(frozen=True, slots=True)
class RackTopics(SiteTopics):
    """Topics of one rack, as a facility, a bridge or a host of it uses them.

    Raises:
        ValueError: a part cannot be in a topic.
    """

    rack: str

    def __post_init__(self) -> None:
        SiteTopics.__post_init__(self)
        checked_segment("rack", self.rack)

    @property
    def budget(self) -> str:
        """Return where the facility publishes the rack's budget (retained)."""
        return f"{self.base}/rack/{self.rack}/budget"

    @property
    def states(self) -> str:
        """Return the filter for the states of all hosts of the rack."""
        return f"{self.base}/rack/{self.rack}/host/+/state"

    def state_of(self, host: str) -> str:
        """Return where one host says what it has and does (retained; outlives its will)."""
        return f"{self.base}/rack/{self.rack}/host/{checked_segment('host', host)}/state"

    @property
    def summary(self) -> str:
        """Return where one host tells people how the whole rack stands (retained)."""
        return f"{self.base}/rack/{self.rack}/summary"

    @property
    def meters(self) -> str:
        """Return the filter for the meters of all feeds of the rack."""
        return f"{self.base}/rack/{self.rack}/meter/+"

    def meter(self, feed: str) -> str:
        """Return where a meter bridge publishes the readings of one feed; `total` for the whole rack."""
        return f"{self.base}/rack/{self.rack}/meter/{checked_segment('feed', feed)}"


@dataclass(frozen=True, slots=True)
class Topics(RackTopics):
    """Topics of one host, and of the rack it stands in.

    Raises:
        ValueError: a part cannot be in a topic.
    """

    host: str

    def __post_init__(self) -> None:
        RackTopics.__post_init__(self)
        checked_segment("host", self.host)

    @property
    def online(self) -> str:
        """Return where the host says that it is there (retained, last will)."""
        return self._of_host("online")

    @property
    def state(self) -> str:
        """Return where the host says what it has and does (retained; outlives the will)."""
        return self.state_of(self.host)

    @property
    def telemetry(self) -> str:
        """Return where the host publishes numbers once a second (not retained)."""
        return self._of_host("telemetry")

    @property
    def notice(self) -> str:
        """Return where the host reports what a person should hear about (not retained)."""
        return self._of_host("notice")

    @property
    def doctor(self) -> str:
        """Return where `powerctl doctor` sends itself a message; nobody else listens (not retained)."""
        return self._of_host("doctor")

    def _of_host(self, leaf: str) -> str:
        return f"{self.base}/rack/{self.rack}/host/{self.host}/{leaf}"
