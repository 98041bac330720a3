"""A rack as DSX Flex agent: load targets on a real broker, limits that follow, and what is said of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.grid import Ear, EnergyService, dsx_table, signed, target, without_signature
from tests.daemon.rig import Rig
from tests.dsx.keys import ISV

FEEDS = {"main-a": 0.01}
DEFAULT_WATTS = 4000
LABEL = f"dsx:{ISV}"


class Site:
    """A host at work that follows load targets and no budgets, the energy service that it knows, and an ear.

    Args:
        signals: tables to add to `[signals]`.
    """

    def __init__(self, stack: ExitStack, directory: Path, library: Path, **signals: dict[str, Any]) -> None:
        quick = {"hold_s": 0.5, "escalate_after_s": 1.0, "clear_s": 0.3}
        dsx = dsx_table(directory, other_feeds=["main-c"], breach=quick)
        tables: dict[str, dict[str, Any]] = {
            "rack": {"default_watts": DEFAULT_WATTS, "feeds": FEEDS},
            "signals": {"native": {"enabled": False}, "dsx": dsx, **signals},
        }
        self.host = stack.enter_context(Rig(directory, library, tables=tables))
        for gpu in range(len(self.host.gpus.gpus)):
            self.host.gpus.set_demand(gpu, 400)
        self.host.start()
        self.acme = EnergyService(self.host.facility)
        self.ear = stack.enter_context(Ear(self.host.broker.port))

    def obeys(self, watts: float) -> None:
        """Wait until the limits follow."""
        self.host.wait_for(lambda: self.host.obeyed(watts), within_s=5, what=f"{watts:g} W obeyed")

    def hears(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something was said."""
        self.host.wait_for(condition, within_s=5, what=f"{what}; so far {self.ear.steps()}")

    def calm(self) -> None:
        """Take back every target, and forget what was said of them."""
        self.ear.forget()
        self.acme.ask(None)
        self.hears(lambda: "target_set" in self.ear.steps(), "the end of all targets")
        self.obeys(DEFAULT_WATTS)
        self.host.wait_iterations(2)
        self.hears(lambda: not self.ear.statuses()[-1]["in_flight"], "rest")
        self.ear.forget()

    def refused(self, reason: str, source: str = LABEL) -> float:
        """Return how many messages were refused for a reason."""
        return self.host.metric("powerd_signal_rejected_total", source=source, reason=reason)


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return one running site for all cases."""
    with ExitStack() as stack:
        yield Site(stack, tmp_path_factory.mktemp("h"), library)


@pytest.fixture
def site(shared: Site) -> Site:
    """Return the site without any target."""
    shared.calm()
    return shared


def test_a_target_is_obeyed_and_told_step_by_step(site: Site) -> None:
    asked = site.acme.ask(3000)
    site.obeys(3000)
    site.hears(lambda: len(site.ear.steps()) >= 3, "three statuses")
    assert site.ear.steps() == ["target_set", "start_ramp_down", "end_ramp_down"]
    first, way_down, there = site.ear.statuses()
    assert [said["in_flight"] for said in (first, way_down, there)] == [False, True, False]
    assert there["compliant"]
    assert there["calculated_load"]["value"] <= 3000
    [held] = there["targets"]
    assert (held["correlation_id"], held["active"]) == (asked["correlationid"], True)
    assert held["load_constraint"] == {"value": 3000, "unit": "watt"}


def test_null_gives_back_the_default(site: Site) -> None:
    site.acme.ask(3000)
    site.obeys(3000)
    site.acme.ask(None)
    site.obeys(DEFAULT_WATTS)
    site.hears(lambda: site.ear.steps()[-1:] == ["end_ramp_up"], "the way back told")
    assert site.ear.statuses()[-1]["targets"] == []


def test_the_latest_target_wins_and_where_it_ends_the_one_before_counts_again(site: Site) -> None:
    site.acme.ask(2700)
    site.obeys(2700)
    site.acme.ask(3400)
    site.obeys(3400)
    site.acme.ask(3000, end_s=1)
    site.obeys(3000)
    site.obeys(3400)


def test_what_is_scheduled_comes_also_after_a_kill_although_no_broker_kept_it(site: Site) -> None:
    host, events = site.host, site.host.directory / "state" / "events.json"
    site.acme.ask(3200)
    site.obeys(3200)
    later = site.acme.ask(2600, begin_s=1)
    host.wait_for(lambda: later["id"] in events.read_text(encoding="utf-8"), what="the schedule written")
    host.daemon.kill()
    host.start_daemon()
    site.obeys(2600)


def test_a_target_below_the_floors_is_followed_as_far_as_limits_go_and_told_as_not_met(site: Site) -> None:
    site.acme.ask(1000)
    site.host.wait_for(lambda: site.host.limits_mw() == [100_000] * 8, within_s=5, what="all at the floor")
    site.host.wait_iterations(2)
    status = site.host.status()
    assert status["infeasible_watts"] == pytest.approx(600 + 0.02 * 1000, abs=30)
    assert not status["compliant"]
    assert "below what limiting can reach" in site.host.problem("infeasible_budget")
    said = site.ear.statuses()[-1]
    assert (said["event"], said["in_flight"], said["compliant"]) == ("start_ramp_down", True, False)


# What is not to be taken: under which source and reason it is counted, and how it is made.
FORGED: dict[str, tuple[str, str, Callable[[], object]]] = {
    "another key under a known name": (LABEL, "bad_signature", lambda: signed(target(2500), key="ec9")),
    "a key nobody knows": (LABEL, "unknown_kid", lambda: signed(target(2500), kid="acme-9")),
    "somebody else's key": (LABEL, "source", lambda: signed(target(2500), key="infra", kid="ima-1")),
    "no algorithm": (LABEL, "algorithm", lambda: without_signature(target(2500))),
    "expired": (LABEL, "expired", lambda: signed({**target(2500), "exp": 1_763_690_000})),
    "not signed": (LABEL, "unsigned", lambda: target(2500)),
    "kilowatts called megawatts": (LABEL, "unit_error", lambda: signed(target(2_500_000))),
}


@pytest.fixture
def curtailed(shared: Site) -> Site:
    """Return the site under a target of 3000 W."""
    if not shared.host.obeyed(3000):
        shared.calm()
        shared.acme.ask(3000)
        shared.obeys(3000)
    return shared


@pytest.mark.parametrize("case", FORGED)
def test_what_is_forged_changes_nothing_and_is_counted_and_told(curtailed: Site, case: str) -> None:
    source, reason, make = FORGED[case]
    counted = curtailed.refused(reason, source)
    curtailed.acme.send(curtailed.acme.message(make()))
    curtailed.host.wait_for(lambda: curtailed.refused(reason, source) == counted + 1, within_s=5, what=reason)
    curtailed.host.wait_iterations(1)
    assert curtailed.host.obeyed(3000)
    subject = f"{source}:{reason}"
    curtailed.hears(lambda: subject in curtailed.ear.subjects("signal_rejected"), f"a notice about {subject}")


def test_an_energy_service_that_nobody_configured_is_refused_under_no_name_of_its_own(
    curtailed: Site,
) -> None:
    mallory = EnergyService(curtailed.host.facility, isv="mallory")
    mallory.send(mallory.message(signed(target(2500), kid="mallory-1", key="ec9")))
    curtailed.host.wait_for(lambda: curtailed.refused("unknown_kid", "unknown") == 1, within_s=5)
    assert curtailed.refused("unknown_kid", "dsx:mallory") == 0
    assert curtailed.host.obeyed(3000)


def test_a_feed_that_nobody_knows_is_told_and_one_of_others_is_not(curtailed: Site) -> None:
    for feed in ("main-c", "main-z"):
        curtailed.acme.send(curtailed.acme.message(signed(target(2500, feed=feed))))
    curtailed.hears(lambda: curtailed.ear.subjects("dsx_feed_unknown") == ["main-z"], "the feed named")
    curtailed.host.wait_iterations(1)
    assert curtailed.host.obeyed(3000)


@pytest.mark.parametrize("watts", [3600, None])
def test_signed_data_in_a_new_envelope_raises_nothing(site: Site, watts: float | None) -> None:
    """Whoever can publish can send again what he has heard; the signature is good."""
    old = site.acme.ask(watts)
    site.acme.ask(2800)
    site.obeys(2800)
    counted = site.refused("replayed")
    site.acme.send(site.acme.message(old["data"]))
    site.host.wait_for(lambda: site.refused("replayed") == counted + 1, within_s=5, what="the replay counted")
    site.host.wait_iterations(2)
    assert site.host.obeyed(2800)


def told_phases(ear: Ear) -> list[tuple[str, str]]:
    return [(alert["status"], alert["severity"]) for alert in ear.breaches()]


def test_gpus_that_take_no_limit_are_a_critical_breach_until_they_do(site: Site) -> None:
    for gpu in site.host.gpus.gpus:
        gpu.ignores_writes = 1
    asked = site.acme.ask(2800)
    site.hears(lambda: len(site.ear.breaches()) >= 2, "the breach told")
    for gpu in site.host.gpus.gpus:
        gpu.ignores_writes = 0
    site.hears(lambda: len(site.ear.breaches()) >= 3, "its end told")
    assert told_phases(site.ear) == [
        ("active", "critical"),
        ("escalated", "critical"),
        ("resolved", "critical"),
    ]
    active, escalated, resolved = site.ear.breaches()
    assert len({alert["breach"]["breach_id"] for alert in site.ear.breaches()}) == 1
    assert active["target"]["correlation_id"] == asked["correlationid"]
    assert [hint["resource_id"] for hint in active["shed_hints"]] == [site.host.name]
    assert active["infrastructure_actions"] == ["SHUTDOWN_NODES"]
    assert escalated["infrastructure_actions"] == ["SHUTDOWN_NODES", "SHUTDOWN_RACKS"]
    assert resolved["infrastructure_actions"] == []
    site.obeys(2800)
