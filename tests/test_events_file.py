"""Events that were heard are known after a restart as they were; a damaged file is told, not obeyed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from powerd.core.events.admission import admit_event
from powerd.core.events.grid_event import (
    Action,
    ActionKind,
    EventClass,
    EventRamp,
    GridEvent,
    Interval,
    Level,
)
from powerd.core.events.schedule import EventRules, Schedule
from powerd.core.model import Now
from powerd.files import events_file

NOW = Now(100.0, 1_763_690_000.0)


def an_event(event_id: str, *, keeps_order: bool = False) -> GridEvent:
    begins_s = NOW.wall_s + 600.5
    return GridEvent(
        source="vtn1",
        event_id=event_id,
        epoch=5,
        seq=7,
        issued_at_s=NOW.wall_s,
        event_class=EventClass.MANDATORY,
        level=Level.FEED,
        targets=("main-a", "main-b"),
        intervals=(
            Interval(begins_s, begins_s + 60, Action(ActionKind.REDUCE_PCT, pct=12.5)),
            Interval(begins_s + 60, None, Action(ActionKind.LIMIT, mw=650_000_000)),
        ),
        received=NOW,
        ramp=EventRamp(30.0, 600.0, 60.0),
        priority=0,
        keeps_order=keeps_order,
        digest=f"digest of {event_id}",
    )


def a_schedule() -> Schedule:
    schedule = Schedule()
    for event in (an_event("one"), replace(an_event("two", keeps_order=True), source="dsx:acme")):
        schedule, _ = admit_event(schedule, event, EventRules())
    return schedule


def test_what_was_held_is_held_again(tmp_path: Path) -> None:
    schedule = a_schedule()
    events_file.save(tmp_path, schedule)
    assert events_file.load(tmp_path) == schedule
    assert len(schedule.held) == 2
    assert schedule.latest_s == {"dsx:acme": NOW.wall_s}


def test_without_a_file_nothing_is_held(tmp_path: Path) -> None:
    assert events_file.load(tmp_path) == Schedule()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"mandatory"', '"binding"', "not a EventClass"),
        ('"version":1', '"version":2', "version 2"),
        ('"pct":12.5', '"pct":"12.5"', "float expected"),
        ('"held"', '"hold"', "missing or unknown"),
    ],
)
def test_a_damaged_file_is_refused_as_a_whole(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    events_file.save(tmp_path, a_schedule())
    path = tmp_path / events_file.FILE_NAME
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=complaint):
        events_file.load(tmp_path)


def test_a_version_of_any_length_is_told_in_one_short_line(tmp_path: Path) -> None:
    (tmp_path / events_file.FILE_NAME).write_text('{"version":"' + "9\\n" * 5000 + '"}')
    with pytest.raises(ValueError, match="is not 1") as caught:
        events_file.load(tmp_path)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    "content",
    [
        {f"key {number}": 0 for number in range(1000)},
        {"version": 1, "held": {"\x1b[2J" * 1000: []}, "latest_s": {}, "contents": {}},
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_short_line(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / events_file.FILE_NAME).write_text(json.dumps({"version": 1, **content}))
    with pytest.raises(ValueError, match="file") as caught:
        events_file.load(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_a_file_of_any_depth_is_refused_and_never_more(tmp_path: Path) -> None:
    events_file.save(tmp_path, a_schedule())
    path = tmp_path / events_file.FILE_NAME
    good = path.read_text()
    for depth in range(800, 1000, 2):
        path.write_text(good.replace("12.5", "[" * depth + "]" * depth, 1))
        with pytest.raises(ValueError, match=r"deep|expected"):
            events_file.load(tmp_path)


def test_others_cannot_read_what_a_start_goes_by(tmp_path: Path) -> None:
    events_file.save(tmp_path, a_schedule())
    assert (tmp_path / events_file.FILE_NAME).stat().st_mode & 0o077 == 0
