"""NATS server with JetStream, by its MQTT, as it comes and as packaged: the engine under DSX Exchange."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.brokers.claims import Claims
from tests.brokers.kinds import Kind, nats
from tests.brokers.packaged import packaged_nats
from tests.brokers.site import Hosts, Site

KINDS = (nats, packaged_nats)


@pytest.fixture(scope="module", params=KINDS)
def site(
    request: pytest.FixtureRequest, hosts: Hosts, ours: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    make: Callable[[Path, Authority], Kind] = request.param
    kind = make(tmp_path_factory.mktemp("b") / "broker", ours)
    kind.server.start()
    with Site(hosts, kind) as site:
        yield site


class TestNats(Claims):
    pass
