"""What `powerctl` prints for people. Everything shown comes from a status or explain document."""

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from powerd.ctl.checks import ExitCode
from powerd.ctl.client import Document
from powerd.ctl.reasons import Why
from powerd.ctl.views.orders import standing

_BAR_CELLS = 20
_OFF_TERMINAL_COLUMNS = 120
# What the table of GPUs needs with all its columns.
_WIDE_COLUMNS = 115
STYLES = {
    ExitCode.OK: "bold green",
    ExitCode.DEGRADED: "bold yellow",
    ExitCode.FAILSAFE: "bold white on red",
}


def console() -> Console:
    """Return where to print: no colour off a terminal, and there a width that cuts nothing."""
    plain = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    if plain.is_terminal:
        return plain
    return Console(highlight=False, markup=False, emoji=False, no_color=True, width=_OFF_TERMINAL_COLUMNS)


def status_screen(status: Document, code: ExitCode, reasons: Sequence[str], columns: int) -> RenderableType:
    """Return one screen of so many columns: state, budget chain, GPUs, what is wrong."""
    return Group(
        _headline(status, code),
        "",
        _facts(status),
        "",
        _gpus(status["gpus"], is_wide=columns >= _WIDE_COLUMNS),
        *(Text(f"! {reason}", style="yellow") for reason in reasons),
    )


def explanation(document: Document, why: Why) -> RenderableType:
    """Return the paragraph about one GPU, and its chain as a table; the rule that binds stands out."""
    table = _table("level", "watts", "rule", "source", "note", "until")
    for step in document["steps"]:
        until = "" if step["remaining_s"] is None else f"{step['remaining_s']:.0f} s"
        rule, style = step["rule"].replace("_", " "), "bold" if step["rule"] == why.rule else None
        table.add_row(
            step["scope"], watts(step["watts"]), rule, step["source"], step["note"], until, style=style
        )
    head = Text(f"GPU {document['index']}  {document['name']}  {document['uuid']}", style="bold")
    return Group(head, "", Text(why.text), "", table)


def watts(value: float | None) -> str:
    """Return watts for people; unknown is a dash, never a zero."""
    return "-" if value is None else f"{value:,.0f} W"


def _headline(status: Document, code: ExitCode) -> Text:
    place = f"{status['host']}  rack {status['rack']}  site {status['site']}  {status['mode']}  "
    return Text.assemble((place, "bold"), (f" {status['state']} ", STYLES[code]))


def _facts(status: Document) -> RenderableType:
    """Return budget, chain and GPUs, one line each, and what passes between the hosts of the rack."""
    budget = status["budget"]
    steps = [f"{step['rule'].replace('_', ' ')} {watts(step['watts'])}" for step in _last_of_each(budget)]
    lease = budget["lease"]
    if lease is None:
        held = "no controller's budget is in force"
    else:
        asked = "no limit" if lease["watts"] is None else watts(lease["watts"])
        held = f"{lease['source']} {asked}, {lease['remaining_s']:.0f} s left (message {lease['seq']})"
    table = Table.grid(padding=(0, 2))
    table.add_row("lease", held)
    table.add_row("chain", Text(" > ".join(steps)))
    table.add_row(
        "GPUs",
        f"may draw {watts(budget['gpus_watts'])}, given {watts(budget['allocated_watts'])}, "
        f"draw {watts(budget['draw_watts'])}",
    )
    accounting = status["accounting"]
    if accounting["mode"] == "measured":
        text = (
            f"measured: up to {watts(accounting['worst_excess_watts'])} above that if idle GPUs wake, "
            f"for {accounting['worst_excess_s']:g} s at the most"
        )
        table.add_row("accounting", Text(text))
    for name, text in (*standing(status), *_grid(status), *_between_hosts(status)):
        table.add_row(name, Text(text))
    return table


def _last_of_each(budget: Document) -> Iterator[Document]:
    """Yield the last step of each rule: a host may lend to many others."""
    steps = budget["chain"]
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        if after is None or after["rule"] != step["rule"]:
            yield step


