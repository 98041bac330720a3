"""What networks do between one host and the broker."""

from typing import ClassVar

from tests.chaos.faults import HostFault
from tests.chaos.proxy import Door
from tests.chaos.stage import Span


class DoorFault(HostFault):
    """Something wrong between one host and the broker."""

    needs = ("door",)

    @property
    def door(self) -> Door:
        """Return the way of this host to the broker."""
        return self.stage.doors[self.host.name]

    def end(self) -> None:
        self.door.restore()


class Isolated(DoorFault):
    """Nothing gets through in either direction, for so long that leases and budgets end."""

    kind = "cut off, refused"
    lasts_s: ClassVar[tuple[float, float]] = (0.3, 24.0)
    _span: Span | None = None

    def begin(self) -> None:
        self._break()
        self._span = Span()
        self.stage.cut_off[self.host.name].append(self._span)

    def end(self) -> None:
        if self._span:
            self._span.end()
        super().end()

    def _break(self) -> None:
        self.door.refuse()


class BlackHole(Isolated):
    kind = "cut off, black hole"

    def _break(self) -> None:
        self.door.hold()


class DeafAndDumb(DoorFault):
    """One direction is lost."""

    kind = "one direction lost"
    lasts_s = (0.3, 8.0)

    def begin(self) -> None:
        is_deaf = self.random.random() < 0.5
        self.door.hold(to_broker=not is_deaf, from_broker=is_deaf)


class Delayed(DoorFault):
    kind = "network delayed"
    lasts_s = (0.5, 8.0)

    def begin(self) -> None:
        self.door.delay(self.random.uniform(0.05, 1.0))


class Reset(DoorFault):
    kind = "connection reset"
    lasts_s = (0.0, 0.0)

    def begin(self) -> None:
        self.door.reset()


class Forgotten(DoorFault):
    """Somewhere on the way the connection is forgotten: it never says anything again, nor that it is gone."""

    kind = "connection wedged"
    lasts_s = (0.0, 0.0)

    def begin(self) -> None:
        self.door.forget()
