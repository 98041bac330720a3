"""What `powerctl history` prints for people: a row of little columns for each number, and what happened."""

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from powerd.ctl.client import Document
from powerd.ctl.reasons import span
from powerd.ctl.views.screen import watts

_CELLS = 48
_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-=+*%#"
_SEVERITIES = {"warning": "yellow", "critical": "bold red"}


class Row(NamedTuple):
    """One number over time.

    Attributes:
        scale: the value of a full column, in watts.
    """

    name: str
    values: Sequence[float | None]
    scale: float


def history(document: Document, *, is_of_one: bool) -> RenderableType:
    """Return the rows and what happened.

    Args:
        is_of_one: one GPU was asked for, so its limit is shown too.
    """
    step = span(document["step_s"])
    head = f"{_stamp(document['from'])} to {_stamp(document['to'])} UTC, a point every {step}"
    if not document["time"]:
        return Group(Text(head, style="bold"), "", Text("nothing is known of this time"))
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    for name in ("", "least", "last", "most", "over time"):
        table.add_column(name, justify="right" if name in ("least", "last", "most") else "left", no_wrap=True)
    for row in _rows(document, is_of_one=is_of_one):
        known = [value for value in row.values if value is not None]
        table.add_row(
            row.name,
            watts(min(known, default=None)),
            watts(row.values[-1]),
            watts(max(known, default=None)),
            sparkline(document["time"], row.values, row.scale, blocks()),
        )
    return Group(Text(head, style="bold"), "", table, *_happenings(document["happenings"]))


def sparkline(times: Sequence[float], values: Sequence[float | None], scale: float, marks: str) -> str:
    """Return one mark for each part of the time: the mean of what is known of it, a space if nothing is.

    Args:
        times: Unix seconds, rising, one for each value.
        scale: the value that the last of `marks` stands for.
    """
    begin_s, length_s = times[0], max(1e-9, times[-1] - times[0])
    cells: list[list[float]] = [[] for _ in range(min(_CELLS, len(times)))]
    for time_s, value in zip(times, values, strict=True):
        if value is not None:
            place = int((time_s - begin_s) / length_s * len(cells))
            cells[min(len(cells) - 1, place)].append(value)
    return "".join(_mark(sum(cell) / len(cell), scale, marks) if cell else " " for cell in cells)


def blocks() -> str:
    """Return the marks that standard output can show."""
    return _BLOCKS if (sys.stdout.encoding or "").lower().startswith("utf") else _PLAIN


def _mark(value: float, scale: float, marks: str) -> str:
    share = value / scale if scale > 0 else 0.0
    return marks[min(len(marks) - 1, max(0, int(share * len(marks))))]


def _rows(document: Document, *, is_of_one: bool) -> Iterator[Row]:
    """Yield the rows; what is limited and its limit are drawn to the same scale."""
    rack = ("rack may", document["rack_watts"]), ("rack draws", document["rack_draw_watts"])
    gpus = ("GPUs may", document["gpus_watts"]), ("GPUs draw", document["draw_watts"])
    each = [
        ((f"GPU {gpu['index']} limit", gpu["limit_watts"]), (f"GPU {gpu['index']} draws", gpu["draw_watts"]))
        for gpu in document["gpus"]
    ]
    for pair in (rack, gpus):
        yield from _to_scale(pair)
    if is_of_one:
        yield from _to_scale(each[0])
    else:
        yield from _to_scale([draws for _, draws in each])
    for name, column in (("lent", "lent_watts"), ("borrowed", "borrowed_watts")):
        if any(document[column]):
            yield from _to_scale([(name, document[column])])


def _to_scale(group: Sequence[tuple[str, Sequence[float | None]]]) -> Iterator[Row]:
    scale = max((value for _, values in group for value in values if value is not None), default=0.0)
    return (Row(name, values, scale) for name, values in group if any(value is not None for value in values))


def _happenings(happenings: Sequence[Document]) -> Iterator[RenderableType]:
    if not happenings:
        return
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    for name in ("time", "what", "by", "text"):
        table.add_column(name, no_wrap=name != "text", overflow="fold")
    for each in happenings:
        what = Text(each["event"].replace("_", " "), style=_SEVERITIES.get(each["severity"], ""))
        table.add_row(_stamp(each["time"]), what, Text(each["by"]), Text(each["text"]))
    yield ""
    yield table


def _stamp(stamp: str) -> str:
    """Return `2026-11-21 17:00:00`."""
    return stamp[:19].replace("T", " ")
