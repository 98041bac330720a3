"""Whether this host writes limits, and whether it hears budgets."""

from powerd.core.model import Now, Outcome, Result
from powerd.desk.hands import Hands, at_once, most_text
from powerd.desk.order import MAX_DRILL_S, MIN_DRILL_S, Done, RefusedOrderError, Who
from powerd.mode import MODES
from powerd.signals.rfc3339 import utc
from powerd.snapshot import Drill, Snapshot

_NOT_PUT_BACK = (Result.FAILED, Result.SKIPPED)


async def release(hands: Hands) -> Done:
    """Put back the limits that were found, and write nothing any more."""
    if hands.orders.view.detached is not None:
        raise RefusedOrderError("the driver is given up: powerctl attach, then release")
    failed: list[str] = []

    async def put_back() -> None:
        outcomes = await hands.gpus.release()
        failed.extend(_failure(outcome) for outcome in outcomes if outcome.result in _NOT_PUT_BACK)
        hands.gate.close("monitor" if hands.gate.mode == "monitor" else "dry-run")
        hands.orders.change(released=True)

    async with hands.leases_given_back():
        snapshot = await hands.changes.make(put_back)
    lost = f"; not put back: {', '.join(failed)}" if failed else ""
    return Done(
        f"limits are as they were found, {most_text(snapshot)} for all GPUs, and nothing is written until "
        f"`powerctl mode enforce` or the next start{lost}"
    )


def _failure(outcome: Outcome) -> str:
    return f"{outcome.uuid}: {outcome.detail or 'read back otherwise'}"


async def change_mode(hands: Hands, mode: str) -> Done:
    """Write limits from now on, or do not, until the next start."""
    if mode not in MODES:
        raise RefusedOrderError("the mode is monitor, dry-run or enforce")
    configured = hands.orders.view.configured_mode
    keep = "" if mode == configured else f"; host.mode is {configured}: change it to keep {mode}"
    if mode == hands.gate.mode and not hands.orders.view.released:
        return Done(f"the mode is {mode} already{keep}")
    if mode == "enforce":
        await _enforce(hands)
        return Done(f"limits are written until the next start{keep}")
    was_writing = hands.gate.may_write
    await hands.changes.make(at_once(lambda: hands.gate.close(mode)))
    hold_s = hands.config().hold_s
    follows = f", and the guard lowers limits to its fallback within {hold_s:g} s" if was_writing else ""
    return Done(f"nothing is written until the next start{follows}{keep}")


async def _enforce(hands: Hands) -> None:
    found: list[str] = []

    async def enforce() -> None:
        found.extend(hands.gate.enforce(hands.config()))
        if not found:
            hands.orders.change(released=False)

    await hands.changes.make(enforce)
    if found:
        raise RefusedOrderError("; ".join(found))


async def drill(hands: Hands, duration_s: float, reason: str, who: Who) -> Done:
    """Hear no budgets for a while; 0 s ends that."""
    if duration_s == 0:
        return await _end_drill(hands)
    if not MIN_DRILL_S <= duration_s <= MAX_DRILL_S:
        raise RefusedOrderError(f"a drill lasts {MIN_DRILL_S:g} to {MAX_DRILL_S:g} s, or 0 to end one")
    if hands.config().standing_mw is not None:
        raise RefusedOrderError("this rack goes by a standing budget: there is no controller to lose")
    now = hands.clock.now()
    begun = Drill(now.boot_s + duration_s, who.name, reason)
    snapshot = await hands.changes.make(at_once(lambda: hands.orders.change(drill=begun)))
    until_wall_s = now.wall_s + duration_s
    follows = _what_a_drill_shows(snapshot, begun, now)
    return Done(f"budgets are not heard until {utc(until_wall_s)}: {follows}", until_wall_s)


async def _end_drill(hands: Hands) -> Done:
    if hands.orders.view.drill is None:
        raise RefusedOrderError("no drill is under way")
    await hands.changes.make(at_once(lambda: hands.orders.change(drill=None)))
    return Done("the drill has ended: the next budget is heard")


def _what_a_drill_shows(snapshot: Snapshot, drill: Drill, now: Now) -> str:
    statement = snapshot.decision.statement
    if statement is None:
        return "no budget is in force, so nothing will change"
    end_wall_s = now.wall_s + statement.end_boot_s - now.boot_s
    if statement.end_boot_s >= drill.end_boot_s:
        return f"the budget in force lasts until {utc(end_wall_s)}, longer than that: nothing will change"
    return f"the budget in force ends at {utc(end_wall_s)}, then the failsafe budget holds"
