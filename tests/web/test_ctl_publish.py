"""`powerctl publish budget` against a real broker."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from tests.broker import Mosquitto
from tests.powerctl import StartPublishing, publishing

TOPIC = "powerd/v1/hel1/rack/r17/budget"


@pytest.fixture
async def publish(broker: Mosquitto) -> AsyncIterator[StartPublishing]:
    async with publishing("budget", "--site", "hel1", "--rack", "r17", "--broker", broker.url) as start:
        yield start


async def test_one_budget_is_retained_in_its_envelope(broker: Mosquitto, publish: StartPublishing) -> None:
    process = await publish("--watts", "30000", "--lease", "90s", "--source", "facility-a", "--json")
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    retained = json.loads(broker.retained(TOPIC) or b"null")
    assert retained == json.loads(out)
    assert (retained["v"], retained["source"], retained["rack"], retained["watts"]) == (
        1,
        "facility-a",
        "r17",
        30000,
    )
    stamps = [datetime.fromisoformat(retained[key]) for key in ("issued_at", "valid_until")]
    assert (stamps[1] - stamps[0]).total_seconds() == 90


@pytest.mark.parametrize(("option", "watts"), [("none", None), ("0", 0)])
async def test_no_limit_and_zero_watts_are_different_things(
    broker: Mosquitto, publish: StartPublishing, option: str, watts: int | None
) -> None:
    await (await publish("--watts", option)).communicate()
    assert json.loads(broker.retained(TOPIC) or b"[]")["watts"] == watts


async def test_every_repeats_with_rising_numbers_until_it_is_stopped(publish: StartPublishing) -> None:
    process = await publish("--watts", "30000", "--every", "50ms", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        numbers = [json.loads(await process.stdout.readline())["seq"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert numbers == [1, 2, 3]
    assert process.returncode == 0
    assert err.decode() == "stopped: the budget holds until its lease of 60 s is over\n"


async def test_a_broker_that_goes_away_is_said_and_tried_again(
    broker: Mosquitto, publish: StartPublishing
) -> None:
    process = await publish("--watts", "30000", "--every", "50ms", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(20):
        await process.stdout.readline()
        broker.kill()
        complaint = (await process.stderr.readline()).decode()
        broker.start()
        while not broker.retained(TOPIC):
            continue
    assert complaint.startswith(f"powerctl: {broker.url}")
    assert complaint.endswith("; trying again\n")
