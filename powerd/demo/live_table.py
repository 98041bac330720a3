"""What the demo shows while it runs: one line per host and one for the rack; off a terminal, plain lines."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from powerd.demo.facility import Facility
from powerd.demo.grid_bridge import GridBridge
from powerd.demo.observation import GpuView, HostView
from powerd.demo.rack import DemoRack
from powerd.demo.scoreboard import Scoreboard

_LEVELS = "▁▂▃▄▅▆▇█"
_PLAIN_LEVELS = "12345678"
_COLOURS = {"idle": "bright_black", "busy": "green", "capped": "yellow", "waking": "cyan"}
_STATE_STYLES = {"limited": "green", "failsafe": "bold white on red", "init": "yellow"}
_COUNTED = ("idle", "waking", "busy", "capped")
# What a line takes without its bars.
_COLUMNS_WITHOUT_BARS = 82
_PROBLEMS_SHOWN = 3


class Display:
    """Makes what is shown out of what is known.

    Args:
        console: decides about colours, width, and which characters can be used.
    """

    def __init__(
        self, console: Console, rack: DemoRack, facility: Facility, bridge: GridBridge, board: Scoreboard
    ) -> None:
        self._rack = rack
        self._facility = facility
        self._bridge = bridge
        self._board = board
        self._levels = _LEVELS if console.encoding.lower().startswith("utf") else _PLAIN_LEVELS
        self._bars = console.width >= _COLUMNS_WITHOUT_BARS + 2 * (rack.gpus + 2)

    def screen(self, boot_s: float) -> RenderableType:
        """Return the whole picture."""
        latest = self._board.latest
        hosts = [latest[name] for name in self._rack.host_names if name in latest]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for name in ("host", "state"):
            table.add_column(name, no_wrap=True)
        for name in ("lent", "borrowed", "may draw", "draws"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in _COUNTED:
            table.add_column(Text(name, style=f"bold {_COLOURS[name]}"), justify="right", no_wrap=True)
        if self._bars:
            table.add_column("limits", no_wrap=True)
            table.add_column("draw", no_wrap=True)
        for host in hosts:
            table.add_row(*self._row(host))
        line = Text(self.line(boot_s), style="bold")
        waits = (Text(f"  {text}") for text in _waits(hosts))
        news = Text("\n".join([self.news(boot_s), *self.grid_news(boot_s)]))
        return Group(table, line, news, *waits, *_problems(hosts))

    def line(self, boot_s: float) -> str:
        """Return the rack in one line."""
        hosts = self._board.latest.values()
        budget_watts = self._board.budgets.at(boot_s)
        worst_watts = sum(host.worst_case_watts for host in hosts)
        draw_watts = sum(host.draw_watts for host in hosts)
        borrowed_watts = sum(host.borrowed_watts for host in hosts)
        asked_watts = self._board.asked_watts(boot_s)
        event = f"   event {asked_watts:,.0f} W" if asked_watts < math.inf else ""
        return (
            f"rack   {self._elapsed(boot_s)}  budget {budget_watts:,.0f} W "
            f"({100 * budget_watts / self._rack.nominal_watts:.0f} %){event}   draws {draw_watts:,.0f} W   "
            f"worst case {worst_watts:,.0f} W   borrowed {borrowed_watts:,.0f} W"
        )

    def counts(self) -> str:
        """Return what the GPUs of the rack do, in one line."""
        gpus = [gpu for host in self._board.latest.values() for gpu in host.gpus]
        counted = Counter(gpu.demand for gpu in gpus)
        states = Counter(host.state for host in self._board.latest.values())
        texts = [f"{number} {name}" for name, number in [*states.items(), *sorted(counted.items())]]
        return "  ".join([*texts, *_waits(self._board.latest.values())])

    def news(self, boot_s: float) -> str:
        """Return what happened last: the budget and the reaction to it, or the silence."""
        phase, budgets = self._facility.phase, self._board.budgets
        if phase is None:
            return "facility: nothing said yet, so hosts are at the failsafe budget"
        if self._facility.trouble:
            return f"facility: cannot publish: {self._facility.trouble}"
        if phase.pct is None:
            left_s = budgets.end_s - boot_s
            if left_s > 0:
                return f"facility: silent; its last lease ends in {left_s:.0f} s"
            return f"facility: silent; its lease is over: failsafe, {self._rack.failsafe_watts:,} W"
        watts = self._rack.budget_watts(phase.pct)
        return f"facility: {phase.pct} % of nominal, {watts:,} W{self._followed(watts)}"

    def grid_news(self, boot_s: float) -> Iterable[str]:
        """Say of each grid event what it asks for, and when."""
        if self._bridge.trouble:
            yield f"grid: cannot publish: {self._bridge.trouble}"
        for score in self._board.events:
            record = score.record
            level_watts = record.level_watts(boot_s)
            if boot_s < record.start_boot_s:
                yield f"grid: {record.call.name} begins in {record.start_boot_s - boot_s:.0f} s"
            elif level_watts < math.inf:
                way = "asks for" if boot_s < record.end_boot_s else "is over, on the way back at"
                yield f"grid: {record.call.name}, {record.call.event_class}, {way} {level_watts:,.0f} W"

    def _followed(self, budget_watts: float) -> str:
        """Return how the hosts follow the budget: at once down, slowly up."""
        lowest_watts = min((host.rack_watts for host in self._board.latest.values()), default=math.inf)
        if lowest_watts < budget_watts:
            return f"; hosts climb, now at {lowest_watts:,.0f} W"
        cut = self._board.cut
        if cut is None or cut.watts != budget_watts or not cut.reactions_ms:
            return ""
        return f"; {len(cut.reactions_ms)} hosts cut, read back after {max(cut.reactions_ms):.1f} ms"

    def _elapsed(self, boot_s: float) -> str:
        return f"{max(0.0, boot_s - self._board.budgets.start_s):4.0f} s"

    def _row(self, host: HostView) -> Iterable[RenderableType]:
        counted = Counter(gpu.demand for gpu in host.gpus)
        yield host.host
        yield Text(host.state, style=_STATE_STYLES.get(host.state, ""))
        yield f"{host.lent_watts:,.0f} W" if host.lent_watts else ""
        yield f"{host.borrowed_watts:,.0f} W" if host.borrowed_watts else ""
        yield f"{host.cap_watts:,.0f} W"
        yield f"{host.draw_watts:,.0f} W"
        yield from (str(counted[name]) for name in _COUNTED)
        if self._bars:
            yield self._bar(host.gpus, [gpu.limit_watts for gpu in host.gpus])
            yield self._bar(host.gpus, [gpu.draw_watts for gpu in host.gpus])

    def _bar(self, gpus: Sequence[GpuView], watts: Sequence[float]) -> Text:
        """Return one character per GPU: its height is watts, its colour what the GPU does."""
        bar = Text()
        for gpu, value in zip(gpus, watts, strict=True):
            level = int(value / gpu.max_watts * len(self._levels))
            bar.append(self._levels[min(level, len(self._levels) - 1)], _COLOURS.get(gpu.demand, "red"))
        return bar


def _waits(hosts: Iterable[HostView]) -> Iterable[str]:
    """Say which hosts are at their floor because they have just started, and for how long."""
    waiting = {host.host: host.waits_s for host in hosts if host.waits_s is not None}
    if waiting:
        names, left_s = " ".join(sorted(waiting)), max(waiting.values())
        yield f"{names}: at the floor for {left_s:.0f} s, in case of leases from before the start"


def _problems(hosts: Iterable[HostView]) -> Iterable[Text]:
    """Name each problem once, with the hosts that have it."""
    having: dict[str, list[str]] = {}
    for host in hosts:
        for problem in host.problems:
            having.setdefault(problem, []).append(host.host)
    for problem, names in list(having.items())[:_PROBLEMS_SHOWN]:
        yield Text(f"! {' '.join(names)}: {problem}", style="yellow", no_wrap=True, overflow="ellipsis")
