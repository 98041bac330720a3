"""What a stage looks like when its script begins, and the GPUs in memory that stand on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from powerd.core.leases.leases import LeaseRules
from powerd.core.model import EventReason
from powerd.core.topology import Host as RosterHost
from powerd.core.topology import Rack
from powerd.guard.driver import GpuInfo, Sample
from powerd.guard.jobs import Done, Job
from tests.core.make import W
from tests.guard.rig import HostDriver, ManualRunner

IDLE_W, BUSY_W = 10, 10_000


@dataclass(frozen=True)
class Setting:
    """What the stage looks like when the script begins; watts and seconds.

    Attributes:
        floors_w: one per host of the rack, which are a, b, c.
        failsafe_w: the rack's budget when no controller is heard.
        drift: by which factor each host's boot clock runs faster than true time.
    """

    floors_w: tuple[int, ...] = (100, 100)
    budget_w: int = 600
    failsafe_w: int = 600
    gpus: int = 1
    min_w: int = 100
    max_w: int = 5000
    ttl_s: float = 2.0
    guard_bound_s: float = 1.0
    hold_s: float = 100.0
    drift: tuple[float, ...] = (1.0, 1.0, 1.0)

    @property
    def rules(self) -> LeaseRules:
        """Return the lease parameters: a publishing period is a tenth of the ttl, and so is the lead."""
        tenth_s = self.ttl_s / 10
        return LeaseRules(
            ttl_s=self.ttl_s,
            max_ttl_s=self.ttl_s,
            guard_bound_s=self.guard_bound_s,
            publish_s=tenth_s,
            lead_s=tenth_s,
            silent_s=self.ttl_s,
        )

    @property
    def rack(self) -> Rack:
        """Return the rack: equal shares, nothing taken off."""
        hosts = tuple(RosterHost(name, 1.0, w * W) for name, w in zip("abc", self.floors_w, strict=False))
        limit_mw = max(self.budget_w, self.failsafe_w, 10_000) * W
        return Rack("s", "r", hosts, limit_mw, self.failsafe_w * W, guard_band_pct=0.0)


class StageDriver(HostDriver):
    """GPUs in memory that draw their load up to their limit; they start at their minimum.

    Attributes:
        load_w: what each would draw without a limit.
        on_write: called after each limit that was set.
    """

    def __init__(self, setting: Setting, on_write: Callable[[], None]) -> None:
        super().__init__(setting.gpus)
        self._setting = setting
        self._on_write = on_write
        self.load_w = IDLE_W
        for gpu in self.gpus.values():
            gpu.requested_mw = setting.min_w * W

    def attach(self) -> tuple[GpuInfo, ...]:
        least_mw, most_mw = self._setting.min_w * W, self._setting.max_w * W
        return tuple(
            replace(info, min_mw=least_mw, max_mw=most_mw, default_mw=most_mw) for info in super().attach()
        )

    def read(self, uuid: str) -> Sample:
        limits, load_mw = self.read_limits(uuid), self.load_w * W
        limit_mw = self.gpus[uuid].effective_mw
        reasons = EventReason.SW_POWER_CAP if load_mw > limit_mw else 0
        return Sample(limits, min(load_mw, limit_mw), None, None, reasons)

    def set_limit(self, uuid: str, limit_mw: int) -> None:
        super().set_limit(uuid, limit_mw)
        self._on_write()


class StageRunner(ManualRunner):
    """Tells of every driver call that is started: a raise counts from when it is sent.

    It starts whatever it is given: rules that forbid a call are taken out on a stage.
    """

    def __init__(self, driver: HostDriver, clock: Callable[[], float], on_start: Callable[[], None]) -> None:
        super().__init__(driver, clock)
        self._on_start = on_start

    def start(self, uuid: str, job: Job, finished: Callable[[str, Job, Done], None]) -> None:
        self.jobs[uuid] = (job, finished)
        self._on_start()
