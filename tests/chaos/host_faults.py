"""Operators, disks, clocks and crowds on one host."""

import contextlib
import http.client
import socket
from pathlib import Path
from typing import Any

from tests.chaos.faults import HostFault
from tests.daemon.host import GPU_MAX_WATTS, GPU_MIN_WATTS
from tests.daemon.rack import GPUS

# Beyond what budgets are believed at: stamps that are a little off are for nobody to notice.
_JUMPS_S = (-3600.0, -90.0, 90.0, 3600.0)
_CROWD = 150


class Order(HostFault):
    """An order of an operator, which is taken back in the end, for as long as it takes."""

    needs = ("orders",)

    def order(self, order: str, **body: Any) -> bool:
        """Give an order, and say whether the daemon has answered."""
        if self.stage.answers(self.host):
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.host.order(order, **body)
                return True
        return False


class Override(Order):
    kind = "override"

    def begin(self) -> None:
        self._gpu = str(self.random.randrange(GPUS))
        watts = self.random.randint(GPU_MIN_WATTS, GPU_MAX_WATTS)
        self.order("override", gpu=self._gpu, watts=watts, ttl_s=3600.0)

    def is_over(self) -> bool:
        return self.stage.is_ready(self.host) and self.order("override", gpu=self._gpu, watts=None)


class DryRun(Order):
    kind = "mode changed by an operator"

    def begin(self) -> None:
        self.order("mode", mode=self.random.choice(("dry-run", "monitor")))

    def is_over(self) -> bool:
        return self.stage.is_ready(self.host) and self.order("mode", mode="enforce")


class Drill(Order):
    kind = "drill"
    lasts_s = (0.5, 12.0)

    def begin(self) -> None:
        self.order("drill", drill="lost-controller", duration_s=60)

    def is_over(self) -> bool:
        return self.stage.is_ready(self.host) and self.order("drill", drill="lost-controller", duration_s=0)


class StateGone(HostFault):
    """What the daemon remembers cannot be written, nor read."""

    kind = "state directory unusable"
    needs = ("daemon", "orders")
    lasts_s = (0.5, 5.0)

    @property
    def _places(self) -> tuple[Path, Path]:
        return self.host.directory / "state", self.host.directory / "state.away"

    def begin(self) -> None:
        state, away = self._places
        state.rename(away)
        state.touch()  # nobody can make a directory here, not even root

    def end(self) -> None:
        state, away = self._places
        state.unlink()
        away.rename(state)


class WallClockJumps(HostFault):
    kind = "wall clock jumps"
    needs = ("clock",)
    lasts_s = (0.5, 6.0)

    def begin(self) -> None:
        self.stage.clocks[self.host.name].set_ahead(self.random.choice(_JUMPS_S))

    def end(self) -> None:
        self.stage.clocks[self.host.name].set_ahead(0.0)


class HttpCrowd(HostFault):
    """Clients that hold their connections and never finish what they ask for."""

    kind = "HTTP crowd"
    needs = ("http",)

    def begin(self) -> None:
        self._crowd: list[socket.socket] = []
        for _ in range(_CROWD):
            with contextlib.suppress(OSError):
                client = socket.create_connection(("127.0.0.1", self.host.http_port), timeout=1)
                self._crowd.append(client)
                client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX-")

    def end(self) -> None:
        for client in self._crowd:
            client.close()
