"""What can ask for a cut, on its way from the listeners, which read all of it, to the loop.

Of each sender the loop gets no more than it can decide on. Whoever floods a topic delays and hides only what
goes by the same name. Names can be made up, so those that powerd does not believe yet share one: a flood of
strangers may hide another stranger, and nobody else.
"""

from collections.abc import Callable, Collection

from powerd.core.events.grid_event import GridEvent
from powerd.core.model import Notice
from powerd.core.rack.timeline import BudgetMessage
from powerd.signals.turnstile import Turnstile

STRANGERS = "senders not believed yet"


class Intake:
    """Passes on budgets and grid events.

    Args:
        budget, event: take what passes.
        on_notice: told once about each flood.

    Attributes:
        believed: the sources of budgets that powerd believes, to be kept up to date.
    """

    def __init__(
        self,
        budget: Callable[[BudgetMessage], None],
        event: Callable[[GridEvent], None],
        on_notice: Callable[[Notice], None],
    ) -> None:
        self.believed: Collection[str] = ()
        self._budgets = Turnstile(budget, on_notice)
        self._events = Turnstile(event, on_notice)

    def budget(self, message: BudgetMessage) -> None:
        """Take a budget. What is signed by a source and what only bears its name are two senders."""
        source = message.source if message.source in self.believed else STRANGERS
        self._budgets.take(f"budgets of {source} ({message.trust})", message)

    def event(self, event: GridEvent) -> None:
        """Take a version of a grid event: of each event the newest is all that is needed."""
        self._events.take(f"grid event {event.event_id} of {event.source}", event)
