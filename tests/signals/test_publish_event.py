"""The bridge's side of grid events: what it publishes is what a host reads."""

import asyncio
import json
from dataclasses import replace

import pytest

from powerd.clock import SystemClock
from powerd.core.events.grid_event import Action, ActionKind, EventRamp, GridEvent, Interval
from powerd.facility.publish_event import KEPT_S, EventPublisher
from powerd.signals.endpoint import BusOptions
from powerd.signals.topics import DEFAULT_PREFIX, SiteTopics
from tests.broker import Mosquitto
from tests.signals.grid_events import EVENT_ID, GOOD
from tests.signals.payloads import encoded
from tests.signals.test_grid_event import VALIDATOR, parse

TOPICS = SiteTopics(DEFAULT_PREFIX, "hel1")
EVENT = parse(encoded(GOOD))
FLOOR = Action(ActionKind.FLOOR)


def publisher() -> EventPublisher:
    return EventPublisher(TOPICS, source="bridge", clock=SystemClock())


def options(url: str) -> BusOptions:
    return BusOptions(url, "bridge")


def lasting(event: GridEvent, from_now_s: float | None, *, ramp: EventRamp | None = None) -> GridEvent:
    now_s = SystemClock().now().wall_s
    end_s = None if from_now_s is None else now_s + from_now_s
    interval = Interval(min(now_s, end_s or now_s) - 3600, end_s, FLOOR)
    return replace(event, intervals=(interval,), ramp=ramp or EventRamp())


def test_what_is_published_a_host_reads_as_it_was_meant_in_the_publishers_name() -> None:
    before_s = SystemClock().now().wall_s
    message = publisher().message(EVENT)
    assert (message.topic, message.qos, message.retain) == (TOPICS.grid_event(EVENT_ID), 1, True)
    VALIDATOR.validate(json.loads(message.payload))
    read = parse(message.payload)
    assert read.issued_at_s == pytest.approx(before_s, abs=5)
    assert read == replace(
        EVENT, source="bridge", epoch=read.epoch, seq=1, issued_at_s=read.issued_at_s, digest=read.digest
    )


def test_each_version_is_newer_than_the_one_before_also_after_a_restart() -> None:
    first = publisher()
    keys = [(read.epoch, read.seq) for read in (parse(first.message(EVENT).payload) for _ in range(3))]
    assert keys == sorted(set(keys))
    assert [seq for _, seq in keys] == [1, 2, 3]


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (replace(EVENT, event_id="Peak 1"), "event id"),
        (replace(EVENT, targets=()), "targets"),
        (replace(EVENT, intervals=()), "intervals"),
        (replace(EVENT, intervals=(Interval(10.0, 10.0, FLOOR),)), "end"),
        (replace(EVENT, intervals=(Interval(10.0, None, Action(ActionKind.RELEASE)),)), "release"),
        (replace(EVENT, ramp=EventRamp(down_s=86401.0)), "ramp"),
        (replace(EVENT, program="x" * 65), "program"),
        (replace(EVENT, priority=-1), "priority"),
    ],
)
def test_what_no_host_would_accept_as_it_stands_is_not_sent(event: GridEvent, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        publisher().message(event)


def test_a_broker_keeps_an_event_until_a_day_after_its_way_back() -> None:
    def expiry_s(event: GridEvent) -> int | None:
        return publisher().message(event).expiry_s

    assert expiry_s(lasting(EVENT, 600.0)) == pytest.approx(600 + KEPT_S, abs=5)
    slow = EventRamp(up_s=300.0, up_jitter_s=30.0)
    assert expiry_s(lasting(EVENT, 600.0, ramp=slow)) == pytest.approx(930 + KEPT_S, abs=5)
    assert expiry_s(lasting(EVENT, -7200.0)) == KEPT_S
    assert expiry_s(lasting(EVENT, None)) is None
    assert expiry_s(replace(lasting(EVENT, None), is_cancelled=True)) == KEPT_S
    assert expiry_s(lasting(EVENT, 200 * 365 * 86400.0)) is None


async def test_publishing_once_leaves_the_event_with_the_broker(broker: Mosquitto) -> None:
    message = await publisher().publish_once(options(broker.url), lasting(EVENT, None))
    assert broker.retained(TOPICS.grid_event(EVENT_ID)) == message.payload


async def test_a_broker_with_mqtt_5_forgets_an_event_in_the_end(broker: Mosquitto) -> None:
    """The broker passes on how long the message still lives; mosquitto_sub shows it as %E."""
    await publisher().publish_once(options(broker.url), lasting(EVENT, 600.0))
    topic = TOPICS.grid_event(EVENT_ID)
    show = ("mosquitto_sub", "-V", "5", "-p", str(broker.port), "-t", topic, "-C", "1", "-F", "%E")
    sub = await asyncio.create_subprocess_exec(*show, stdout=asyncio.subprocess.PIPE)
    shown, _ = await sub.communicate()
    assert KEPT_S + 500 <= int(shown) <= KEPT_S + 601