def event_line(event: Document) -> str:
    """Return what an event with a say asks for now, and until when."""
    name, cap = f"{event['id']} of {event['source']}", watts(event["cap_watts"])
    if event["phase"] == "restoring":
        return f"{name}: over, on the way back at {cap}"
    asks = "no limit"
    if event["target_watts"] is not None:
        asks = f"down to {watts(event['target_watts'])}, now {cap}"
    return f"{name}: {asks}, until {event['ends'] or 'cancelled'}"


def _grid(status: Document) -> Iterator[tuple[str, str]]:
    """Yield what the grid asks for, and what the rack draws where a meter tells."""
    for event in status["events"]:
        yield "event", event_line(event)
    meter = status["meter"]
    if meter is not None and meter["parts"]:
        amiss = [part["name"] for part in meter["parts"] if not part["usable"]]
        trim = f", budget trimmed by {watts(meter['trim_watts'])}" if meter["trim_watts"] else ""
        silent = (
            f"nothing usable of {', '.join(amiss)}: no raises"
            if amiss
            else f"rack draws {watts(meter['watts'])}"
        )
        yield "meter", f"{silent}{trim}"


def _between_hosts(status: Document) -> Iterator[tuple[str, str]]:
    """Yield what is lent and borrowed, and which hosts are not as they should be."""
    lending = status["lending"]
    if lending is None:
        return
    for direction, name, way in (("lent", "lends", "to"), ("borrowed", "borrows", "from")):
        leases = [
            f"{watts(lease['watts'])} {way} {lease['host']} ({lease['remaining_s']:.0f} s)"
            for lease in status["leases"]
            if lease["direction"] == direction
        ]
        if leases:
            yield name, ", ".join(leases)
    if lending["given_up_watts"]:
        yield "gives up", f"{watts(lending['given_up_watts'])} for hosts that may follow a higher budget"
    if lending["obstacle"]:
        left_s = lending["memory_lost_s"]
        floor = "" if left_s is None else f": at its floor for at least {left_s:.0f} s more"
        yield "no leases", f"{lending['obstacle']}{floor}"
    peers = status["peers"]
    amiss = [f"{peer['host']} {text}" for peer in peers if (text := _amiss(peer))]
    yield "peers", ", ".join([f"{sum(peer['live'] for peer in peers)} of {len(peers)} live", *amiss])


def _amiss(peer: Document) -> str:
    """Return what keeps another host from lending and borrowing; empty if nothing does."""
    if peer["age_s"] is None:
        return "never heard"
    if not peer["live"]:
        return f"silent for {peer['age_s']:.0f} s"
    if not peer["roster_agrees"]:
        return "has another [rack]"
    return "" if peer["taking_part"] else "takes no part"


def _gpus(gpus: Sequence[Document], *, is_wide: bool) -> Table:
    """Return the table of GPUs; a narrow one is without names and bars."""
    names = ("GPU", "name", "draw", "limit", "enforced", "range", "", "state", "why")
    shown = [name for name in names if is_wide or name not in ("name", "")]
    table = _table(*shown)
    scale = max([gpu["max_watts"] or 0 for gpu in gpus], default=0)
    for gpu in gpus:
        cells = {
            "GPU": str(gpu["index"]),
            "name": gpu["name"].removeprefix("NVIDIA "),
            "draw": watts(gpu["draw_watts"]),
            "limit": watts(gpu["limit_watts"]),
            "enforced": watts(gpu["enforced_watts"]),
            "range": f"{watts(gpu['min_watts'])} to {watts(gpu['max_watts'])}",
            "": _bar(gpu["draw_watts"], gpu["limit_watts"], scale),
            "state": Text(gpu["state"], style="" if gpu["state"] == "ok" else "bold red"),
            "why": gpu["reason"].replace("_", " "),
        }
        table.add_row(*(cells[name] for name in shown))
    return table


def _bar(draw: float | None, limit: float | None, scale: float) -> str:
    """Return `####  |   `: the draw as cells, the limit as a line."""
    cells = ["#" if (draw or 0) * _BAR_CELLS > i * scale else "." for i in range(_BAR_CELLS)]
    if limit is not None and scale > 0:
        cells[min(_BAR_CELLS - 1, max(0, int(limit * _BAR_CELLS / scale)))] = "|"
    return "".join(cells)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    numbers = ("watts", "draw", "limit", "enforced", "range")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=name != "note")
    return table
