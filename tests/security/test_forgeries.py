"""Each forgery by itself: why it is refused, or that it can do no more than lower."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from powerd.core.leases.host_state import HostState
from powerd.core.model import Now
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.rack.trust import Trust
from powerd.errors import ConfigError
from powerd.settings.signals import SourceKeySettings
from powerd.signals.listener import BudgetListener, EventListener, Hooks, PeerListener
from powerd.signals.topics import DEFAULT_PREFIX, Topics
from powerd.signatures.envelope import Envelopes
from powerd.signatures.rack_secret import RackSecret, read_rack_secret
from tests.dsx.keys import written
from tests.security import forge
from tests.signals.budgets import GOOD, HARD_LIMIT_MW, NOW
from tests.signals.budgets import RACK as RACK_NAME
from tests.signals.grid_events import GOOD as EVENT
from tests.signals.payloads import VALIDATORS
from tests.signals.states import RACK, STATE, payload

TOPICS = Topics(DEFAULT_PREFIX, RACK.site, RACK_NAME, "h3")
WANTED = GOOD | {"epoch": 2**60, "watts": None, "priority": 0}
GENUINE = forge.signed(json.dumps(GOOD).encode())
BUDGETS = forge.budgets(WANTED, GENUINE)


Keys = dict[str, SourceKeySettings]


class FixedClock:
    def now(self) -> Now:
        return NOW


class Ears:
    """What is taken, and why the rest is not."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.refusals: list[tuple[str, str]] = []
        self.hooks = Hooks(self.taken.append, lambda _: None, lambda *why: self.refusals.append(why))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    configured = forge.configured_keys(tmp_path)
    return {kid: SourceKeySettings(**entry) for kid, entry in configured.items()}


def heard(keys: Keys, raw: bytes, unsigned: str = "lower_only") -> BudgetMessage | str:
    """Return what is made of a budget, or why it is refused."""
    ears = Ears()
    BudgetListener(
        topics=TOPICS,
        hard_limit_mw=HARD_LIMIT_MW,
        sources=[forge.SOURCE, forge.OTHER_SOURCE, "unkeyed"],
        clock=FixedClock(),
        hooks=ears.hooks,
        envelopes=Envelopes(keys, "signals.native.keys"),
        unsigned=unsigned,
    ).on_message(TOPICS.budget, raw, False)
    message: BudgetMessage | str = ears.taken[0] if ears.taken else ears.refusals[0][1]
    return message


def trust(keys: Keys, raw: bytes, unsigned: str = "lower_only") -> str:
    """Return what stands behind a budget, or why it is refused."""
    message = heard(keys, raw, unsigned)
    return message if isinstance(message, str) else message.trust


@pytest.mark.parametrize("unsigned", ["accept", "lower_only", "refuse"])
@pytest.mark.parametrize("what", BUDGETS)
def test_a_forged_budget_is_refused(what: str, unsigned: str, keys: Keys) -> None:
    raw, reason = BUDGETS[what]
    assert trust(keys, raw, unsigned) == reason
    assert trust(keys, GENUINE.encode(), unsigned) == Trust.SIGNED


def test_what_the_facility_signs_is_read_as_if_it_were_plain(keys: Keys) -> None:
    signed, plain = heard(keys, GENUINE.encode() + b"\n"), heard({}, json.dumps(GOOD).encode(), "accept")
    assert isinstance(signed, BudgetMessage)
    assert replace(signed, trust=Trust.BROKER) == plain


def test_the_same_budget_signed_anew_is_the_same_budget(keys: Keys) -> None:
    """No two signatures of ES256 are alike."""
    again = forge.signed(json.dumps(GOOD).encode())
    assert again != GENUINE
    assert heard(keys, again.encode()) == heard(keys, GENUINE.encode())


@pytest.mark.parametrize(
    ("unsigned", "source", "expected"),
    [
        ("accept", "unkeyed", Trust.BROKER),
        ("accept", forge.SOURCE, Trust.NONE),
        ("lower_only", "unkeyed", Trust.NONE),
        ("lower_only", forge.SOURCE, Trust.NONE),
        ("refuse", "unkeyed", "unsigned"),
        ("refuse", forge.SOURCE, "unsigned"),
    ],
)
def test_unsigned_in_the_name_of_who_has_a_key_is_never_more_than_lower_only(
    unsigned: str, source: str, expected: str, keys: Keys
) -> None:
    assert trust(keys, json.dumps(GOOD | {"source": source}).encode(), unsigned) == expected


def test_without_keys_all_is_as_the_broker_lets_it_through() -> None:
    assert trust({}, json.dumps(GOOD).encode(), "accept") == Trust.BROKER
    assert trust({}, GENUINE.encode(), "accept") == "unknown_kid"


