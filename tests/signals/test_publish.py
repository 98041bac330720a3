"""The facility's side: what it publishes is what a host reads."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from powerd.clock import SystemClock
from powerd.core.model import Now
from powerd.errors import BusError, PublishRefusedError
from powerd.facility.publish import Budget, BudgetPublisher
from powerd.signals.endpoint import BusOptions
from powerd.signals.native import parse_budget
from powerd.signals.outbox import Outgoing
from powerd.signals.topics import DEFAULT_PREFIX, RackTopics
from tests.broker import Mosquitto, free_port
from tests.signals.payloads import VALIDATORS
from tests.signals.stubs import Observed, until

TOPICS = RackTopics(DEFAULT_PREFIX, "hel1", "r17")


class FixedClock:
    def now(self) -> Now:
        return Now(boot_s=1.0, wall_s=1795280400.0)


def publisher() -> BudgetPublisher:
    return BudgetPublisher(TOPICS, source="facility-a", clock=SystemClock())


def options(url: str) -> BusOptions:
    return BusOptions(url, "facility-a", reconnect_min_s=0.01, reconnect_max_s=0.02)


def test_the_envelope_is_the_documented_one() -> None:
    sender = BudgetPublisher(TOPICS, source="facility-a", clock=FixedClock())
    message = sender.message(Budget(30_000, lease_s=60, reason="peak", correlation_id="9a1e"))
    assert (message.topic, message.qos, message.retain) == (TOPICS.budget, 1, True)
    assert message.expiry_s == 60
    assert json.loads(message.payload) == {
        "v": 1,
        "source": "facility-a",
        "epoch": 1795280400000,
        "seq": 1,
        "issued_at": "2026-11-21T17:00:00.000Z",
        "valid_until": "2026-11-21T17:01:00.000Z",
        "rack": "r17",
        "watts": 30_000,
        "priority": 100,
        "reason": "peak",
        "correlation_id": "9a1e",
    }


@pytest.mark.parametrize("watts", [0, 0.5, 30_000, 30_000.25, None])
def test_what_is_published_a_host_reads_as_it_was_meant(watts: float | None) -> None:
    message = publisher().message(Budget(watts, lease_s=7.5))
    VALIDATORS["budget"].validate(json.loads(message.payload))
    read = parse_budget(
        message.payload, rack="r17", hard_limit_mw=40_000_000, retained=False, received=SystemClock().now()
    )
    assert read.mw == (None if watts is None else watts * 1000)
    assert read.valid_until_s - read.issued_at_s == pytest.approx(7.5)


def test_each_message_is_newer_than_the_one_before() -> None:
    sender = publisher()
    keys = [
        (fields["epoch"], fields["seq"])
        for fields in (json.loads(sender.message(Budget(1)).payload) for _ in range(3))
    ]
    assert keys == sorted(set(keys))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"watts": -1}, "watts -1"),
        ({"watts": 2e7}, "watts 2e"),
        ({"watts": float("nan")}, "watts nan"),
        ({"watts": 1, "lease_s": 4.9}, "lease"),
        ({"watts": 1, "lease_s": 301}, "lease"),
        ({"watts": 1, "priority": -1}, "priority"),
        ({"watts": 1, "reason": "x" * 129}, "reason"),
        ({"watts": 1, "correlation_id": "x" * 129}, "correlation_id"),
    ],
)
def test_what_no_host_would_accept_as_it_stands_is_not_sent(
    arguments: dict[str, float], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Budget(**arguments)  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("source", ["", "x" * 65])
def test_a_publisher_without_a_usable_name_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="source"):
        BudgetPublisher(TOPICS, source=source, clock=SystemClock())


async def test_publishing_once_leaves_the_budget_with_the_broker(broker: Mosquitto) -> None:
    message = await publisher().publish_once(options(broker.url), Budget(30_000))
    assert broker.retained(TOPICS.budget) == message.payload


async def test_a_broker_with_mqtt_5_forgets_a_budget_when_its_lease_is_over(broker: Mosquitto) -> None:
    """The broker passes on how long the message still lives; mosquitto_sub shows it as %E."""
    await publisher().publish_once(options(broker.url), Budget(30_000, lease_s=42))
    show = ("mosquitto_sub", "-V", "5", "-p", str(broker.port), "-t", TOPICS.budget, "-C", "1", "-F", "%E")
    sub = await asyncio.create_subprocess_exec(*show, stdout=asyncio.subprocess.PIPE)
    shown, _ = await sub.communicate()
    assert 40 <= int(shown) <= 42


async def test_publishing_once_without_a_broker_is_an_error_that_names_it() -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    with pytest.raises(BusError, match=url):
        await publisher().publish_once(options(url), Budget(30_000))


async def test_publishing_where_it_is_forbidden_is_an_error_not_a_silent_loss(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic read #\n")
    broker = Mosquitto(tmp_path / "broker", settings=[f"acl_file {rules}"])
    with broker, pytest.raises(PublishRefusedError, match=TOPICS.budget):
        await publisher().publish_once(options(broker.url), Budget(30_000))


async def test_publishing_again_and_again_renews_the_lease_and_outlives_the_broker(broker: Mosquitto) -> None:
    watts = 30_000.0
    published = list[Outgoing]()
    trouble = list[BusError]()
    sender = publisher()
    task = asyncio.create_task(
        sender.publish_every(
            options(broker.url),
            lambda: Budget(watts),
            every_s=0.05,
            on_published=published.append,
            on_trouble=trouble.append,
        )
    )
    async with Observed(BusOptions(broker.url, "host"), TOPICS.budget) as seen:
        await until(lambda: len(published) >= 3)
        broker.kill()
        await until(lambda: len(trouble) >= 1)
        watts = 20_000.0
        broker.start()
        await until(lambda: any(b'"watts":20000' in payload for payload in seen.payloads()))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    sequence = [json.loads(message.payload)["seq"] for message in published]
    assert sequence == sorted(set(sequence))
    assert broker.url in str(trouble[0])
