"""Messages that are to arrive exactly once, at brokers that can do that and at brokers that cannot."""

from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.signals.stubs import Observed, options, until

TOPIC = "grid/v1/dsx-flex-agent/r17/powerbreach"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_message_at_qos_2_arrives_once(broker: Mosquitto, protocol: str) -> None:
    async with Observed(options(broker.url, protocol=protocol), subscriptions={TOPIC: 2}) as seen:
        await seen.connected()
        for payload in (b"active", b"resolved"):
            seen.bus.publish(TOPIC, payload, qos=2, retain=False)
        await until(lambda: seen.bus.status().published == 2)
        await until(lambda: seen.payloads() == [b"active", b"resolved"])
    assert seen.events() == ["mqtt_connected"]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_broker_that_knows_no_qos_2_gets_the_message_at_qos_1(tmp_path: Path, protocol: str) -> None:
    """It ends the connection at the first one, and would at every further attempt."""
    with Mosquitto(tmp_path, settings=["max_qos 1"]) as broker:
        async with Observed(options(broker.url, protocol=protocol), subscriptions={TOPIC: 2}) as seen:
            await seen.connected()
            for payload in (b"active", b"escalated", b"resolved"):
                seen.bus.publish(TOPIC, payload, qos=2, retain=False)
            await until(lambda: seen.payloads() == [b"active", b"escalated", b"resolved"])
    assert seen.events() == ["mqtt_connected", "mqtt_qos_lowered", "mqtt_disconnected", "mqtt_connected"]
