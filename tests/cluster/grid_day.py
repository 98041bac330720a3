"""A hostile day on which the grid asks for less, too; and the calm after it, in which all must have obeyed.

Events are published, said again, changed and cancelled through the same network as everything else, and the
hosts that are to follow them are killed, cut off and paused. In the end one event is left, the faults are
over, and after twice the longest bound the rack is within it.
"""

from dataclasses import replace
from random import Random

from powerd.core.events.grid_event import Action, ActionKind, EventRamp, Interval
from tests.cluster.faults import Adversary
from tests.cluster.grid_bridge import Ask, GridBridge
from tests.cluster.rack import Result, SimulatedRack, run
from tests.cluster.scenario import Scenario, scenario
from tests.cluster.theorem import ViolationError

NAMES = ("a", "b", "c")
# No trouble that has begun lasts longer.
HEALED_AFTER_S = 32.0
WALL_CLOCKS_S = 2.0


def with_events(seed: int) -> Scenario:
    """Return the day of a seed, with the time that it takes to obey after it."""
    day = scenario(seed)
    return replace(day, length_s=day.length_s + HEALED_AFTER_S + 2 * _bound_s(day) + 1.0)


def run_with_events(seed: int, *, show: bool = False) -> Result:
    """Run the day of a seed with grid events."""
    day = with_events(seed)

    def begin(rack: SimulatedRack, adversary: Adversary) -> None:
        GridDay(rack, adversary, ends_s=scenario(seed).length_s)

    return run(day, show=show, script=begin)


def _bound_s(day: Scenario) -> float:
    """Return how long it takes at the most until a lower cap is obeyed by a host that hears of it."""
    return day.rules.count_s + day.rules.guard_bound_s


class GridDay:
    """What the grid does.

    Args:
        ends_s: when the faults are over.
    """

    def __init__(self, rack: SimulatedRack, adversary: Adversary, *, ends_s: float) -> None:
        self._rack = rack
        self._adversary = adversary
        self._world = rack.world
        self._random = Random(f"grid {rack.scenario.seed}")
        self._bridge = GridBridge(rack.world, rack.broker)
        self._last_mw = 0
        for host in rack.hosts:
            host.clock.wall_offset_s = self._random.uniform(-WALL_CLOCKS_S, WALL_CLOCKS_S) / 2
        self._bridge.run(self._random.uniform(1.0, 5.0))
        self._world.after(self._random.uniform(0.0, 10.0), self._next)
        self._world.at(ends_s, self._calm)
        self._world.at(rack.scenario.length_s - 0.5, self._check)

    def _next(self) -> None:
        if self._adversary.is_over:
            return
        random, bridge = self._random, self._bridge
        name = random.choice(NAMES)
        what = random.choices(("ask", "cancel", "restart"), (6, 2, 1))[0]
        if what == "restart":
            bridge.restart()
        elif what == "cancel" and name in bridge.asks:
            bridge.cancel(name)
        else:
            bridge.ask(Ask(name, self._intervals(), self._ramp()))
        self._adversary.counts[f"event: {what}"] += 1
        self._world.after(random.expovariate(1 / 4.0), self._next)

    def _intervals(self) -> tuple[Interval, ...]:
        """Return up to three intervals, with and without gaps; the first may have begun."""
        random, intervals = self._random, []
        at_s = self._world.now_s + random.choice((-5.0, 0.0, random.uniform(0.0, 10.0)))
        for _ in range(random.randint(1, 3)):
            end_s = at_s + random.uniform(1.0, 15.0)
            intervals.append(Interval(at_s, end_s, self._limit()))
            at_s = end_s + random.choice((0.0, 0.0, random.uniform(0.5, 5.0)))
        if random.random() < 0.2:
            intervals[-1] = intervals[-1]._replace(end_s=None)
        return tuple(intervals)

    def _limit(self) -> Action:
        rack = self._rack.scenario.rack
        low_mw = rack.least_mw // 2 if self._random.random() < 0.1 else rack.least_mw
        return Action(ActionKind.LIMIT, mw=self._random.randrange(low_mw, rack.hard_limit_mw))

    def _ramp(self) -> EventRamp:
        random = self._random
        return EventRamp(
            down_s=random.choice((0.0, 0.0, random.uniform(0.0, 8.0))),
            up_s=random.choice((0.0, random.uniform(0.0, 10.0))),
            up_jitter_s=random.choice((0.0, random.uniform(0.0, 4.0))),
        )

    def _calm(self) -> None:
        """End the faults, and leave one event in force."""
        self._adversary.is_over = True
        weather = self._rack.broker.weather
        weather.most_s = max(weather.least_s, 0.01)
        weather.lost = weather.slow = weather.doubled = weather.replayed = 0.0
        for host in self._rack.hosts:
            host.clock.wall_offset_s = self._random.uniform(-WALL_CLOCKS_S, WALL_CLOCKS_S) / 2
            host.clock.wall_synced = True
            if host.daemon is not None:
                host.daemon.pause_before_plan_s = 0.0
        rack = self._rack.scenario.rack
        self._last_mw = rack.least_mw + self._random.randrange(
            max(1, (rack.hard_limit_mw - rack.least_mw) // 3)
        )
        action = Action(ActionKind.LIMIT, mw=self._last_mw)
        self._bridge.ask(Ask("last", (Interval(self._world.now_s, None, action),), EventRamp()))

    def _check(self) -> None:
        rack = self._rack.scenario.rack
        draws_mw = sum(watch.applied_mw for watch in self._rack.theorem.hosts.values())
        most_mw = rack.usable_mw(self._last_mw)
        if draws_mw > most_mw:
            text = f"{draws_mw / 1000:g} W, {most_mw / 1000:g} W are left of the event"
            raise ViolationError(f"E: long after all has healed the rack may draw {text}")
