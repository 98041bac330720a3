"""Mosquitto: by both versions of MQTT, and as packaged: TLS, with certificates of clients or passwords."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.brokers.claims import Claims
from tests.brokers.kinds import Kind, mosquitto_5, mosquitto_311
from tests.brokers.packaged import packaged_mosquitto, packaged_mosquitto_with_passwords
from tests.brokers.site import Hosts, Site

KINDS = (mosquitto_311, mosquitto_5, packaged_mosquitto, packaged_mosquitto_with_passwords)


@pytest.fixture(scope="module", params=KINDS)
def site(
    request: pytest.FixtureRequest, hosts: Hosts, ours: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    make: Callable[[Path, Authority], Kind] = request.param
    kind = make(tmp_path_factory.mktemp("b") / "broker", ours)
    kind.server.start()
    with Site(hosts, kind) as site:
        yield site


class TestMosquitto(Claims):
    pass
