"""Texts that somebody else chose, on their way to a terminal, to Prometheus and to a log."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from powerd.core.model import GpuState
from powerd.snapshot import Problem, Snapshot
from tests.powerctl import powerctl
from tests.web import host

if TYPE_CHECKING:
    from tests.web.conftest import Endpoint

# What a terminal acts on, what rich takes for markup, what a label ends with, what a log line ends with.
HOSTILE = 'a\x1b[2J\x1b]0;owned\x07\x9b1m\r\n<0>panic [red]b[/] [/bold] \u202egnp.exe "} 1\nup{x="\\'


@pytest.fixture
def hostile(snapshot: Snapshot, endpoint: "Endpoint") -> "Endpoint":
    """Return an endpoint that shows a host of which others have chosen whatever they could."""
    bad = Problem("signal_rejected", "warning", HOSTILE, HOSTILE, host.WALL_S, host.WALL_S, 1)
    readings = (
        host.gpu(0, name=HOSTILE),
        replace(host.gpu(1, state=GpuState.HUNG), detail=HOSTILE),
        *snapshot.readings[2:],
    )
    bus = replace(snapshot.bus, connected=False, error=HOSTILE)
    guard = replace(snapshot.guard, error=HOSTILE)
    endpoint.show(replace(snapshot, problems=(bad,), readings=readings, site=HOSTILE, bus=bus, guard=guard))
    return endpoint


def acted_on(text: str) -> list[str]:
    return sorted({char for char in text if not char.isprintable() and char != "\n"})


async def test_a_terminal_is_shown_what_others_said_and_does_not_act_on_it(hostile: "Endpoint") -> None:
    commands = ("status", "explain 0", "explain 1", "verify", "events", "top --count 1")
    runs = [powerctl(*command.split(), "--url", hostile.url) for command in commands]
    for ran in await asyncio.gather(*runs):
        assert ran.out
        assert ran.err == ""
        assert acted_on(ran.out) == [], ran.out
    status = await powerctl("status", "--url", hostile.url)
    assert "[red]b[/]" in " ".join(status.out.split()), "nor is it markup"


async def test_a_label_is_a_label_whatever_is_in_it(hostile: "Endpoint") -> None:
    async with aiohttp.ClientSession() as session, session.get(hostile.url + "/metrics") as response:
        text = await response.text()
    families = list(text_string_to_metric_families(text))
    assert len(families) > 50
    assert all(family.name.startswith(("powerd_", "process_", "python_")) for family in families)
    assert not [line for line in text.splitlines() if line.startswith("up{")]
