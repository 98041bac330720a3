"""Three NATS servers behind one name, TLS included: hosts go on when a node dies, whichever it is."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.authority import Authority
from tests.brokers.kinds import Kind
from tests.brokers.login import Login
from tests.brokers.nats import Nats, NatsCluster
from tests.brokers.site import BUDGET_WATTS, BUSY_WATTS, LONG_S, Hosts, Site
from tests.daemon.facility import Facility, Grant
from tests.daemon.host import Host
from tests.daemon.waiting import boot_s
from tests.fake_nvml import build

NAME = "broker.hall.test"
SAID_AGAIN_S = 10.0


def named(directory: Path) -> tuple[str, ...]:
    """Return what commands begin with that know the cluster by its name: an /etc/hosts of their own."""
    hosts = directory / "hosts"
    hosts.write_text("".join(f"127.0.0.{number} {NAME}\n" for number in (1, 2, 3)) + "127.0.0.1 localhost\n")
    enter = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
    return (*enter, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))


class ClusterSite(Site):
    """The hosts at a cluster."""

    def __init__(self, hosts: Hosts, kind: Kind, cluster: NatsCluster) -> None:
        super().__init__(hosts, kind, facility=Facility(cluster.port, kind.login("facility").prepare))
        self.cluster = cluster

    def node_of(self, host: Host) -> Nats:
        """Return the node that a host is connected to."""
        client_id = f"powerd-hel1-r17-{host.name}"
        return self.wait_for(
            lambda: next((n for n in self.cluster.nodes if n.running and n.serves(client_id)), None),
            what="the host at a node",
        )

    def kill(self, node: Nats) -> None:
        """Kill a node; the facility goes to another one."""
        self.facility.address = next(other.address for other in self.cluster.nodes if other is not node)
        self.facility.close()
        node.kill()

    def obey(self, watts: float, lease_s: float = LONG_S, **fields: Any) -> Grant:
        """Say a budget again and again, as controllers do, until both hosts follow it.

        While nodes elect their leaders nobody carries one.
        """

        def followed() -> Grant | None:
            grant = self.facility.grant(watts, lease_s, **fields)
            due_s = boot_s() + SAID_AGAIN_S
            self.wait_for(lambda: self.obeyed(watts) or boot_s() > due_s, what=f"{watts} W obeyed")
            return grant if self.obeyed(watts) else None

        return self.wait_for(followed, what=f"{watts} W obeyed")


@pytest.fixture(scope="module")
def site(ours: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSite]:
    directory = tmp_path_factory.mktemp("c")
    addresses = ",".join(f"IP:127.0.0.{number}" for number in (1, 2, 3))
    certificate, key = ours.issue(NAME, alternatives=addresses)
    login = Login(ca_file=ours.ca_file)
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'
    with NatsCluster(directory, login=login, mqtt=[tls]) as cluster:
        kind = Kind(cluster, f"mqtts://{NAME}:{cluster.port}", lambda _name: login, spoken="3.1.1")
        (directory / "h").mkdir()
        library = build(directory / "lib")
        with (
            Hosts(directory / "h", library, named(directory)) as hosts,
            ClusterSite(hosts, kind, cluster) as site,
        ):
            yield site


@pytest.fixture(autouse=True)
def whole(site: ClusterSite) -> None:
    """Begin each test with three nodes."""
    site.cluster.start()


def test_hosts_at_any_of_the_nodes_hear_the_facility_and_each_other(site: ClusterSite) -> None:
    site.calm()
    site.demand(site.first, BUSY_WATTS)
    site.wait_for(lambda: site.worst_of(site.first) > BUDGET_WATTS / 2 + 150, what="borrowed watts in use")
    site.obey(2400)


def test_a_host_goes_to_another_node_when_its_own_dies_and_never_to_failsafe(site: ClusterSite) -> None:
    site.calm()
    node = site.node_of(site.first)
    site.kill(node)
    site.obey(2400)
    assert site.node_of(site.first) is not node
    assert "failsafe" not in site.first.daemon.log_of_run


def test_the_node_that_leads_the_messages_may_die(site: ClusterSite) -> None:
    site.calm()
    node = site.wait_for(lambda: site.cluster.leader("$MQTT_msgs"), what="a leader")
    site.kill(node)
    site.obey(2500)
    site.wait_for(lambda: site.cluster.leader("$MQTT_msgs"), what="another leader")
    assert "failsafe" not in site.first.daemon.log_of_run
