"""What was written is read again for years, by a powerd that has learned and forgotten things meanwhile."""

import json
from pathlib import Path

import pytest

from powerd.core.events.grid_event import EventRamp
from powerd.core.events.turns import EventPhase
from powerd.core.proof.ledger_entry import Began, ClockStepped, Entry, Lost, Samples, Started
from powerd.ledger import reader
from powerd.ledger.entries import KINDS, decode, encode, kind_of
from powerd.ledger.file import FILE_NAME, append, open_to_write
from powerd.ledger.reader import LedgerReader
from tests.core.responses import KEY, Rack, W, event, limit, reduction, status

ASKED = event((10.0, 100.0, limit(20_000)), (100.0, None, reduction(25.0)), ramp=EventRamp(30.0, 600.0, 60.0))


def every_kind() -> list[Entry]:
    rack = Rack()
    rack.run(20.0, 30_000)
    rack.run(20.0, 19_000, status(ASKED, 20_000))
    rack.run(20.0, None, status(event((10.0, None, limit(1000))), 20_000))
    rack.stepped_s = -5.5
    rack.run(20.0, 19_000, status(ASKED, None, phase=EventPhase.RESTORING, cap_mw=26_000 * W))
    rack.run(20.0, 19_000, source="meter")
    rack.restart()
    return [Entry(1.5, "", Began("s", "r", "h", "enforce", "1")), *rack.entries, Entry(2.5, "", Lost(3))]


def test_the_largest_number_that_is_read_is_read_again_once_it_was_written() -> None:
    for number in (2**63 - 1, 2**63 - 1024, -(2**63 - 1)):
        try:
            entry = decode(0, "", "clock_stepped", f'{{"by_s":{number}}}')
        except ValueError:
            continue
        assert entry is not None
        assert decode(0, "", "clock_stepped", encode(entry.body)) == entry


def test_every_kind_is_read_as_it_was_written() -> None:
    entries = every_kind()
    assert {kind_of(entry.body) for entry in entries} == set(KINDS)
    for entry in entries:
        wall_ms = round(entry.wall_s * 1000)
        read = decode(wall_ms, entry.event, kind_of(entry.body), encode(entry.body))
        assert read == entry._replace(wall_s=wall_ms / 1000)


def test_a_kind_of_a_later_powerd_is_passed_over() -> None:
    assert decode(0, "", "weather", '{"rain":true}') is None


def test_fields_that_are_new_have_their_defaults_and_those_that_are_gone_are_passed_over() -> None:
    text = json.loads(encode(Started(ASKED, None, 30_000 * W)))
    for name in ("ramp", "program", "origin"):
        del text["event"][name]
    text["event"]["colour"] = "blue"
    text["mood"] = "good"
    read = decode(0, KEY, "started", json.dumps(text))
    assert read is not None
    assert isinstance(read.body, Started)
    assert (read.body.event.ramp, read.body.event.intervals) == (EventRamp(), ASKED.intervals)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lost", "{}"),
        ("lost", '{"entries":"many"}'),
        ("lost", "[]"),
        ("lost", "not JSON"),
        ("samples", '{"events":[]}'),
        ("samples", '{"events":[],"rows":[[1,2]]}'),
        ("samples", '{"events":[],"rows":[7]}'),
        ("clock_stepped", '{"by_s":1e999}'),
    ],
)
def test_what_is_damaged_is_refused_and_not_guessed(kind: str, text: str) -> None:
    with pytest.raises(ValueError):
        decode(0, "", kind, text)


def test_a_clock_that_was_set_back_is_read_as_such() -> None:
    assert decode(0, "", "clock_stepped", encode(ClockStepped(-3600.5))) == Entry(
        0, "", ClockStepped(-3600.5)
    )


def test_more_than_a_report_is_made_of_is_cut_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE_NAME
    connection = open_to_write(path, max_bytes=1 << 30, busy_s=5.0)
    append(connection, every_kind())
    connection.close()
    whole = LedgerReader(path).extract(KEY)
    monkeypatch.setattr(reader, "MAX_ENTRIES", 5)
    part = LedgerReader(path).extract(KEY)
    assert (whole.is_cut, part.is_cut) == (False, True)
    assert part.entries == whole.entries[:5]
    assert (part.first, part.is_intact) == (whole.first, True)
    assert any(isinstance(entry.body, Samples) for entry in part.entries)
