"""What history shows of hours past: columns that can be compared, and what happened."""

from typing import Any

import pytest
from rich.console import Console

from powerd.ctl import history
from powerd.ctl.client import RequestFailedError
from powerd.ctl.views import history as view_history

BEGIN_S = 1795280400.0


def document(**changes: Any) -> dict[str, Any]:
    """Return two hours of two GPUs; for the first half hour nothing is known of the draw."""
    times = [BEGIN_S + 60.0 * minute for minute in range(120)]
    draw = [None if minute < 30 else 300.0 + minute for minute in range(120)]
    rack = [30000.0 if minute < 60 else 15000.0 for minute in range(120)]
    one = {"draw_watts": draw, "limit_watts": [400.0] * 120}
    none: list[None] = [None] * 120
    happened = [
        ("budget_changed", "info", "", "facility-a gives 15,000 W for the rack"),
        ("gpu_lost", "critical", "GPU-11", "GPU 1 fell off the bus"),
    ]
    return {
        "from": "2026-11-21T17:00:00Z",
        "to": "2026-11-21T19:00:00Z",
        "step_s": 60.0,
        "time": times,
        "rack_watts": rack,
        "rack_draw_watts": none,
        "gpus_watts": [800.0] * 120,
        "draw_watts": draw,
        "lent_watts": [0.0] * 120,
        "borrowed_watts": [0.0] * 120,
        "gpus": [{"uuid": "GPU-00", "index": 0, **one}, {"uuid": "GPU-11", "index": 1, **one}],
        "happenings": [
            {"time": "2026-11-21T18:00:00Z", "event": e, "severity": s, "subject": w, "text": t, "by": "ann"}
            for e, s, w, t in happened
        ],
        **changes,
    }


def printed(shown: dict[str, Any], *, is_of_one: bool = False) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as captured:
        console.print(view_history.history(shown, is_of_one=is_of_one))
    return captured.get()


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


def test_a_cut_is_seen_where_it_was_and_what_is_not_known_is_left_blank() -> None:
    marks = view_history.sparkline(document()["time"], document()["rack_watts"], 30000.0, "_.-=+*%#")
    assert marks == "#" * 24 + "+" * 24
    blank = view_history.sparkline(document()["time"], document()["draw_watts"], 450.0, "_.-=+*%#")
    assert blank[:11] == " " * 11
    assert " " not in blank[12:]


def test_least_last_and_most_are_numbers() -> None:
    text = printed(document())
    assert row(text, "rack may").split()[2:8] == ["15,000", "W", "15,000", "W", "30,000", "W"]
    assert row(text, "GPU 1 draws").split()[3:9] == ["330", "W", "419", "W", "419", "W"]
    assert "rack draws" not in text
    assert "lent" not in text


def test_what_happened_is_told_with_time_and_by_whom() -> None:
    line = row(printed(document()), "2026-11-21 18:00:00")
    assert line.split() == ["2026-11-21", "18:00:00", "budget", "changed", "ann", *line.split()[5:]]


def test_one_gpu_is_shown_with_its_limit_and_without_what_happened_to_others() -> None:
    shown = history.of_gpu(document(), "GPU-0")
    text = printed(shown, is_of_one=True)
    assert row(text, "GPU 0 limit").split()[3:5] == ["400", "W"]
    assert "GPU 1" not in text
    assert "budget changed" in text


@pytest.mark.parametrize("name", ["7", "GPU-", ""])
def test_a_gpu_that_is_none_or_several_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(RequestFailedError, match="known: 0 GPU-00, 1 GPU-11"):
        history.of_gpu(document(), name)


def test_a_daemon_that_just_began_has_nothing_to_show() -> None:
    assert "nothing is known of this time" in printed(document(time=[]))
