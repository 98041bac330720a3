"""The packaged access list, at real brokers from the packaged files: everybody tries everything.

Whoever is to do something can, and nobody can do anything else.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from powerd.signals.topics import Topics
from tests.authority import Authority, authority
from tests.brokers.client import Client
from tests.brokers.kinds import Kind
from tests.brokers.login import Login
from tests.brokers.packaged import (
    FILES,
    PackagedNats,
    packaged_mosquitto,
    packaged_nats,
    printed,
)
from tests.daemon.waiting import wait_until

N1, N2 = Topics("powerd/v1", "hel1", "r17", "r17-n1"), Topics("powerd/v1", "hel1", "r17", "r17-n2")
OTHER = Topics("powerd/v1", "hel1", "r18", "r18-n1")
# A host that goes by its own name in another rack.
STRAY = Topics("powerd/v1", "hel1", "r18", "r17-n1")
AGENT, OTHER_AGENT = "grid/v1/dsx-flex-agent/hel1-r17", "grid/v1/dsx-flex-agent/hel1-r18"
TARGET, ENFORCEMENT = (
    "grid/v1/isv/acme-energy/loadtarget/set",
    "grid/v1/infra/ima-prod/powerbreach/enforcement",
)
EVENT, PRICE = N1.grid_event("ev-1"), N1.signal("price", "de-lu")


def own(host: Topics) -> set[str]:
    return {host.online, host.state, host.telemetry, host.notice, host.doctor}


def status(agent: str) -> set[str]:
    return {f"{agent}/powerstate/status", f"{agent}/powerbreach"}


def rack_hears(host: Topics) -> set[str]:
    return {host.budget, host.meter("total"), EVENT, PRICE, TARGET, ENFORCEMENT}


class May(NamedTuple):
    publish: set[str]
    hear: set[str]


ALL_STATUSES = status(AGENT) | status(OTHER_AGENT)
MAY = {
    "r17-n1": May(own(N1) | {N1.summary} | status(AGENT), rack_hears(N1) | {N1.state, N2.state, N1.doctor}),
    "r18-n1": May(
        own(OTHER) | {OTHER.summary} | status(OTHER_AGENT), rack_hears(OTHER) | {OTHER.state, OTHER.doctor}
    ),
    "facility": May(
        {N1.budget, OTHER.budget, N1.bridge_online("facility")},
        {N1.summary, OTHER.summary, N1.notice, N2.notice, OTHER.notice, STRAY.notice},
    ),
    "vtn1": May({EVENT, PRICE, N1.bridge_online("vtn1")}, {EVENT, N1.summary, OTHER.summary}),
    "pdus": May({N1.meter("total"), OTHER.meter("total"), N1.bridge_online("pdus")}, set()),
    "acme-energy": May({TARGET}, ALL_STATUSES),
    "ima-prod": May({ENFORCEMENT}, ALL_STATUSES),
    "row-4": May(
        {N1.summary, OTHER.summary, N1.notice, N2.notice, OTHER.notice, N1.online, N2.online, OTHER.online}
        | {STRAY.notice, STRAY.online}
        | ALL_STATUSES,
        rack_hears(N1) | rack_hears(OTHER),
    ),
}
TOPICS = set().union(*(may.publish for may in MAY.values()), own(N2), own(STRAY))
# Somebody speaks on each of these, so that somebody could be heard who should not.
SPEAKERS = (*MAY, "r17-n2")


class Traffic(NamedTuple):
    """Who got through on which topics, and who heard anything there."""

    published: dict[str, set[str]]
    heard: dict[str, set[str]]


def everything(kind: Kind) -> Traffic:
    """Let everybody listen to every topic and speak on every topic, and return what came of it."""
    with contextlib.ExitStack() as stack:

        def enter(name: str, *filters: str) -> Client:
            return stack.enter_context(Client(kind.server.port, kind.login(name), *filters, qos=0))

        people = enter("grafana", "powerd/v1/hel1/#", "grid/v1/#")
        clients = {name: enter(name, *sorted(TOPICS)) for name in SPEAKERS}
        for name, client in clients.items():
            for topic in sorted(TOPICS):
                client.publish(topic, name.encode(), qos=0)
        for _ in ("all is published", "all is heard"):
            for client in (*clients.values(), people):
                client.round_trip()
        spoken = [(each.topic, each.payload.decode()) for each in people.heard]
        return Traffic(
            {name: {topic for topic, speaker in spoken if speaker == name} for name in SPEAKERS},
            {name: {each.topic for each in client.heard} for name, client in clients.items()},
        )


@pytest.fixture(scope="module", params=[packaged_mosquitto, packaged_nats])
def kind(
    request: pytest.FixtureRequest, ours: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kind]:
    make: Callable[[Path, Authority], Kind] = request.param
    kind = make(tmp_path_factory.mktemp("b") / "broker", ours)
    kind.server.start()
    yield kind
    kind.server.kill()


@pytest.fixture(scope="module")
def traffic(kind: Kind) -> Traffic:
    return everything(kind)


@pytest.mark.parametrize("name", MAY)
def test_who_is_on_the_list_can_publish_what_is_theirs_and_nothing_else(traffic: Traffic, name: str) -> None:
    assert traffic.published[name] == MAY[name].publish


@pytest.mark.parametrize("name", MAY)
def test_who_is_on_the_list_hears_what_is_for_them_and_nothing_else(traffic: Traffic, name: str) -> None:
    assert traffic.heard[name] == MAY[name].hear


def test_what_the_broker_has_kept_is_for_the_same_ears_only(kind: Kind) -> None:
    with Client(kind.server.port, kind.login("facility")) as facility:
        assert facility.publish(N1.budget, b"of r17", retain=True)
        assert facility.publish(OTHER.budget, b"of r18", retain=True)
    with Client(kind.server.port, kind.login("r17-n1"), N1.budget, OTHER.budget) as client:
        wait_until(lambda: client.heard, 10, evidence=str)
        client.round_trip()
        assert {each.payload for each in client.heard if each.retain} == {b"of r17"}


def test_a_certificate_of_the_site_opens_nothing_for_who_is_not_on_the_list(kind: Kind) -> None:
    """NATS does not even let them in."""
    everything = ("powerd/v1/hel1/#", "grid/v1/#", N1.budget)
    with Client(kind.server.port, kind.login("grafana"), *everything[:2], qos=0) as people:
        with (
            contextlib.suppress(ConnectionError),
            Client(kind.server.port, kind.login("nobody"), *everything) as nobody,
        ):
            for topic in sorted(TOPICS):
                nobody.publish(topic, b"nobody", qos=0)
            nobody.round_trip()
            assert nobody.heard == []
        people.round_trip()
        assert b"nobody" not in [each.payload for each in people.heard]


def test_nobody_gets_in_without_a_certificate_of_the_site(
    kind: Kind, ours: Authority, tmp_path: Path
) -> None:
    stranger = authority(tmp_path / "other")
    certificate, key = stranger.issue("r17-n1")
    for login in (
        Login(ca_file=ours.ca_file),
        Login("r17-n1", "", ca_file=ours.ca_file),
        Login(ca_file=ours.ca_file, cert_file=certificate, key_file=key),
    ):
        with pytest.raises((ssl.SSLError, ConnectionError)), Client(kind.server.port, login):
            pass


def test_natss_own_protocol_is_no_way_round_the_list(ours: Authority, tmp_path: Path) -> None:
    with PackagedNats(tmp_path / "broker", ours) as server:
        for login in ('{"verbose":true}', '{"verbose":true,"user":"facility","pass":""}'):
            with socket.create_connection(("127.0.0.1", server.client_port), timeout=10) as raw:
                file = raw.makefile("rwb")
                assert file.readline().startswith(b"INFO")
                file.write(f"CONNECT {login}\r\n".encode())
                file.flush()
                assert b"Authorization Violation" in file.readline()
                file.close()


@pytest.mark.parametrize(("broker", "file"), [("mosquitto", "powerd.acl"), ("nats", "powerd-users.conf")])
def test_the_packaged_lists_are_what_is_made_of_the_packaged_participants(broker: str, file: str) -> None:
    assert printed(broker) == (FILES / file).read_text(encoding="utf-8")
