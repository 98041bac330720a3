"""What a broker has stored, or has lost: neither is a budget by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.observer import excesses, unearned_raises
from tests.daemon.rig import Rig, gpu_budget_mw

LONG_S = 240


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("h"), library) as rig:
        rig.broker.persistence = True
        rig.start()
        yield rig
        assert list(unearned_raises(rig)) == []


@pytest.fixture
def host(shared: Rig) -> Rig:
    """Return a host under a budget of 3600 W that its broker keeps on disk."""
    shared.broker.restart(persistence=True)
    connected_again(shared)
    shared.obey(3600, LONG_S)
    return shared


def connected_again(host: Rig) -> None:
    """Wait until the host is connected to the broker that was started last."""
    host.wait_for(lambda: " as powerd-" in host.broker.log.rpartition(" starting")[2], what="a connection")
    host.wait_for(lambda: host.status()["bus"]["connected"], what="connected again")


def test_a_store_that_is_older_than_the_last_budget_raises_nothing(host: Rig) -> None:
    """A backup that was put back, a standby broker that lags: retained, in its lease, and out of date."""
    store = host.directory / "broker" / "mosquitto.db"
    host.broker.stop()
    old = store.read_bytes()
    host.broker.start()
    host.obey(2800, LONG_S)
    host.broker.stop()
    store.write_bytes(old)
    host.broker.start()
    assert b'"watts": 3600' in (host.broker.retained(host.facility.topic) or b"")
    host.wait_for(lambda: replays(host) == 1, what="the old budget refused")
    host.wait_iterations(2)
    assert host.obeyed(2800)

    host.daemon.kill()
    host.start_daemon()
    host.wait_for(lambda: replays(host) == 1, what="the old budget refused by the next daemon too")
    host.wait_iterations(2)
    assert host.sum_mw() <= gpu_budget_mw(2800)
    host.obey(3200, LONG_S)


def replays(host: Rig) -> float:
    return host.metric("powerd_signal_rejected_total", reason="old_seq")


def test_a_broker_that_has_lost_its_store_takes_no_budget_away_and_gives_none(host: Rig) -> None:
    grant = host.obey(2800, LONG_S)
    before_mw = host.sum_mw()
    host.broker.restart(persistence=False)
    connected_again(host)
    host.wait_iterations(2)
    assert (host.sum_mw(), host.status()["budget"]["lease"]["seq"]) == (before_mw, host.facility.seq)
    host.obey(3000, LONG_S)
    assert list(excesses(host, grant.published_boot_s)) == []
