"""What the grid asks for and what the rack's meters say, as shown in status."""

from powerd.core.events.caps import EventStatus
from powerd.core.metering.meter import stale
from powerd.core.metering.shed import Shed
from powerd.core.model import Now
from powerd.core.units import watts
from powerd.signals.rfc3339 import utc
from powerd.snapshot import Snapshot
from powerd.web.models import EventView, MeterPart, MeterView, ShedView, ShedViews, SignalView
from powerd.web.optional import utc_or_none, watts_or_none


def events(snapshot: Snapshot) -> list[EventView]:
    """Return the events that have a say in the rack cap now, the strictest first."""
    ordered = sorted(snapshot.decision.events, key=lambda status: (status.cap_mw, status.key))
    return [_event(status) for status in ordered]


def signals(snapshot: Snapshot, now: Now) -> list[SignalView]:
    """Return prices and emissions, by kind and zone."""
    return [
        SignalView(
            kind=name.kind.value,
            zone=name.zone,
            value=signal.value,
            currency=signal.currency,
            source=signal.source,
            valid_until=utc(signal.valid_until_s),
            valid=signal.valid_from_s <= now.wall_s < signal.valid_until_s,
        )
        for name, signal in sorted(snapshot.decision.signals.items())
    ]


def meter(snapshot: Snapshot, now: Now) -> MeterView | None:
    """Return what the rack draws; None where it has no meter and the hosts do not tell either."""
    rules, known, draw = snapshot.meter_rules, snapshot.decision.meter, snapshot.decision.draw
    if not rules.parts and draw.mw is None:
        return None
    missing = stale(known, rules, now.boot_s)
    return MeterView(
        watts=watts_or_none(draw.mw),
        source=draw.source,
        accounted_watts=watts_or_none(draw.accounted_mw),
        trim_watts=watts(known.trim_mw),
        parts=[
            MeterPart(
                name=part,
                usable=part not in missing,
                watts=watts_or_none(reading.mw) if (reading := known.readings.get(part)) else None,
                quality=str(reading.quality) if reading else "",
                age_s=max(0.0, now.boot_s - reading.taken_boot_s) if reading else None,
            )
            for part in rules.parts
        ],
    )


def shed(snapshot: Snapshot) -> ShedViews:
    """Return how much less this host and its rack could draw."""
    host, rack = (_shed(snapshot.shed[scope]) for scope in ("host", "rack"))
    return ShedViews(host=host, rack=rack)


def _shed(found: Shed) -> ShedView:
    return ShedView(
        watts=watts_or_none(found.now_mw),
        limit_watts=watts_or_none(found.limit_mw),
        within_s=found.within_s,
        for_s=found.for_s,
    )


def _event(status: EventStatus) -> EventView:
    event = status.event
    return EventView(
        id=event.event_id,
        source=event.source,
        event_class=event.event_class.value,
        phase=status.phase.value,
        scope=event.level.value,
        targets=list(event.targets),
        cap_watts=watts(status.cap_mw),
        target_watts=watts_or_none(status.target_mw),
        baseline_watts=watts_or_none(status.baseline_mw),
        before_watts=watts(status.before_mw),
        starts=utc(event.start_s),
        ends=utc_or_none(event.end_s),
        changes=utc_or_none(status.until_s),
        origin=event.origin,
    )
