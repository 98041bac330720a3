"""What operators have ordered, as shown in status."""

from powerd.core.model import Now
from powerd.core.orders.override import Override
from powerd.core.units import watts
from powerd.signals.rfc3339 import utc
from powerd.snapshot import Detached, Drill, Snapshot
from powerd.web.models import DetachedView, DrillView, OrdersDocument, OverrideView


def orders(snapshot: Snapshot, now: Now) -> OrdersDocument:
    """Return which orders hold."""
    view = snapshot.orders
    indices = {reading.uuid: reading.index for reading in snapshot.readings}
    overrides = [_override(each, indices.get(each.uuid), now) for each in view.overrides]
    return OrdersDocument(
        configured_mode=view.configured_mode,
        released=view.released,
        detached=_detached(view.detached) if view.detached else None,
        drill=_drill(view.drill, now) if view.drill else None,
        overrides=overrides,
    )


def _detached(detached: Detached) -> DetachedView:
    return DetachedView(since=utc(detached.since_wall_s), by=detached.by, reason=detached.reason)


def _drill(drill: Drill, now: Now) -> DrillView:
    left_s = drill.end_boot_s - now.boot_s
    return DrillView(
        until=utc(now.wall_s + left_s),
        remaining_s=max(0.0, left_s),
        by=drill.by,
        reason=drill.reason,
        dropped=drill.dropped,
    )


def _override(override: Override, index: int | None, now: Now) -> OverrideView:
    left_s = override.end_boot_s - now.boot_s
    return OverrideView(
        uuid=override.uuid,
        index=index,
        watts=watts(override.mw),
        until=utc(now.wall_s + left_s),
        remaining_s=max(0.0, left_s),
        by=override.by,
        reason=override.reason,
    )
