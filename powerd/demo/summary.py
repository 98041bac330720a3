"""What a demo came to: one JSON object, or a table that explains each number.

The definitions are those of `powerd.demo.scoreboard`; this is only their form.
"""

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from powerd.demo.rack import DemoRack
from powerd.demo.scoreboard import SETTLED_AFTER_S, Scoreboard, Spread, spread


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole result.

    Attributes:
        own_broker: the demo brought its broker.
        limit_writes: limits that were written and took effect, by the hosts' metrics.
        messages_rejected: budgets that hosts could not use, likewise.
    """

    rack: DemoRack
    scenario: str
    end_boot_s: float
    own_broker: bool
    scoreboard: Scoreboard
    limit_writes: int
    messages_rejected: int
    writes_forbidden: bool

    @property
    def duration_s(self) -> float:
        """Return the seconds from the first budget to the end; 0 if there was none."""
        return max(0.0, self.end_boot_s - self.scoreboard.budgets.start_s)

    def document(self) -> dict[str, Any]:
        """Return the JSON object of `--json`. Unknown is null."""
        board, rack = self.scoreboard, self.rack
        low, high = board.budgets.extremes_watts(self.end_boot_s)
        # Without limits there is nothing to compare.
        ratio = None if self.writes_forbidden else board.work_vs_uniform
        recovered_wh = None if self.writes_forbidden else round(board.recovered_wh, 3)
        return {
            "scenario": self.scenario,
            "seed": rack.seed,
            "broker": {"url": rack.broker_url, "embedded": self.own_broker},
            "hosts": rack.hosts,
            "gpus": rack.gpus,
            "duration_s": round(self.duration_s, 1),
            "nominal_watts": rack.nominal_watts,
            "failsafe_watts": rack.failsafe_watts,
            "budget_watts": {"min": low, "max": high},
            "peak_watts": round(board.peak_watts, 1),
            "exceeded_watt_seconds": round(board.exceeded_watt_s, 1),
            "exceeded_after_reaction_watt_seconds": round(board.exceeded_after_reaction_watt_s, 1),
            "reaction_ms": _percentiles(spread(board.reactions_ms)),
            "reaction_in_host_ms": _percentiles(spread(board.reactions_in_host_ms)),
            "crossed_watt_hours": round(board.crossed_wh, 3),
            "crossed_used_watt_hours": round(board.crossed_used_wh, 3),
            "recovered_wh": recovered_wh,
            "work_vs_uniform": None if ratio is None else round(ratio, 4),
            "limit_writes": self.limit_writes,
            "failsafe_entries": board.failsafe_entries,
            "messages_rejected": self.messages_rejected,
            "writes_forbidden": self.writes_forbidden,
        }

    def table(self) -> RenderableType:
        """Return the same for people."""
        it = self.document()
        table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right", style="bold")
        table.add_column(style="dim")
        for name, value, meaning in _rows(it):
            table.add_row(name, value, meaning)
        title = (
            f"{it['hosts']} hosts x {it['gpus']} GPUs, {it['duration_s']:.0f} s, scenario {it['scenario']}, "
            f"seed {it['seed']}, broker {'embedded' if self.own_broker else it['broker']['url']}"
        )
        forbidden = [Text(FORBIDDEN, style="yellow")] if self.writes_forbidden else []
        return Group(Text(title, style="bold"), *forbidden, table)


FORBIDDEN = "POWERD_FORBID_WRITES is set: hosts decided, and nothing was written."


def _percentiles(values: Spread) -> dict[str, float | None]:
    return {"p50": values.p50, "p99": values.p99, "max": values.max}


def _rows(it: dict[str, Any]) -> list[tuple[str, str, str]]:
    budget = it["budget_watts"]
    gain = "-" if it["work_vs_uniform"] is None else f"{it['work_vs_uniform']:.3f} x"
    recovered = "-" if it["recovered_wh"] is None else f"{it['recovered_wh']:,.2f} Wh"
    return [
        ("budget", f"{budget['min']:,.0f} to {budget['max']:,.0f} W", "lowest and highest in force"),
        ("peak", f"{it['peak_watts']:,.0f} W", "highest draw of the rack, overhead included"),
        (
            "above budget",
            f"{it['exceeded_watt_seconds']:,.1f} W s",
            "counted from the moment a lower budget is published",
        ),
        (
            "  once settled",
            f"{it['exceeded_after_reaction_watt_seconds']:,.1f} W s",
            f"the same without the first {SETTLED_AFTER_S:g} s after each cut",
        ),
        (
            "reaction",
            _ms(it["reaction_ms"]),
            "p50 / p99 / max, cut published to last limit read back",
        ),
        ("  in the host", _ms(it["reaction_in_host_ms"]), "the same from when the host had received it"),
        ("crossed hosts", f"{it['crossed_watt_hours']:,.2f} Wh", "lent by hosts that did not want them"),
        ("  used", f"{it['crossed_used_watt_hours']:,.2f} Wh", "drawn by borrowers above their own share"),
        ("recovered", recovered, "drawn by GPUs above what static equal caps allow"),
        ("work", gain, "done, against static equal caps on the same loads"),
        ("limit writes", f"{it['limit_writes']:,}", "confirmed by read-back"),
        ("failsafe entries", f"{it['failsafe_entries']}", "one per host each time a lease runs out"),
        ("messages rejected", f"{it['messages_rejected']}", ""),
    ]


def _ms(percentiles: dict[str, float | None]) -> str:
    return " / ".join("-" if value is None else f"{value:.1f}" for value in percentiles.values()) + " ms"
