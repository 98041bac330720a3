"""Five hundred hosts at one broker, all of which say all that hosts say; one of them is real."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.authority import Authority
from tests.brokers.fan_in import FanIn
from tests.brokers.kinds import mosquitto_5
from tests.daemon.waiting import boot_s
from tests.fake_nvml import build

# The first test waits for the crowd to gather, too.
pytestmark = pytest.mark.timeout(240)

CLIENTS = 500
_ALL_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def crowd(ours: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FanIn]:
    directory = tmp_path_factory.mktemp("f")
    (directory / "h").mkdir()
    kind = mosquitto_5(directory / "broker", ours)
    with FanIn(directory / "h", build(directory / "lib"), kind, CLIENTS) as crowd:
        crowd.start()
        yield crowd


def test_among_five_hundred_a_host_obeys_and_everybody_hears_the_budget_of_their_rack(crowd: FanIn) -> None:
    crowd.grant_all(33_000)
    crowd.wait_for(lambda: crowd.obeyed(33_000), _ALL_WITHIN_S, what="a budget obeyed")
    published = crowd.grant_all(30_000)
    crowd.wait_for(lambda: crowd.obeyed(30_000), what="a cut obeyed")
    crowd.wait_for(lambda: len(crowd.delays_s(published)) == CLIENTS, what="the cut heard by all")
    assert crowd.connected() == CLIENTS


def test_when_the_broker_is_back_everybody_comes_back_and_not_at_once(crowd: FanIn) -> None:
    begun_boot_s = boot_s()
    crowd.kind.server.kill()
    crowd.wait_for(lambda: not crowd.connected(), what="everybody knows that it is gone")
    crowd.kind.server.start()
    crowd.wait_for(lambda: crowd.connected() == CLIENTS, _ALL_WITHIN_S, what="everybody is back")

    waits = crowd.events("wait", begun_boot_s)
    assert all(1.0 <= wait_s <= 30.0 for _, _, (_, wait_s) in waits)
    # When they meant to try again: a busy machine lets them do it later, and then at once.
    tries = Counter(int(10 * (at_s + wait_s)) for at_s, _, (_, wait_s) in waits)
    assert max(tries.values()) <= CLIENTS / 10  # in any tenth of a second

    crowd.wait_for(lambda: crowd.host.status()["bus"]["connected"], _ALL_WITHIN_S, what="the real host too")
    crowd.grant_all(31_000)
    crowd.wait_for(lambda: crowd.obeyed(31_000), what="it is under control again")
