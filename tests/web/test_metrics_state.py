"""What the metrics tell of where a host stands: its phase, its problems, its orders, its certificates."""

from dataclasses import replace
from typing import TYPE_CHECKING

from powerd.metrics.exposition import Metrics
from powerd.snapshot import BusStatus, Detached, OrdersView, Snapshot
from tests.web.host import WALL_S

if TYPE_CHECKING:
    from tests.web.conftest import Clock


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"rack": "r17", "host": "r17-n3", **labels})


def test_the_phase_is_one_of_four_and_what_each_gpu_wants_is_told(
    metrics: Metrics, snapshot: Snapshot
) -> None:
    metrics.observe(snapshot)
    phases = {name: value(metrics, "powerd_phase", phase=name) for name in ("init", "limited", "unlimited")}
    assert phases == {"init": 0, "limited": 1, "unlimited": 0}
    assert value(metrics, "powerd_gpu_want_watts", uuid="GPU-00aa-0", gpu="0") == 380
    assert value(metrics, "powerd_gpu_want_watts", uuid="GPU-66aa-6", gpu="6") is None


def test_problems_are_counted_by_event_and_name_nobody(metrics: Metrics, snapshot: Snapshot) -> None:
    hung = snapshot.problems[0]
    metrics.observe(replace(snapshot, problems=(*snapshot.problems, replace(hung, subject="GPU-77aa-7"))))
    assert value(metrics, "powerd_problems", event="gpu_hung", severity="critical") == 2
    assert value(metrics, "powerd_problems", event="signal_rejected", severity="warning") == 1
    metrics.observe(replace(snapshot, problems=()))
    assert value(metrics, "powerd_problems", event="gpu_hung", severity="critical") is None


def test_orders_are_counted_and_a_release_counts_once(metrics: Metrics, snapshot: Snapshot) -> None:
    released = OrdersView("enforce", released=True, detached=Detached(WALL_S, "anna", "driver upgrade"))
    metrics.observe(replace(snapshot, mode="dry-run", orders=released))
    kinds = ("override", "release", "detach", "drill", "mode")
    assert [value(metrics, "powerd_orders", order=kind) for kind in kinds] == [0, 1, 1, 0, 0]
    metrics.observe(replace(snapshot, mode="dry-run", orders=OrdersView("enforce")))
    assert [value(metrics, "powerd_orders", order=kind) for kind in kinds] == [0, 0, 0, 0, 1]


def test_a_host_without_a_broker_is_not_disconnected_from_one(metrics: Metrics, snapshot: Snapshot) -> None:
    metrics.observe(replace(snapshot, bus=BusStatus("mqtts://broker.hel1.example", error="refused")))
    assert value(metrics, "powerd_mqtt_connected") == 0
    metrics.observe(replace(snapshot, bus=BusStatus("", error="mqtt.url is not set")))
    assert value(metrics, "powerd_mqtt_connected") is None


def test_a_certificate_that_was_renewed_ends_later(snapshot: Snapshot, clock: "Clock") -> None:
    ends = {"client": 1_800_000_000.0}
    metrics = Metrics("r17", "r17-n3", clock, certificate_ends=lambda: ends)
    metrics.observe(snapshot)
    name = "powerd_certificate_expiry_timestamp_seconds"
    assert value(metrics, name, certificate="client") == 1_800_000_000
    ends["client"] = 1_900_000_000.0
    assert value(metrics, name, certificate="client") == 1_900_000_000
    assert value(metrics, name, certificate="ca") is None
    assert value(metrics, name, certificate="broker") is None
    shown = replace(snapshot.bus, certificate_end_wall_s=1_810_000_000.0)
    metrics.observe(replace(snapshot, bus=shown))
    assert value(metrics, name, certificate="broker") == 1_810_000_000
