"""Grid events on bad days: controllers, brokers, clocks, disks and the daemon itself let the rack down."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.grid import Bridge, Interval, price
from tests.daemon.host import RACK
from tests.daemon.observer import unearned_raises
from tests.daemon.rig import FAILSAFE_WATTS, Rig
from tests.daemon.waiting import boot_s
from tests.daemon.wall_clock import WallClock

BUDGET_WATTS = 4000
LEASE_S = 5.0
HOUR_S = 3600.0
ADVISORY = {"zone": "de-lu", "price_above": 0.4, "currency": "EUR"}


class Site:
    """A host that goes by a wall clock of its own, and a bridge to the grid."""

    def __init__(self, rig: Rig, clock: WallClock) -> None:
        self.host = rig
        self.clock = clock
        self.bridge = Bridge(rig.facility)
        self.events_file = rig.directory / "state" / "events.json"
        rig.daemon.environment.update(clock.environment())

    def obeys(self, watts: float, within_s: float = 5.0) -> None:
        """Wait until the limits follow."""
        self.host.wait_for(lambda: self.host.obeyed(watts), within_s, what=f"{watts:g} W obeyed")

    def stays_at(self, watts: float) -> None:
        """Say that nothing changes, now that whatever could change it has come."""
        self.host.wait_iterations(2)
        assert self.host.obeyed(watts)

    def written(self, event_id: str) -> None:
        """Wait until an event is on disk."""
        name = f"/{event_id}"
        self.host.wait_for(lambda: name in self.events_file.read_text(encoding="utf-8"), what="it is written")

    def refused(self, reason: str, source: str = "vtn1") -> float:
        """Return how many messages were refused for a reason."""
        return self.host.metric("powerd_signal_rejected_total", source=source, reason=reason)


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return one running host for all cases, whose kernel knows whether its clock is kept."""
    directory = tmp_path_factory.mktemp("h")
    with Rig(directory, library, tables={"host": {"trust_wall_clock": False}}) as rig:
        site = Site(rig, WallClock(directory / "clock"))
        rig.start()
        yield site
        assert list(unearned_raises(rig)) == []


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """Return the site under a budget of four minutes, without events."""
    shared.host.obey(BUDGET_WATTS, lease_s=240)
    yield shared
    shared.bridge.cancel_all()


def down_to(watts: float, begin_s: float = 0.0, end_s: float | None = None) -> Interval:
    return Interval(begin_s, end_s, {"limit_watts": watts})


def test_without_a_controller_what_is_scheduled_is_carried_out_and_its_end_raises_nothing_above_the_failsafe(
    site: Site,
) -> None:
    """The first of two events ends in the moment in which the budget's lease does."""
    grant = site.host.publish_budget(BUDGET_WATTS, LEASE_S)
    site.bridge.ask("first", down_to(3000, 0, LEASE_S))
    site.bridge.ask("second", down_to(2000, LEASE_S + 0.8, LEASE_S + 1.6))
    site.obeys(3000)
    lowered = len(site.host.write_log())
    site.obeys(FAILSAFE_WATTS, within_s=2 * LEASE_S)
    site.obeys(2000)
    raises = [write for write in site.host.write_log()[lowered:] if write.requested_mw > 2200 * 1000 / 8]
    assert raises == []
    assert site.host.status()["state"] == "failsafe"
    # The way back to the failsafe budget is one that nobody but the operator has granted.
    site.host.grants.append(grant._replace(watts=FAILSAFE_WATTS, end_boot_s=boot_s() + 5))
    site.obeys(FAILSAFE_WATTS)


def test_a_restart_in_mid_event_counts_from_the_budget_that_held_when_it_began(site: Site) -> None:
    """Although the broker has forgotten the event, and the budget has changed meanwhile."""
    site.bridge.ask("frozen", Interval(0, None, {"reduce_pct": 25, "baseline": "budget"}))
    site.obeys(3000)
    grant = site.host.publish_budget(3400, 240)
    site.host.wait_for(lambda: (site.host.status()["budget"]["lease"] or {})["watts"] == grant.watts)
    site.bridge.clear("frozen")
    site.host.wait_for(lambda: site.refused("empty", "unknown") > 0, within_s=5, what="the clearing counted")
    site.stays_at(3000)
    site.written("frozen")
    site.host.daemon.kill()
    site.host.start_daemon()
    site.obeys(3000)
    site.stays_at(3000)
    [event] = site.host.status()["events"]
    assert event["baseline_watts"] == BUDGET_WATTS


