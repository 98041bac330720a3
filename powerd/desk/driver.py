"""Giving up the driver, so that GPUs can be reset or the driver replaced, and taking it back."""

from powerd.core.gpus.targets import may_draw_mw
from powerd.core.model import GpuState
from powerd.core.units import MilliWatts, watts
from powerd.desk.hands import Hands, most_text
from powerd.desk.order import Done, RefusedOrderError, Who
from powerd.snapshot import Detached, Snapshot

# How long an order waits for the driver to come or go before it says how far that is.
WITHIN_S = 10.0


async def detach(hands: Hands, reason: str, who: Who, *, force: bool) -> Done:
    """Have the guard let go of the driver, and stay away from it until `attach`."""
    if hands.orders.view.detached is not None:
        raise RefusedOrderError("the driver is given up already: powerctl attach ends it")
    detached = Detached(hands.clock.now().wall_s, who.name, reason)

    async def let_go() -> None:
        await hands.gpus.detach(detached.why)
        hands.orders.change(detached=detached)

    snapshot = await hands.changes.next_iteration()
    missing_mw = _missing_mw(snapshot) if hands.gate.may_write else 0
    if missing_mw > 0 and not force:
        raise RefusedOrderError(
            f"GPUs without a driver count at the most they may draw when it is back: this host lacks "
            f"{watts(missing_mw):g} W for that; wait for a larger budget, or force it"
        )
    async with hands.leases_given_back():
        await hands.changes.make(let_go)
    snapshot = await hands.wait_until(lambda: hands.gpus.attachment == "detached", WITHIN_S)
    if hands.gpus.attachment != "detached":
        hung = [f"GPU {r.index}" for r in snapshot.readings if r.state is GpuState.HUNG]
        why = f"{', '.join(hung)} hangs in a call" if hung else "a call has not returned"
        return Done(f"the driver is not let go yet: {why}; restarting powerd-guard.service lets go of it")
    return Done(f"the driver is given up until `powerctl attach`; the GPUs count {most_text(snapshot)}")


async def attach(hands: Hands) -> Done:
    """Have the guard attach the driver again."""
    if hands.orders.view.detached is None and not hands.gpus.is_given_up:
        raise RefusedOrderError("the driver is not given up")

    async def take_back() -> None:
        await hands.gpus.attach()
        hands.orders.change(detached=None)

    await hands.changes.make(take_back)
    await hands.wait_until(lambda: hands.gpus.attachment == "attached", WITHIN_S)
    if hands.gpus.attachment != "attached":
        return Done(f"the driver is not back yet: {hands.gpus.guard_status.error}; it is tried again")
    return Done("the driver is attached; limits are put back before anything else")


def _missing_mw(snapshot: Snapshot) -> MilliWatts:
    """Return what a host lacks for its GPUs at the most they may draw once a driver was loaded again."""
    decision = snapshot.decision
    counted_mw = {target.uuid: target.counted_mw for target in decision.targets}
    most_mw = 0
    for reading in snapshot.readings:
        known = reading.constraints
        default_mw = known.default_mw if known is not None else counted_mw.get(reading.uuid, 0)
        most_mw += max(default_mw, may_draw_mw(reading) or 0)
    own_mw = max(decision.place.floor_mw, decision.standing.entitlement_mw - decision.standing.part_mw)
    return decision.overhead_mw + most_mw - own_mw
