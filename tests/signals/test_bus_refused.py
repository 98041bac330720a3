"""What a broker refuses is told, and the rest goes on; what it may allow later is asked for again."""

import asyncio
from pathlib import Path

from tests.broker import Mosquitto
from tests.signals.stubs import (
    ACCEPT_311,
    BUDGET_TOPIC,
    Observed,
    connect_version,
    options,
    tcp_server,
    until,
)

NOT_AUTHORISED_311 = bytes([0x20, 0x02, 0x00, 0x05])
SUBSCRIBE = 0x82


async def test_refused_credentials_are_told_by_the_brokers_own_words() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connect_version(reader)
        writer.write(NOT_AUTHORISED_311)

    async with tcp_server(answer) as url, Observed(options(url, protocol="3.1.1")) as seen:
        await until(lambda: len(seen.waits_s) >= 1)
        assert "Not authorized" in seen.bus.status().error


async def test_a_broker_that_forbids_topics_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text(f"topic read {BUDGET_TOPIC}\ntopic write allowed\n")
    with Mosquitto(tmp_path / "broker", settings=[f"acl_file {rules}"]) as broker:
        async with Observed(options(broker.url), BUDGET_TOPIC) as seen:
            await seen.connected()
            seen.bus.publish("forbidden", b"1", qos=1, retain=True)
            seen.bus.publish("allowed", b"1", qos=1, retain=True)
            await until(lambda: seen.bus.status().published == 1)
            refused = [notice for notice in seen.notices if notice.event == "mqtt_publish_refused"]
            assert [notice.subject for notice in refused] == ["forbidden"]
            assert "access list" in refused[0].text


async def test_a_refused_subscription_is_reported_and_the_others_hold() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connect_version(reader)
        writer.write(ACCEPT_311)
        subscribe = await reader.readexactly(4)
        refuse_the_first = bytes([0x90, 0x04, *subscribe[2:4], 0x80, 0x01])
        writer.write(refuse_the_first)

    async with (
        tcp_server(answer) as url,
        Observed(options(url, protocol="3.1.1"), "secret", BUDGET_TOPIC) as seen,
    ):
        await seen.connected()
        assert seen.events() == ["mqtt_connected", "mqtt_subscription_refused"]
        assert seen.notices[1].subject == "secret"


async def test_a_subscription_that_is_refused_for_a_while_is_had_in_the_end() -> None:
    """A cluster that elects its leaders refuses what it grants a moment later; a host must not stay deaf."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connect_version(reader)
        writer.write(ACCEPT_311)
        for codes in (b"\x01\x80", b"\x80", b"\x01"):
            kind, length = await reader.readexactly(2)
            assert kind == SUBSCRIBE
            packet = await reader.readexactly(length)
            asked.append(packet[2:])
            writer.write(bytes([0x90, 2 + len(codes), *packet[:2]]) + codes)

    async with (
        tcp_server(answer) as url,
        Observed(options(url, protocol="3.1.1"), "allowed", BUDGET_TOPIC) as seen,
    ):
        await until(lambda: len(seen.events()) == 4)
        refused = ["mqtt_subscription_refused"] * 2
        assert seen.events() == ["mqtt_connected", *refused, "mqtt_subscribed"]
        assert [b"allowed" in each for each in asked] == [True, False, False], "what is granted stays"
        assert all(BUDGET_TOPIC.encode() in each for each in asked)
        assert len(seen.waits_s) == 2
        assert seen.bus.status().connected
