"""What powerd promises at every broker; each file of tests names the brokers that it is tried with."""

import json
from functools import partial

from tests.brokers.site import BUDGET_WATTS, BUSY_WATTS, FAILSAFE_WATTS, LONG_S, Site
from tests.daemon.facility import BASE, LEASE_S
from tests.daemon.grid import Bridge, Interval
from tests.daemon.host import GUARD_BAND, Host
from tests.daemon.waiting import boot_s

OWN_WATTS = BUDGET_WATTS * (1 - GUARD_BAND) / 2


class Claims:
    """In this order: the first one starts the daemons, the last one ends them. Each works alone, too."""

    def test_a_budget_that_the_broker_has_kept_is_obeyed_by_hosts_that_come_later(self, site: Site) -> None:
        site.facility.grant(2400, LONG_S)
        site.start()
        site.wait_for(lambda: site.obeyed(2400), what="the budget of before obeyed")
        assert {host.status()["bus"]["protocol"] for host in site.hosts.values()} == {site.kind.spoken}

    def test_a_budget_is_obeyed_and_a_second_delivery_changes_nothing(self, site: Site) -> None:
        site.calm()
        message = site.facility.budget(2400, LONG_S)
        for _ in range(2):
            site.facility.publish(message)
        site.wait_for(lambda: site.obeyed(2400), what="the budget obeyed")
        for host in site.hosts.values():
            site.wait_for(partial(refused, host, "duplicate"), what="the second delivery counted")
            assert host.status()["budget"]["lease"]["seq"] == message["seq"]

    def test_watts_of_an_idle_host_reach_a_busy_one_and_a_lower_budget_is_kept(self, site: Site) -> None:
        site.calm()
        site.demand(site.first, BUSY_WATTS)
        site.wait_for(lambda: site.worst_of(site.first) > OWN_WATTS + 200, what="borrowed watts in use")
        assert site.worst_watts() <= BUDGET_WATTS * (1 - GUARD_BAND)
        site.obey(2400)

    def test_a_grid_event_is_obeyed_until_it_is_cancelled(self, site: Site) -> None:
        site.calm()
        bridge = Bridge(site.grid)
        bridge.ask(f"ev-{site.kind.server.port}", Interval(-1, 60, {"limit_watts": 2300}))
        site.wait_for(lambda: site.obeyed(2300), what="the event obeyed")
        bridge.cancel_all()
        site.wait_for(lambda: site.obeyed(BUDGET_WATTS), what="the budget alone again")

    def test_a_payload_of_64_kib_and_one_byte_is_refused_and_the_connection_lives(self, site: Site) -> None:
        site.calm()
        connected = site.first.daemon.log.count("mqtt_connected")
        site.facility.publish(b" " * (64 * 1024 + 1), retain=False)
        site.wait_for(lambda: refused(site.first, "too_large"), what="refused")
        site.obey(BUDGET_WATTS - 100)
        assert site.first.daemon.log.count("mqtt_connected") == connected

    def test_a_second_client_of_the_same_name_does_not_keep_a_host_out(self, site: Site) -> None:
        """The host takes its session back: a connection that hangs somewhere is what this is for."""
        site.calm()
        with site.client(site.first.name, client_id=f"powerd-hel1-r17-{site.first.name}") as second:
            site.wait_for(second.lost.is_set, what="the host has its place again")
        site.start()
        site.obey(BUDGET_WATTS - 100)

    def test_a_killed_broker_ends_no_budget_before_its_lease_and_control_comes_back(self, site: Site) -> None:
        """Loans between hosts end sooner, and their watts with them."""
        site.calm()
        grant = site.obey(2400, LEASE_S)
        site.kind.server.kill()
        site.wait_for(lambda: not connected(site.first), what="the loss noticed")
        assert site.first.status()["state"] == "limited" or boot_s() > grant.end_boot_s - 0.5
        site.wait_for(
            lambda: site.first.status()["failsafe_cause"] and site.obeyed(FAILSAFE_WATTS), what="failsafe"
        )
        assert boot_s() > grant.end_boot_s - 0.5
        site.kind.server.start()
        site.start()
        site.obey(BUDGET_WATTS)

    def test_a_host_that_dies_is_told_of_by_its_will_and_one_that_is_stopped_tells_it_itself(
        self, site: Site
    ) -> None:
        site.calm()
        dies, stops = (f"{BASE}/host/{name}/online" for name in site.hosts)
        with site.client("grafana", dies, stops) as people:
            site.wait_for(lambda: len(people.heard) == 2, what="both known to be online")
            site.first.daemon.kill()
            assert site.second.daemon.terminate() == 0
            site.wait_for(lambda: len(people.heard) == 4, what="both known to be gone")
        for topic in (dies, stops):
            assert says(people.payloads(topic)) == [True, False]


def refused(host: Host, reason: str) -> float:
    """Return how many messages a host has refused for a reason."""
    return host.metric("powerd_signal_rejected_total", reason=reason)


def connected(host: Host) -> bool:
    """Say whether a host is connected to its broker."""
    return bool(host.status()["bus"]["connected"])


def says(payloads: list[bytes]) -> list[bool]:
    """Return what messages on an online topic say."""
    return [json.loads(payload)["online"] for payload in payloads]
