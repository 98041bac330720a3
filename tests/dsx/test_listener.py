"""From the topics of DSX Flex to the controller, signed and unsigned, on good days and on bad ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from powerd.clock import Clock
from powerd.core.events.grid_event import GridEvent
from powerd.core.model import Notice, Now
from powerd.dsx.cloud_event import Trace
from powerd.dsx.listener import DsxListener, ListenOptions
from powerd.dsx.traces import MAX_TRACES, Traces
from powerd.signals.listener import Hooks
from powerd.signatures.jws import Signer, TrustedKey
from tests.broker import Mosquitto
from tests.dsx.keys import INFRA_SOURCE, ISV, private_file, trusted
from tests.dsx.messages import (
    CORRELATION_ID,
    ENFORCEMENT,
    ENFORCEMENT_TOPIC,
    FEEDS,
    MESSAGE_ID,
    NOW,
    TARGET,
    TOPIC,
    TRACE_PARENT,
    enforcement,
    envelope,
    targets,
)
from tests.dsx.schema import checked
from tests.signals.payloads import ABSENT, changed, encoded
from tests.signals.stubs import Observed, options, until


class Stopped:
    """A clock that stands still."""

    def now(self) -> Now:
        return NOW


class Ears:
    """Everything that the listener hands on."""

    def __init__(self, listening: ListenOptions) -> None:
        self.events: list[GridEvent] = []
        self.notices: list[Notice] = []
        self.refusals: list[tuple[str, str]] = []
        self.traces = Traces()
        clock: Clock = Stopped()
        hooks = Hooks(self.events.append, self.notices.append, self._rejected)
        self.listener = DsxListener(listening, FEEDS, clock=clock, traces=self.traces, hooks=hooks)

    def _rejected(self, source: str, reason: str) -> None:
        self.refusals.append((source, reason))

    def hear(self, message: object, topic: str = TOPIC, *, retained: bool = False) -> None:
        raw = message if isinstance(message, bytes) else encoded(message)
        self.listener.on_message(topic, raw, retained)


class Site:
    """An energy service and an infrastructure agent with their keys, and powerd which knows both."""

    def __init__(self, directory: Path) -> None:
        self.keys: dict[str, TrustedKey] = {
            "acme-1": trusted(directory),
            "acme-2": trusted(directory, "rsa"),
            "ima-1": trusted(directory, "infra", INFRA_SOURCE),
        }
        self._signers = {
            kid: Signer(kid, private_file(directory, name))
            for kid, name in (("acme-1", "ec"), ("acme-2", "rsa"), ("ima-1", "infra"), ("stranger", "ec9"))
        }
        self.ears = Ears(ListenOptions(keys=self.keys))

    def signed(self, data: object, kid: str = "acme-1") -> str:
        return self._signers[kid].sign(encoded(data))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("kid", ["acme-1", "acme-2"])
def test_a_signed_target_becomes_an_event(kid: str, site: Site) -> None:
    site.ears.hear(checked("LoadTargetSetEvent", envelope(site.signed(targets(), kid))), retained=True)
    assert site.ears.refusals == []
    [event] = site.ears.events
    assert (event.source, event.event_id, event.retained) == (f"dsx:{ISV}", f"{MESSAGE_ID}.0.main-a", True)
    assert event.received == NOW


def test_the_trace_of_a_target_is_remembered_under_its_correlation(site: Site) -> None:
    site.ears.hear(envelope(site.signed(targets())))
    site.ears.hear(envelope(site.signed(targets()), correlationid=ABSENT))
    for correlation_id in (CORRELATION_ID, MESSAGE_ID):
        assert site.ears.traces.of(correlation_id) == Trace(TRACE_PARENT)


def test_only_the_last_traces_are_remembered() -> None:
    traces = Traces()
    for number in range(MAX_TRACES + 2):
        traces.remember(str(number), Trace(TRACE_PARENT))
        traces.remember("0", Trace(TRACE_PARENT))
    assert traces.of("0") is not None
    assert traces.of("1") is traces.of("2") is None
    assert traces.of("3") is not None


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda site: envelope(targets()), "unsigned"),
        (lambda site: envelope(site.signed(targets(), "stranger")), "unknown_kid"),
        (lambda site: envelope(site.signed(targets(), "ima-1")), "source"),
        (lambda site: envelope(site.signed(targets())[:-4] + "AAAA"), "bad_signature"),
        (lambda site: envelope(site.signed(targets() | {"exp": NOW.wall_s - 60})), "expired"),
        (lambda site: envelope(site.signed({"targets": []})), "length"),
        (lambda site: envelope("eyJhbGciOiJub25lIn0.e30."), "algorithm"),
        (lambda site: envelope(site.signed(targets()), source="//grid/v1/isv/other"), "source"),
        (lambda site: envelope(site.signed(targets()), time="2026-11-21T17:00:00"), "time"),
        (lambda site: b'{"specversion":"1.0","specversion":"1.0.2"}', "duplicate_key"),
        (lambda site: b"", "empty"),
    ],
)
def test_what_cannot_be_used_is_counted_and_told_and_changes_nothing(
    make: Callable[[Site], Any], reason: str, site: Site
) -> None:
    site.ears.hear(make(site))
    assert site.ears.events == []
    assert site.ears.refusals == [(f"dsx:{ISV}", reason)]
    assert site.ears.listener.rejected == 1
    [notice] = site.ears.notices
    assert (notice.event, notice.subject) == ("signal_rejected", f"dsx:{ISV}:{reason}")
    assert TOPIC in notice.text
    assert len(notice.text) < 400
    site.ears.hear(envelope(site.signed(targets())))
    assert len(site.ears.events) == 1


def test_plain_data_is_taken_only_if_that_is_configured() -> None:
    open_ears = Ears(ListenOptions(allow_unsigned=True))
    open_ears.hear(checked("LoadTargetSetEvent", envelope(targets())))
    assert len(open_ears.events) == 1
    strict = Ears(ListenOptions())
    strict.hear(envelope(targets()))
    assert (strict.events, strict.refusals) == ([], [("unknown", "unsigned")])


def test_who_has_a_key_signs_also_where_plain_data_is_taken(site: Site) -> None:
    """Or its signature would be worth nothing: anybody could leave it out."""
    ears = Ears(ListenOptions(keys=site.keys, allow_unsigned=True))
    ears.hear(envelope(targets()))
    assert (ears.events, ears.refusals) == ([], [(f"dsx:{ISV}", "unsigned")])


def test_a_replayed_signature_can_be_told_from_a_new_one(site: Site) -> None:
    data = site.signed(targets())
    later = {"id": CORRELATION_ID, "time": "2026-11-21T17:00:20Z"}
    site.ears.hear(envelope(data))
    site.ears.hear(envelope(data, **later))
    site.ears.hear(envelope(site.signed(targets()), **later))
    first, replayed, new = site.ears.events
    assert first.digest == replayed.digest
    assert new.digest != first.digest


def test_a_feed_that_nobody_knows_is_told_once_per_message_and_the_others_count(site: Site) -> None:
    target = changed(TARGET, feed_tags=["main-z", "main-a"])
    site.ears.hear(envelope(site.signed(targets(target, target))))
    assert [event.targets for event in site.ears.events] == [("main-a",), ("main-a",)]
    assert [(notice.event, notice.subject) for notice in site.ears.notices] == [
        ("dsx_feed_unknown", "main-z")
    ]
    assert site.ears.refusals == []


def test_senders_that_nobody_configured_are_counted_together(site: Site) -> None:
    """Whoever may publish can make up names: none of them becomes a label of its own."""
    for name in ("made-up", "\x1b[2J", "x" * 60_000, ""):
        topic = TOPIC.replace(ISV, name)
        site.ears.hear(envelope(targets(), source=f"//grid/v1/isv/{name}"), topic)
    assert {source for source, _ in site.ears.refusals} == {"unknown"}
    assert all(notice.text.isprintable() and len(notice.text) < 400 for notice in site.ears.notices)


def test_what_was_done_about_a_breach_is_told_to_people(site: Site) -> None:
    message = checked("PowerBreachEnforcementEvent", enforcement(site.signed(ENFORCEMENT, "ima-1")))
    checked("PowerBreachEnforcementData", ENFORCEMENT)
    site.ears.hear(message, ENFORCEMENT_TOPIC)
    [notice] = site.ears.notices
    assert (notice.event, notice.severity) == ("dsx_enforcement", "warning")
    assert notice.subject == f"main-a:{ENFORCEMENT['breach_id']}"
    assert notice.text == (
        "dsx:ima-prod applied enforcement on main-a: partial; 1 applied, 1 failed; failed: n2"
    )


def test_a_success_is_no_warning_and_what_the_agent_says_is_passed_on(site: Site) -> None:
    data = changed(ENFORCEMENT, code="success", results=[], diag_msg="all well", action="reverted")
    site.ears.hear(enforcement(site.signed(data, "ima-1")), ENFORCEMENT_TOPIC)
    [notice] = site.ears.notices
    assert (notice.severity, notice.text) == (
        "info",
        "dsx:ima-prod reverted enforcement on main-a: success; all well",
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"breach_id": "7"}, "id"),
        ({"code": "fine"}, "status"),
        ({"action": "done"}, "action"),
        ({"results": ABSENT}, "missing"),
        ({"results": [{"resource_id": "n1"}]}, "missing"),
        ({"timestamp": ABSENT}, "missing"),
    ],
)
def test_an_outcome_of_the_wrong_form_is_refused(changes: dict[str, object], reason: str, site: Site) -> None:
    site.ears.hear(enforcement(site.signed(changed(ENFORCEMENT, **changes), "ima-1")), ENFORCEMENT_TOPIC)
    assert site.ears.refusals == [("dsx:ima-prod", reason)]


def test_an_energy_service_does_not_speak_for_the_infrastructure(site: Site) -> None:
    site.ears.hear(enforcement(site.signed(ENFORCEMENT)), ENFORCEMENT_TOPIC)
    assert site.ears.refusals == [("dsx:ima-prod", "source")]


async def test_targets_come_over_a_real_broker(site: Site, tmp_path: Path) -> None:
    listener = site.ears.listener
    with Mosquitto(tmp_path / "broker") as broker:
        listening = options(broker.url)
        async with Observed(
            listening, on_message=listener.on_message, subscriptions=listener.filters
        ) as observed:
            await observed.connected()
            broker.publish(TOPIC, encoded(envelope(site.signed(targets()))))
            broker.publish(ENFORCEMENT_TOPIC, encoded(enforcement(site.signed(ENFORCEMENT, "ima-1"))), qos=2)
            await until(lambda: bool(site.ears.events and site.ears.notices))
    assert site.ears.refusals == []


def test_only_the_energy_services_that_are_named_are_listened_to() -> None:
    filters = Ears(ListenOptions(isvs=("acme-energy", "beta"))).listener.filters
    assert filters == {
        "grid/v1/isv/acme-energy/loadtarget/set": 1,
        "grid/v1/isv/beta/loadtarget/set": 1,
        "grid/v1/infra/+/powerbreach/enforcement": 1,
    }
    assert Ears(ListenOptions()).listener.filters == {
        "grid/v1/isv/+/loadtarget/set": 1,
        "grid/v1/infra/+/powerbreach/enforcement": 1,
    }
