"""From a topic to the controller: well-formed, allowed budgets go on, all else is counted and told."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from powerd.clock import Clock
from powerd.core.model import Notice, Severity
from powerd.core.timeline import BudgetMessage
from powerd.core.units import MilliWatts
from powerd.errors import SignalRejectedError
from powerd.signals.native import parse_budget
from powerd.signals.reasons import Reason


@dataclass(frozen=True, slots=True)
class Hooks:
    """Where messages go.

    Attributes:
        submit: takes a budget.
        notice: takes what people should hear about.
        rejected: counts a refusal, by source and reason.
    """

    submit: Callable[[BudgetMessage], None]
    notice: Callable[[Notice], None]
    rejected: Callable[[str, str], None]


class BudgetListener:
    """Reads the budget topic of one rack.

    Args:
        sources: senders that are listened to; empty = all that the broker lets through.
    """

    def __init__(
        self,
        *,
        rack: str,
        hard_limit_mw: MilliWatts,
        sources: Collection[str],
        clock: Clock,
        hooks: Hooks,
    ) -> None:
        self._rack = rack
        self._hard_limit_mw = hard_limit_mw
        self._sources = frozenset(sources)
        self._clock = clock
        self._hooks = hooks
        self.rejected = 0

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        try:
            message = self._read(payload, retained=retained)
        except SignalRejectedError as error:
            self.rejected += 1
            self._hooks.rejected(error.source, error.reason)
            subject = f"{error.source}:{error.reason}"
            text = f"{topic}: {error}"
            self._hooks.notice(Notice("signal_rejected", Severity.WARNING, text, subject))
        else:
            self._hooks.submit(message)

    def _read(self, payload: bytes, *, retained: bool) -> BudgetMessage:
        message = parse_budget(
            payload,
            rack=self._rack,
            hard_limit_mw=self._hard_limit_mw,
            retained=retained,
            received=self._clock.now(),
        )
        if self._sources and message.source not in self._sources:
            text = f'source "{message.source}" is not in signals.native.sources'
            raise SignalRejectedError(Reason.SOURCE, text, message.source)
        return message
