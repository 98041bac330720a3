"""Waits before connecting again: soon after a short outage, and never all hosts of a site at once."""

from collections import Counter
from random import Random

import pytest

from powerd.settings.tables import MqttSettings
from powerd.signals.backoff import Backoff

DEFAULTS = MqttSettings()
# For a broker of thousands.
MIN_S, MAX_S = 1.0, 30.0
CLIENTS = 500
LONG_S = 3600.0


def attempts(client: int, outage_s: float, min_s: float = MIN_S, max_s: float = MAX_S) -> list[float]:
    """Return when a client tries, in seconds from the loss, until it succeeds after the outage."""
    backoff = Backoff(min_s, max_s, Random(client))
    tried_s = [backoff.failed(lasted_s=LONG_S)]
    while tried_s[-1] < outage_s:
        tried_s.append(tried_s[-1] + backoff.failed(lasted_s=0.0))
    return tried_s


@pytest.mark.parametrize(
    ("outage_s", "within_s"), [(0.5, 4), (2, 4), (5, 4), (10, 5), (60, 30), (600, 30), (7200, 30)]
)
def test_a_broker_that_is_back_is_found_soon_and_the_sooner_the_shorter_it_was_away(
    outage_s: float, within_s: float
) -> None:
    assert max(attempts(client, outage_s)[-1] for client in range(CLIENTS)) <= outage_s + within_s


@pytest.mark.parametrize("outage_s", [0.5, 10, 600])
def test_by_default_a_broker_is_found_within_four_seconds_however_long_it_was_away(outage_s: float) -> None:
    bounds = DEFAULTS.reconnect_min_s, DEFAULTS.reconnect_max_s
    tried_s = [attempts(client, outage_s, *bounds) for client in range(CLIENTS)]
    assert max(each[-1] for each in tried_s) <= outage_s + 4
    tries = Counter(int(10 * at_s) for each in tried_s for at_s in each)
    assert max(tries.values()) <= CLIENTS / 10  # in any tenth of a second


@pytest.mark.parametrize("outage_s", [0.5, 5, 60, 600])
def test_five_hundred_clients_do_not_come_at_once(outage_s: float) -> None:
    tries = Counter(int(10 * at_s) for client in range(CLIENTS) for at_s in attempts(client, outage_s))
    assert max(tries.values()) <= CLIENTS / 10  # in any tenth of a second


def test_a_broker_that_accepts_and_hangs_up_is_asked_less_and_less() -> None:
    backoff = Backoff(MIN_S, MAX_S, Random(1))
    waits_s = [backoff.failed(lasted_s=1.0) for _ in range(200)]
    assert max(waits_s[:5]) <= 4.5
    assert sum(waits_s[100:]) / 100 > 12
    assert max(waits_s) <= MAX_S


def test_after_a_connection_that_lasted_waits_are_short_again() -> None:
    backoff = Backoff(MIN_S, MAX_S, Random(1))
    for _ in range(200):
        backoff.failed(lasted_s=0.0)
    assert backoff.failed(lasted_s=MAX_S + 1) <= 4


def test_equal_bounds_are_the_wait() -> None:
    assert Backoff(2.0, 2.0, Random(1)).failed(lasted_s=0.0) == 2.0
    assert Backoff(20.0, 30.0, Random(1)).failed(lasted_s=0.0) >= 20.0