def test_a_cancellation_that_is_older_than_the_event_is_refused(site: Site) -> None:
    message = site.bridge.ask("kept", down_to(3000))
    site.obeys(3000)
    counted = site.refused("old_seq")
    site.bridge.cancel("kept", seq=message["seq"] - 1)
    site.host.wait_for(lambda: site.refused("old_seq") == counted + 1, within_s=5, what="the refusal counted")
    site.stays_at(3000)
    site.bridge.cancel("kept")
    site.obeys(BUDGET_WATTS)


def test_a_clock_that_is_set_moves_events_and_no_lease(site: Site) -> None:
    site.bridge.ask("later", down_to(3000, HOUR_S, 2 * HOUR_S))
    site.stays_at(BUDGET_WATTS)
    site.clock.set_ahead(HOUR_S + 60)
    site.obeys(3000)
    assert site.host.status()["state"] == "limited"
    assert site.host.status()["budget"]["lease"]["remaining_s"] > 180
    site.clock.set_ahead(0)
    site.obeys(BUDGET_WATTS)


@pytest.mark.parametrize("damage", ["unreadable", "cut"])
def test_events_that_are_lost_are_told_and_those_that_the_broker_kept_are_obeyed(
    site: Site, damage: str
) -> None:
    """Said an hour ago, and begun half an hour ago: a host that starts now finds itself in its midst."""
    site.host.daemon.kill()
    if damage == "unreadable":
        site.events_file.unlink()
        site.events_file.mkdir()
    else:
        site.events_file.write_text('{"version":1,"held":{"vtn1/', encoding="utf-8")
    site.bridge.ask(f"kept-{damage}", down_to(3000, -HOUR_S / 2, HOUR_S / 2), issued_s=time.time() - HOUR_S)
    site.host.start_daemon()
    site.obeys(3000)
    assert str(site.events_file) in site.host.problem("events_file_unusable")
    assert "Traceback" not in site.host.daemon.log
    if damage == "unreadable":
        told = site.host.wait_for(lambda: site.host.problem("events_file_not_written"), within_s=5)
        assert str(site.events_file) in told
        site.events_file.rmdir()


def test_a_high_price_lowers_within_the_operators_band_and_without_one_is_only_shown(site: Site) -> None:
    price(site.host.facility, 0.55, "EUR")
    site.host.wait_for(lambda: [s["value"] for s in site.host.status()["signals"]] == [0.55], within_s=5)
    site.stays_at(BUDGET_WATTS)
    site.host.daemon.kill()
    site.host.configure(
        {"host": {"trust_wall_clock": False}, "signals.advisory": {**ADVISORY, "band_pct": 10}}
    )
    site.host.start_daemon()
    site.obeys(3600)
    price(site.host.facility, 0.39, "EUR")
    site.obeys(BUDGET_WATTS)
    price(site.host.facility, 9.99, "SEK")
    site.host.wait_for(lambda: [s["value"] for s in site.host.status()["signals"]] == [9.99], within_s=5)
    site.stays_at(BUDGET_WATTS)


def test_while_nobody_keeps_the_clock_events_start_early_and_end_late(site: Site) -> None:
    site.bridge.ask("soon", down_to(3000, 25, HOUR_S))
    site.bridge.ask("past", down_to(2600, -HOUR_S, -1))
    site.stays_at(BUDGET_WATTS)
    site.written("past")
    site.host.daemon.kill()
    site.clock.lose_sync()
    site.host.start_daemon()
    site.obeys(2600)
    site.bridge.cancel("past")
    site.obeys(3000)


@contextmanager
def small_disk(site: Site, size: int) -> Iterator[None]:
    """Let no file of the daemon become larger: the write that would do so fails half-way."""
    unlimited = resource.prlimit(site.host.daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(site.host.daemon.pid, resource.RLIMIT_FSIZE, (size, unlimited[1]))
    try:
        yield
    finally:
        resource.prlimit(site.host.daemon.pid, resource.RLIMIT_FSIZE, unlimited)


def test_a_full_disk_is_told_and_stops_no_event_and_spoils_no_file(site: Site) -> None:
    site.bridge.ask("fits", down_to(3400))
    site.obeys(3400)
    site.written("fits")
    others = [f"{number:0128}" for number in range(255)]
    with small_disk(site, 100_000):
        for number in range(4):
            scope = {"level": "rack", "targets": [RACK, *others]}
            site.bridge.ask(f"large-{number}", down_to(3200 - 100 * number), scope=scope)
        site.obeys(2900)
        told = site.host.wait_for(lambda: site.host.problem("events_file_not_written"), within_s=5)
        assert str(site.events_file) in told
        assert "vtn1/fits" in json.loads(site.events_file.read_text(encoding="utf-8"))["held"]
        assert site.host.get("/readyz").status == 200
