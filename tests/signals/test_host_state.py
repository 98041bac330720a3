"""What a host reads of its peers' messages: all of it exactly, or nothing (docs/signals.md, Host state)."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.host_state import HeardBudget, Hold, HostState, Key, Lend
from powerd.errors import SignalRejectedError
from powerd.signals.host_state import MAX_ENTRIES, parse_host_state
from tests.signals import payloads
from tests.signals.hostile import HOSTILE
from tests.signals.payloads import (
    ABSENT,
    SCALARS,
    SCHEMAS,
    VALIDATORS,
    accepted,
    check_agreement,
    damaged,
    encoded,
)
from tests.signals.states import NAMES, NOW, RACK, STATE, payload

SCHEMA, VALIDATOR = SCHEMAS["state"], VALIDATORS["state"]
GOOD: dict[str, Any] = json.loads(payload())
# What no schema can say: it needs the topic, the rack, or another entry.
BEYOND_THE_SCHEMA = {"host", "rack", "unit_error", "duplicate_key"}
FOR_PEOPLE = {
    *("ts", "mode", "control", "reason", "cap_watts", "floor_watts", "infeasible_watts", "borrowed_watts"),
    *("compliant", "in_flight", "clock", "gpus", "version"),
}


def parse(raw: bytes, host: str = "h3") -> HostState:
    return parse_host_state(
        raw,
        host=host,
        rack=RACK.name,
        hosts=NAMES,
        hard_limit_mw=RACK.hard_limit_mw,
        received_boot_s=NOW.boot_s,
    )


def changed(path: str, value: object) -> dict[str, Any]:
    return payloads.changed_at(GOOD, path, value)


def refusal(raw: bytes, host: str = "h3") -> SignalRejectedError:
    return payloads.refusal(lambda: parse(raw, host))


def test_what_a_host_says_its_peers_read() -> None:
    assert parse(payload()) == replace(STATE, measured_mw=2_225_000)


KEYS = st.builds(Key, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
POWERS_MW = st.integers(0, 10_000_000_000).filter(lambda mw: mw <= 10 * RACK.hard_limit_mw)
MESSAGES = st.builds(
    HostState,
    host=st.just("h3"),
    key=KEYS,
    roster=st.text("0123456789abcdef", min_size=1, max_size=64),
    is_leasing=st.booleans(),
    rack_cap_mw=POWERS_MW,
    entitlement_mw=POWERS_MW,
    want_mw=POWERS_MW,
    spare_mw=POWERS_MW,
    lent_mw=POWERS_MW,
    over_mw=POWERS_MW,
    worst_case_mw=st.none() | POWERS_MW,
    measured_mw=st.just(2_225_000),
    budget=st.none()
    | st.builds(
        HeardBudget,
        source=st.text("abc-", min_size=1, max_size=64),
        epoch=st.integers(0, 2**63 - 1),
        seq=st.integers(0, 2**63 - 1),
        mw=st.none() | POWERS_MW,
        lease_s=st.integers(0, 300_000).map(lambda ms: ms / 1000),
    ),
    lends=st.lists(
        st.builds(Lend, st.text("abc0-", min_size=1, max_size=64), POWERS_MW, KEYS),
        max_size=20,
        unique_by=lambda lend: lend.to,
    ).map(tuple),
    holds=st.lists(
        st.builds(Hold, st.text("abc0-", min_size=1, max_size=64), POWERS_MW, KEYS),
        max_size=20,
        unique_by=lambda hold: hold.donor,
    ).map(tuple),
    received_boot_s=st.just(NOW.boot_s),
)


@given(message=MESSAGES)
def test_every_message_keeps_its_schema_and_arrives_to_the_milliwatt(message: HostState) -> None:
    raw = payload(message)
    fields = json.loads(raw)
    fields["borrowed_watts"] = 0  # a sum that no rack comes to
    VALIDATOR.validate(fields)
    assert parse(raw) == message


def test_a_retained_message_of_an_older_powerd_is_refused() -> None:
    """It says nothing of leases; the host that sent it neither lends nor borrows."""
    old = {name: value for name, value in GOOD.items() if name not in {"roster", "leasing", "lends", "holds"}}
    error = refusal(encoded(old))
    assert (error.reason, error.source) == ("missing", "h3")


def test_what_people_are_told_is_not_looked_at() -> None:
    """A later powerd may tell them other things."""
    without = {name: value for name, value in GOOD.items() if name not in FOR_PEOPLE}
    assert parse(encoded(without | {"gpus": "eight", "colour": "red"})) == parse(payload())


def test_a_host_that_is_not_in_the_roster_is_not_read() -> None:
    error = refusal(encoded(GOOD | {"host": "h9"}), host="h9")
    assert (error.reason, error.source) == ("roster", "unknown")


def test_hosts_of_another_roster_may_be_dealt_with_by_a_host_of_this_one() -> None:
    """While the roster changes, some hosts have the new one already: what they say must still be heard."""
    assert parse(encoded(changed("lends.to", "h19"))).lends[0].to == "h19"


def test_the_sender_must_be_the_host_of_the_topic() -> None:
    error = refusal(payload(), host="h1")
    assert (error.reason, error.source) == ("host", "h1")
    assert "h3" in str(error)


def test_names_that_a_terminal_would_act_on_are_made_harmless() -> None:
    message = parse(encoded(changed("budget.source", "a\x1b[2Jb")))
    assert message.budget
    assert message.budget.source == "a\ufffd[2Jb"


NOT_NUMBERS: tuple[object, ...] = (True, False, "30000", "", [30000], {"watts": 1})
NOT_STRINGS: tuple[object, ...] = (1, 1.5, True, None, ["a"], {})
POWERS = ("rack_cap_watts", "share_watts", "demand_watts", "spare_watts", "lent_watts", "over_watts")
OPTIONAL_POWERS = ("worst_case_watts", "measured_watts", "budget.watts")
ENTRY_POWERS = ("lends.watts", "holds.watts")
COUNTERS = tuple(f"{at}{name}" for at in ("", "budget.", "lends.", "holds.") for name in ("epoch", "seq"))
NAMED = ("roster", "budget.source", "lends.to", "holds.from")
BUDGET_FIELDS = ("budget.source", "budget.epoch", "budget.seq", "budget.watts", "budget.lease_s")


def each(paths: tuple[str, ...], values: tuple[object, ...], reason: str) -> list[tuple[str, object, str]]:
    return [(path, value, reason) for path in paths for value in values]


REQUIRED = tuple(name for name in SCHEMA["required"] if name not in FOR_PEOPLE)
ENTRY_FIELDS = (*ENTRY_POWERS, "lends.to", "holds.from", *COUNTERS[4:])
TWICE = [{"to": "h1", "watts": watts, "epoch": 1, "seq": 1} for watts in (1, 0)]
REFUSED = [
    *each((*REQUIRED, *BUDGET_FIELDS, *ENTRY_FIELDS), (ABSENT,), "missing"),
    *each(("v",), (0, 2, 1.5, "1", True, None, [1]), "version"),
    *each(("host", "rack", *NAMED), NOT_STRINGS, "type"),
    *each(NAMED, ("", "x" * 65), "length"),
    *each(("rack",), ("x" * 129,), "length"),
    *each(("rack",), ("r13", "R12", ""), "rack"),
    *each(("host",), ("h1", "H3", "h3 "), "host"),
    *each(("leasing",), (0, 1, "true", None, []), "type"),
    *each(COUNTERS, (*NOT_NUMBERS, None, 1.5), "type"),
    *each(COUNTERS, (-1, 2**63, 1e300), "range"),
    *each((*POWERS, *ENTRY_POWERS), (*NOT_NUMBERS, None), "type"),
    *each(OPTIONAL_POWERS, NOT_NUMBERS, "type"),
    *each((*POWERS, *OPTIONAL_POWERS, *ENTRY_POWERS), (-1, -0.001, -1e308), "negative"),
    *each((*POWERS, *OPTIONAL_POWERS, *ENTRY_POWERS), (400_000.001, 1e7 + 1, 1e308, 10**200), "unit_error"),
    *each(("budget.lease_s",), (*NOT_NUMBERS, None), "type"),
    *each(("budget.lease_s",), (-0.001, 300.001, 1e308), "range"),
    *each(("budget",), (1, "none", [], True), "type"),
    *each(("lends", "holds"), (None, {}, "none", 0, [[]], [None], ["h1"]), "type"),
    *each(("lends", "holds"), ([{}] * (MAX_ENTRIES + 1),), "length"),
    *each(("lends",), (TWICE,), "duplicate_key"),
]


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED)
def test_a_field_out_of_form_is_refused_by_name(path: str, value: object, reason: str) -> None:
    error = refusal(encoded(changed(path, value)))
    assert (error.reason, error.source) == (reason, "h3")
    assert path in str(error)


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, value, reason in REFUSED if reason not in BEYOND_THE_SCHEMA]
)
def test_the_published_schema_refuses_the_same_fields(path: str, value: object) -> None:
    assert not VALIDATOR.is_valid(changed(path, value))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"30000", "not_object"),
        (b'{"epoch":1e999}', "not_finite"),
        (b'{"v":1,"v":1}', "duplicate_key"),
        (payload() + b" " * 65536, "too_large"),
    ],
)
def test_what_is_no_strict_json_is_refused_in_the_name_of_its_topic(raw: bytes, reason: str) -> None:
    error = refusal(raw)
    assert (error.reason, error.source) == (reason, "h3")


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_no_payload_within_the_size_is_more_than_refused(raw: bytes) -> None:
    refusal(raw)


FIELD_VALUES = st.one_of(
    SCALARS,
    st.floats(0, 1e6),
    st.sampled_from(["h3", "r12", "", 1.0, 30000.0, [], {}]),
    st.lists(st.fixed_dictionaries({"to": st.text(max_size=3), "watts": st.integers(-1, 10)}), max_size=2),
)


@given(changes=st.dictionaries(st.sampled_from((*REQUIRED, *BUDGET_FIELDS)), FIELD_VALUES, max_size=3))
def test_schema_and_parser_agree_on_every_message(changes: dict[str, object]) -> None:
    """Who validates with the schema says nothing that peers refuse, but for what no schema can say."""
    fields = {**GOOD, "budget": {**GOOD["budget"]}}
    for path, value in changes.items():
        if path.startswith("budget."):
            fields["budget"][path.removeprefix("budget.")] = value
    fields |= {path: value for path, value in changes.items() if "." not in path}
    check_agreement(VALIDATOR, fields, parse, BEYOND_THE_SCHEMA)


@given(raw=st.binary(max_size=400))
def test_no_bytes_whatever_become_anything_but_a_refusal(raw: bytes) -> None:
    message = accepted(lambda: parse(raw))
    assert message is None or isinstance(message, HostState)


@given(raw=damaged(payload()))
def test_no_damage_to_a_good_payload_is_more_than_refused_or_a_message_within_bounds(raw: bytes) -> None:
    """Flipped, cut and repeated bytes become a message within bounds or a refusal, never another error."""
    message = accepted(lambda: parse(raw))
    if message is None:
        return
    assert message.host == "h3"
    for _, mw, key in (*message.lends, *message.holds):
        assert 0 <= mw <= 10 * RACK.hard_limit_mw
        assert all(0 <= number < 2**63 for number in key)
