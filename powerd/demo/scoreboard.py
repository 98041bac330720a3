"""Adds up what the demo shows: draw against budget, reaction times, work, and watts that were not stranded.

Everything is measured from outside, from what hosts report, against the budgets as the facility sent them.
Nothing before the first budget counts. Pure arithmetic on the times it is given, boot clock seconds.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from powerd.core.units import MilliWatts, milliwatts
from powerd.demo.budget_record import BudgetRecord
from powerd.demo.event_record import BEFORE_S, SETTLED_AFTER_S, EventRecord, EventScore
from powerd.demo.observation import HostView
from powerd.snapshot import Reaction

STEP_S = 0.05
# A demo that goes on until Ctrl-C remembers the last events only.
MAX_EVENTS = 32
_S_PER_H = 3600

# Work per second that (host, GPU) does under a limit at a moment.
Work = Callable[[str, int, MilliWatts, float], float]


class RackDraw:
    """The draw of a rack whose hosts are sampled at different moments.

    Between two samples the higher one counts: a cut is not counted as obeyed before a sample shows it.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._tracks: dict[str, deque[tuple[float, float]]] = {host: deque() for host in hosts}
        self._start_s: float | None = None
        self._steps = 0

    def add(self, host: str, boot_s: float, watts: float) -> list[tuple[float, float]]:
        """Take in a sample; return (moment, rack watts) every `STEP_S`, as far as all hosts are known."""
        track = self._tracks[host]
        if not track or boot_s > track[-1][0]:
            track.append((boot_s, watts))
        if not all(self._tracks.values()):
            return []
        if self._start_s is None:
            self._start_s = max(track[0][0] for track in self._tracks.values())
        known_until_s = min(track[-1][0] for track in self._tracks.values())
        points = []
        while (at_s := self._start_s + self._steps * STEP_S) <= known_until_s:
            points.append((at_s, sum(_at(track, at_s) for track in self._tracks.values())))
            self._steps += 1
        return points


