"""What `powerctl events` and `powerctl report` print for people."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from powerd.ctl.client import Document
from powerd.ctl.views.screen import watts

_VERDICTS = {
    True: ("obeyed", "bold green"),
    False: ("missed", "bold white on red"),
    None: ("not known", "bold yellow"),
}
_NUMBERS = ("target", "mean", "known", "reached", "missed", "within", "shed")


def event_list(document: Document) -> RenderableType:
    """Return one line for each event."""
    if not document["events"]:
        return Text("no grid events are held or recorded")
    table = _table("event", "class", "phase", "start", "end", "asks", "report")
    # Names may be as long as a screen is wide: they are folded, and nothing else is cut for them.
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    for event in document["events"]:
        table.add_row(
            event["id"],
            event["event_class"],
            event["phase"].replace("_", " "),
            _time(event["start"]),
            _time(event["end"]),
            event["asks"] if event["target_watts"] is None else watts(event["target_watts"]),
            "yes" if event["recorded"] else "",
        )
    return table


def event_report(document: Document) -> RenderableType:
    """Return one screen: what was asked, what came of it, and what that rests on."""
    word, style = _VERDICTS[document["compliant"]]
    head = Text.assemble((f"{document['id']}  rack {document['rack']}  {document['event_class']}  ", "bold"))
    head.append(f" {word} ", style)
    facts = Table.grid(padding=(0, 2))
    for name, text in _facts(document):
        facts.add_row(name, Text(text))
    return Group(head, "", facts, "", _intervals(document), *_doubts(document))


def _facts(document: Document) -> Iterator[tuple[str, str]]:
    ended = (
        "still in force" if document["ended"] is None else f"{_time(document['ended'])}, {document['reason']}"
    )
    yield "time", f"from {_time(document['started'])} to {ended.replace('_', ' ')}"
    before = f"mean {watts(document['before_mean_watts'])}, peak {watts(document['before_peak_watts'])}"
    yield "before", f"{before}, cap {watts(document['before_cap_watts'])}"
    shed = f"{_kwh(document['shed_against_before_kwh'])} against the ten minutes before"
    if document["shed_kwh"] is not None:
        shed = f"{_kwh(document['shed_kwh'])} against its baseline, {shed}"
    yield "shed", shed
    yield "after", f"peak {watts(document['peak_after_watts'])}, rebound {watts(document['rebound_watts'])}"
    ledger, terms = document["ledger"], document["terms"]
    judged = f"{terms['tolerance_pct']:g} % tolerance, {terms['within_pct']:g} % of the time"
    known = f"{terms['known_pct']:g} % of it known; known here: {_pct(document['known_pct'])}"
    yield "judged", f"{judged}, {known}"
    yield "ledger", f"entries {ledger['first_entry']} to {ledger['last_entry']}, {ledger['digest'][:16]}..."


def _intervals(document: Document) -> Table:
    table = _table("start", "end", *_NUMBERS[:2], "by", *_NUMBERS[2:], "")
    for part in document["intervals"]:
        table.add_row(
            _time(part["start"])[5:],
            _time(part["end"])[11:],
            watts(part["target_watts"]) if part["target_watts"] is not None else "no limit",
            watts(part["mean_watts"]),
            part["measured_by"],
            _pct(part["known_pct"]),
            _seconds(part["time_to_target_s"]),
            watts(part["missed_watts"]),
            _pct(part["within_pct"]),
            _kwh(part["shed_kwh"]),
            Text(*_VERDICTS[part["compliant"]]) if part["target_watts"] is not None else "",
        )
    return table


def _doubts(document: Document) -> Iterator[Text]:
    """Yield what makes the report worth less than it looks."""
    ledger = document["ledger"]
    found = {
        f"powerd ran in {' and '.join(document['modes'])}: only enforce obeys": document["modes"]
        and document["modes"] != ["enforce"],
        "an event of one host: the draw of the rack does not show whether it was obeyed": document["scope"]
        == "host",
        f"the wall clock was set {document['clock_steps']} times meanwhile": document["clock_steps"],
        f"{document['lost_entries']} entries could not be written": document["lost_entries"],
        "it is longer than one report: the later part is not in here": ledger["cut"],
        "THE LEDGER WAS CHANGED AFTER IT WAS WRITTEN": not ledger["intact"],
    }
    return (Text(f"! {text}", style="yellow") for text, is_so in found.items() if is_so)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=True)
    return table


def _time(stamp: str | None) -> str:
    """Return `2026-11-21 17:00:00`, which is UTC; open is a dash."""
    return "-" if stamp is None else stamp[:19].replace("T", " ")


def _pct(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} s"


def _kwh(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} kWh"
