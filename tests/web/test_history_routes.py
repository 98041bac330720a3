"""The last day over HTTP: how it is asked for, and that its columns say what was."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from powerd.core.model import Severity
from powerd.history.happenings import Happening
from powerd.history.history import History
from powerd.metrics.exposition import Metrics
from powerd.signals.rfc3339 import utc
from powerd.snapshot import Snapshot
from powerd.web.server import WebServer
from tests.web.host import BOOT_S, moment

if TYPE_CHECKING:
    from tests.web.conftest import Clock

HOUR_S = 3600


@pytest.fixture
async def url(snapshot: Snapshot, clock: "Clock", metrics: Metrics) -> AsyncIterator[str]:
    """Serve the history of an hour and a half that ends now."""
    history = History()
    for second in range(-5400, 1):
        history.take(replace(snapshot, now=moment(second)), (), is_sampled=True)
    order = Happening(BOOT_S - 1800, "order", Severity.INFO, "override of GPU 3: 300 W", by="ada (uid 1000)")
    history.add(order)
    async with WebServer(lambda: snapshot, clock, metrics, listen="127.0.0.1:0", history=history) as server:
        yield f"http://127.0.0.1:{server.port}/v1/history"


async def ask(url: str, since: str | None = None) -> tuple[int, dict[str, Any], int]:
    """Return status, document and size of an answer."""
    params = None if since is None else {"since": since}
    async with aiohttp.ClientSession() as session, session.get(url, params=params) as response:
        body = await response.read()
        return response.status, json.loads(body), len(body)


@pytest.mark.parametrize(
    ("since", "seconds"),
    [
        (None, 900),
        ("600", 600),
        ("600s", 600),
        ("10m", 600),
        ("1h", HOUR_S),
        ("1d", 86_400),
        ("99d", 86_400),
        ("2026-11-21T16:30:00Z", 1800),
        ("2026-11-21T18:30:00+02:00", 1800),
        ("2026-11-21T18:30:00 02:00", 1800),  # as "+" arrives that was not escaped
        ("2027-01-01T00:00:00Z", 0),
    ],
)
async def test_it_begins_where_it_was_asked_to(url: str, since: str | None, seconds: int) -> None:
    status, document, _ = await ask(url, since)
    assert status == 200
    assert document["to"] == "2026-11-21T17:00:00.000Z"
    begins = moment(-seconds).wall_s
    assert document["from"] == utc(begins)
    assert all(begins - document["step_s"] < point_s <= moment(0.0).wall_s for point_s in document["time"])


@pytest.mark.parametrize(
    "since", ["", "yesterday", "-5", "1w", "1.5h", "2026-11-21", "2026-11-21T17:00:00", "9" * 40, "\n1h"]
)
async def test_what_is_neither_a_duration_nor_a_time_is_one_line(url: str, since: str) -> None:
    status, document, _ = await ask(url, since)
    assert status == 400
    assert document["error"].startswith("since: ")
    assert "\n" not in document["error"]


async def test_its_columns_are_what_status_shows_in_watts(url: str) -> None:
    _, document, _ = await ask(url, "1m")
    points = len(document["time"])
    assert points == 61  # the first and the last second are in it
    assert document["rack_watts"] == [30_000.0] * points
    assert document["phase"] == ["limited"] * points
    assert document["draw_watts"] == [None] * points  # one GPU hangs and one is lost
    gpus = {gpu["index"]: gpu for gpu in document["gpus"]}
    assert list(gpus) == list(range(8))
    assert gpus[0]["limit_watts"] == [400.0] * points
    assert gpus[7]["limit_watts"] == [None] * points
    assert document["rack_min_watts"] is None


async def test_an_hour_is_small_and_has_the_extremes_of_its_steps(url: str) -> None:
    _, document, size = await ask(url, "1h")
    assert size < 120_000
    assert document["step_s"] == 10.0
    assert document["rack_min_watts"] == document["rack_watts"]
    for column in ("draw_max_watts", "rack_draw_max_watts"):
        assert len(document[column]) == len(document["time"])


async def test_what_happened_is_told_with_who_brought_it_about(url: str) -> None:
    _, document, _ = await ask(url, "1h")
    assert document["happenings"] == [
        {
            "time": "2026-11-21T16:30:00.000Z",
            "event": "order",
            "severity": "info",
            "subject": "",
            "text": "override of GPU 3: 300 W",
            "by": "ada (uid 1000)",
        }
    ]
