"""What somebody orders with powerctl who is out to break things, and is often refused.

`detach` is left out: nobody can lower GPUs whose driver was given up, and no theorem holds for them.
"""

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeAlias

from powerd.desk.desk import Desk
from powerd.desk.order import MIN_DRILL_S, MIN_TTL_S, Done, Who
from powerd.mode import MODES
from tests.cluster.plant import PlantGpu

Order: TypeAlias = Callable[[Desk], Awaitable[Done]]

_WHO = Who(0, 0, 1, "root")
_WHY = "a game day"


def any_order(random: Random, gpus: Sequence[PlantGpu]) -> Order:
    """Return an order at random; half of them are overrides."""
    kinds = (_override, _override, _override, _end_of_override, _drill, _end_of_drill, _mode, _release)
    return random.choice(kinds)(random, random.choice(gpus))


def enforce(desk: Desk) -> Awaitable[Done]:
    """Write limits again."""
    return desk.mode("enforce", _WHY, _WHO)


def _override(random: Random, gpu: PlantGpu) -> Order:
    mw = random.randrange(gpu.min_mw, gpu.max_mw + 1)
    ttl_s = random.uniform(1.0, 2.0) * MIN_TTL_S
    return lambda desk: desk.override(gpu.uuid, mw, ttl_s, _WHY, _WHO)


def _end_of_override(_random: Random, gpu: PlantGpu) -> Order:
    return lambda desk: desk.override(gpu.uuid, None, MIN_TTL_S, _WHY, _WHO)


def _drill(random: Random, _gpu: PlantGpu) -> Order:
    duration_s = random.uniform(1.0, 6.0) * MIN_DRILL_S
    return lambda desk: desk.drill(duration_s, _WHY, _WHO)


def _end_of_drill(_random: Random, _gpu: PlantGpu) -> Order:
    return lambda desk: desk.drill(0.0, _WHY, _WHO)


def _mode(random: Random, _gpu: PlantGpu) -> Order:
    mode = random.choice(MODES)
    return lambda desk: desk.mode(mode, _WHY, _WHO)


def _release(_random: Random, _gpu: PlantGpu) -> Order:
    return lambda desk: desk.release(_WHY, _WHO)
