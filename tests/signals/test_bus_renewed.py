"""Other credentials, or other topics, for a bus that runs: against a real Mosquitto with a password."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.signals.stubs import BUDGET_TOPIC, ONLINE_TOPIC, Observed, options, presence, until

USER = "r17-n3"


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Mosquitto]:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, USER, "one"], check=True, timeout=10)
    with Mosquitto(tmp_path / "broker", settings=[f"password_file {passwords}"]) as broker:
        yield broker


async def test_a_password_that_is_refused_is_replaced_without_waiting_for_the_next_attempt(
    strict: Mosquitto,
) -> None:
    wrong = options(strict.url, username=USER, password="two", reconnect_min_s=600.0, reconnect_max_s=600.0)
    seen = Observed(wrong, BUDGET_TOPIC)
    seen.bus._sleep = _for_ever
    async with seen:
        await until(lambda: "mqtt_disconnected" in seen.events())
        seen.bus.renew(replace(wrong, password="one"), {BUDGET_TOPIC: 1})
        await seen.connected()


async def test_a_connection_is_made_anew_and_everybody_sees_the_host_go_and_come(strict: Mosquitto) -> None:
    right = options(strict.url, username=USER, password="one")
    watching = replace(right, client_id="watching")
    async with Observed(watching, ONLINE_TOPIC) as site, Observed(right, "a", presence=presence()) as seen:
        await until(lambda: len(site.messages) == 1)
        seen.bus.renew(right, {"a": 1})
        await until(lambda: len(site.messages) == 3)
        assert [b"true" in payload for payload in site.payloads()] == [True, False, True]
        assert seen.waits_s == []
        assert "mqtt_disconnected" not in seen.events()


async def test_what_is_published_in_between_arrives(strict: Mosquitto) -> None:
    right = options(strict.url, username=USER, password="one")
    watching = replace(right, client_id="watching")
    async with Observed(watching, "said/#") as site, Observed(right, "a") as seen:
        await site.connected()
        await seen.connected()
        for number in range(20):
            seen.bus.publish(f"said/{number}", b"x", qos=1, retain=True)
            if number == 10:
                seen.bus.renew(right, {"a": 1})
        await until(lambda: {topic for topic, *_ in site.messages} == {f"said/{n}" for n in range(20)})


async def test_other_topics_are_heard_and_those_of_before_are_not(strict: Mosquitto) -> None:
    right = options(strict.url, username=USER, password="one")
    sender = replace(right, client_id="sender")
    async with Observed(sender, "nothing") as site, Observed(right, "a") as seen:
        await seen.connected()
        seen.bus.renew(right, {"b": 1})
        site.bus.publish("b", b"stored", qos=1, retain=True)
        await until(lambda: seen.messages != [])
        site.bus.publish("a", b"late", qos=1, retain=False)
        site.bus.publish("b", b"live", qos=1, retain=False)
        await until(lambda: b"live" in seen.payloads())
        assert b"late" not in seen.payloads()


async def test_options_that_cannot_be_used_are_told_of_and_can_be_replaced_in_turn(strict: Mosquitto) -> None:
    right = options(strict.url, username=USER, password="one")
    async with Observed(right, BUDGET_TOPIC) as seen:
        await seen.connected()
        seen.bus.renew(replace(right, url="http://localhost"), {BUDGET_TOPIC: 1})
        await until(lambda: "mqtt.url" in seen.bus.status().error)
        seen.bus.renew(right, {BUDGET_TOPIC: 1})
        await seen.connected()


async def _for_ever(_: float) -> None:
    await until(lambda: False, within_s=60)
