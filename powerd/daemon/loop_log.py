"""What the loop writes into the log: what changed, each thing once."""

import logging
from collections.abc import Iterable

import structlog

from powerd.core.decide import Decision
from powerd.core.model import Notice, Now, Plan, Severity, Write
from powerd.core.rack.timeline import Statement
from powerd.core.units import watts

log = structlog.get_logger()

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.ERROR,
}


class LoopLog:
    """Remembers what was logged last."""

    def __init__(self) -> None:
        self._statement: Statement | None = None
        self._would_write: tuple[Write, ...] = ()

    def first(self, decision: Decision) -> None:
        """Say what holds before anything was heard."""
        log.info(
            "first_decision",
            phase=str(decision.phase),
            rack_watts=watts(decision.rack_cap_mw),
            gpu_budget_watts=watts(decision.gpu_budget_mw),
            gpus=len(decision.targets),
        )

    def would_write(self, plan: Plan, *, tells: bool) -> None:
        """Log what a plan that is not carried out would write, if `tells`."""
        writes = plan.cuts + plan.raises
        if tells and writes != self._would_write:
            limits = " ".join(f"{write.uuid}={watts(write.mw):g}W" for write in writes)
            log.info("would_set_limits", limits=limits or "none")
        self._would_write = writes

    def budget(self, statement: Statement | None, now: Now) -> None:
        """Log a budget when it changes, not each time it is renewed."""
        last, self._statement = self._statement, statement
        if statement is None or (last and (last.source, last.mw) == (statement.source, statement.mw)):
            return
        amount = None if statement.mw is None else watts(statement.mw)
        lease_s = round(statement.end_boot_s - now.boot_s, 3)
        log.info("budget_changed", source=statement.source, rack_watts=amount, lease_s=lease_s)

    def notices(self, notices: Iterable[Notice]) -> None:
        """Log what people should hear about."""
        for notice in notices:
            subject = {"subject": notice.subject} if notice.subject else {}
            log.log(_LEVELS[notice.severity], notice.event, **subject, text=notice.text)
