"""The bus against a real Mosquitto, and against servers that behave as brokers do on a bad day."""

import asyncio
import gc
import os
import sys
import time
from pathlib import Path

import pytest

from powerd.signals.endpoint import BusOptions
from powerd.signals.mqtt import connect
from powerd.signals.outbox import Outgoing
from tests.broker import Mosquitto, free_port
from tests.signals.stubs import (
    ACCEPT_311,
    BUDGET_TOPIC,
    ONLINE_TOPIC,
    Observed,
    connect_version,
    options,
    presence,
    tcp_server,
    until,
)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names of descriptors, not of files


@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
async def test_a_budget_arrives_live_and_a_stored_one_is_marked_as_such(
    broker: Mosquitto, protocol: str
) -> None:
    broker.publish(BUDGET_TOPIC, b"stored", retain=True)
    async with Observed(options(broker.url, protocol=protocol), BUDGET_TOPIC) as seen:
        await until(lambda: len(seen.messages) == 1)
        broker.publish(BUDGET_TOPIC, b"live", retain=True)
        await until(lambda: len(seen.messages) == 2)
        assert seen.messages == [(BUDGET_TOPIC, b"stored", True), (BUDGET_TOPIC, b"live", False)]
        status = seen.bus.status(rejected=3)
        assert status.connected
        assert status.protocol == {"auto": "5"}.get(protocol, protocol)
        assert (status.url, status.error, status.received, status.rejected) == (broker.url, "", 2, 3)


async def test_an_empty_payload_arrives_as_such(broker: Mosquitto) -> None:
    async with Observed(options(broker.url), BUDGET_TOPIC) as seen:
        await seen.connected()
        broker.publish(BUDGET_TOPIC, b"", retain=True)
        await until(lambda: seen.messages == [(BUDGET_TOPIC, b"", False)])


async def test_a_host_is_online_only_after_it_listens_and_offline_when_it_leaves(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, settings=["log_type all"]) as broker:
        async with Observed(options(broker.url), BUDGET_TOPIC, presence=presence()) as seen:
            await seen.connected()
            assert broker.retained(ONLINE_TOPIC) == b'{"online": true}'
        assert broker.retained(ONLINE_TOPIC) == b'{"online": false}'
        assert broker.log.index("Received SUBSCRIBE") < broker.log.index("Received PUBLISH")


async def test_the_will_says_offline_when_the_host_is_killed(broker: Mosquitto) -> None:
    script = (
        "import asyncio\n"
        "from powerd.signals.bus import Bus\n"
        "from powerd.signals.endpoint import BusOptions\n"
        "from tests.signals.stubs import presence\n"
        f"bus = Bus(BusOptions({broker.url!r}, 'dies'), filters=dict(), on_message=print, on_notice=print,\n"
        "          presence=presence())\n"
        "asyncio.run(bus.run())\n"
    )
    async with Observed(options(broker.url), ONLINE_TOPIC) as seen:
        await seen.connected()
        host = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.DEVNULL, cwd=Path(__file__).parents[2]
        )
        await until(lambda: b'{"online": true}' in seen.payloads())
        host.kill()
        await host.wait()
        await until(lambda: b'{"online": false}' in seen.payloads())


async def test_a_bus_without_a_broker_waits_for_it_and_says_so_once() -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    async with Observed(options(url), BUDGET_TOPIC) as seen:
        await until(lambda: len(seen.waits_s) >= 10)
        status = seen.bus.status()
        assert not status.connected
        assert status.protocol == ""
        assert url in status.error
        assert "refused" in status.error
        assert seen.events() == ["mqtt_disconnected"]


