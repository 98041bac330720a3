"""One screen of `powerctl top`: power first, as many GPUs as fit, nothing wider than the terminal."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.text import Text

from powerd.ctl.checks import ExitCode
from powerd.ctl.client import Document
from powerd.ctl.reasons import span
from powerd.ctl.views.orders import standing
from powerd.ctl.views.screen import STYLES, watts

# What a row shows besides its bar, by how many columns the terminal has: the widest layout that fits.
_WIDE, _MEDIUM, _NARROW = 80, 58, 40
_WHY_COLUMNS = 16
# What the line of a budget says besides its bar.
_BUDGET_COLUMNS = 62
# The heading of the GPUs, and the legend.
_FRAME_LINES = 2


class Size(NamedTuple):
    """Of a terminal, in characters."""

    columns: int
    lines: int


def screen(status: Document, code: ExitCode, reasons: Sequence[str], size: Size, trouble: str) -> Text:
    """Return one screen, never more than `size`.

    Args:
        code: how the host stands.
        reasons: why it is not as it should be.
        size: of the terminal.
        trouble: why this is not what is now; empty if it is.
    """
    gpus = status["gpus"]
    head, notes = [_headline(status, code), *_budgets(status, size)], list(_notes(status))
    complaints = [trouble, *reasons] if trouble else list(reasons)
    # Half of the screen is for GPUs, whatever else there is to say; but a complaint is always heard.
    spare = max(0, size.lines - len(head) - _FRAME_LINES - min(len(gpus), size.lines // 2))
    complaints = complaints[: max(1, spare - len(notes))]
    notes = notes[: max(0, spare - len(complaints))]
    room = max(1, size.lines - len(head) - _FRAME_LINES - len(notes) - len(complaints))
    shown = gpus if len(gpus) <= room else gpus[: max(1, room - 1)]
    rows = [_columns(size), *(_row(gpu, size, _scale(gpus)) for gpu in shown)]
    if len(shown) < len(gpus):
        rows.append(Text(f"... and {len(gpus) - len(shown)} more GPUs: make the window taller", style="dim"))
    foot = [Text(f"! {text}", style="yellow") for text in complaints]
    legend = Text("q leaves   # draw  - limit  | its end  > want  : floor", style="dim")
    lines = [*head, *map(Text, notes), *rows, *foot, legend][: size.lines]
    for line in lines:
        line.truncate(size.columns, overflow="crop")
    return Text("\n", no_wrap=True, overflow="crop").join(lines)


def _headline(status: Document, code: ExitCode) -> Text:
    place = f"{status['host']}  rack {status['rack']}  {status['mode']}  "
    stamp = f"  {status['at'][11:19]} UTC"
    return Text.assemble((place, "bold"), (f" {status['state']} ", STYLES[code]), stamp)


def _budgets(status: Document, size: Size) -> Iterator[Text]:
    """Yield the rack, the host and its GPUs: what each may draw, and what it draws."""
    budget, meter = status["budget"], status["meter"]
    drawn = meter["watts"] if meter else None
    lease = budget["lease"]
    who = status["failsafe_cause"].replace("_", " ") or "no controller"
    if lease is not None:
        who = f"{lease['source']}, {span(lease['remaining_s'])} left"
    yield _budget("rack", budget["rack_watts"], drawn, size, who)
    yield _budget("host", budget["host_watts"], None, size, f"{watts(budget['overhead_watts'])} are not GPUs")
    given = f"{watts(budget['allocated_watts'])} given"
    yield _budget("GPUs", budget["gpus_watts"], budget["draw_watts"], size, given)


def _budget(name: str, may: float, draws: float | None, size: Size, about: str) -> Text:
    cells = max(0, min(24, size.columns - _BUDGET_COLUMNS))
    scale = 0.0 if draws is None else max(may, draws)
    bar = _bar(cells, scale, draws, may, None, None) + "  " if cells else ""
    return Text(f"{name}  may {watts(may):>9}  draws {watts(draws):>9}  {bar}{about}")


def _notes(status: Document) -> Iterator[str]:
    for name, text in standing(status):
        yield f"{name}  {text}"
    for event in status["events"]:
        yield f"event {event['id']} of {event['source']}: {watts(event['cap_watts'])}"
    for name, direction in (("lends", "lent"), ("borrows", "borrowed")):
        total = sum(lease["watts"] for lease in status["leases"] if lease["direction"] == direction)
        if total:
            yield f"{name} {watts(total)}"


def _columns(size: Size) -> Text:
    texts = [f"{'GPU':>3}", f"{'draw':>7}", f"{'limit':>7}"]
    if size.columns >= _MEDIUM:
        texts.append(f"{'want':>7}")
    if size.columns >= _NARROW:
        texts.append(" " * _bar_columns(size))
    if size.columns >= _MEDIUM:
        texts.append("state")
    if size.columns >= _WIDE:
        texts.append("why")
    return Text(" ".join(texts), style="bold")


def _bar_columns(size: Size) -> int:
    """Return how many columns are left for the bar."""
    if size.columns >= _WIDE:
        return size.columns - 35 - _WHY_COLUMNS
    return size.columns - (34 if size.columns >= _MEDIUM else 21)


def _row(gpu: Document, size: Size, scale: float) -> Text:
    row = Text(f"{gpu['index']:>3} {watts(gpu['draw_watts']):>7} {watts(gpu['limit_watts']):>7}")
    if size.columns >= _MEDIUM:
        row.append(f" {watts(gpu['want_watts']):>7}")
    if size.columns >= _NARROW:
        cells = _bar_columns(size) - 1
        bar = _bar(cells, scale, gpu["draw_watts"], gpu["limit_watts"], gpu["min_watts"], gpu["want_watts"])
        row.append(f" {bar} ", style="yellow" if _is_short(gpu) else "green")
    if size.columns >= _MEDIUM:
        row.append(f" {gpu['state']:<5}", style="" if gpu["state"] == "ok" else "bold red")
    if size.columns >= _WIDE:
        row.append(f" {gpu['reason'].replace('_', ' ')}")
    return row


def _is_short(gpu: Document) -> bool:
    return None not in (gpu["want_watts"], gpu["limit_watts"]) and gpu["want_watts"] > gpu["limit_watts"]


def _scale(gpus: Sequence[Document]) -> float:
    return max((gpu["max_watts"] or gpu["draw_watts"] or 0.0 for gpu in gpus), default=0.0)


def _bar(
    cells: int,
    scale: float,
    draw: float | None,
    limit: float | None,
    floor: float | None,
    want: float | None,
) -> str:
    """Return `##:##---|  >`: the draw, the room up to the limit, its end, and what is wanted beyond it."""
    if scale <= 0 or cells <= 0:
        return " " * max(0, cells)

    def place(value: float) -> int:
        return min(cells - 1, max(0, int(value * cells / scale)))

    bar = [" "] * cells
    if limit is not None:
        bar[: place(limit)] = "-" * place(limit)
    if draw:
        bar[: place(draw) + 1] = "#" * (place(draw) + 1)
    if floor is not None:
        bar[place(floor)] = ":"
    if want is not None and (limit is None or want > limit):
        bar[place(want)] = ">"
    if limit is not None:
        bar[place(limit)] = "|"
    return "".join(bar)
