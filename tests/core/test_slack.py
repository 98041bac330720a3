"""A GPU that its limit holds down for a part of the time is given less only if it can do with less."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from powerd.core.gpus.demand import Demand, DemandRules, GpuDemand, assess
from tests.core.make import MAX_W, W, gpu

PEERS_LEAVE_W = 400.0
IDLE_W = 60.0
S = 1_000_000_000
HOUR_S = 3600

Share = Callable[[float], float]


def phases(_limit: float) -> float:
    """Half of the time at work, however fast."""
    return 0.5


def service(limit: float) -> float:
    """As long at work as the requests take, at a speed that grows with the root of the dynamic power."""
    return min(1.0, 0.5 * math.sqrt((PEERS_LEAVE_W - IDLE_W) / (limit - IDLE_W)))


def limits(share: Share, seconds: int) -> Iterator[tuple[float, GpuDemand]]:
    """Play a GPU that gets what it wants, up to 400 W; it would draw more if it could."""
    limit, capped_s, joules, known = PEERS_LEAVE_W, 0.0, 0.0, None
    for t in range(seconds):
        reading = gpu(limit=limit, draw=limit, sampled=100.0 + t, capped_ns=round(capped_s * S))
        reading = replace(reading, energy_mj=round(joules * 1000))
        known = assess(known, reading, MAX_W * W, DemandRules())
        yield limit, known
        limit = max(100.0, min(PEERS_LEAVE_W, known.want_mw // W))
        at_work = share(limit)
        capped_s += at_work
        joules += IDLE_W + at_work * (limit - IDLE_W)


def test_a_service_with_slack_comes_down_to_what_it_needs_and_stays_there() -> None:
    ran = [limit for limit, _ in limits(service, 600)]
    needs = next(limit for limit in range(100, 400) if service(limit) < 1)
    assert needs <= ran[-1] <= 1.3 * needs
    assert ran[240] <= 1.3 * needs
    assert len(set(ran[300:])) == 1


def test_phases_too_short_to_be_seen_lose_next_to_nothing() -> None:
    ran = [limit for limit, _ in limits(phases, HOUR_S)]
    assert sum(ran) / len(ran) >= 0.995 * PEERS_LEAVE_W
    assert min(ran) >= 0.9 * PEERS_LEAVE_W


def test_after_every_failure_it_is_left_alone_for_twice_as_long() -> None:
    ran = [limit for limit, _ in limits(phases, HOUR_S)]
    tries = [t for t, (before, after) in enumerate(pairwise(ran)) if after < before]
    waits = [after - before for before, after in pairwise(tries)]
    assert len(tries) > 3
    assert all(after >= 1.7 * before for before, after in pairwise(waits))


@pytest.mark.parametrize("share", [phases, service])
def test_while_it_is_left_alone_it_counts_as_held_back(share: Share) -> None:
    capped = [known.want_mw for _, known in limits(share, 600) if known.demand is Demand.CAPPED]
    assert set(capped) == ({MAX_W * W} if share is phases else set())


def test_a_step_is_forgotten_when_its_limit_does_not_hold_the_gpu_down_any_more() -> None:
    """Else the next load would be judged by a limit from long ago."""
    limit, tried = next((limit, known) for limit, known in limits(service, 60) if known.slack.from_mw)
    reading = gpu(limit=limit, draw=limit - 20, sampled=tried.sampled_boot_s + 1, capped_ns=tried.capped_ns)
    free = assess(tried, reading, MAX_W * W, DemandRules())
    assert free.slack.from_mw == 0
    assert free.demand is Demand.BUSY
