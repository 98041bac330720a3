"""Entries of the ledger to text and back.

What an older powerd wrote is read for years: fields that it did not know have their defaults, and fields that
this one does not know are passed over.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeAlias, cast

from powerd.core.events.grid_event import GridEvent
from powerd.core.proof.ledger_entry import (
    Began,
    Body,
    Changed,
    ClockStepped,
    Ended,
    Entry,
    IntervalBegan,
    Lost,
    Restored,
    Sample,
    Samples,
    Started,
)
from powerd.files import records

_Json: TypeAlias = dict[str, object]

KINDS: Mapping[str, type[Body]] = {
    "began": Began,
    "clock_stepped": ClockStepped,
    "lost": Lost,
    "started": Started,
    "changed": Changed,
    "interval": IntervalBegan,
    "ended": Ended,
    "restored": Restored,
    "samples": Samples,
}
_SAMPLES = "samples"
_NAMES = {kind: name for name, kind in KINDS.items()}


def kind_of(body: Body) -> str:
    """Return the name of what an entry tells."""
    return _NAMES[type(body)]


def encode(body: Body) -> str:
    """Return the text of what an entry tells."""
    return records.dumps(body)


def decode(wall_ms: int, event: str, kind: str, text: str) -> Entry | None:
    """Return one entry; None if it is of a kind that is not known.

    Raises:
        ValueError: it is damaged.
    """
    if kind not in KINDS:
        return None
    if kind == _SAMPLES:
        return Entry(wall_ms / 1000, event, _samples(records.loads(text)))
    data = _fitted(KINDS[kind], records.loads(text))
    event_fields = data.get("event")
    if isinstance(event_fields, dict):
        data["event"] = _fitted(GridEvent, event_fields)
    return Entry(wall_ms / 1000, event, records.read(KINDS[kind], data, kind))


def _samples(data: _Json) -> Samples:
    """Return samples; there are thousands of them, so they are taken as they were written."""
    try:
        events, rows = cast("list[str]", data["events"]), cast("list[list[Any]]", data["rows"])
        samples = (Sample._make((*row[:-2], tuple(row[-2]), tuple(row[-1]))) for row in rows)
        return Samples(tuple(events), tuple(samples))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"samples are damaged: {error!r}") from None


def _fitted(kind: type, data: _Json) -> _Json:
    """Return what a record of today is read from."""
    fitted: _Json = {}
    for field in fields(kind):
        if field.name in data:
            fitted[field.name] = data[field.name]
        elif field.default is not MISSING:
            fitted[field.name] = json.loads(records.dumps(field.default))
    return fitted
