"""From the bus to the controller: what can be used goes on, and what cannot is counted and told."""

from dataclasses import replace
from pathlib import Path

import pytest

from powerd.clock import SystemClock
from powerd.core.leases.host_state import HostState, Key
from powerd.core.model import Notice
from powerd.core.rack.timeline import BudgetMessage
from powerd.signals.listener import MAX_BUDGET_BYTES, BudgetListener, Hooks, Inbound, PeerListener
from powerd.signals.topics import DEFAULT_PREFIX, Topics
from tests.broker import Mosquitto
from tests.signals.budgets import GOOD, HARD_LIMIT_MW
from tests.signals.payloads import encoded
from tests.signals.states import RACK, STATE, payload
from tests.signals.stubs import Observed, options, until

TOPICS = Topics(DEFAULT_PREFIX, RACK.site, RACK.name, "h3")


class Ears:
    """Everything that an inbound side hands on."""

    def __init__(self, *, has_peers: bool = True) -> None:
        self.budgets: list[BudgetMessage] = []
        self.states: list[HostState] = []
        self.notices: list[Notice] = []
        self.refusals: list[tuple[str, str]] = []
        clock = SystemClock()
        budgets = BudgetListener(
            topics=TOPICS,
            hard_limit_mw=HARD_LIMIT_MW,
            sources=["facility-a"],
            clock=clock,
            hooks=Hooks(self.budgets.append, self.notices.append, self._rejected),
        )
        hooks = Hooks(self.states.append, self.notices.append, self._rejected)
        peers = [PeerListener(topics=TOPICS, rack=RACK, clock=clock, hooks=hooks)] if has_peers else []
        self.inbound = Inbound(budgets, *peers)

    def _rejected(self, source: str, reason: str) -> None:
        self.refusals.append((source, reason))

    def hear(self, topic: str, raw: bytes) -> None:
        self.inbound.on_message(topic, raw, False)


def test_each_message_goes_where_its_topic_belongs() -> None:
    ears = Ears()
    ears.hear(TOPICS.budget, encoded(GOOD))
    ears.hear(TOPICS.state_of("h1"), payload(replace(STATE, host="h1")))
    assert [budget.mw for budget in ears.budgets] == [30_000_000]
    assert [(state.host, state.key) for state in ears.states] == [("h1", STATE.key)]
    assert (ears.refusals, ears.notices, ears.inbound.rejected) == ([], [], 0)


def test_what_is_said_under_the_own_name_is_heard_too() -> None:
    """A second daemon of the same name, or a former life of this one with a later clock, shows up so."""
    ears = Ears()
    ears.hear(TOPICS.state, payload(replace(STATE, key=Key(STATE.key.epoch + 1, 1))))
    assert [state.key.epoch for state in ears.states] == [STATE.key.epoch + 1]


def test_a_message_counts_from_when_it_was_heard() -> None:
    ears, before_s = Ears(), SystemClock().now().boot_s
    ears.hear(TOPICS.state, payload())
    assert before_s <= ears.states[0].received_boot_s <= SystemClock().now().boot_s


def test_a_message_that_cannot_be_used_is_counted_and_told_and_the_next_one_is_read() -> None:
    ears = Ears()
    ears.hear(TOPICS.state_of("h1"), b"{}")
    ears.hear(TOPICS.budget, encoded(GOOD | {"source": "facility-b"}))
    assert ears.refusals == [("h1", "missing"), ("facility-b", "source")]
    assert ears.inbound.rejected == 2
    assert [notice.subject for notice in ears.notices] == ["h1:missing", "facility-b:source"]
    assert TOPICS.state_of("h1") in ears.notices[0].text
    ears.hear(TOPICS.state_of("h1"), payload(replace(STATE, host="h1")))
    assert len(ears.states) == 1


def test_a_budget_that_takes_long_to_read_is_refused_unread_and_the_longest_in_good_order_is_not() -> None:
    ears = Ears()
    longest = encoded(GOOD | {"reason": "\U0001f525" * 128, "correlation_id": "\U0001f525" * 128})
    ears.hear(TOPICS.budget, longest)
    ears.hear(TOPICS.budget, encoded(GOOD) + b" " * MAX_BUDGET_BYTES)
    assert len(longest) < MAX_BUDGET_BYTES * 3 / 4, "signed, it is a third longer"
    assert [budget.mw for budget in ears.budgets] == [30_000_000]
    assert ears.refusals == [("unknown", "too_large")]


def test_hosts_that_are_not_in_the_roster_are_counted_together() -> None:
    """Whoever may publish below the rack can make up names: none of them becomes a label of its own."""
    ears = Ears()
    for number in range(100):
        ears.hear(TOPICS.state_of(f"made-up-{number}"), payload())
    assert set(ears.refusals) == {("unknown", "roster")}
    assert ears.states == []


@pytest.mark.parametrize("host", ["\x1b[2J", "x" * 60_000, ""])
def test_a_topic_made_up_to_be_shown_does_no_harm(host: str) -> None:
    ears = Ears()
    ears.hear(TOPICS.states.replace("+", host), payload())
    assert ears.refusals == [("unknown", "roster")]
    assert ears.notices[0].text.isprintable()
    assert len(ears.notices[0].text) < 250


def test_where_hosts_do_not_lend_to_each_other_only_budgets_are_listened_to() -> None:
    assert Ears(has_peers=False).inbound.filters.keys() == {TOPICS.budget}
    assert Ears().inbound.filters.keys() == {TOPICS.budget, TOPICS.states}


async def test_what_all_hosts_have_said_is_heard_by_one_that_comes_later(tmp_path: Path) -> None:
    """And only the budget is acknowledged: answers to the states of 18 hosts cost more than reading them."""
    with Mosquitto(tmp_path / "broker", settings=["log_type all"]) as broker:
        for host in ("h1", "h2", "h3"):
            broker.publish(TOPICS.state_of(host), payload(replace(STATE, host=host)), retain=True)
        broker.publish(TOPICS.budget, encoded(GOOD), retain=True)
        ears = Ears()
        inbound, listening = ears.inbound, options(broker.url)
        async with Observed(listening, on_message=inbound.on_message, subscriptions=inbound.filters):
            await until(lambda: len(ears.states) == 3 and len(ears.budgets) == 1)
            await until(lambda: f"Received PUBACK from {listening.client_id}" in broker.log)
    assert {state.host for state in ears.states} == {"h1", "h2", "h3"}
    assert ears.refusals == []
    assert broker.log.count(f"Received PUBACK from {listening.client_id}") == 1