def test_who_has_a_key_for_events_is_the_only_one_who_can_call_them_off(
    keys: Keys,
) -> None:
    def heard_from(raw: bytes) -> str:
        ears = Ears()
        EventListener(
            topics=TOPICS,
            hard_limit_mw=HARD_LIMIT_MW,
            sources=[],
            clock=FixedClock(),
            hooks=ears.hooks,
            envelopes=Envelopes(keys, "signals.events.keys"),
        ).on_message(TOPICS.grid_event(str(EVENT["event_id"])), raw, False)
        return str(ears.taken[0].source if ears.taken else ears.refusals[0][1])

    cancelled = EVENT | {"status": "cancelled"}
    ours = json.dumps(cancelled | {"source": forge.SOURCE}).encode()
    unkeyed = json.dumps(cancelled | {"source": "vtn"}).encode()
    assert heard_from(ours) == "unsigned"
    assert heard_from(forge.signed(ours).encode()) == forge.SOURCE
    assert heard_from(unkeyed) == "vtn"
    assert heard_from(forge.signed(unkeyed).encode()) == "source"
    assert heard_from(forge.signed(ours, forge.OWN_KEY).encode()) == "bad_signature"


# States of hosts


STATE_TOPIC, OTHER_TOPIC = TOPICS.state_of("h1"), TOPICS.state_of("h2")
PLAIN = payload(replace(STATE, host="h1"))
SEALED = RackSecret([forge.SECRET]).sealed(STATE_TOPIC, PLAIN)
WISHED = payload(replace(STATE, host="h1", spare_mw=STATE.spare_mw + 1))
STATES = forge.states(SEALED, WISHED, STATE_TOPIC, OTHER_TOPIC)


def state_ear(*secrets: bytes) -> Callable[[str, bytes], str]:
    ears = Ears()
    listener = PeerListener(
        topics=TOPICS, rack=RACK, clock=FixedClock(), hooks=ears.hooks, secret=RackSecret(secrets)
    )

    def hear(topic: str, raw: bytes) -> str:
        listener.on_message(topic, raw, False)
        if ears.refusals:
            return ears.refusals.pop()[1]
        state: HostState = ears.taken.pop()
        return state.host

    return hear


@pytest.mark.parametrize("what", STATES)
def test_a_forged_state_is_refused(what: str) -> None:
    raw, reason = STATES[what]
    hear = state_ear(forge.SECRET)
    assert hear(STATE_TOPIC, raw) == reason
    assert hear(STATE_TOPIC, SEALED) == "h1"


def test_a_state_is_sealed_for_the_topic_of_its_host() -> None:
    hear = state_ear(forge.SECRET)
    assert hear(OTHER_TOPIC, SEALED) == "bad_signature"
    assert hear(TOPICS.state_of("h9"), SEALED) == "roster"
    assert hear(STATE_TOPIC, b"") == "empty"


def test_no_byte_of_a_sealed_state_can_be_changed() -> None:
    hear = state_ear(forge.SECRET)
    for position in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[position] ^= 1
        assert hear(STATE_TOPIC, bytes(changed)) in {"bad_signature", "unsigned"}, position


def test_a_sealed_state_says_what_it_said_before_and_is_read_without_a_secret_too() -> None:
    fields = json.loads(SEALED)
    assert not list(VALIDATORS["state"].iter_errors(fields))
    assert fields.pop("mac")
    assert fields == json.loads(PLAIN)
    assert state_ear()(STATE_TOPIC, SEALED) == state_ear()(STATE_TOPIC, PLAIN) == "h1"


def test_a_secret_is_changed_in_three_steps_and_all_hosts_hear_each_other_throughout() -> None:
    """First all can open with the new one, then all seal with it, then the old one goes."""
    old, new = forge.RETIRED_SECRET, forge.SECRET
    steps = [(old,), (old, new), (new, old), (new,)]
    for before, after in pairwise(steps):
        for ours, theirs in ((before, after), (after, before)):
            sealed = RackSecret(theirs).sealed(STATE_TOPIC, PLAIN)
            assert state_ear(*ours)(STATE_TOPIC, sealed) == "h1"
    assert state_ear(new)(STATE_TOPIC, RackSecret([old]).sealed(STATE_TOPIC, PLAIN)) == "bad_signature"


# The file of the secret


def test_secrets_stand_one_a_line(tmp_path: Path) -> None:
    file = written(tmp_path / "secret", b"\n" + forge.SECRET + b"\r\n\n " + forge.RETIRED_SECRET + b"\n")
    assert read_rack_secret(file).sealed("t", PLAIN) == RackSecret([forge.SECRET]).sealed("t", PLAIN)
    read_rack_secret(file).check("t", RackSecret([forge.RETIRED_SECRET]).sealed("t", PLAIN), "h1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "0 secrets"),
        (b"\n\n", "0 secrets"),
        (b"x" * 31 + b"\n", "less than 32 characters; make one: openssl rand -base64 32"),
        (b"x" * 32 + b"\nshort\n", "less than 32 characters"),
        (b"\n".join([b"x" * 32] * 5), "5 secrets"),
        (b"x" * 5000, "1 secrets"),
    ],
)
def test_a_file_that_holds_no_good_secret_is_refused_and_not_repeated(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        read_rack_secret(written(tmp_path / "secret", content))
    assert "xxxx" not in str(caught.value)


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="/nowhere/secret cannot be read: No such file"):
        read_rack_secret("/nowhere/secret")
