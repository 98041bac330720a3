"""`powerctl publish flex-target`: what people send to try powerd out is what an energy service would send."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from powerd.clock import SystemClock
from powerd.core.events.grid_event import Action, ActionKind, GridEvent
from powerd.core.model import Notice
from powerd.ctl.main import app
from powerd.dsx.listener import DsxListener, ListenOptions
from powerd.dsx.traces import Traces
from powerd.signals.listener import Hooks
from tests.broker import Mosquitto
from tests.dsx.keys import ISV, private_file, trusted
from tests.dsx.messages import FEEDS, TOPIC
from tests.dsx.schema import checked
from tests.powerctl import powerctl
from tests.signals.stubs import Observed, options, until

runner = CliRunner()


def command(*more: str) -> list[str]:
    return ["publish", "flex-target", "--isv", ISV, *more]


async def heard(broker: Mosquitto, listening: ListenOptions, *more: str) -> list[GridEvent]:
    """Publish, and return what powerd makes of it."""
    events: list[GridEvent] = []
    notices: list[Notice] = []
    hooks = Hooks(events.append, notices.append, lambda _source, _reason: None)
    listener = DsxListener(listening, FEEDS, clock=SystemClock(), traces=Traces(), hooks=hooks)
    payloads: list[bytes] = []

    def on_message(topic: str, payload: bytes, retained: bool) -> None:
        assert topic == TOPIC
        payloads.append(payload)
        listener.on_message(topic, payload, retained)

    async with Observed(
        options(broker.url), on_message=on_message, subscriptions=listener.filters
    ) as observed:
        await observed.connected()
        assert (await powerctl(*command("--broker", broker.url, *more))).code == 0
        await until(lambda: bool(payloads))
    checked("LoadTargetSetEvent", payloads[0])
    assert [notice.text for notice in notices] == []
    return events


async def test_a_signed_target_is_taken_by_a_powerd_that_knows_the_key(
    broker: Mosquitto, tmp_path: Path
) -> None:
    key = private_file(tmp_path)
    listening = ListenOptions(keys={"acme-1": trusted(tmp_path)})
    what = ("--feed", "main-a", "--watts", "3000000", "--best-effort")
    when = ("--start", "10m", "--duration", "1h")
    [event] = await heard(broker, listening, *what, *when, "--kid", "acme-1", "--signing-key", key)
    [interval] = event.intervals
    assert interval.action == Action(ActionKind.LIMIT, mw=3_000_000_000)
    assert interval.end_s == pytest.approx(interval.start_s + 3600)
    assert 590 < interval.start_s - event.issued_at_s < 610
    assert event.is_best_effort


async def test_plain_data_for_all_feeds_takes_back_what_was_asked_for(broker: Mosquitto) -> None:
    events = await heard(broker, ListenOptions(allow_unsigned=True), "--watts", "none")
    assert [event.program for event in events] == ["main-a", "main-b"]
    assert {event.intervals[0].action.kind for event in events} == {ActionKind.RELEASE}
    assert {event.end_s for event in events} == {None}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--watts", "lots"), "neither a number of watts nor none"),
        (("--watts", "-5"), "not between 0 and"),
        (("--watts", "nan"), "not between 0 and"),
        (("--watts", "5", "--kid", "k1"), "belong together"),
        (("--watts", "5", "--start", "soon"), "neither now"),
        (("--watts", "5", "--isv", "a/b"), "cannot be part of a topic"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(more: tuple[str, ...], problem: str) -> None:
    result = runner.invoke(app, command(*more))
    assert result.exit_code == 2
    assert problem in " ".join(result.output.split())
