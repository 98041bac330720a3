"""`powerctl publish event` against a real broker."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typer.testing import CliRunner

from powerd.core.events.grid_event import GridEvent
from powerd.core.model import Now
from powerd.ctl.main import app
from powerd.signals.grid_event import parse_event
from tests.broker import Mosquitto
from tests.powerctl import StartPublishing, publishing

TOPIC = "powerd/v1/hel1/grid/event/peak"
RACK = ("--rack", "r17")


@pytest.fixture
async def publish(broker: Mosquitto) -> AsyncIterator[StartPublishing]:
    async with publishing("event", "--site", "hel1", "--id", "peak", "--broker", broker.url) as start:
        yield start


def retained(broker: Mosquitto) -> tuple[dict[str, Any], GridEvent]:
    """Return what the broker holds: as it is, and as a host reads it."""
    payload = broker.retained(TOPIC)
    assert payload
    event = parse_event(
        payload, event_id="peak", hard_limit_mw=40_000_000, retained=True, received=Now(1.0, 2.0)
    )
    return json.loads(payload), event


def length_s(event: GridEvent) -> float:
    assert event.end_s is not None
    return event.end_s - event.start_s


async def test_an_event_is_retained_with_all_that_was_asked_for(
    broker: Mosquitto, publish: StartPublishing
) -> None:
    process = await publish(
        *RACK,
        *("--reduce-pct", "25", "--baseline", "nameplate", "--class", "emergency", "--priority", "3"),
        *("--start", "2026-11-21T17:00:00Z", "--duration", "3h", "--program", "peaks"),
        *("--ramp-down", "15m", "--ramp-up", "10m", "--ramp-up-jitter", "30s", "--source", "grid", "--json"),
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    fields, event = retained(broker)
    assert fields == json.loads(out)
    expected = {
        "v": 1,
        "source": "grid",
        "seq": 1,
        "event_id": "peak",
        "class": "emergency",
        "status": "active",
        "scope": {"level": "rack", "targets": ["r17"]},
        "ramp": {"down_s": 900, "up_s": 600, "up_jitter_s": 30},
        "intervals": [
            {
                "start": "2026-11-21T17:00:00.000Z",
                "end": "2026-11-21T20:00:00.000Z",
                "action": {"reduce_pct": 25, "baseline": "nameplate"},
            }
        ],
        "priority": 3,
        "program": "peaks",
    }
    stamped = {name: fields[name] for name in ("epoch", "issued_at")}
    assert fields == expected | stamped
    assert event.issued_at_s == pytest.approx(event.epoch / 1000, abs=5)


async def test_without_more_it_starts_now_and_holds_until_it_is_cancelled_by_the_same_sender(
    broker: Mosquitto, publish: StartPublishing
) -> None:
    await (await publish(*RACK, "--limit-watts", "9000")).communicate()
    _, event = retained(broker)
    assert (event.intervals[0].action.mw, event.end_s, event.is_cancelled) == (9_000_000, None, False)
    assert event.start_s == pytest.approx(event.issued_at_s, abs=5)
    await (await publish(*RACK, "--cancel")).communicate()
    _, cancelled = retained(broker)
    assert cancelled.is_cancelled
    assert (cancelled.source, cancelled.event_id) == (event.source, event.event_id)
    assert (cancelled.epoch, cancelled.seq) > (event.epoch, event.seq)


@pytest.mark.parametrize(
    ("options", "action"),
    [
        (("--limit-watts", "9000.5"), {"limit_watts": 9000.5}),
        (("--reduce-watts", "500"), {"reduce_watts": 500, "baseline": "budget"}),
        (("--level", "2"), {"level": 2, "baseline": "budget"}),
        (("--floor",), {"floor": True}),
    ],
)
async def test_each_way_to_ask_for_less_is_said_as_it_was_given(
    broker: Mosquitto, publish: StartPublishing, options: tuple[str, ...], action: dict[str, object]
) -> None:
    await (await publish(*RACK, *options, "--start", "10m", "--duration", "30m")).communicate()
    fields, event = retained(broker)
    assert fields["intervals"][0]["action"] == action
    assert event.start_s - event.issued_at_s == pytest.approx(600, abs=10)
    assert length_s(event) == pytest.approx(1800)


@pytest.mark.parametrize(
    ("options", "scope"),
    [
        (RACK, {"level": "rack", "targets": ["r17"]}),
        ((*RACK, "--target", "r18"), {"level": "rack", "targets": ["r17", "r18"]}),
        (("--scope", "site"), {"level": "site", "targets": ["hel1"]}),
        (("--scope", "feed", "--target", "a", "--target", "b"), {"level": "feed", "targets": ["a", "b"]}),
        ((*RACK, "--scope", "host", "--target", "r17-n1"), {"level": "host", "targets": ["r17-n1"]}),
    ],
)
async def test_the_scope_is_the_one_that_was_named(
    broker: Mosquitto, publish: StartPublishing, options: tuple[str, ...], scope: dict[str, object]
) -> None:
    await (await publish(*options, "--floor")).communicate()
    assert retained(broker)[0]["scope"] == scope


async def test_every_repeats_the_same_schedule_with_rising_numbers_until_it_is_stopped(
    publish: StartPublishing,
) -> None:
    process = await publish(*RACK, "--floor", "--every", "50ms", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        said = [json.loads(await process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert [each["seq"] for each in said] == [1, 2, 3]
    assert len({each["intervals"][0]["start"] for each in said}) == 1
    assert process.returncode == 0
    assert err.decode() == "stopped: the event holds to its end; --cancel ends it before\n"


async def test_every_ends_with_the_event(publish: StartPublishing) -> None:
    process = await publish(*RACK, "--floor", "--every", "50ms", "--duration", "300ms", "--json")
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out


MISTAKES = [
    (("--floor",), "--scope rack needs --target or --rack"),
    (("--floor", "--scope", "feed"), "--scope feed needs --target"),
    ((*RACK,), "exactly one of"),
    ((*RACK, "--floor", "--level", "2"), "exactly one of"),
    ((*RACK, "--floor", "--start", "soon"), '--start "soon"'),
    ((*RACK, "--floor", "--duration", "long"), '--duration "long"'),
    ((*RACK, "--floor", "--duration", "0s"), "end is not after start"),
    ((*RACK, "--floor", "--ramp-down", "48h"), "ramp.down_s"),
    ((*RACK, "--floor", "--every", "0s"), "--every 0s"),
    ((*RACK, "--reduce-pct", "101"), "--reduce-pct"),
    ((*RACK, "--limit-watts", "nan"), "--limit-watts"),
    ((*RACK, "--limit-watts", "1e11"), "limit_watts"),
    ((*RACK, "--floor", "--id", "Peak 1"), "event id"),
]


@pytest.mark.parametrize(("options", "problem"), MISTAKES)
def test_a_mistake_is_one_line_that_names_the_option(options: tuple[str, ...], problem: str) -> None:
    """And nothing is sent: no broker answers here."""
    where = ["--site", "hel1", "--broker", "mqtt://127.0.0.1:1"]
    named = [] if "--id" in options else ["--id", "peak"]
    result = CliRunner().invoke(app, ["publish", "event", *where, *named, *options])
    assert result.exit_code == 2
    assert problem in result.stderr.splitlines()[-1]


def test_help_shows_an_example_that_can_be_copied() -> None:
    result = CliRunner().invoke(app, ["publish", "event", "--help"])
    assert "  powerctl publish event --site hel1 --rack r17 --id peak --reduce-pct 25 \\\n" in result.stdout
