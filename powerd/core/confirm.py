"""confirm(decision, readings, state, now, config) -> (message, state): what may be said once a plan is done.

The second door of the core: `decide` aims, the guard writes and reads back, `confirm` states what came true.
"""

from collections.abc import Sequence

from powerd.core.decide import Decision
from powerd.core.gpus.targets import may_draw_mw
from powerd.core.leases.host_state import HostState
from powerd.core.leases.word import Reached, word
from powerd.core.model import GpuReading, Now
from powerd.core.state import Config, State


def confirm(
    decision: Decision, readings: Sequence[GpuReading], state: State, now: Now, config: Config
) -> tuple[HostState | None, State]:
    """Return the message that is to be published now, if one is, and the memory of having said it.

    Args:
        readings: after the writes of `decision`.
    """
    message, leases = word(
        decision.standing,
        decision.place,
        _reached(decision, readings),
        state.leases,
        config.leases,
        now.boot_s,
    )
    return message, state._replace(leases=leases)


def _reached(decision: Decision, readings: Sequence[GpuReading]) -> Reached:
    statement = decision.statement
    parts = [may_draw_mw(reading) for reading in readings]
    known = [mw for mw in parts if mw is not None]
    return Reached(
        worst_case_mw=decision.overhead_mw + sum(known) if parts and len(known) == len(parts) else None,
        is_settled=all(reading.pending_mw is None for reading in readings),
        aspects=(
            decision.phase,
            decision.infeasible_mw,
            decision.compliant,
            statement and (statement.source, statement.mw),
            None if decision.place.has_peers else decision.cap_mw,
        ),
        excess_mw=decision.excess.granted_mw,
    )
