"""The failsafe state machine: what holds when no controller is heard (EEBUS LPC; docs/signals.md, States).

    init ----------> limited / unlimited <---------> failsafe
         a budget                          lease over / a budget issued after that

Invariant: the absence of news never raises the cap. Connections and wills are hints; only leases decide.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from powerd.core.model import Now
from powerd.core.rack.timeline import Statement
from powerd.core.units import MilliWatts


class Phase(StrEnum):
    """Where the host stands with its controller."""

    INIT = "init"  # no controller heard since the start: failsafe limits
    LIMITED = "limited"  # a fresh lease with a limit
    UNLIMITED = "unlimited"  # a fresh lease without one: the hard limit holds
    FAILSAFE = "failsafe"  # the lease is over


CONTROLLED = (Phase.LIMITED, Phase.UNLIMITED)


@dataclass(frozen=True, slots=True)
class FailsafeRules:
    """How long failsafe holds what it found, and how slowly it is left.

    Attributes:
        hold_s: how long failsafe stays at the last cap where that is below the failsafe budget; LPC's
            failsafe duration minimum is two hours.
        dwell_s: after failsafe, no raise for this long.
    """

    hold_s: float = 7200.0
    dwell_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Failsafe:
    """The state of the machine.

    Attributes:
        entered: when `phase` was entered.
        held_mw: the cap in effect when control was lost: failsafe may not raise it. None = unknown.
        dwell_until_boot_s: no raise before this moment.
    """

    phase: Phase
    entered: Now
    held_mw: MilliWatts | None = None
    dwell_until_boot_s: float = 0.0

    @property
    def since_boot_s(self) -> float | None:
        """Return when failsafe was entered; None outside failsafe."""
        return self.entered.boot_s if self.phase is Phase.FAILSAFE else None


def step(
    state: Failsafe, statement: Statement | None, cap_mw: MilliWatts | None, now: Now, rules: FailsafeRules
) -> Failsafe:
    """Return the state that follows from the statement in force, or from there being none.

    Args:
        statement: what governs now; its lease is not over.
        cap_mw: the rack cap in effect until now; None before the first decision.
    """
    if statement is None:
        if state.phase not in CONTROLLED:
            return state
        # LPC-911 / LPC-912: the controller fell silent.
        return Failsafe(Phase.FAILSAFE, now, held_mw=cap_mw)
    phase = Phase.UNLIMITED if statement.mw is None else Phase.LIMITED
    if phase is state.phase:
        return state
    if state.phase is Phase.FAILSAFE:
        # LPC-916: left on a following limit write; admission let only such a one through.
        return Failsafe(phase, now, dwell_until_boot_s=now.boot_s + rules.dwell_s)
    return replace(state, phase=phase, entered=now, held_mw=None)


def cap_mw(state: Failsafe, failsafe_mw: MilliWatts, now: Now, rules: FailsafeRules) -> MilliWatts:
    """Return the rack cap of `init` and `failsafe`: at most the failsafe budget, always.

    Until `hold_s` have passed it is not above what held before either.
    """
    if state.held_mw is None or now.boot_s >= state.entered.boot_s + rules.hold_s:
        return failsafe_mw
    return min(state.held_mw, failsafe_mw)
