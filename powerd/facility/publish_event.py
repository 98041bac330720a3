"""What a grid bridge sends: events (docs/grid-events.md), once or again and again.

Unlike a budget an event needs no renewal: what it asks for holds to its end. It is said again so that a host
whose broker lost it hears it too.
"""

import math
from dataclasses import replace

from powerd.clock import Clock
from powerd.core.events.grid_event import GridEvent
from powerd.errors import SignalRejectedError
from powerd.facility.publish import Publisher
from powerd.signals.grid_event import encode_event, parse_event
from powerd.signals.outbox import Outgoing
from powerd.signals.topics import SiteTopics

# An MQTT 5 broker keeps an event for a day after it is over: hosts know a replay of it for as long.
KEPT_S = 86400
# The longest time that MQTT 5 can say; what ends later is kept for good.
_MAX_EXPIRY_S = 2**32 - 1


class EventPublisher(Publisher[GridEvent]):
    """One sender of events for one site.

    Args:
        topics: of the site.
        source, clock: as of every `Publisher`.

    Raises:
        ValueError: `source` is empty or too long.
    """

    def __init__(self, topics: SiteTopics, *, source: str, clock: Clock) -> None:
        super().__init__(source=source, clock=clock)
        self._topics = topics

    def message(self, said: GridEvent) -> Outgoing:
        """Return the next version of an event: retained, and forgotten by an MQTT 5 broker a day after it.

        Source, epoch, seq and stamp are this publisher's, whatever the event has.

        Raises:
            ValueError: no host would accept it as it stands.
        """
        topic = self._topics.grid_event(said.event_id)
        self._seq += 1
        now = self._clock.now()
        event = replace(
            said, source=self._source, epoch=self._epoch, seq=self._seq, issued_at_s=now.wall_s, received=now
        )
        check_event(event)
        return Outgoing(topic, encode_event(event), qos=1, retain=True, expiry_s=_expiry_s(event, now.wall_s))


def check_event(event: GridEvent) -> None:
    """Read an event the way hosts do, but for its unit, which they judge by the limits of their racks.

    Raises:
        ValueError: no host would accept it as it stands.
    """
    try:
        parse_event(
            encode_event(event),
            event_id=event.event_id,
            hard_limit_mw=0,
            retained=False,
            received=event.received,
            own=(),
        )
    except SignalRejectedError as error:
        raise ValueError(str(error)) from None


def _expiry_s(event: GridEvent, wall_s: float) -> int | None:
    """Return how long a broker keeps an event."""
    if event.is_cancelled:
        return KEPT_S
    if event.end_s is None:
        return None
    way_back_s = event.ramp.up_jitter_s + event.ramp.up_s
    expiry_s = math.ceil(max(0.0, event.end_s + way_back_s - wall_s)) + KEPT_S
    return expiry_s if expiry_s <= _MAX_EXPIRY_S else None
