"""Overrides: one GPU has exactly these watts for a while, as far as the budget reaches."""

from powerd.core.gpus.gpu_range import gpu_range
from powerd.core.gpus.observed import Observed
from powerd.core.gpus.plan import LIMIT_STEP_MW
from powerd.core.model import Capability, GpuReading, GpuState
from powerd.core.orders.override import Override
from powerd.core.units import MilliWatts, watts
from powerd.desk.hands import Hands, at_once
from powerd.desk.order import MAX_TTL_S, MIN_TTL_S, Done, RefusedOrderError, Who
from powerd.signals.rfc3339 import utc
from powerd.snapshot import Snapshot


async def override(
    hands: Hands, reading: GpuReading, mw: MilliWatts, ttl_s: float, reason: str, who: Who
) -> Done:
    """Let a GPU have exactly these watts for a while."""
    _check(hands, reading, mw, ttl_s)
    now = hands.clock.now()
    whole_mw = mw - mw % LIMIT_STEP_MW
    ordered = Override(reading.uuid, whole_mw, now.boot_s + ttl_s, reason, who.name)
    snapshot = await hands.changes.make(at_once(lambda: hands.orders.override(ordered)))
    until_wall_s = now.wall_s + ttl_s
    text = (
        f"GPU {reading.index} wants {watts(whole_mw):g} W until {utc(until_wall_s)}: "
        f"{_what_follows(hands, snapshot, reading)}"
    )
    return Done(text, until_wall_s)


async def end_override(hands: Hands, reading: GpuReading) -> Done:
    """End the override of a GPU."""
    if not hands.orders.has_override(reading.uuid):
        raise RefusedOrderError(f"GPU {reading.index} has no override")
    snapshot = await hands.changes.make(at_once(lambda: hands.orders.end_override(reading.uuid)))
    return Done(f"GPU {reading.index} has no override: {_what_follows(hands, snapshot, reading)}")


def _check(hands: Hands, reading: GpuReading, mw: MilliWatts, ttl_s: float) -> None:
    name = f"GPU {reading.index}"
    if not MIN_TTL_S <= ttl_s <= MAX_TTL_S:
        raise RefusedOrderError(f"an override lasts {MIN_TTL_S:g} to {MAX_TTL_S:g} s, not {ttl_s:g} s")
    span = gpu_range(reading, hands.config().policies.of(reading.uuid), Observed())
    if span is None:
        raise RefusedOrderError(f"{name} tells no range of limits")
    if reading.state is GpuState.OK and reading.capability is not Capability.SETTABLE:
        raise RefusedOrderError(f"the limit of {name} is {reading.capability} only")
    if not span.floor_mw <= mw <= span.ceiling_mw:
        raise RefusedOrderError(
            f"{watts(mw):g} W is out of the range of {name}: "
            f"{watts(span.floor_mw):g} to {watts(span.ceiling_mw):g} W"
        )


def _what_follows(hands: Hands, snapshot: Snapshot, reading: GpuReading) -> str:
    target = next((each for each in snapshot.decision.targets if each.uuid == reading.uuid), None)
    if target is None or target.limit_mw is None:
        return "it cannot be limited now"
    if not hands.gate.may_write:
        return f"it would have {watts(target.limit_mw):g} W, but the mode is {hands.gate.mode}"
    rule = target.steps[-1].rule
    why = "" if rule == "override" else f" ({rule.replace('_', ' ')})"
    return f"its limit is {watts(target.limit_mw):g} W{why}"