def _at(track: deque[tuple[float, float]], boot_s: float) -> float:
    """Return a track's value, and drop what lies before it: moments are asked for in order."""
    while len(track) > 1 and track[1][0] <= boot_s:
        track.popleft()
    at_s, watts = track[0]
    return watts if at_s == boot_s or len(track) == 1 else max(watts, track[1][1])


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles by nearest rank; None where nothing was measured."""

    p50: float | None
    p99: float | None
    max: float | None


def spread(values: Sequence[float]) -> Spread:
    """Return the percentiles of some values."""
    ranked = sorted(values)
    if not ranked:
        return Spread(None, None, None)
    return Spread(*(round(ranked[-(-len(ranked) * pct // 100) - 1], 3) for pct in (50, 99, 100)))


@dataclass(slots=True)
class Cut:
    """A budget that was lowered, or an event that lowers at once, and the hosts that have to follow.

    Attributes:
        reactions_ms: of the hosts that had limits to lower: published until last cut read back.
    """

    watts: float
    published_boot_s: float
    waiting: set[str]
    reactions_ms: list[float] = field(default_factory=list)


class Scoreboard:
    """Takes in budgets and host reports as they come.

    Args:
        failsafe_watts: in force when no budget is.
        work: for the comparison with equal caps.

    Attributes:
        events: how each of the last grid events was followed, in the order in which they were published.
        cut: the latest one; None before the first.
        peak_watts: highest draw of the rack, overhead included.
        exceeded_watt_s: draw above the budget in force, from the very moment that one was published; rather
            too much than too little, see `RackDraw`.
        exceeded_after_reaction_watt_s: the same without the first `SETTLED_AFTER_S` after each cut.
        crossed_watt_s: what hosts might draw of other hosts' watts: the sum of what was borrowed.
        crossed_used_watt_s: what they drew of that, above their own share.
        recovered_watt_s: what GPUs drew above an equal part of their host's share: watts that static equal
            caps would have stranded at idle neighbours, on the same host or another.
        work, work_uniform: work done under the limits in effect, and under static equal caps on the same
            loads and budgets; one unit is a second of one GPU without a limit.
        failsafe_entries: times that a host entered failsafe, all hosts together.
        reactions_ms: of all cuts, as in `Cut`; facility and hosts are on one machine, so on one boot clock.
        reactions_in_host_ms: the same from the moment at which the host had received the message.
    """

    def __init__(self, hosts: Sequence[str], failsafe_watts: float, work: Work) -> None:
        self.budgets = BudgetRecord(failsafe_watts)
        self.events: list[EventScore] = []
        self._draw = RackDraw(hosts)
        self._recent: deque[tuple[float, float]] = deque(maxlen=round(BEFORE_S / STEP_S))
        self._work_of = work
        self.latest: dict[str, HostView] = {}
        self.cut: Cut | None = None
        self._call: Cut | None = None
        self.peak_watts = 0.0
        self.exceeded_watt_s = 0.0
        self.exceeded_after_reaction_watt_s = 0.0
        self.crossed_watt_s = 0.0
        self.crossed_used_watt_s = 0.0
        self.recovered_watt_s = 0.0
        self.work = 0.0
        self.work_uniform = 0.0
        self.failsafe_entries = 0
        self.reactions_ms: list[float] = []
        self.reactions_in_host_ms: list[float] = []

    def publish(self, boot_s: float, watts: float, lease_s: float) -> None:
        """Take in a budget that the facility is about to send."""
        if self.budgets.publish(boot_s, watts, lease_s):
            self.cut = Cut(watts, boot_s, set(self.latest))

    def announce(self, record: EventRecord) -> None:
        """Take in an event that the grid bridge is about to send."""
        self.events = [*self.events[-MAX_EVENTS + 1 :], EventScore(record, STEP_S, self._recent)]
        if record.told_boot_s >= record.start_boot_s:  # without notice: a cut like that of a budget
            self._call = Cut(record.target_watts, record.told_boot_s, set(self.latest))

    def asked_watts(self, boot_s: float) -> float:
        """Return what grid events let the rack draw; infinity without one."""
        return min((score.record.level_watts(boot_s) for score in self.events), default=math.inf)

    def add(self, view: HostView) -> None:
        """Take in what a host reports."""
        before = self.latest.get(view.host)
        self.latest[view.host] = view
        if before is not None and before.received_boot_s >= self.budgets.start_s:
            self._tally(before, view.received_boot_s)
            self.failsafe_entries += before.state != "failsafe" and view.state == "failsafe"
        self._react(view)
        for boot_s, watts in self._draw.add(view.host, view.sampled_boot_s, view.draw_watts):
            if boot_s >= self.budgets.start_s:
                self._weigh(boot_s, watts)

    @property
    def work_vs_uniform(self) -> float | None:
        """Return the work done, as a multiple of what static equal caps would have done."""
        return self.work / self.work_uniform if self.work_uniform else None

    @property
    def recovered_wh(self) -> float:
        """Return the recovered energy in watt-hours."""
        return self.recovered_watt_s / _S_PER_H

    @property
    def crossed_wh(self) -> float:
        """Return what was borrowed in watt-hours."""
        return self.crossed_watt_s / _S_PER_H

    @property
    def crossed_used_wh(self) -> float:
        """Return what was drawn of it in watt-hours."""
        return self.crossed_used_watt_s / _S_PER_H

    def _weigh(self, boot_s: float, watts: float) -> None:
        self.peak_watts = max(self.peak_watts, watts)
        self._recent.append((boot_s, watts))
        excess_watt_s = max(0.0, watts - self.budgets.at(boot_s)) * STEP_S
        self.exceeded_watt_s += excess_watt_s
        if self.budgets.since_cut_s(boot_s) >= SETTLED_AFTER_S:
            self.exceeded_after_reaction_watt_s += excess_watt_s
        for score in self.events:
            others = [other.record.level_watts(boot_s) for other in self.events if other is not score]
            score.weigh(boot_s, watts, min([self.budgets.at(boot_s), *others]))

    def _react(self, view: HostView) -> None:
        cut, call, reaction = self.cut, self._call, view.reaction
        if cut is not None and view.host in cut.waiting and view.lease_watts == cut.watts:
            cut.waiting.remove(view.host)
            if reaction is not None and reaction.received_boot_s >= cut.published_boot_s:
                self._time(cut, reaction)
        if call is None or view.host not in call.waiting or reaction is None:
            return
        if reaction.received_boot_s >= call.published_boot_s:
            call.waiting.remove(view.host)
            self._time(call, reaction)

    def _time(self, cut: Cut, reaction: Reaction) -> None:
        took_ms = (reaction.last_cut_boot_s - cut.published_boot_s) * 1000
        cut.reactions_ms.append(took_ms)
        self.reactions_ms.append(took_ms)
        self.reactions_in_host_ms.append(reaction.seconds * 1000)

    def _tally(self, view: HostView, until_boot_s: float) -> None:
        """Add up the time for which a report was the latest of its host."""
        elapsed_s = until_boot_s - view.received_boot_s
        middle_boot_s = view.received_boot_s + elapsed_s / 2
        above_share_watts = max(0.0, view.draw_watts - view.share_watts)
        self.crossed_watt_s += view.borrowed_watts * elapsed_s
        self.crossed_used_watt_s += min(view.borrowed_watts, above_share_watts) * elapsed_s
        equal_watts = (view.share_watts - view.overhead_watts) / max(1, len(view.gpus))
        for index, gpu in enumerate(view.gpus):
            uniform_watts = min(max(equal_watts, gpu.min_watts), gpu.max_watts)
            limits_mw = milliwatts(gpu.limit_watts), milliwatts(uniform_watts)
            done, done_uniform = (self._work_of(view.host, index, mw, middle_boot_s) for mw in limits_mw)
            self.work += done * elapsed_s
            self.work_uniform += done_uniform * elapsed_s
            self.recovered_watt_s += max(0.0, gpu.draw_watts - uniform_watts) * elapsed_s
