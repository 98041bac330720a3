"""What `powerctl` shows of grid events off a terminal: every word of it, however long their names are."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from powerd.ctl.views.events import event_list
from powerd.ctl.views.screen import event_line

FLEX_ID = "dsx:acme-energy/405cd623-1694-4abd-aa75-521c0e7f2747.0.main-a"


def printed(shown: RenderableType) -> str:
    page = io.StringIO()
    Console(file=page, width=120, no_color=True).print(shown)
    return page.getvalue()


def test_long_names_cut_nothing() -> None:
    event = {
        "id": FLEX_ID,
        "event_class": "mandatory",
        "phase": "set_aside",
        "start": "2026-11-21T17:00:00.000Z",
        "end": "2026-11-21T18:00:00.000Z",
        "target_watts": 1_000_000.0,
        "recorded": True,
    }
    page = printed(event_list({"events": [event]}))
    for word in (
        "mandatory",
        "set aside",
        "2026-11-21 17:00:00",
        "2026-11-21 18:00:00",
        "1,000,000 W",
        "yes",
    ):
        assert word in page
    assert FLEX_ID in "".join(line.split(" ")[0] for line in page.splitlines()[1:])


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "e1 of vtn1: down to 3,000 W, now 3,200 W, until 18:00"),
        ({"ends": None}, "e1 of vtn1: down to 3,000 W, now 3,200 W, until cancelled"),
        ({"target_watts": None}, "e1 of vtn1: no limit, until 18:00"),
        ({"target_watts": None, "phase": "restoring"}, "e1 of vtn1: over, on the way back at 3,200 W"),
    ],
)
def test_an_event_in_one_line(fields: dict[str, Any], line: str) -> None:
    event = {"id": "e1", "source": "vtn1", "phase": "active", "ends": "18:00"}
    assert event_line({**event, "target_watts": 3000.0, "cap_watts": 3200.0, **fields}) == line