async def test_a_broker_that_comes_late_is_found(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    async with Observed(options(broker.url), BUDGET_TOPIC) as seen:
        await until(lambda: len(seen.waits_s) >= 2)
        with broker:
            await seen.connected()
            broker.publish(BUDGET_TOPIC, b"live")
            await until(lambda: seen.payloads() == [b"live"])
            assert seen.events() == ["mqtt_disconnected", "mqtt_connected"]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_killed_broker_is_noticed_at_once_and_taken_up_again(
    broker: Mosquitto, protocol: str
) -> None:
    async with Observed(options(broker.url, protocol=protocol), BUDGET_TOPIC, presence=presence()) as seen:
        await seen.connected()
        broker.kill()
        await until(lambda: not seen.bus.status().connected, within_s=1.0)
        assert seen.notices[1].text == f"{broker.url}: the connection ended"
        seen.bus.publish("state", b"while away, old", qos=1, retain=True)
        seen.bus.publish("state", b"while away, new", qos=1, retain=True)
        seen.bus.publish("telemetry", b"while away", qos=0, retain=False)
        broker.start()
        await seen.connected()
        await until(lambda: seen.bus.status().published == 1)
        assert broker.retained("state") == b"while away, new"
        assert broker.retained(ONLINE_TOPIC) == b'{"online": true}', "the new broker knew nothing"
        broker.publish(BUDGET_TOPIC, b"live")
        await until(lambda: seen.payloads() == [b"live"])
        assert seen.events() == ["mqtt_connected", "mqtt_disconnected", "mqtt_connected"]


async def test_a_stored_budget_comes_again_after_a_restart_with_the_store(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, persistence=True) as broker:
        broker.publish(BUDGET_TOPIC, b"stored", retain=True)
        async with Observed(options(broker.url), BUDGET_TOPIC) as seen:
            await until(lambda: len(seen.messages) == 1)
            broker.restart()
            await until(lambda: len(seen.messages) == 2)
            assert seen.messages[1] == (BUDGET_TOPIC, b"stored", True)
            broker.restart(persistence=False)
            await until(lambda: seen.events().count("mqtt_connected") == 3)
            assert len(seen.messages) == 2


async def test_a_stalled_broker_is_noticed_by_the_missing_answer_and_taken_up_when_it_goes_on(
    broker: Mosquitto,
) -> None:
    async with Observed(options(broker.url, keepalive_s=1), BUDGET_TOPIC) as seen:
        await seen.connected()
        broker.stall()
        await seen.disconnected()
        broker.resume()
        await seen.connected()
        broker.publish(BUDGET_TOPIC, b"live")
        await until(lambda: seen.payloads() == [b"live"])


async def test_what_was_not_acknowledged_is_published_again(broker: Mosquitto) -> None:
    async with Observed(options(broker.url, keepalive_s=1)) as seen:
        await seen.connected()
        broker.stall()
        seen.bus.publish("state", b"cap 7000", qos=1, retain=True)
        await seen.disconnected()
        broker.kill()
        broker.start()
        await until(lambda: seen.bus.status().published == 1)
        assert broker.retained("state") == b"cap 7000"


async def test_a_connection_that_leads_nowhere_is_given_up_and_made_anew_at_once(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends take it for alive; that what is published is not acknowledged is the only sign."""
    monkeypatch.setattr("powerd.signals.mqtt.ACK_TIMEOUT_S", 0.05)
    limits = {"reconnect_min_s": 1.0, "reconnect_max_s": 4.0}
    async with Observed(options(broker.url, **limits)) as seen:
        await seen.connected()
        broker.stall()
        seen.bus.publish("state", b"cap 7000", qos=1, retain=True)
        await seen.disconnected()
        assert seen.notices[-1].text == (
            f"{broker.url}: no acknowledgement for 0.05 s; the connection is given up"
        )
        broker.resume()
        await until(lambda: seen.bus.status().published == 1)
        assert seen.waits_s[0] <= 0.5


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_connection_on_which_nothing_is_published_is_tried_now_and_then(
    broker: Mosquitto, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("powerd.signals.mqtt.ACK_TIMEOUT_S", 0.2)
    monkeypatch.setattr("powerd.signals.bus.PROBE_AFTER_S", 0.01)
    async with Observed(options(broker.url, protocol=protocol), BUDGET_TOPIC) as seen:
        await seen.connected()
        for number in range(20):  # takes longer than several probes
            broker.publish(BUDGET_TOPIC, b"%d" % number)
        await until(lambda: len(seen.messages) == 20)
        assert seen.events() == ["mqtt_connected"], "a broker that answers is not left"
        broker.stall()
        await seen.disconnected()
        assert "no acknowledgement for 0.2 s" in seen.notices[-1].text
        broker.resume()
        await seen.connected()


async def test_forty_attempts_at_a_broker_that_never_answers_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("powerd.signals.mqtt.ANSWER_TIMEOUT_S", 0.02)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # takes all, says nothing, until the client leaves
        writer.close()

    async with tcp_server(answer) as url, Observed(options(url)) as seen:
        await until(lambda: len(seen.waits_s) >= 2)
        files, tasks = open_files(), len(asyncio.all_tasks())
        await until(lambda: len(seen.waits_s) >= 42)
        await until(lambda: open_files() <= files + 2)
        await until(lambda: len(asyncio.all_tasks()) <= tasks + 2)


async def test_connecting_and_leaving_a_hundred_times_leaves_nothing_behind(broker: Mosquitto) -> None:
    async def once() -> None:
        async with connect(options(broker.url)) as session:
            await session.publish(Outgoing("a", b"1", qos=1))

    await once()
    files, tasks = open_files(), len(asyncio.all_tasks())
    for _ in range(100):
        await once()
    await until(lambda: len(asyncio.all_tasks()) == tasks)
    gc.collect()
    assert open_files() <= files


async def test_waits_between_attempts_grow_within_their_bounds_and_differ() -> None:
    limits = {"reconnect_min_s": 1.0, "reconnect_max_s": 30.0}
    async with Observed(options(f"mqtt://127.0.0.1:{free_port()}", **limits)) as seen:
        await until(lambda: len(seen.waits_s) >= 40)
        assert all(1.0 <= wait_s <= 30.0 for wait_s in seen.waits_s)
        assert seen.waits_s[0] <= 4.0
        assert max(seen.waits_s) > 15.0
        assert len(set(seen.waits_s)) == len(seen.waits_s)


async def test_all_messages_of_a_flood_are_read_in_order(broker: Mosquitto) -> None:
    async with Observed(options(broker.url), BUDGET_TOPIC) as seen:
        await seen.connected()
        async with connect(BusOptions(broker.url, "flood")) as flood:
            for number in range(1000):
                await flood.publish(Outgoing(BUDGET_TOPIC, b"%d" % number))
        await until(lambda: len(seen.messages) == 1000)
        assert seen.payloads() == [b"%d" % number for number in range(1000)]


async def test_what_is_too_large_to_be_read_stays_at_the_broker(broker: Mosquitto) -> None:
    """Under MQTT 5: else any sender could fill the memory with one message."""
    async with Observed(options(broker.url), BUDGET_TOPIC) as seen:
        await seen.connected()
        async with connect(BusOptions(broker.url, "large")) as sender:
            await sender.publish(Outgoing(BUDGET_TOPIC, b"x" * 50_000_000, qos=1))
            await sender.publish(Outgoing(BUDGET_TOPIC, b"x" * 64 * 1024, qos=1))
        await until(lambda: bool(seen.messages))
        assert [len(payload) for payload in seen.payloads()] == [64 * 1024]
        assert seen.events() == ["mqtt_connected"]


async def test_receiving_does_not_wait_while_a_publication_is_unanswered(broker: Mosquitto) -> None:
    """A budget arrives while the answer to our own state is still outstanding."""
    unanswered: list[bool] = []

    def on_message(topic: str, payload: bytes, retained: bool) -> None:
        unanswered.append(seen.bus.status().published < 200)

    async with Observed(options(broker.url), BUDGET_TOPIC, on_message=on_message) as seen:
        await seen.connected()
        async with connect(BusOptions(broker.url, "facility")) as facility:
            for number in range(200):
                seen.bus.publish(f"state/{number}", b"x" * 60_000, qos=1, retain=True)
            await facility.publish(Outgoing(BUDGET_TOPIC, b"live", qos=1))
            await until(lambda: bool(unanswered))
        assert unanswered == [True]


async def test_a_reader_that_fails_is_reported_and_the_next_message_is_still_read(broker: Mosquitto) -> None:
    read: list[bytes] = []
    reported: list[str] = []

    def on_message(topic: str, payload: bytes, retained: bool) -> None:
        if payload == b"poison":
            raise RuntimeError("cannot digest")
        read.append(payload)

    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    async with Observed(options(broker.url), BUDGET_TOPIC, on_message=on_message) as seen:
        await seen.connected()
        broker.publish(BUDGET_TOPIC, b"poison")
        broker.publish(BUDGET_TOPIC, b"food")
        await until(lambda: read == [b"food"])
        assert seen.bus.status().connected
        assert reported == [f"handling a message on {BUDGET_TOPIC} failed"]


async def test_a_broker_that_accepts_and_hangs_up_is_never_taken_for_connected() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connect_version(reader)
        writer.write(ACCEPT_311)
        writer.close()

    async with tcp_server(answer) as url, Observed(options(url, protocol="3.1.1")) as seen:
        await until(lambda: len(seen.waits_s) >= 5)
        assert not seen.bus.status().connected
        assert seen.waits_s[4] > seen.waits_s[0], "such a broker must not be hammered"


async def test_a_bus_that_stops_while_the_broker_is_stalled_does_not_hang(broker: Mosquitto) -> None:
    async with Observed(options(broker.url), presence=presence()) as seen:
        await seen.connected()
        broker.stall()
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 5.0


async def test_a_bus_that_stops_in_the_middle_of_publishing_stops(broker: Mosquitto) -> None:
    """The answer to a publication and the order to stop often come together; neither may be lost."""
    for size in range(100, 2100, 100):
        async with Observed(options(broker.url), BUDGET_TOPIC, presence=presence()) as seen:
            await seen.connected()
            for number in range(20):
                seen.bus.publish(f"state/{number}", b"x" * size, qos=1, retain=True)
            await until(lambda: seen.bus.status().published >= 5)
    assert broker.retained(ONLINE_TOPIC) == b'{"online": false}'


async def test_two_hosts_with_one_client_id_do_not_hammer_the_broker(broker: Mosquitto) -> None:
    """The broker ends one connection for the other. Each try is short-lived, so the waits grow."""
    rivals = options(broker.url, reconnect_min_s=1.0, reconnect_max_s=30.0)
    async with Observed(rivals) as first, Observed(rivals) as second:
        await until(lambda: len(first.waits_s) >= 12 and len(second.waits_s) >= 12)
        assert max(first.waits_s + second.waits_s) > 10.0


async def test_a_connection_that_ends_while_something_is_to_be_written_leaves_nothing_behind(
    broker: Mosquitto,
) -> None:
    """Its number may be another socket's by the time that the writing is due."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    async with connect(options(broker.url)) as session:
        publishing = asyncio.ensure_future(session.publish(Outgoing("a", b"1", qos=0)))
        await asyncio.sleep(0)
        session._client.close_socket()
        await asyncio.gather(publishing, return_exceptions=True)
    assert errors == []


async def test_a_connection_that_has_ended_is_left_without_a_complaint(tmp_path: Path) -> None:
    """Also where nobody has asked yet why it ended."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))

    async def lose(broker: Mosquitto) -> None:
        async with connect(options(broker.url)) as session:
            broker.kill()
            await until(lambda: session._client.lost)

    with Mosquitto(tmp_path) as broker:
        await lose(broker)
    gc.collect()
    assert errors == []
