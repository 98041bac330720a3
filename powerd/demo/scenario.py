"""What happens to the rack of the demo: the budgets that it is given, and what the grid asks of it.

A grid event takes hours. So that it fits into a demo all its times are divided by one factor, and with them
those by which hosts raise: `Scenario.pace`. Only the period of the hosts and the leases of budgets stay real.
"""

import math
from dataclasses import dataclass

from powerd.core.events.grid_event import Action, ActionKind, EventClass, EventRamp
from powerd.core.events.schedule import EventRules
from powerd.demo.rack import Pace
from powerd.errors import ConfigError

BUDGETS_PCT = (100, 70, 50, 85)
# The shortest that hosts accept. Said three times within it, as a real facility does.
LEASE_S = 5.0
EVERY_S = 1.5
_SILENT_PART = 13 / 60
# After the end of the lease, so that the failsafe can be seen.
_FAILSAFE_SHOWN_S = 3.0
_SHORTEST_PHASE_S = 1.0
# What `--duration 0` repeats.
CYCLE_S = 60.0

MIN_S, H_S = 60.0, 3600.0
# How hosts raise in event time: the defaults of the configuration.
RAMP_PCT_PER_MIN, DWELL_S, JITTER_S, HOLD_S = 16.67, 30.0, 15.0, 7200.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of what the facility says.

    Attributes:
        pct: of the nominal budget; None = silent.
    """

    pct: int | None
    duration_s: float


@dataclass(frozen=True, slots=True)
class Ask:
    """One interval of an event, in event time from the start of the scenario."""

    start_s: float
    end_s: float
    action: Action

    @property
    def pct(self) -> float:
        """Return by how many per cent it lowers the budget."""
        is_level = self.action.kind is ActionKind.SHED_LEVEL
        return EventRules().levels_pct[self.action.level] if is_level else self.action.pct


@dataclass(frozen=True, slots=True)
class Call:
    """One grid event, in event time.

    Attributes:
        name: also that of its program: two calls of a scenario do not take each other's place.
    """

    name: str
    event_class: EventClass
    asks: tuple[Ask, ...]
    ramp: EventRamp


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story.

    Attributes:
        about: one line, for people.
        length_s: of the story in event time; 0 = it has no grid event, and takes as long as it is given.
        calls: what the grid asks for.
        has_notice: events are announced at the start, else each at the moment at which it begins.
        silent_s: from when to when the facility is silent, in event time; None = never.
        failsafe_pct: of the nominal budget.
        shortest_s: it needs at least so long.
    """

    name: str
    about: str
    length_s: float = 0.0
    calls: tuple[Call, ...] = ()
    has_notice: bool = True
    silent_s: tuple[float, float] | None = None
    failsafe_pct: int = 45
    shortest_s: float = 20.0

    def factor(self, duration_s: float) -> float:
        """Return the seconds of event time in one of a run that takes `duration_s`; 0 = for ever."""
        return self.length_s / (duration_s or CYCLE_S) if self.length_s else 1.0

    def pace(self, duration_s: float) -> Pace:
        """Return how hosts raise, and what they have to do."""
        if not self.length_s:
            return Pace(failsafe_pct=self.failsafe_pct)
        factor = self.factor(duration_s)
        return Pace(
            ramp_pct_per_min=round(RAMP_PCT_PER_MIN * factor, 2),
            raise_dwell_s=round(DWELL_S / factor, 3),
            raise_jitter_s=round(JITTER_S / factor, 3),
            failsafe_hold_s=round(HOLD_S / factor, 3),
            failsafe_pct=self.failsafe_pct,
            is_busy=True,
        )

    def phases(self, duration_s: float) -> tuple[Phase, ...]:
        """Return what the facility says, in real time.

        Raises:
            ConfigError: the duration is too short, or not finite.
        """
        if not self.length_s:
            return stepped_budgets(duration_s)
        if not self.shortest_s <= duration_s < math.inf:
            raise _unusable(duration_s, f"scenario {self.name}", self.shortest_s)
        if self.silent_s is None:
            return (Phase(100, duration_s),)
        from_s, until_s = (at_s / self.factor(duration_s) for at_s in self.silent_s)
        return Phase(100, from_s), Phase(None, until_s - from_s), Phase(100, duration_s - until_s)


