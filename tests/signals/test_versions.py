"""Which version of MQTT is spoken, and to whom."""

import asyncio

import pytest

from tests.signals.stubs import (
    Observed,
    connect_version,
    options,
    tcp_server,
    until,
)

REFUSE_VERSION = bytes([0x20, 0x02, 0x00, 0x01])  # CONNACK of MQTT 3.1.1, return code 1
ACCEPT_311 = bytes([0x20, 0x02, 0x00, 0x00])


async def test_a_broker_that_only_knows_3_1_1_is_spoken_to_in_3_1_1_and_that_is_remembered() -> None:
    asked: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = await connect_version(reader)
        asked.append(version)
        writer.write(ACCEPT_311 if version == 4 else REFUSE_VERSION)
        await writer.drain()
        if version == 4:
            await until(lambda: seen.bus.status().connected)
        if asked.count(4) < 3:
            writer.close()

    async with tcp_server(answer) as url, Observed(options(url)) as seen:
        await until(lambda: asked.count(4) == 3)
        await seen.connected()
        assert seen.bus.status().protocol == "3.1.1"
        assert asked == [5, 4, 4, 4]


async def test_a_broker_that_hangs_up_on_version_5_is_spoken_to_in_3_1_1() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await connect_version(reader) == 5:
            writer.close()
            return
        writer.write(ACCEPT_311)

    async with tcp_server(answer) as url, Observed(options(url)) as seen:
        await seen.connected()
        assert seen.bus.status().protocol == "3.1.1"


async def test_a_broker_that_keeps_silent_on_version_5_is_spoken_to_in_3_1_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """amqtt 0.12 does, when the connection has a will."""
    monkeypatch.setattr("powerd.signals.mqtt.ANSWER_TIMEOUT_S", 0.2)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await connect_version(reader) == 4:
            writer.write(ACCEPT_311)

    async with tcp_server(answer) as url, Observed(options(url)) as seen:
        await seen.connected()
        assert seen.bus.status().protocol == "3.1.1"


async def test_a_version_asked_for_is_the_only_one_tried() -> None:
    asked: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await connect_version(reader))
        writer.write(REFUSE_VERSION)

    async with tcp_server(answer) as url, Observed(options(url, protocol="5")) as seen:
        await until(lambda: len(seen.waits_s) >= 2)
        assert set(asked) == {5}
        assert "version" in seen.bus.status().error
