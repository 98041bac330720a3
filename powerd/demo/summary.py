"""What a demo came to: one JSON object, or a table that explains each number.

The definitions are those of `powerd.demo.scoreboard`; this is only their form.
"""

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from powerd.demo.event_record import SETTLED_AFTER_S, EventScore
from powerd.demo.rack import DemoRack
from powerd.demo.scoreboard import Scoreboard, Spread, spread


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole result.

    Attributes:
        factor: seconds of event time in one of real time; 1 without grid events.
        own_broker: the demo brought its broker.
        limit_writes: limits that were written and took effect, by the hosts' metrics.
        messages_rejected: budgets that hosts could not use, likewise.
    """

    rack: DemoRack
    scenario: str
    factor: float
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
            "event_time_factor": round(self.factor, 3),
            "events": [_event(score, rack.nominal_watts) for score in board.events],
        }

    def table(self) -> RenderableType:
        """Return the same for people."""
        it = self.document()
        table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right", style="bold")
        table.add_column(style="dim")
        for name, value, meaning in [*_rows(it), *_event_rows(it)]:
            table.add_row(name, value, meaning)
        title = (
            f"{it['hosts']} hosts x {it['gpus']} GPUs, {it['duration_s']:.0f} s, scenario {it['scenario']}, "
            f"seed {it['seed']}, broker {'embedded' if self.own_broker else it['broker']['url']}"
        )
        forbidden = [Text(FORBIDDEN, style="yellow")] if self.writes_forbidden else []
        return Group(Text(title, style="bold"), *forbidden, table)


_S_PER_MIN = 60
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


def _event(score: EventScore, nominal_watts: int) -> dict[str, Any]:
    """Return how one event was followed."""
    record, to_target_s = score.record, score.time_to_target_s
    errors_pct, slope = score.errors_pct, score.restore_watts_per_s
    slope_pct = None if slope is None else 100 * slope / nominal_watts * _S_PER_MIN / record.factor
    return {
        "name": record.call.name,
        "class": record.call.event_class.value,
        "target_watts": round(record.target_watts, 1),
        "time_to_target_s": _rounded(to_target_s, 3),
        "time_to_target_event_s": _rounded(None if to_target_s is None else to_target_s * record.factor, 1),
        "tracking_error_pct": {
            "mean": _rounded(sum(errors_pct) / len(errors_pct) if errors_pct else None, 2),
            "worst": _rounded(max(errors_pct, default=None), 2),
        },
        "overshoot_watt_seconds": round(score.overshoot_watt_s, 1),
        "rebound_watts": _rounded(score.rebound_watts, 1),
        "restore_pct_per_min": _rounded(slope_pct, 2),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _event_rows(it: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    if it["events"]:
        rows = [("event time", f"x {it['event_time_factor']:g}", "times of events are divided by it")]
    for event in it["events"]:
        errors, event_s = event["tracking_error_pct"], _or_dash(event["time_to_target_event_s"], ",.0f")
        rows += [
            (
                f"event {event['name']}",
                f"{event['target_watts']:,.0f} W",
                f"the least that it asks for; {event['class']}",
            ),
            (
                "  time to target",
                f"{_or_dash(event['time_to_target_s'], '.1f')} s",
                f"from its start, the ramp included; {event_s} s in event time",
            ),
            (
                "  tracking error",
                f"{_or_dash(errors['mean'], '.2f')} / {_or_dash(errors['worst'], '.2f')} %",
                "mean / worst distance of the draw from the target while it is held",
            ),
            (
                "  overshoot",
                f"{event['overshoot_watt_seconds']:,.1f} W s",
                "above the ramped target, counted from the moment it falls",
            ),
            (
                "  rebound",
                f"{_or_dash(event['rebound_watts'], ',.1f')} W",
                "highest draw after it, above the level before it",
            ),
            (
                "  restored at",
                f"{_or_dash(event['restore_pct_per_min'], '.2f')} %/min",
                "of the nominal budget, in event time",
            ),
        ]
    return rows


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _ms(percentiles: dict[str, float | None]) -> str:
    return " / ".join("-" if value is None else f"{value:.1f}" for value in percentiles.values()) + " ms"
