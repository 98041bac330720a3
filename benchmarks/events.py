"""What grid events cost a decision: a thousand of them held, or two of 512 intervals each."""

import time
from dataclasses import dataclass, replace

from benchmarks.allocator import budget, host_of
from benchmarks.table import Figure, Table
from powerd.core.decide import decide
from powerd.core.events.grid_event import (
    Action,
    ActionKind,
    Baseline,
    EventClass,
    EventRamp,
    GridEvent,
    Interval,
    Level,
)
from powerd.core.events.schedule import Held, Schedule, key_of
from powerd.core.model import GpuReading, Now
from powerd.core.state import Config, Inputs, State

GPUS = 8
EVENTS, INTERVALS = 1000, 512
START = Now(1000.0, 1_763_690_000.0)
# One decision, at a boundary and off one.
BOUND_MS = 1.0
REPEATS = 30
# Nobody sends these; what they cost is shown, and is far from a period.
STRANGE = (
    AT_ONCE := f"{EVENTS} events at once, one program each",
    IN_A_RAMP := f"2 of {INTERVALS} intervals, all within one ramp",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A host with events, and the moments at which it decides: each a boundary, or none of them one."""

    config: Config
    state: State
    readings: tuple[GpuReading, ...]
    moments: tuple[Now, ...]


def measure_events() -> Table:
    """Time `decide` for 8 GPUs on the same host, without events and with them."""
    none = stage((), 60.0)
    bare_ms = min(best_ms(none) for _ in range(3))  # the first ones also warm up
    figures = [Figure("no events", bare_ms, "ms")]
    for name, events, every_s in cases():
        host = stage(events, every_s)
        for where, moments in (("off a boundary", between(host.moments)), ("at a boundary", host.moments)):
            ms = best_ms(replace(host, moments=moments))
            figures.append(Figure(f"{name}, {where}", ms, "ms", None if name in STRANGE else BOUND_MS))
            figures.append(Figure("  times that of a decision without events", ms / bare_ms, "x"))
    figures.append(Figure(f"one more event heard with {EVENTS} held", heard_ms(), "ms", BOUND_MS))
    return Table(f"Decision for {GPUS} GPUs with grid events, best of {REPEATS}", tuple(figures))


def cases() -> list[tuple[str, tuple[GridEvent, ...], float]]:
    """Return what is held, by name, and how often a boundary comes."""
    day_s = 86_400.0 / EVENTS
    return [
        (f"{EVENTS} events, one after the other", scheduled(day_s, at_s=500 * day_s), day_s),
        (f"{EVENTS} events, all over but the last four", scheduled(day_s, at_s=(EVENTS - 4) * day_s), day_s),
        (AT_ONCE, at_once(), 60.0),
        (f"2 events of {INTERVALS} intervals", long_ones(EventRamp()), 60.0),
        (
            IN_A_RAMP,
            long_ones(EventRamp(down_s=40_000.0)),
            60.0,
        ),
    ]


def scheduled(every_s: float, at_s: float) -> tuple[GridEvent, ...]:
    """Return events in a row; so much time of them has passed."""
    first_s = START.wall_s - at_s
    return tuple(
        event(f"e{n}", Interval(first_s + n * every_s, first_s + (n + 1) * every_s, cut(n)))
        for n in range(EVENTS)
    )


def at_once() -> tuple[GridEvent, ...]:
    """Return events that are all in force, each for itself; one of them changes every minute."""
    steps = tuple(Interval(START.wall_s + 60 * n, START.wall_s + 60 * (n + 1), cut(n)) for n in range(500))
    others = (Interval(START.wall_s - 60.0, None, cut(n)) for n in range(1, EVENTS))
    rest = (replace(event(f"e{n}", each), program=f"p{n}") for n, each in enumerate(others))
    return event("steps", *steps), *rest


def long_ones(ramp: EventRamp) -> tuple[GridEvent, ...]:
    """Return two events of two sources that step at the same moments."""
    first_s = START.wall_s - 60.0 * (INTERVALS - 50)
    steps = tuple(Interval(first_s + 60 * n, first_s + 60 * (n + 1), cut(n)) for n in range(INTERVALS))
    one = replace(event("a", *steps), ramp=ramp)
    return one, replace(one, source="another")


def cut(n: int) -> Action:
    """Return one of fifty reductions."""
    return Action(ActionKind.REDUCE_PCT, pct=5.0 + n % 50, baseline=Baseline.NAMEPLATE)


def event(name: str, *intervals: Interval) -> GridEvent:
    """Return an event of the rack."""
    return GridEvent(
        source="bench",
        event_id=name,
        epoch=1,
        seq=1,
        issued_at_s=START.wall_s,
        event_class=EventClass.MANDATORY,
        level=Level.RACK,
        targets=("r",),
        intervals=intervals,
        received=START,
    )


def stage(events: tuple[GridEvent, ...], every_s: float) -> Stage:
    """Return a host with a budget that has heard these events and decided once."""
    config, state, readings = host_of(GPUS)
    lease = replace(budget(START, 1, watts=20_000), valid_until_s=START.wall_s + 300)
    state = state._replace(schedule=Schedule({key_of(one): Held(one) for one in events}))
    _, state = decide(Inputs(readings, (lease,)), state, START, config)
    moments = tuple(later(START, every_s * n) for n in range(1, 4))
    return Stage(config, state, readings, moments)


def later(now: Now, by_s: float) -> Now:
    """Return a later moment, on both clocks."""
    return Now(now.boot_s + by_s, now.wall_s + by_s, now.wall_synced)


def between(moments: tuple[Now, ...]) -> tuple[Now, ...]:
    """Return as many moments that follow the first one closely."""
    return (moments[0], *(later(moments[0], 0.1 * n) for n in range(1, len(moments))))


def best_ms(host: Stage) -> float:
    """Return how long the last of the decisions takes: the ones before it lead there."""
    return timed_ms(host, host.moments, Inputs(host.readings))


def heard_ms() -> float:
    """Return how long a decision takes on an event that begins now, with a full schedule."""
    [(_, events, every_s), *_] = cases()
    host = stage(events, every_s)
    news = replace(event("new", Interval(START.wall_s, None, cut(9))), program="new")
    return timed_ms(host, (START,), Inputs(host.readings, events=(news,)))


def timed_ms(host: Stage, moments: tuple[Now, ...], inputs: Inputs) -> float:
    """Return the time of the last of some decisions: of the fastest of several times, each from the start."""

    def once() -> float:
        state = host.state
        for now in moments[:-1]:
            _, state = decide(Inputs(host.readings), state, now, host.config)
        begun_s = time.perf_counter()
        decide(inputs, state, moments[-1], host.config)
        return time.perf_counter() - begun_s

    return min(once() for _ in range(REPEATS)) * 1000
