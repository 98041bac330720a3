"""The `[signals]` tables of the configuration: what powerd listens to, and how far it goes by it."""

from typing import Annotated

from pydantic import Field

from powerd.settings_tables import NotNegative, Table

WholePercent = Annotated[float, Field(ge=0, le=100)]


class NativeSettings(Table):
    """The `[signals.native]` table: budgets on the rack's own topic.

    Attributes:
        budgets: somebody publishes budgets; else `rack.default_watts`, or the failsafe, is the budget.
        sources: senders whose budgets count; empty = any.
        max_skew_s: a message whose stamps differ more from our synchronised clock may only lower.
    """

    enabled: bool = True
    budgets: bool = True
    sources: tuple[str, ...] = ()
    max_skew_s: NotNegative = 30.0


class EventSettings(Table):
    """The `[signals.events]` table: grid events on the site's own topic.

    Attributes:
        sources: senders whose events count; empty = any.
        obey_voluntary: follow events that may be opted out of.
        levels_pct: by how much shed levels 0 to 3 lower the cap, in percent of the baseline; 100 = floor.
        unsynced_s: while no time service keeps the clock, events start so much earlier and end so much later.
    """

    enabled: bool = True
    sources: tuple[str, ...] = ()
    obey_voluntary: bool = True
    levels_pct: tuple[WholePercent, WholePercent, WholePercent, WholePercent] = (0.0, 10.0, 25.0, 100.0)
    unsynced_s: NotNegative = 30.0


class SignalSettings(Table):
    """The `[signals]` tables."""

    native: NativeSettings = NativeSettings()
    events: EventSettings = EventSettings()
