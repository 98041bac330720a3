"""The last day in numbers, and what happened in it. In memory: it begins with the daemon.

Three tiers: samples of the last 15 minutes, one a second at the most; 10-second means of the last two hours;
2-minute means of the last day. A mean comes with what it hides: the highest draw, the lowest cap and the
lowest limit. Moments are on the boot clock, so that setting the wall clock does not shuffle them.

Memory is bounded: 0.4 MB for 8 GPUs, 0.6 MB for 16, and at the most 1 MB for what happened.
"""

from collections.abc import Iterable
from typing import NamedTuple

from powerd.core.model import GpuReading, Notice, Now, Severity
from powerd.core.notices import about_phase
from powerd.core.rack.failsafe import Phase
from powerd.core.rack.timeline import Statement
from powerd.core.units import MilliWatts, watts
from powerd.history.happenings import Happening, Happenings
from powerd.history.tiers import UNKNOWN, Layout, Point, Row, Tenths, Tier, highest, lowest, mean
from powerd.snapshot import Snapshot

HOST_COLUMNS = (
    "rack_watts",
    "host_watts",
    "gpus_watts",
    "draw_watts",
    "rack_draw_watts",
    "lent_watts",
    "borrowed_watts",
    "infeasible_watts",
)
HOST_EXTREMES = ("rack_min_watts", "draw_max_watts", "rack_draw_max_watts")
GPU_COLUMNS = ("draw_watts", "limit_watts")
GPU_EXTREMES = ("draw_max_watts", "limit_min_watts")
# A point shows the last of these that was seen since the one before.
PHASES = (Phase.UNLIMITED, Phase.LIMITED, Phase.INIT, Phase.FAILSAFE)

SAMPLE_S = 1.0
# A sample that comes a little early is not left out.
_EARLY_S = 0.05
# A host has 16 at the most; when more were taken out and put in, the numbers begin anew.
_MAX_GPUS = 64
_MW_PER_TENTH = 100
_MAX_TENTHS = 2**31 - 1
_PHASE_NUMBERS = {phase: number for number, phase in enumerate(PHASES)}
_ABOUT_PHASES = frozenset({"failsafe_entered", "failsafe_left", "phase_changed"})


class Extract(NamedTuple):
    """A part of the history, the oldest first.

    Attributes:
        from_boot_s: where it begins, if the daemon ran by then.
        step_s: seconds from one point to the next, where none is missing.
        columns: of the host, by name, each as long as `times_boot_s`; samples have no extremes.
        gpus: the same of each GPU, by UUID.
        indices: of the GPUs, by UUID; for people.
    """

    from_boot_s: float
    step_s: float
    times_boot_s: list[float]
    phases: list[Phase]
    columns: dict[str, list[Tenths]]
    gpus: dict[str, dict[str, list[Tenths]]]
    indices: dict[str, int]
    happenings: list[Happening]


