"""A real Prometheus scrapes a real host: rules and dashboard against what is really there."""

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.daemon.host import RACK
from tests.daemon.rig import HOST, Rig
from tests.monitoring.prometheus_server import Prometheus
from tests.monitoring.promql import DASHBOARD, ROOT, alerts, rules

GPUS = 8
BAD = 3
HW_POWER_BRAKE = 0x80
LEASE_S = 60.0
# What a host that is well and alone in its rack may have none of.
MAY_BE_EMPTY = ("powerd_event_cap_watts", "powerd_lease_watts", "powerd_gpu_capped", "powerd_problems")


class Site(NamedTuple):
    """A host that obeys a budget, and the Prometheus that watches it."""

    rig: Rig
    prometheus: Prometheus


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # Sockets have short paths.
    with tempfile.TemporaryDirectory(prefix="pd-") as name, Rig(Path(name), gpus=GPUS) as rig:
        rig.start()
        rig.obey(3000, lease_s=LEASE_S)
        target = f"127.0.0.1:{rig.http_port}"
        with Prometheus(tmp_path_factory.mktemp("prometheus"), target) as prometheus:
            prometheus.wait_for(prometheus.targets, "the first scrape")
            yield Site(rig, prometheus)


def test_the_host_is_scraped_without_an_error(site: Site) -> None:
    [target] = site.prometheus.targets()
    assert (target["health"], target["lastError"]) == ("up", "")


def test_every_rule_is_evaluated_without_an_error_and_none_alerts_of_a_host_that_is_well(site: Site) -> None:
    prometheus = site.prometheus
    prometheus.wait_for(
        lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"}, "all rules to be ok"
    )
    assert len(prometheus.rules()) == len(rules())
    assert prometheus.alerts() == {}


def test_every_panel_of_the_dashboard_shows_something(site: Site) -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in document["panels"] for target in panel.get("targets", ())]
    for expression in asked:
        chosen = expression.replace("$rack", RACK).replace("$host", HOST).replace("$__rate_interval", "5s")
        if any(name in expression for name in MAY_BE_EMPTY):
            site.prometheus.query(chosen)
        else:
            site.prometheus.wait_for(partial(site.prometheus.query, chosen), chosen)


def test_coloured_bars_show_the_phase_of_the_host_and_the_state_of_its_gpus(site: Site) -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    shown = {}
    for panel in (panel for panel in document["panels"] if panel["type"] == "state-timeline"):
        expression = panel["targets"][0]["expr"].replace("$rack", RACK).replace("$host", HOST)
        [mapping] = panel["fieldConfig"]["defaults"]["mappings"]
        numbers = [each["value"][1] for each in site.prometheus.query(expression)]
        shown[panel["title"]] = [mapping["options"][number]["text"] for number in numbers]
    assert shown == {"Phase of hosts": ["limited"], "GPUs: state": ["ok"] * GPUS}


def test_a_host_with_eight_gpus_has_as_many_series_as_the_documents_say(site: Site) -> None:
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    said = re.search(rf"A host with {GPUS} GPUs has about (\d+) series", text)
    assert said
    [counted] = site.prometheus.query("scrape_samples_scraped")
    assert int(counted["value"][1]) == pytest.approx(int(said[1]), rel=0.1)


def test_what_a_real_host_serves_passes_promtool(site: Site) -> None:
    served = site.rig.get("/metrics").body.encode()
    ran = subprocess.run(["promtool", "check", "metrics"], input=served, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_a_facility_that_was_killed_is_told_of_before_failsafe_and_then_failsafe_itself(site: Site) -> None:
    rig, prometheus = site
    rig.obey(2800, lease_s=5)
    rig.facility.close()
    assert prometheus.alert("PowerdSignalStale")["state"] == "firing"
    failsafe = prometheus.alert("PowerdFailsafe")
    assert failsafe["state"] == "pending"
    assert failsafe["annotations"]["summary"] == f"{HOST} is in failsafe: lease_over"
    assert failsafe["labels"].items() >= {"severity": "critical", "host": HOST, "rack": RACK}.items()


# In this order, since the host does not get well in between.
TROUBLES: tuple[tuple[str, Callable[[Rig], None]], ...] = (
    ("PowerdRivalWriter", lambda rig: rig.gpus.write_as_rival(BAD, 150)),
    ("PowerdGpuHung", lambda rig: setattr(rig.gpus.gpus[BAD], "get_hangs", 1)),
    ("PowerdPowerBrake", lambda rig: setattr(rig.gpus.gpus[0], "extra_reasons", HW_POWER_BRAKE)),
    ("PowerdMqttDisconnected", lambda rig: rig.broker.kill()),
    ("PowerdGuardUnusable", lambda rig: rig.guard.kill()),
    ("PowerdDown", lambda rig: rig.daemon.kill()),
)


@pytest.mark.parametrize(("alert", "happens"), TROUBLES, ids=[name for name, _ in TROUBLES])
def test_what_happens_to_a_real_host_is_alerted_of(
    site: Site, alert: str, happens: Callable[[Rig], None]
) -> None:
    assert alert not in site.prometheus.alerts()
    happens(site.rig)
    told = site.prometheus.alert(alert)
    has_a_wait = any(rule["alert"] == alert and "for" in rule for rule in alerts())
    assert told["state"] == ("pending" if has_a_wait else "firing")
    assert "<no value>" not in str(told["annotations"])