def stepped_budgets(duration_s: float) -> tuple[Phase, ...]:
    """Divide a duration among the budgets and the silence.

    Raises:
        ConfigError: it is too short for a lease to run out, or not finite.
    """
    shortest_s = LEASE_S + _FAILSAFE_SHOWN_S + _SHORTEST_PHASE_S * len(BUDGETS_PCT)
    if not shortest_s <= duration_s < math.inf:
        raise _unusable(duration_s, f"a lease of {LEASE_S:g} s to run out", shortest_s)
    silent_s = max(LEASE_S + _FAILSAFE_SHOWN_S, duration_s * _SILENT_PART)
    each_s = (duration_s - silent_s) / len(BUDGETS_PCT)
    return (*(Phase(pct, each_s) for pct in BUDGETS_PCT), Phase(None, silent_s))


def _unusable(duration_s: float, what: str, shortest_s: float) -> ConfigError:
    return ConfigError(
        f"--duration {duration_s:g}: for {what} it takes at least {shortest_s:g}; 0 goes on until Ctrl-C"
    )


def named(name: str) -> Scenario:
    """Return a scenario.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in SCENARIOS:
        raise ConfigError(f'--scenario "{name}" is unknown; there are {", ".join(SCENARIOS)}')
    return SCENARIOS[name]


def _less(start_s: float, end_s: float, pct: float) -> Ask:
    return Ask(start_s, end_s, Action(ActionKind.REDUCE_PCT, pct=pct))


def _level(start_s: float, end_s: float, level: int) -> Ask:
    return Ask(start_s, end_s, Action(ActionKind.SHED_LEVEL, level=level))


def _ramp(*, down_s: float = 0.0, up_s: float) -> EventRamp:
    return EventRamp(down_s, up_s, up_jitter_s=MIN_S)


_ALL = (
    Scenario("default", "100, 70, 50 and 85 % of the budget, then silence: failsafe"),
    Scenario(
        "phoenix",
        "25 % less for 3 h: down in 15 min, back in 10 min",
        length_s=4.5 * H_S,
        calls=(
            Call(
                "phoenix",
                EventClass.MANDATORY,
                (_less(30 * MIN_S, 225 * MIN_S, 25),),
                _ramp(down_s=15 * MIN_S, up_s=10 * MIN_S),
            ),
        ),
    ),
    Scenario(
        "london",
        "30 % less within 30 s, without notice, held for half an hour",
        length_s=H_S,
        calls=(
            Call(
                "london",
                EventClass.MANDATORY,
                (_less(10 * MIN_S, 40 * MIN_S, 30),),
                _ramp(up_s=10 * MIN_S),
            ),
        ),
        has_notice=False,
    ),
    Scenario(
        "caiso-two-peaks",
        "10 % less on the morning and the evening peak; 25 % is mandatory at its height",
        length_s=18 * H_S,
        calls=(
            Call(
                "peaks",
                EventClass.VOLUNTARY,
                (_level(1.5 * H_S, 4.5 * H_S, 1), _level(11 * H_S, 16 * H_S, 1)),
                _ramp(down_s=10 * MIN_S, up_s=20 * MIN_S),
            ),
            Call(
                "height",
                EventClass.MANDATORY,
                (_level(12.5 * H_S, 14.5 * H_S, 2),),
                _ramp(down_s=10 * MIN_S, up_s=20 * MIN_S),
            ),
        ),
    ),
    Scenario(
        "lost-controller",
        "the facility dies during an event, which runs to its end; failsafe until it returns",
        length_s=6 * H_S,
        calls=(
            Call(
                "evening",
                EventClass.MANDATORY,
                (_less(H_S, 4 * H_S, 45),),
                _ramp(down_s=10 * MIN_S, up_s=10 * MIN_S),
            ),
        ),
        silent_s=(1.5 * H_S, 5 * H_S),
        failsafe_pct=70,
        shortest_s=30.0,
    ),
)
SCENARIOS = {each.name: each for each in _ALL}