class History:
    """Fed by every finished iteration."""

    def __init__(self) -> None:
        self._tiers = _tiers()
        self._indices: dict[str, int] = {}
        self._happenings = Happenings()
        self._due_boot_s = 0.0
        self._period_s = 0.0
        self._phase = Phase.INIT
        self._worst = 0
        self._budget: tuple[str, MilliWatts | None] | None = None

    @property
    def size_bytes(self) -> int:
        """Return how much memory the numbers take."""
        return sum(tier.size_bytes for tier in self._tiers)

    def take(self, snapshot: Snapshot, notices: Iterable[Notice], *, is_sampled: bool) -> None:
        """Take in one finished iteration.

        Args:
            notices: new, or told again.
            is_sampled: the GPUs were sampled for it.
        """
        # A failsafe of half a second is not to be missed between two samples.
        self._worst = max(self._worst, _PHASE_NUMBERS[snapshot.decision.phase])
        if is_sampled and snapshot.now.boot_s >= self._due_boot_s:
            self._due_boot_s = snapshot.now.boot_s + SAMPLE_S - _EARLY_S
            self._sample(snapshot)
        self._compare(snapshot)
        if notices:
            self._take_notices(notices, snapshot)

    def add(self, happening: Happening) -> None:
        """Keep something that no iteration tells of: an order, a reload."""
        self._happenings.add(happening)

    def since(self, from_boot_s: float, now: Now) -> Extract:
        """Return what there is from a moment on, in the finest steps that reach back so far.

        Args:
            from_boot_s: no more than a day ago, or it becomes a day ago.
        """
        ago_s = now.boot_s - from_boot_s
        tier = next((tier for tier in self._tiers if tier.reach_s >= ago_s), self._tiers[-1])
        from_boot_s = max(from_boot_s, now.boot_s - tier.reach_s)
        points = tier.since(from_boot_s)
        return Extract(
            from_boot_s=from_boot_s,
            step_s=max(tier.step_s, self._period_s),
            times_boot_s=points.times_boot_s,
            phases=[PHASES[number] for number in points.phases],
            columns=dict(zip(HOST_COLUMNS + HOST_EXTREMES, points.host, strict=False)),
            gpus={u: dict(zip(GPU_COLUMNS + GPU_EXTREMES, c, strict=False)) for u, c in points.gpus.items()},
            indices=self._indices,
            happenings=self._happenings.since(from_boot_s),
        )

    def _sample(self, snapshot: Snapshot) -> None:
        self._period_s = snapshot.period_s
        found = {reading.uuid: reading.index for reading in snapshot.readings}
        if len(self._indices | found) > _MAX_GPUS:
            self._tiers, self._indices = _tiers(), {}
        self._indices = self._indices | found
        self._tiers[0].put(_point(snapshot, self._worst))
        self._worst = 0

    def _compare(self, snapshot: Snapshot) -> None:
        """Tell of a phase and of a budget that are not what they were."""
        decision = snapshot.decision
        before, self._phase = self._phase, decision.phase
        for notice in about_phase(before, decision.phase, decision.rack_cap_mw):
            self._tell(notice, snapshot)
        statement = decision.statement
        if statement is not None and (statement.source, statement.mw) != self._budget:
            self._budget = (statement.source, statement.mw)
            self._happenings.add(_about_budget(statement, snapshot.now))

    def _take_notices(self, notices: Iterable[Notice], snapshot: Snapshot) -> None:
        """Keep what is new; what lasts is told again every minute, and happened once."""
        new = {
            (problem.event, problem.subject)
            for problem in snapshot.problems
            if problem.first_wall_s == snapshot.now.wall_s
        }
        for notice in notices:
            if notice.event not in _ABOUT_PHASES and (notice.event, notice.subject) in new:
                self._tell(notice, snapshot)

    def _tell(self, notice: Notice, snapshot: Snapshot) -> None:
        boot_s = snapshot.now.boot_s
        self.add(Happening(boot_s, notice.event, notice.severity, notice.text, notice.subject))


def _tiers() -> tuple[Tier, ...]:
    host = (mean,) * len(HOST_COLUMNS)
    gpu = (mean,) * len(GPU_COLUMNS)
    means = Layout((*host, lowest, highest, highest), (*gpu, highest, lowest))
    day = Tier(120.0, 720, means)
    hours = Tier(10.0, 720, means, day)
    return Tier(SAMPLE_S, 900, Layout(host, gpu), hours), hours, day


def _point(snapshot: Snapshot, phase: int) -> Point:
    gpus = _gpus(snapshot)
    draws = [draw for draw, *_ in gpus.values()]
    host = _host(snapshot, UNKNOWN if UNKNOWN in draws else sum(draws))
    rack, _, _, draw, rack_draw, *_ = host
    # The extremes of one sample are the sample.
    return Point(snapshot.now.boot_s, phase, (*host, rack, draw, rack_draw), gpus)


def _host(snapshot: Snapshot, draw: Tenths) -> Row:
    decision, leases = snapshot.decision, snapshot.leases
    return (
        _tenths(decision.rack_cap_mw),
        _tenths(decision.cap_mw),
        _tenths(decision.gpu_budget_mw),
        draw,
        _tenths(decision.draw.mw),
        _tenths(sum(lease.mw for lease in leases if lease.direction == "lent")),
        _tenths(sum(lease.mw for lease in leases if lease.direction == "borrowed")),
        _tenths(decision.infeasible_mw),
    )


def _gpus(snapshot: Snapshot) -> dict[str, Row]:
    limits = {target.uuid: target.limit_mw for target in snapshot.decision.targets}
    return {
        reading.uuid: (draw, limit, draw, limit)
        for reading in snapshot.readings
        for draw, limit in ((_draw(snapshot, reading), _tenths(limits.get(reading.uuid))),)
    }


def _draw(snapshot: Snapshot, reading: GpuReading) -> Tenths:
    return _tenths(reading.draw_mw) if snapshot.is_fresh(reading, snapshot.now) else UNKNOWN


def _tenths(mw: MilliWatts | None) -> Tenths:
    return UNKNOWN if mw is None else min(max(0, mw) // _MW_PER_TENTH, _MAX_TENTHS)


def _about_budget(statement: Statement, now: Now) -> Happening:
    asked = "no limit" if statement.mw is None else f"{watts(statement.mw):,g} W for the rack"
    reason = f": {statement.reason}" if statement.reason else ""
    text = f"{statement.source} gives {asked}{reason}"
    return Happening(now.boot_s, "budget_changed", Severity.INFO, text, by=statement.source)
