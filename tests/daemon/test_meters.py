"""A rack with meters: what two feeds show, from a real broker to status, to limits, and to the grid."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.facility import BASE
from tests.daemon.grid import Ear, EnergyService, dsx_table, reading
from tests.daemon.rig import Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s
from tests.powerctl import POWERCTL

BUDGET_WATTS = 3000
FEEDS = ("a", "b")
FRESH_S = 1.0


class Site:
    """A host with a meter on each of two feeds, which speak as long as something is waited for.

    Attributes:
        shown: what each of them shows; a feed that is left out is silent.
    """

    def __init__(self, rig: Rig) -> None:
        self.host = rig
        self.shown: dict[str, dict[str, Any]] = {}
        self._spoke_boot_s = 0.0

    def show(self, **feeds: float | None) -> None:
        """Let the meters show so many watts from now on; a feed that is not named is silent."""
        self.shown = {feed: {"watts": watts} for feed, watts in feeds.items()}

    def wait(self, condition: Callable[[], object], what: str, within_s: float = 5.0) -> None:
        """Wait until a condition is true, while the meters go on."""

        def spoken() -> object:
            self._speak()
            return condition()

        self.host.wait_for(spoken, within_s, what=what)

    def iterations(self, count: int) -> None:
        """Wait for so many more iterations, while the meters go on."""
        last = self.host.status()["iteration"] + count
        self.wait(lambda: self.host.status()["iteration"] >= last, f"{count} iterations")

    def meter(self) -> dict[str, Any]:
        """Return what status says of the meter."""
        said: dict[str, Any] = self.host.status()["meter"]
        return said

    def silent(self) -> list[str]:
        """Return the parts of which nothing usable is known."""
        return [part["name"] for part in self.meter()["parts"] if not part["usable"]]

    def knows(self, watts: float) -> None:
        """Wait until the rack is known to draw so much."""
        self.wait(lambda: not self.silent() and self.meter()["watts"] == watts, f"{watts:g} W shown")

    def say(self, feed: str, **fields: Any) -> None:
        """Let one meter speak once."""
        message = {**reading(feed, None), **fields}
        self.host.facility.publish(message, topic=f"{BASE}/meter/{feed}", retain=False)

    def _speak(self) -> None:
        """Speak five times a second, which is no flood."""
        if boot_s() >= self._spoke_boot_s + 0.2:
            self._spoke_boot_s = boot_s()
            for feed, fields in self.shown.items():
                self.say(feed, **fields)


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return one running host for all cases, which also tells the grid how it stands."""
    directory = tmp_path_factory.mktemp("h")
    quick = {"hold_s": 0.4, "escalate_after_s": 0.6, "clear_s": 0.4}
    tables: dict[str, dict[str, Any]] = {
        "rack": {"feeds": {"main-a": 0.01}},
        "signals.meters": {"fresh_s": FRESH_S, "parts": {feed: {"adapter": "native"} for feed in FEEDS}},
        "signals.dsx": dsx_table(directory, breach=quick),
    }
    with Rig(directory, library, tables=tables) as rig:
        for gpu in range(len(rig.gpus.gpus)):
            rig.gpus.set_demand(gpu, 400)
        rig.start()
        yield Site(rig)


@pytest.fixture
def site(shared: Site) -> Site:
    """Return the site under a budget of four minutes, with meters that show what the hosts account for."""
    shared.host.publish_budget(BUDGET_WATTS, 240)
    half = shared.host.status()["meter"]["accounted_watts"] / 2
    shared.show(a=half, b=half)
    shared.wait(lambda: shared.host.obeyed(BUDGET_WATTS), "the budget obeyed")
    return shared


