"""One host that is a rack of its own: a real broker, a facility, and the host's processes."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.broker import Mosquitto
from tests.daemon.facility import LEASE_S, Facility, Grant
from tests.daemon.host import GPU_MAX_WATTS, GPU_MIN_WATTS, GUARD_BAND, OVERHEAD_WATTS, Host, Tables, roster
from tests.fake_nvml import build

HOST = "r17-n1"
HARD_LIMIT_WATTS = 4400
FAILSAFE_WATTS = 2400


class Rig(Host):
    """Everything that one test, or a group of them, needs. A context manager that ends all its processes.

    Args:
        directory: for state, sockets and logs; short, since it holds Unix sockets.
        library: the fake NVML library; None builds it into `directory`.
        gpus: how many.
        tables: merged into the configuration, key by key.
        broker_settings: further lines of mosquitto.conf(5).

    Attributes:
        broker: not started.
        facility: publishes anything on the budget topic; `publish_budget` is for budgets in good order.
        grants: what `publish_budget` published, oldest first.
    """

    def __init__(
        self,
        directory: Path,
        library: Path | None = None,
        *,
        gpus: int = 8,
        tables: Tables | None = None,
        broker_settings: tuple[str, ...] = (),
    ) -> None:
        self.broker = Mosquitto(directory / "broker", settings=broker_settings)
        self.facility = Facility(self.broker.port)
        self.grants = self.facility.grants
        super().__init__(
            directory,
            library or build(directory / "lib"),
            broker_port=self.broker.port,
            name=HOST,
            gpus=gpus,
            rack={
                "hard_limit_watts": HARD_LIMIT_WATTS,
                "failsafe_watts": FAILSAFE_WATTS,
                "hosts": roster([HOST], gpus),
            },
            tables=tables or {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        self.end_processes()
        self.facility.close()
        self.broker.kill()

    def start(self) -> None:
        """Start broker, guard and daemon, and wait until the daemon is ready."""
        if not self.broker.running:
            self.broker.start()
        self.start_guard()
        self.start_daemon()

    def publish_budget(self, watts: float | None, lease_s: float = LEASE_S, **overrides: Any) -> Grant:
        """Publish a budget in good order, retained, and remember it as a grant; see `Facility.grant`."""
        return self.facility.grant(watts, lease_s, **overrides)

    def obey(self, watts: float | None, lease_s: float = LEASE_S, within_s: float = 20.0) -> Grant:
        """Publish a budget in good order and wait until the limits follow it."""
        grant = self.publish_budget(watts, lease_s)
        self.wait_for(lambda: self.obeyed(watts), within_s, what=f"{watts} W obeyed")
        # The sum may be there before the last of the GPUs is: let the iteration end.
        self.wait_iterations(1)
        return grant

    def obeyed(self, watts: float | None) -> bool:
        """Say whether the limits use this rack budget, and no more than it, but for rounding."""
        budget_mw = gpu_budget_mw(watts, len(self.limits_mw()))
        return 0.97 * budget_mw < self.sum_mw() <= budget_mw


def gpu_budget_mw(watts: float | None, gpus: int = 8) -> int:
    """Return what the GPUs may draw together under a rack budget, worked out by hand."""
    rack_watts = HARD_LIMIT_WATTS if watts is None else min(watts, HARD_LIMIT_WATTS)
    left_mw = round((rack_watts * (1 - GUARD_BAND) - OVERHEAD_WATTS) * 1000)
    return min(gpus * GPU_MAX_WATTS * 1000, max(gpus * GPU_MIN_WATTS * 1000, left_mw))
