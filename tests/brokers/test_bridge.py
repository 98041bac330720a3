"""Two Mosquittos, a row's and a hall's, with the packaged bridge between them: hosts know the row's only."""

import contextlib
from collections.abc import Iterator
from functools import partial

import pytest

from tests.authority import Authority
from tests.brokers.claims import connected, says
from tests.brokers.client import Client
from tests.brokers.kinds import Kind
from tests.brokers.packaged import PackagedMosquitto, adapted, by_certificate
from tests.brokers.site import BUDGET_WATTS, FAILSAFE_WATTS, Hosts, Site
from tests.chaos.proxy import Door, Network
from tests.daemon.facility import BASE, LEASE_S, Facility
from tests.daemon.grid import BREACH_TOPIC, EVENT_TOPIC, Bridge, Interval
from tests.daemon.waiting import boot_s

# The bridge tries again 1 to 10 s after it was cut; under load that takes its time.
HEALED_WITHIN_S = 30.0


class Hall(Site):
    """The hosts at the row's broker, facility and grid at the hall's.

    Attributes:
        hall: the hall's broker.
        way: between the two, to be cut.
    """

    def __init__(self, hosts: Hosts, row: Kind, hall: Kind, way: Door) -> None:
        super().__init__(hosts, row, facility=Facility(hall.server.port, hall.login("facility").prepare))
        self.hall = hall
        self.way = way
        self.grid = Facility(hall.server.port, hall.login("vtn1").prepare)

    def people(self, *filters: str, qos: int = 1) -> Client:
        """Return who listens at the hall."""
        return Client(self.hall.server.port, self.hall.login("grafana"), *filters, qos=qos)

    def keeps(self, kind: Kind, topic: str) -> list[bytes]:
        """Return what a broker has kept of a topic."""
        with Client(kind.server.port, kind.login("grafana"), topic) as client:
            client.round_trip()
            # A round trip subscribes again, so the same may come twice.
            return list(dict.fromkeys(each.payload for each in client.heard if each.retain))


@pytest.fixture(scope="module")
def site(hosts: Hosts, ours: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    directory = tmp_path_factory.mktemp("b")
    login = by_certificate(ours)
    with contextlib.ExitStack() as stack:
        hall = stack.enter_context(PackagedMosquitto(directory / "hall", ours))
        way = stack.enter_context(contextlib.closing(Network())).door(hall.port)
        certificate, key = ours.issue("row-4")
        bridge = adapted(
            "bridge.conf",
            {
                "mqtt.hall.example:8883": f"localhost:{way.port}",
                "/etc/mosquitto/certs/ca.pem": ours.ca_file,
                "/etc/mosquitto/certs/row-4.pem": certificate,
                "/etc/mosquitto/certs/row-4.key": key,
            },
        )
        row = stack.enter_context(PackagedMosquitto(directory / "row", ours, bridge))
        yield stack.enter_context(Hall(hosts, Kind(row, row.url, login), Kind(hall, hall.url, login), way))


def test_budgets_and_events_come_down_and_hosts_deal_in_their_row(site: Hall) -> None:
    site.calm()
    bridge = Bridge(site.grid)
    bridge.ask("ev-hall", Interval(-1, 60, {"limit_watts": 2300}))
    site.wait_for(lambda: site.obeyed(2300), what="the event obeyed")
    bridge.cancel_all()
    site.wait_for(lambda: site.obeyed(BUDGET_WATTS), what="the budget alone again")


def test_what_people_look_at_goes_up_with_retain_and_states_do_not(site: Hall) -> None:
    site.calm()
    summary, online = f"{BASE}/summary", f"{BASE}/host/{site.first.name}/online"
    site.wait_for(lambda: site.keeps(site.hall, summary), what="the summary at the hall")
    assert says(site.keeps(site.hall, online)) == [True]
    with site.people(f"{BASE}/host/+/state", f"{BASE}/host/+/telemetry") as people:
        site.first.wait_iterations(5)
        people.round_trip()
        assert people.heard == []


def test_a_budget_is_kept_by_both_and_a_message_at_qos_2_goes_up_once(site: Hall) -> None:
    site.calm()
    budget = site.keeps(site.hall, f"{BASE}/budget")
    assert len(budget) == 1
    site.wait_for(lambda: site.keeps(site.kind, f"{BASE}/budget") == budget, what="the same at the row")
    with site.people(BREACH_TOPIC, qos=2) as people, site.client(site.first.name) as host:
        assert host.publish(BREACH_TOPIC, b"active", qos=2)
        site.wait_for(lambda: people.heard, what="the breach at the hall")
        assert [(each.payload, each.qos) for each in people.heard] == [(b"active", 2)]


def test_a_row_cannot_write_budgets_into_its_hall(site: Hall) -> None:
    """Neither by its bridge, which takes none up, nor with the bridge's own certificate."""
    site.calm()
    with site.people(f"{BASE}/#", f"{EVENT_TOPIC}/#") as people:
        with Client(site.hall.server.port, site.hall.login("row-4")) as row:
            for topic in (f"{BASE}/budget", f"{BASE}/host/{site.first.name}/state", f"{EVENT_TOPIC}/ev-1"):
                row.publish(topic, b"of the row")
        with site.client("facility") as facility:
            facility.publish(f"{BASE}/budget", b"of the row")
            site.wait_for(
                lambda: site.first.metric("powerd_signal_rejected_total", reason="json"), what="it heard"
            )
        site.obey(BUDGET_WATTS)
        people.round_trip()
        assert b"of the row" not in [each.payload for each in people.heard]


def test_a_bridge_that_is_cut_costs_nothing_before_the_lease_ends_and_heals_by_itself(site: Hall) -> None:
    """A budget that waited at the hall until after its end comes as if it were new, and raises nothing."""
    site.calm()
    grant = site.obey(2400, LEASE_S)
    site.way.refuse()
    while_cut = site.facility.grant(BUDGET_WATTS + 300, LEASE_S)
    assert site.obeyed(2400) or boot_s() > grant.end_boot_s - 0.5
    site.wait_for(
        lambda: site.first.status()["failsafe_cause"] and site.obeyed(FAILSAFE_WATTS), what="failsafe"
    )
    assert all(map(connected, site.hosts.values()))
    site.wait_for(lambda: boot_s() > while_cut.end_boot_s, what="the end of what waits at the hall")

    site.way.restore()
    for host in site.hosts.values():
        told = partial(host.problem, "signal_lower_only")
        site.wait_for(told, HEALED_WITHIN_S, what="what waited was heard, and only lowers")
    site.first.wait_iterations(3)
    assert site.obeyed(FAILSAFE_WATTS)
    assert site.keeps(site.kind, f"{BASE}/budget") == site.keeps(site.hall, f"{BASE}/budget")
    site.obey(BUDGET_WATTS)
