"""What the VTN says besides events: prices, emissions, and the capacity that the site has subscribed to.

Prices and emissions are signals that are shown. The capacity becomes budgets of the racks that are named for
it: what holds when no event does. If the bridge stops, those leases run out, and the racks are in failsafe.
"""

from collections.abc import Collection, Iterable, Sequence

from powerd.core.model import Now
from powerd.core.rack.advisory import AdvisorySignal
from powerd.core.units import MilliWatts
from powerd.openadr.announcer import Announcer
from powerd.openadr.mapping import Mapped, Quote
from powerd.openadr.options import BridgeOptions
from powerd.openadr.timing import Span, end_of
from powerd.signals import rfc3339
from powerd.signals.advisory import encode_signal, signal_of
from powerd.signals.native import VERSION
from powerd.signals.topics import RackTopics, SiteTopics
from powerd.signals.wire import encode, watts_or_null

SIGNAL_EVERY_S = 300.0
# How long a signal without an end is said to hold.
SIGNAL_HOLDS_S = 3600.0
# Of a lease, two messages may get lost.
BUDGETS_A_LEASE = 3


class Advice:
    """Decides what of it to publish.

    Args:
        stamps: numbers what is published.
    """

    def __init__(self, options: BridgeOptions, topics: SiteTopics, stamps: Announcer) -> None:
        self._options = options
        self._topics = topics
        self._stamps = stamps
        self._signals: dict[str, tuple[Span[Quote], float]] = {}
        self._budgets_boot_s = float("-inf")

    def due(self, events: Collection[Mapped], now: Now) -> dict[str, bytes]:
        """Return what to publish now: payloads by topic."""
        return {**self._due_signals(events, now), **self._due_budgets(events, now)}

    def _due_signals(self, events: Iterable[Mapped], now: Now) -> dict[str, bytes]:
        due = {}
        for topic, span in self._quotes(events, now.wall_s).items():
            before, said_s = self._signals.get(topic, (None, 0.0))
            if before != span or not said_s <= now.wall_s < said_s + SIGNAL_EVERY_S:
                self._signals[topic] = (span, now.wall_s)
                due[topic] = self._signal(span, now)
        return due

    def _quotes(self, events: Iterable[Mapped], wall_s: float) -> dict[str, Span[Quote]]:
        """Return what holds now, by topic; of several events the one that was changed last counts."""
        return {
            self._topics.signal(signal_of(span.item.kind), span.item.zone): span
            for mapped in events
            for span in mapped.quotes
            if span.item.zone and span.start_s <= wall_s < end_of(span)
        }

    def _signal(self, span: Span[Quote], now: Now) -> bytes:
        seq, issued_s = self._stamps.next_stamp(now.wall_s)
        return encode_signal(
            AdvisorySignal(
                kind=span.item.kind,
                zone=span.item.zone,
                value=span.item.value,
                currency=span.item.currency,
                valid_from_s=span.start_s,
                valid_until_s=now.wall_s + SIGNAL_HOLDS_S if span.end_s is None else span.end_s,
                source=self._options.source,
                epoch=self._stamps.epoch,
                seq=seq,
                issued_at_s=issued_s,
            )
        )

    def _due_budgets(self, events: Collection[Mapped], now: Now) -> dict[str, bytes]:
        options = self._options.budget
        site_mw = capacity_mw(events, now.wall_s) if options.racks else None
        if site_mw is None or now.boot_s < self._budgets_boot_s + options.lease_s / BUDGETS_A_LEASE:
            return {}
        self._budgets_boot_s = now.boot_s
        prefix, site = self._topics.prefix, self._topics.site
        return {
            RackTopics(prefix, site, rack).budget: self._budget(rack, int(site_mw * part), now)
            for rack, part in options.racks.items()
        }

    def _budget(self, rack: str, mw: MilliWatts, now: Now) -> bytes:
        seq, issued_s = self._stamps.next_stamp(now.wall_s)
        return encode(
            {
                "v": VERSION,
                "source": self._options.source,
                "epoch": self._stamps.epoch,
                "seq": seq,
                "issued_at": rfc3339.utc(issued_s),
                "valid_until": rfc3339.utc(issued_s + self._options.budget.lease_s),
                "rack": rack,
                "watts": watts_or_null(mw),
                "default_watts": watts_or_null(mw),
                "priority": self._options.budget.priority,
                "reason": "IMPORT_CAPACITY_SUBSCRIPTION",
            }
        )


def capacity_mw(events: Iterable[Mapped], wall_s: float) -> MilliWatts | None:
    """Return what the site may draw by contract; None if no subscription is known.

    Of several subscriptions the least counts; reservations come on top.
    """
    events = tuple(events)
    subscribed_mw = [mw for each in events for mw in _present(each.subscribed, wall_s)]
    if not subscribed_mw:
        return None
    return min(subscribed_mw) + sum(mw for each in events for mw in _present(each.reserved, wall_s))


def _present(spans: Sequence[Span[MilliWatts]], wall_s: float) -> list[MilliWatts]:
    return [span.item for span in spans if span.start_s <= wall_s < end_of(span)]
