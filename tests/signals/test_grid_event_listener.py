"""From the bus to the controller: events and advisory signals go on, whoever else listens."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from powerd.clock import SystemClock
from powerd.core.events.grid_event import GridEvent
from powerd.core.leases.host_state import HostState
from powerd.core.model import Notice
from powerd.core.rack.advisory import AdvisorySignal
from powerd.core.rack.timeline import BudgetMessage
from powerd.signals.listener import (
    AdvisoryListener,
    BudgetListener,
    EventListener,
    Hooks,
    Inbound,
    PeerListener,
)
from powerd.signals.topics import DEFAULT_PREFIX, Topics
from tests.broker import Mosquitto
from tests.signals import budgets
from tests.signals.grid_events import EVENT_ID, GOOD, HARD_LIMIT_MW
from tests.signals.payloads import encoded
from tests.signals.states import RACK, STATE, payload
from tests.signals.stubs import Observed, options, until
from tests.signals.test_advisory import GOOD as SIGNALS

TOPICS = Topics(DEFAULT_PREFIX, RACK.site, RACK.name, "h3")
CLOCK = SystemClock()
SOURCES = ("facility-a", "openadr-vtn1", "market")


class Tap:
    """Something else that listens, to all that its filters take in."""

    rejected = 0

    def __init__(self, filters: Mapping[str, int]) -> None:
        self.filters = filters
        self.heard: list[str] = []

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        self.heard.append(topic)


class Ears:
    """All that listens in a daemon, and everything that is handed on."""

    def __init__(self, *taps: Tap) -> None:
        self.budgets: list[BudgetMessage] = []
        self.states: list[HostState] = []
        self.events: list[GridEvent] = []
        self.signals: list[AdvisorySignal] = []
        self.notices: list[Notice] = []
        self.refusals: list[tuple[str, str]] = []
        notice, rejected = self.notices.append, self._rejected
        self.inbound = Inbound(
            BudgetListener(
                topics=TOPICS,
                hard_limit_mw=HARD_LIMIT_MW,
                sources=SOURCES,
                clock=CLOCK,
                hooks=Hooks(self.budgets.append, notice, rejected),
            ),
            PeerListener(
                topics=TOPICS, rack=RACK, clock=CLOCK, hooks=Hooks(self.states.append, notice, rejected)
            ),
            EventListener(
                topics=TOPICS,
                hard_limit_mw=HARD_LIMIT_MW,
                sources=SOURCES,
                clock=CLOCK,
                hooks=Hooks(self.events.append, notice, rejected),
            ),
            AdvisoryListener(
                topics=TOPICS, sources=SOURCES, hooks=Hooks(self.signals.append, notice, rejected)
            ),
            *taps,
        )

    def _rejected(self, source: str, reason: str) -> None:
        self.refusals.append((source, reason))

    def hear(self, topic: str, raw: bytes, *, retained: bool = False) -> None:
        self.inbound.on_message(topic, raw, retained)


EVENT_TOPIC = TOPICS.grid_event(EVENT_ID)
PRICE_TOPIC = TOPICS.signal("price", "de-lu")
PRICE = json.dumps(SIGNALS["price"]).encode()


def test_an_event_goes_on_with_when_and_how_it_arrived() -> None:
    ears, before_s = Ears(), CLOCK.now().boot_s
    ears.hear(EVENT_TOPIC, encoded(GOOD), retained=True)
    [event] = ears.events
    assert (event.event_id, event.retained) == (EVENT_ID, True)
    assert before_s <= event.received.boot_s <= CLOCK.now().boot_s


def test_an_advisory_signal_goes_on() -> None:
    ears = Ears()
    ears.hear(PRICE_TOPIC, PRICE)
    assert [(signal.zone, signal.value) for signal in ears.signals] == [("de-lu", -0.04)]


def test_what_comes_on_another_topic_than_it_is_about_is_refused() -> None:
    ears = Ears()
    ears.hear(TOPICS.grid_event("vtn1-8843"), encoded(GOOD))
    ears.hear(TOPICS.signal("price", "de-at"), PRICE)
    ears.hear(TOPICS.signal("ghg", "de-lu"), PRICE)
    ears.hear(TOPICS.signal("weather", "de-lu"), PRICE)
    assert ears.refusals == [
        ("openadr-vtn1", "event"),
        ("market", "zone"),
        ("market", "unit"),
        ("unknown", "kind"),
    ]
    assert EVENT_TOPIC.rpartition("/")[0] in ears.notices[0].text


def test_a_sender_that_is_not_listened_to_is_refused_and_the_key_to_change_is_named() -> None:
    ears = Ears()
    ears.hear(EVENT_TOPIC, encoded(GOOD | {"source": "somebody"}))
    ears.hear(PRICE_TOPIC, json.dumps(SIGNALS["price"] | {"source": "somebody"}).encode())
    assert ears.refusals == [("somebody", "source")] * 2
    assert "signals.events.sources" in ears.notices[0].text
    assert "signals.advisory.sources" in ears.notices[1].text
    assert (ears.events, ears.signals, ears.inbound.rejected) == ([], [], 2)


def test_a_refused_event_or_signal_does_not_stop_the_next() -> None:
    ears = Ears()
    for topic, raw in ((EVENT_TOPIC, encoded(GOOD)), (PRICE_TOPIC, PRICE)):
        ears.hear(topic, b"")
        ears.hear(topic, b"{")
        ears.hear(topic, raw)
    assert [reason for _, reason in ears.refusals] == ["empty", "json"] * 2
    assert (len(ears.events), len(ears.signals)) == (1, 1)


@pytest.mark.parametrize("event_id", ["\x1b[2J", "x" * 60_000, ""])
def test_a_topic_made_up_to_be_shown_does_no_harm(event_id: str) -> None:
    ears = Ears()
    ears.hear(TOPICS.grid_events.replace("+", event_id), encoded(GOOD))
    ears.hear(TOPICS.signals.replace("+", event_id), PRICE)
    assert len(ears.notices) == 2
    for notice in ears.notices:
        assert notice.text.isprintable()
        assert len(notice.text) < 280


def test_each_message_goes_to_one_listener_an_exact_topic_first() -> None:
    """A meter whose filter takes in half of the site does not take the budget away, nor hear it too."""
    greedy = Tap({f"{TOPICS.base}/rack/#": 0})
    exact = Tap({f"{TOPICS.base}/rack/{RACK.name}/pdu": 1})
    ears = Ears(greedy, exact)
    ears.hear(TOPICS.budget, encoded(budgets.GOOD))
    ears.hear(TOPICS.state_of("h1"), payload(replace(STATE, host="h1")))
    ears.hear(f"{TOPICS.base}/rack/{RACK.name}/pdu", b"1")
    ears.hear(f"{TOPICS.base}/rack/{RACK.name}/pdu/a", b"2")
    assert (len(ears.budgets), len(ears.states)) == (1, 1)
    assert exact.heard == [f"{TOPICS.base}/rack/{RACK.name}/pdu"]
    assert greedy.heard == [f"{TOPICS.base}/rack/{RACK.name}/pdu/a"]


def test_all_filters_are_subscribed_to_at_the_highest_quality_that_anybody_needs() -> None:
    shared = "BMS/v1/PUB/Value/#"
    ears = Ears(Tap({shared: 0}), Tap({shared: 1, "grid/v1/isv/+/loadtarget/set": 2}))
    assert ears.inbound.filters == {
        TOPICS.budget: 1,
        TOPICS.states: 0,
        TOPICS.grid_events: 1,
        TOPICS.signals: 1,
        shared: 1,
        "grid/v1/isv/+/loadtarget/set": 2,
    }


def test_a_topic_that_nobody_listens_to_is_left_alone() -> None:
    ears = Ears()
    ears.hear(TOPICS.summary, b"?")
    assert (ears.notices, ears.inbound.rejected) == ([], 0)


async def test_events_that_were_published_before_are_heard_by_a_host_that_comes_later(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        for number in range(3):
            event_id = f"peak-{number}"
            broker.publish(TOPICS.grid_event(event_id), encoded(GOOD | {"event_id": event_id}), retain=True)
        broker.publish(PRICE_TOPIC, PRICE, retain=True)
        ears = Ears()
        inbound = ears.inbound
        async with Observed(
            options(broker.url), on_message=inbound.on_message, subscriptions=inbound.filters
        ):
            await until(lambda: len(ears.events) == 3 and len(ears.signals) == 1)
            broker.publish(EVENT_TOPIC, encoded(GOOD), retain=True)
            await until(lambda: len(ears.events) == 4)
    assert [event.retained for event in ears.events] == [True, True, True, False]
    assert {event.event_id for event in ears.events[:3]} == {"peak-0", "peak-1", "peak-2"}
    assert ears.refusals == []
