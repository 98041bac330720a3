"""How closely a rack follows grid events of hours, in virtual time: 4 hosts x 8 GPUs that all want more.

Controllers, guards and messages are the real ones; GPUs, clocks and the network are not. Budget and events
arrive as messages; hosts may lend each other watts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.table import Figure, Table
from powerd.core.events.grid_event import Action, ActionKind, EventRamp, Interval
from tests.cluster.grid_bridge import Ask, GridBridge
from tests.cluster.rack import SimulatedRack, rack_of
from tests.cluster.scenario import W, even

HOSTS, GPUS = 4, 8
BUDGET_MW = HOSTS * (200 + GPUS * 400) * W
LOAD_MW = 900 * W
PERIOD_S, MIN_S, H_S = 1.0, 60.0, 3600.0
# The defaults of the configuration.
RAMP_PCT_PER_MIN, DWELL_S = 16.67, 30.0
# A rack whose memory is lost waits before anybody lends; and then a while at the budget.
START_S, AFTER_S = 10 * MIN_S, 10 * MIN_S
JITTER_S = 60.0
REPEAT_S = 60.0
# The slope of the way back is taken over this long.
SLOPE_S = 60.0
# Raises of a GPU that are smaller are saved up, so all of them may come within one minute.
DEADBAND_W = 5


@dataclass(frozen=True, slots=True)
class Shape:
    """An event.

    Attributes:
        has_notice: it is published ten minutes ahead; else at the moment at which it starts.
    """

    name: str
    pct: float
    down_s: float
    held_s: float
    up_s: float
    has_notice: bool

    @property
    def target_mw(self) -> int:
        """Return what it asks for."""
        return int(BUDGET_MW * (1 - self.pct / 100))

    @property
    def end_s(self) -> float:
        """Return when it ends."""
        return START_S + self.down_s + self.held_s

    @property
    def restored_s(self) -> float:
        """Return when every host is back."""
        return self.end_s + self.up_s + JITTER_S

    @property
    def ask(self) -> Ask:
        """Return what is published."""
        action = Action(ActionKind.REDUCE_PCT, pct=self.pct)
        ramp = EventRamp(self.down_s, self.up_s, JITTER_S)
        return Ask(self.name, (Interval(START_S, self.end_s, action),), ramp)

    def level_mw(self, at_s: float) -> float:
        """Return what it lets the rack draw."""
        if not START_S <= at_s < self.end_s + self.up_s:
            return BUDGET_MW
        if at_s < START_S + self.down_s:
            return BUDGET_MW - (BUDGET_MW - self.target_mw) * (at_s - START_S) / self.down_s
        back = max(0.0, at_s - self.end_s) / self.up_s
        return self.target_mw + (BUDGET_MW - self.target_mw) * back


PHOENIX = Shape("phoenix", 25, down_s=15 * MIN_S, held_s=3 * H_S, up_s=10 * MIN_S, has_notice=True)
LONDON = Shape("london", 30, down_s=0.0, held_s=H_S / 2, up_s=10 * MIN_S, has_notice=False)


def measure_grid_events() -> Table:
    """Follow both events, each on a rack of its own."""
    figures = [figure for shape in (PHOENIX, LONDON) for figure in _figures(shape, dict(_draws(shape)))]
    return Table(
        f"Grid events of hours, {HOSTS} hosts x {GPUS} GPUs, period {PERIOD_S:g} s, in virtual time",
        tuple(figures),
        "without a guard band: with the default of 2 % the rack stays that much lower",
    )


def _draws(shape: Shape) -> Iterator[tuple[float, int]]:
    """Yield what the rack draws, every second."""
    calm = even(
        HOSTS,
        GPUS,
        BUDGET_MW // W,
        ramp_mw_per_s=HOSTS * (200 + GPUS * 700) * W * RAMP_PCT_PER_MIN / 100 / MIN_S,
        dwell_s=DWELL_S,
        period_s=PERIOD_S,
        budget_every_s=20.0,
    )
    with rack_of(calm) as rack:
        rack.world.history.on = False
        for host in rack.hosts:
            for gpu in host.plant.gpus.values():
                gpu.load_mw = LOAD_MW
        bridge = GridBridge(rack.world, rack.broker)
        rack.start()
        rack.world.at(START_S - 10 * MIN_S if shape.has_notice else START_S, bridge.ask, shape.ask)
        rack.world.at(START_S + REPEAT_S, bridge.run, REPEAT_S)
        for second in range(int(shape.restored_s + AFTER_S)):
            rack.world.run_until(float(second))
            yield float(second), _draw_mw(rack)
        for host in rack.hosts:
            assert not host.errors(), host.errors()


def _draw_mw(rack: SimulatedRack) -> int:
    return sum(
        host.plant.overhead_mw + sum(gpu.draw_mw for gpu in host.plant.gpus.values()) for host in rack.hosts
    )


def _figures(shape: Shape, draws_mw: dict[float, int]) -> Iterator[Figure]:
    errors = [
        _error_pct(shape, at_s, mw)
        for at_s, mw in draws_mw.items()
        if START_S + PERIOD_S <= at_s < shape.end_s
    ]
    before_mw = max(mw for at_s, mw in draws_mw.items() if START_S - MIN_S <= at_s < START_S)
    after_mw = max(mw for at_s, mw in draws_mw.items() if at_s >= shape.end_s)
    reached_s = next(at_s for at_s, mw in draws_mw.items() if at_s >= START_S and mw <= shape.target_mw)
    back = {at_s: mw for at_s, mw in draws_mw.items() if shape.end_s <= at_s}
    above_w = max((mw - shape.level_mw(at_s)) / W for at_s, mw in back.items())
    slopes = [(back[at_s + SLOPE_S] - mw) / W for at_s, mw in back.items() if at_s + SLOPE_S in back]
    configured_w = (BUDGET_MW - shape.target_mw) / W * SLOPE_S / shape.up_s
    yield Figure(f"{shape.name}: distance to the ramped target, worst", max(errors), "%", 2.0)
    yield Figure(f"{shape.name}: mean", sum(errors) / len(errors), "%")
    yield Figure(
        f"{shape.name}: from its start to the target", reached_s - START_S, "s", shape.down_s + PERIOD_S
    )
    yield Figure(f"{shape.name}: rebound above the level before", max(0, after_mw - before_mw) / W, "W", 0.0)
    yield Figure(f"{shape.name}: above the configured way back", max(0.0, above_w), "W", 0.0)
    yield Figure(
        f"{shape.name}: steepest minute of it, {configured_w:.0f} W configured",
        max(slopes),
        "W",
        configured_w + HOSTS * GPUS * DEADBAND_W,
    )
    yield Figure(f"{shape.name}: missing of the level before", (before_mw - back[max(back)]) / W, "W")


def _error_pct(shape: Shape, at_s: float, mw: int) -> float:
    """Return how far a draw is from the target, which may have been that of a period before."""
    low_mw, high_mw = sorted((shape.level_mw(at_s), shape.level_mw(max(START_S, at_s - PERIOD_S))))
    return 100 * max(low_mw - mw, mw - high_mw, 0) / low_mw