def status_line(site: Site) -> str:
    """Return what `powerctl status` prints about the meters, which go on meanwhile."""
    command = (POWERCTL, "status", "--url", f"http://127.0.0.1:{site.host.http_port}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as powerctl:
        site.wait(lambda: powerctl.poll() is not None, "powerctl", within_s=20)
        screen, _ = powerctl.communicate()
    return next(line for line in screen.splitlines() if line.startswith("meter"))


def test_two_feeds_add_up(site: Site) -> None:
    site.show(a=700.5, b=800)
    site.knows(1500.5)
    meter = site.meter()
    assert meter["source"] == "meter"
    assert [(part["name"], part["watts"]) for part in meter["parts"]] == [("a", 700.5), ("b", 800)]


def test_a_feed_that_falls_silent_is_named_and_holds_up_every_raise_and_no_cut(site: Site) -> None:
    site.show(a=700)
    site.wait(lambda: site.silent() == ["b"], "the silence of b")
    assert "nothing usable of b: no raises" in status_line(site)
    assert site.meter()["source"] == "hosts"
    site.host.publish_budget(3600, 240)
    site.wait(lambda: site.host.status()["budget"]["lease"]["watts"] == 3600, "the higher budget heard")
    site.iterations(3)
    assert site.host.obeyed(BUDGET_WATTS)
    assert "b" in site.host.get("/v1/explain?gpu=0").body
    site.host.publish_budget(2700, 240)
    site.wait(lambda: site.host.obeyed(2700), "the cut")
    site.host.publish_budget(3600, 240)
    site.show(a=700, b=700)
    site.wait(lambda: site.host.obeyed(3600), "the raise, now that both speak")


@pytest.mark.parametrize(
    "said",
    [
        {"watts": 700, "quality": "bad"},
        {"watts": 700, "quality": "uncertain"},
        {"watts": None},
        {"watts": -700},
    ],
    ids=str,
)
def test_a_reading_that_is_none_makes_its_feed_unknown_at_once(site: Site, said: dict[str, Any]) -> None:
    site.show(a=700, b=700)
    site.knows(1400)
    site.shown["b"] = said
    site.wait(lambda: site.silent() == ["b"], "b is not known")
    assert site.host.obeyed(BUDGET_WATTS)


def test_kilowatts_where_watts_belong_are_refused_and_the_reading_before_counts_on(site: Site) -> None:
    site.show(a=1500, b=1400)
    site.knows(2900)
    site.say("b", watts=1.4)
    refused = {"source": "b", "reason": "unit_error"}
    site.wait(lambda: site.host.metric("powerd_signal_rejected_total", **refused) == 1, "the refusal")
    site.wait(lambda: "is it in kW?" in site.host.problem("signal_rejected"), "the notice")
    assert site.meter()["watts"] == 2900


def test_a_draw_above_a_load_target_is_a_breach_although_every_limit_is_obeyed(site: Site) -> None:
    """Something else in the rack draws it."""
    with Ear(site.host.broker.port) as ear:
        site.show(a=1400, b=1400)
        acme = EnergyService(site.host.facility)
        acme.ask(2900)
        site.wait(lambda: "end_ramp_down" in ear.steps(), "the target kept")
        site.show(a=1600, b=1600)
        site.wait(lambda: len(ear.breaches()) >= 2, "the breach")
        site.show(a=1400, b=1400)
        site.wait(lambda: len(ear.breaches()) >= 3, "its end")
        told = [
            (alert["status"], alert["severity"], alert["measured_load"]["value"]) for alert in ear.breaches()
        ]
    assert told == [
        ("active", "warning", 3200),
        ("escalated", "warning", 3200),
        ("resolved", "warning", 2800),
    ]
    assert site.host.sum_mw() <= 2900 * 0.98 * 1000 - 800_000
    acme.ask(None)


def test_what_the_meter_shows_beyond_what_is_accounted_for_is_taken_off_the_budget(site: Site) -> None:
    site.show(a=2000, b=2000)
    site.wait(lambda: site.meter()["trim_watts"] >= 20, "a trim")
    site.iterations(1)
    assert site.host.sum_mw() <= gpu_budget_mw(BUDGET_WATTS) - 20_000
    assert "budget trimmed by" in status_line(site)
