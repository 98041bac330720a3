"""Where brokers differ, powerd says what it can know, and goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from powerd.signals.endpoint import BusOptions
from tests.authority import Authority
from tests.brokers.kinds import Kind
from tests.brokers.login import Login
from tests.brokers.nats import Nats
from tests.brokers.packaged import packaged_mosquitto, packaged_nats
from tests.daemon.facility import BASE
from tests.daemon.grid import BREACH_TOPIC
from tests.signals.stubs import Observed, options, until

OTHER_BUDGET = BASE.replace("r17", "r18") + "/budget"


def as_host(kind: Kind) -> BusOptions:
    login: Login = kind.login("r17-n1")
    return BusOptions(
        kind.url, "n1", ca_file=login.ca_file, cert_file=login.cert_file, key_file=login.key_file
    )


async def test_nats_gets_what_was_meant_for_qos_2_at_qos_1(tmp_path: Path) -> None:
    """Before 2.10 it ends the connection at the first message, and speaks MQTT 3.1.1 only."""
    with Nats(tmp_path / "broker") as server:
        url = f"mqtt://127.0.0.1:{server.port}"
        async with Observed(options(url), subscriptions={BREACH_TOPIC: 2}) as seen:
            await seen.connected()
            assert seen.bus.status().protocol == "3.1.1"
            for payload in (b"active", b"escalated", b"resolved"):
                seen.bus.publish(BREACH_TOPIC, payload, qos=2, retain=False)
            await until(lambda: seen.payloads() == [b"active", b"escalated", b"resolved"])
    assert seen.events() == ["mqtt_connected", "mqtt_qos_lowered", "mqtt_disconnected", "mqtt_connected"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (packaged_nats, ["mqtt_connected", "mqtt_subscription_refused"]),
        (packaged_mosquitto, ["mqtt_connected"]),
    ],
)
async def test_a_topic_that_is_for_others_is_refused_by_nats_and_silent_at_mosquitto(
    make: Callable[[Path, Authority], Kind], told: list[str], ours: Authority, tmp_path: Path
) -> None:
    kind = make(tmp_path / "broker", ours)
    kind.server.start()
    try:
        async with Observed(as_host(kind), OTHER_BUDGET) as seen:
            await seen.connected()
            await until(lambda: list(dict.fromkeys(seen.events())) == told)
    finally:
        kind.server.kill()


@pytest.mark.parametrize(
    ("make", "told"),
    [(packaged_nats, []), (packaged_mosquitto, ["mqtt_publish_refused"])],
)
async def test_a_message_that_is_not_for_this_sender_is_told_of_by_mqtt_5_alone(
    make: Callable[[Path, Authority], Kind], told: list[str], ours: Authority, tmp_path: Path
) -> None:
    kind = make(tmp_path / "broker", ours)
    kind.server.start()
    try:
        async with Observed(as_host(kind), f"{BASE}/host/r17-n1/doctor") as seen:
            await seen.connected()
            seen.bus.publish(OTHER_BUDGET, b"of a host", qos=1, retain=False)
            seen.bus.publish(f"{BASE}/host/r17-n1/doctor", b"mine", qos=1, retain=False)
            await until(lambda: seen.payloads() == [b"mine"])
        assert seen.events() == ["mqtt_connected", *told]
    finally:
        kind.server.kill()
