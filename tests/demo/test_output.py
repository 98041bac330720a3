"""What the demo prints: readable on any terminal, and silent about what it does not know."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from powerd.clock import SystemClock
from powerd.demo.event_record import EventRecord
from powerd.demo.facility import Facility
from powerd.demo.grid_bridge import GridBridge
from powerd.demo.live_table import Display
from powerd.demo.observation import GpuView, HostView
from powerd.demo.rack import DemoRack
from powerd.demo.scenario import SCENARIOS, Phase
from powerd.demo.scoreboard import Scoreboard
from powerd.demo.summary import Summary

RACK = DemoRack(
    name="demo-1",
    hosts=2,
    gpus=2,
    port=9780,
    seed=0,
    broker_url="mqtt://127.0.0.1:1883",
    protocol="auto",
    start_boot_s=0.0,
)
LOST = "no controller heard"


def host(name: str, *, lent: float = 0, borrowed: float = 0, waits_s: float | None = None) -> HostView:
    busy = GpuView(390, 400, 400, 100, 400, "busy")
    idle = GpuView(60, 100, 100, 100, 400, "idle")
    return HostView(
        host=name,
        received_boot_s=1.0,
        sampled_boot_s=1.0,
        state="failsafe",
        connected=True,
        writes_forbidden=False,
        lease_watts=None,
        rack_watts=RACK.failsafe_watts,
        share_watts=600,
        cap_watts=600 + borrowed - lent,
        overhead_watts=100,
        lent_watts=lent,
        borrowed_watts=borrowed,
        waits_s=waits_s,
        reaction=None,
        gpus=(busy, idle),
        problems=(LOST,),
    )


@pytest.fixture
def board() -> Scoreboard:
    scores = Scoreboard(RACK.host_names, RACK.failsafe_watts, RACK.work)
    for name in reversed(RACK.host_names):
        scores.add(host(name))
    return scores


@pytest.fixture
def facility() -> Facility:
    return Facility(RACK, SCENARIOS["default"], SystemClock(), lambda _watts: None)


def bridge() -> GridBridge:
    return GridBridge(RACK, SCENARIOS["phoenix"], SystemClock(), lambda _record: None)


def shown(board: Scoreboard, facility: Facility, *, width: int = 100, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width)
    console.print(Display(console, RACK, facility, bridge(), board).screen(2.0))
    file.flush()
    file.seek(0)
    return file.read()


def test_each_gpu_has_a_bar_for_its_limit_and_one_for_its_draw(board: Scoreboard, facility: Facility) -> None:
    lines = shown(board, facility).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["n1", "n2"]
    assert lines[1].split()[-2:] == ["█▃", "█▂"]


def test_a_terminal_without_unicode_gets_digits(board: Scoreboard, facility: Facility) -> None:
    assert shown(board, facility, encoding="ascii").splitlines()[1].split()[-2:] == ["83", "82"]


def test_each_host_shows_what_it_lends_and_borrows(board: Scoreboard, facility: Facility) -> None:
    board.add(host("n1", lent=150))
    board.add(host("n2", borrowed=150))
    text = shown(board, facility)
    head, first, second, rack = text.splitlines()[:4]
    assert head.split()[2:6] == ["lent", "borrowed", "may", "draw"]
    assert first.split()[2:6] == ["150", "W", "450", "W"]
    assert second.split()[2:6] == ["150", "W", "750", "W"]
    assert rack.endswith("borrowed 150 W")


def test_hosts_that_have_just_started_show_how_long_their_floor_holds(
    board: Scoreboard, facility: Facility
) -> None:
    assert "at the floor" not in shown(board, facility)
    board.add(host("n1", waits_s=1.2))
    board.add(host("n2", waits_s=3.4))
    assert "n1 n2: at the floor for 3 s" in shown(board, facility)


def test_a_narrow_terminal_gets_the_numbers_and_no_bars(board: Scoreboard, facility: Facility) -> None:
    text = shown(board, facility, width=85)
    assert "limits" not in text
    assert "600 W" in text.splitlines()[1]


def test_a_problem_that_all_hosts_have_is_shown_once(board: Scoreboard, facility: Facility) -> None:
    text = shown(board, facility)
    assert text.count(LOST) == 1
    assert f"! n1 n2: {LOST}" in text


def test_the_news_tells_a_budget_from_silence_and_silence_from_failsafe(
    board: Scoreboard, facility: Facility
) -> None:
    display = Display(Console(), RACK, facility, bridge(), board)
    assert "nothing said yet" in display.news(0.0)
    board.publish(10.0, RACK.budget_watts(70), lease_s=5)
    facility.phase = Phase(70, 10)
    assert "70 % of nominal" in display.news(11.0)
    facility.phase = Phase(None, 10)
    assert "its last lease ends in 3 s" in display.news(12.0)
    assert f"failsafe, {RACK.failsafe_watts:,} W" in display.news(16.0)


def test_the_news_tells_what_a_grid_event_asks_for_and_when(board: Scoreboard, facility: Facility) -> None:
    """An hour is a second: half an hour, then 15 min down, 3 h held, 10 min back up."""
    [call] = SCENARIOS["phoenix"].calls
    board.announce(EventRecord(call, 10.0, 10.0, 3600.0, 2000.0))
    display = Display(Console(), RACK, facility, bridge(), board)
    assert list(display.grid_news(10.0)) == ["grid: phoenix begins in 0 s"]
    assert list(display.grid_news(12.0)) == ["grid: phoenix, mandatory, asks for 1,500 W"]
    [back] = display.grid_news(13.75 + 1 / 12)
    assert back == "grid: phoenix, mandatory, is over, on the way back at 1,750 W"
    assert list(display.grid_news(14.0)) == []
    assert "event 1,500 W" in display.line(12.0)
    assert "event" not in display.line(14.0)


def test_an_event_that_nobody_measured_yet_has_no_figures(board: Scoreboard) -> None:
    [call] = SCENARIOS["phoenix"].calls
    board.announce(EventRecord(call, 10.0, 10.0, 270.0, 2000.0))
    summary = Summary(RACK, "phoenix", 270.0, 5.0, True, board, 3, 0, writes_forbidden=False)
    [event] = summary.document()["events"]
    assert (event["name"], event["target_watts"]) == ("phoenix", 1500)
    assert event["tracking_error_pct"] == {"mean": None, "worst": None}
    assert (event["time_to_target_s"], event["rebound_watts"], event["restore_pct_per_min"]) == (None,) * 3
    console = Console(file=io.StringIO(), width=120)
    console.print(summary.table())


def test_where_nothing_was_written_nothing_is_compared(board: Scoreboard) -> None:
    board.publish(0.0, 1000, lease_s=60)
    board.add(replace(host("n1"), received_boot_s=3.0))
    allowed = Summary(RACK, "default", 1.0, 5.0, True, board, 3, 0, writes_forbidden=False)
    forbidden = replace(allowed, writes_forbidden=True)
    assert allowed.document()["recovered_wh"] > 0
    assert forbidden.document()["recovered_wh"] is None
    assert forbidden.document()["work_vs_uniform"] is None
