"""Which orders of operators hold now: changed by the desk, followed by the loop, shown by everybody.

Invariant: what holds for a time ends by itself, on the boot clock, whoever ordered it.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from powerd.core.model import Notice, Now, Severity
from powerd.core.orders.override import Override
from powerd.core.units import MilliWatts
from powerd.daemon.arrivals import Heard
from powerd.snapshot import Detached, OrdersView


class InForce:
    """The orders that hold.

    Args:
        configured_mode: what the configuration says.
        overrides, detached: what was remembered of a run before in this boot.

    Attributes:
        view: what holds.
        gives_leases_back: an order waits until no watts are lent or borrowed any more.
    """

    def __init__(
        self, configured_mode: str, overrides: tuple[Override, ...] = (), detached: Detached | None = None
    ) -> None:
        self.view = OrdersView(configured_mode, detached=detached, overrides=overrides)
        self.gives_leases_back = False

    @property
    def may_lease(self) -> bool:
        """Return whether no order keeps this host from dealing with its peers."""
        return not self.gives_leases_back and self.view.detached is None

    @property
    def cap_mw(self) -> MilliWatts | None:
        """Return what the rack may draw at most while budgets are not heard; None if there is no such cap.

        A facility that has to lower its rack is obeyed, whatever is practised there.
        """
        return None if self.view.drill is None else self.view.drill.lowest_mw

    def change(self, **fields: Any) -> None:  # noqa: ANN401 - of `OrdersView`
        """Change fields of `view`."""
        self.view = replace(self.view, **fields)

    def override(self, override: Override) -> None:
        """Let an override hold, in the place of the one that its GPU has."""
        self.end_override(override.uuid)
        self.change(overrides=(*self.view.overrides, override))

    def end_override(self, uuid: str) -> None:
        """End the override of a GPU, if it has one."""
        self.change(overrides=tuple(each for each in self.view.overrides if each.uuid != uuid))

    def has_override(self, uuid: str) -> bool:
        """Return whether a GPU has an override."""
        return any(each.uuid == uuid for each in self.view.overrides)

    def end_what_is_over(self, now: Now) -> tuple[Notice, ...]:
        """End what has had its time; return what there is to tell of it."""
        told = []
        for override in self.view.overrides:
            if override.end_boot_s <= now.boot_s:
                self.end_override(override.uuid)
                text = f"the override of {override.by} ({override.reason}) has ended"
                told.append(Notice("override_ended", Severity.INFO, text, override.uuid))
        drill = self.view.drill
        if drill is not None and drill.end_boot_s <= now.boot_s:
            self.change(drill=None)
            text = f"budgets are heard again; {drill.dropped} were not heard during the drill of {drill.by}"
            told.append(Notice("drill_ended", Severity.INFO, text))
        return tuple(told)

    def let_in(self, heard: Heard) -> Heard:
        """Return what is heard of what has arrived: no budgets during a drill."""
        drill = self.view.drill
        if drill is None or not heard.budgets:
            return heard
        asked = [message.mw for message in heard.budgets if message.mw is not None]
        lowest_mw = min(asked if drill.lowest_mw is None else [*asked, drill.lowest_mw], default=None)
        dropped = drill.dropped + len(heard.budgets)
        self.change(drill=drill._replace(dropped=dropped, lowest_mw=lowest_mw))
        return replace(heard, budgets=())

    def without_its_own(self, notices: Iterable[Notice]) -> tuple[Notice, ...]:
        """Leave out what would tell of an order as of a fault: a driver that was given up is not lost."""
        given_up = self.view.detached is not None
        return tuple(notice for notice in notices if not (given_up and notice.event == "gpu_lost"))

    def notices(self) -> tuple[Notice, ...]:
        """Return what people who look at this host should know all the time."""
        view, told = self.view, []
        if view.detached is not None:
            text = f"the driver is given up: {view.detached.by}: {view.detached.reason}; powerctl attach"
            told.append(Notice("driver_detached", Severity.WARNING, text))
        if view.drill is not None:
            text = f"budgets are not heard for practice: {view.drill.by}: {view.drill.reason}"
            told.append(Notice("drill", Severity.WARNING, text))
        if view.released:
            text = "limits were put back as they had been found; powerctl mode enforce"
            told.append(Notice("limits_released", Severity.WARNING, text))
        return tuple(told)
