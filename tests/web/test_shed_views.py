"""What could be shed, as status, metrics, telemetry and the rack's summary show it: one number."""

import json
from dataclasses import replace

import pytest

from powerd.core.metering.shed import Shed
from powerd.metrics.exposition import Metrics
from powerd.signals.report import HostReport
from powerd.snapshot import Snapshot
from powerd.web import views
from tests.signals.payloads import VALIDATORS
from tests.web.host import decided, peer, readings

HOST, RACK = Shed(600_000, 1_000_000, 5.0), Shed(None, 9_000_000, 10.0)


@pytest.fixture
def shown(snapshot: Snapshot) -> Snapshot:
    """Return a host whose peers tell what they may draw, 2.2 kW above their floors, and not what they do."""
    sheds, names = snapshot.decision.sheds, ("r17-n1", "r17-n2", "r17-n4")
    heard = {name: peer(name, -0.5, worst_case_mw=4_800_000) for name in names}
    shown = replace(snapshot, decision=snapshot.decision._replace(sheds=sheds._replace(peers=heard)))
    assert shown.shed == {"host": HOST, "rack": RACK}
    return shown


def samples(metrics: Metrics, name: str) -> list[str]:
    text = metrics.expose("")[0].decode()
    return [line.split("} ")[1] for line in text.splitlines() if line.startswith(f"{name}{{")]


def test_the_gpus_of_the_host_shed_what_they_draw_above_their_floors() -> None:
    """Five of eight GPUs can be limited; they draw 300 to 340 W, may draw 400 W, and 200 W is the least."""
    gpus = readings()
    assert decided().sheds.host == Shed(5 * 100_000 + 100_000, 5 * 200_000, 5.0)
    assert len(gpus) == 8
    assert decided().sheds.rack.limit_mw is None  # nobody else was heard


def test_it_is_the_same_in_status_metrics_telemetry_and_summary(shown: Snapshot, metrics: Metrics) -> None:
    host = {"watts": 600.0, "limit_watts": 1000.0, "within_s": 5.0, "for_s": None}
    rack = {"watts": None, "limit_watts": 9000.0, "within_s": 10.0, "for_s": None}
    assert views.status(shown, shown.now).shed.model_dump() == {"host": host, "rack": rack}
    metrics.observe(shown)
    assert samples(metrics, "powerd_shed_available_watts") == ["600.0"]
    assert samples(metrics, "powerd_shed_limit_watts") == ["1000.0", "9000.0"]
    voice = HostReport(host="r17-n3", rack="r17", epoch=1)
    for kind, payload, expected in (
        ("telemetry", voice.telemetry(shown), host),
        ("summary", voice.summary(shown), rack),
    ):
        fields = json.loads(payload)
        VALIDATORS[kind].validate(fields)
        assert fields["shed"] == expected


def test_the_summary_says_what_the_rack_draws_and_who_says_so(shown: Snapshot) -> None:
    fields = json.loads(HostReport(host="r17-n3", rack="r17", epoch=1).summary(shown))
    draw = shown.decision.draw
    assert fields["draw"] == {"watts": None if draw.mw is None else draw.mw / 1000, "source": draw.source}


@pytest.mark.parametrize("mode", ["monitor", "dry-run"])
def test_a_host_that_writes_no_limits_sheds_nothing(shown: Snapshot, mode: str) -> None:
    found = views.status(replace(shown, mode=mode), shown.now).shed
    assert (found.host.watts, found.host.limit_watts, found.rack.watts) == (0.0, 0.0, 0.0)
