"""`powerctl top`: what a person sees in a terminal, and what a program gets off one."""

import asyncio
import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from powerd.ctl import checks
from powerd.ctl.views import top as view_top
from powerd.snapshot import Snapshot
from powerd.web import views
from powerd.web.stream import MAX_LISTENERS
from tests.powerctl import POWERCTL, powerctl
from tests.terminal import Terminal
from tests.web import host
from tests.web.host import moment

if TYPE_CHECKING:
    from tests.web.conftest import Endpoint


def status_of(snapshot: Snapshot) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(views.status(snapshot, moment(0.0)).model_dump_json())
    return status


def drawn(status: dict[str, Any], columns: int, lines: int, trouble: str = "") -> list[str]:
    """Return the lines of the screen."""
    size = view_top.Size(columns, lines)
    return view_top.screen(status, *checks.grade(status), size, trouble).plain.splitlines()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 50), (60, 16), (44, 12), (24, 8)])
@pytest.mark.parametrize("made", [host.lending(), host.borrowing(), host.curtailed()])
def test_a_screen_is_never_larger_than_the_terminal_and_always_has_budget_and_gpus(
    made: Snapshot, columns: int, lines: int
) -> None:
    screen = drawn(status_of(made), columns, lines)
    assert len(screen) <= lines
    assert max(map(len, screen)) <= columns
    assert screen[1].startswith("rack  may ")
    assert sum(line.startswith("  0 ") for line in screen) == 1


def test_80_by_24_shows_eight_gpus_with_all_there_is_to_say_of_them() -> None:
    status = status_of(host.lending())
    screen = drawn(status, 80, 24)
    assert "facility-a, 41 s left" in screen[1]
    assert "lends 650 W" in screen
    first = next(line for line in screen if line.startswith("  0 "))
    assert first.split() == ["0", "300", "W", "400", "W", "380", "W", "########:####---|", "ok", "spare"]
    assert sum(line[:4].strip().isdigit() for line in screen) == 8
    assert "! GPU 6 is hung" in screen


def test_a_gpu_that_wants_more_than_its_limit_shows_how_far() -> None:
    status = status_of(host.lending())
    status["gpus"][0]["want_watts"] = 690.0
    first = next(line for line in drawn(status, 80, 24) if line.startswith("  0 "))
    assert first.index("|") < first.index(">")


def test_gpus_that_do_not_fit_are_counted() -> None:
    screen = drawn(status_of(host.lending()), 80, 12)
    assert [line for line in screen if "more GPUs: make the window taller" in line] == [
        "... and 4 more GPUs: make the window taller"
    ]


def test_old_news_are_said_to_be_old() -> None:
    assert "! it fell silent" in drawn(status_of(host.lending()), 80, 24, "it fell silent")


async def test_in_a_terminal_it_follows_the_daemon_until_q_and_leaves_the_terminal_as_it_was(
    endpoint: "Endpoint", snapshot: Snapshot
) -> None:
    with Terminal([POWERCTL, "top", "--url", endpoint.url, "--interval", "0.1"]) as terminal:
        await asyncio.to_thread(terminal.wait_for, "rack  may  30,000 W")
        lower = snapshot.decision._replace(rack_cap_mw=25_000_000)
        endpoint.server.publish(replace(snapshot, decision=lower))
        await asyncio.to_thread(terminal.wait_for, "rack  may  25,000 W")
        terminal.type("q")
        assert await asyncio.to_thread(terminal.ended) == 0
        assert terminal.settings == terminal.before
    # The alternate screen, entered and left: what was there before is there again.
    assert terminal.raw.count("\x1b[?1049h") == terminal.raw.count("\x1b[?1049l") == 1
    # Nothing is wiped between two drawings.
    assert terminal.raw.count("\x1b[2J") <= 1


async def test_status_fits_80_by_24_too_and_cuts_no_number(endpoint: "Endpoint") -> None:
    with Terminal([POWERCTL, "status", "--url", endpoint.url]) as terminal:
        await asyncio.to_thread(terminal.ended)
    lines = terminal.text.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "…" not in terminal.text
    assert any(line.split()[:4] == ["0", "300", "W", "400"] for line in lines)


async def test_off_a_terminal_every_status_is_one_line_of_json(endpoint: "Endpoint") -> None:
    answer = await powerctl("top", "--url", endpoint.url, "--count", "1")
    assert (answer.code, answer.err) == (0, "")
    assert [json.loads(line)["host"] for line in answer.out.splitlines()] == ["r17-n3"]


async def test_when_the_stream_has_listeners_enough_the_status_is_asked_for_instead(
    endpoint: "Endpoint", snapshot: Snapshot
) -> None:
    async with contextlib.AsyncExitStack() as listening:
        for _ in range(MAX_LISTENERS):
            await listening.enter_async_context(endpoint.session.get(f"{endpoint.url}/v1/stream"))
        with Terminal([POWERCTL, "top", "--url", endpoint.url, "--interval", "0.1"]) as terminal:
            await asyncio.to_thread(terminal.wait_for, "rack  may  30,000 W")
            lower = snapshot.decision._replace(rack_cap_mw=25_000_000)
            endpoint.show(replace(snapshot, decision=lower))
            await asyncio.to_thread(terminal.wait_for, "rack  may  25,000 W")
            terminal.type("q")
            assert await asyncio.to_thread(terminal.ended) == 0


async def test_an_absent_daemon_is_one_line_and_exits_3(tmp_path: Path) -> None:
    answer = await powerctl("top", "--socket", str(tmp_path / "none.sock"))
    assert (answer.code, answer.out, answer.err.count("\n")) == (3, "", 1)
