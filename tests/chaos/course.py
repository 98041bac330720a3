"""A run of chaos: faults that begin at random and overlap, and now and then a calm in which all must be well.

What is broken, how and for how long follows from a seed; at which moment it strikes a process does not.
"""

import contextlib
import http.client
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.chaos.catalogue import ALL, Kind, choose
from tests.chaos.faults import Fault
from tests.chaos.health import Health
from tests.chaos.observer import Observer
from tests.chaos.signal_faults import SquareWave
from tests.chaos.stage import Span, Stage
from tests.daemon.rack import entitlement_mw
from tests.daemon.waiting import boot_s

MOST_AT_ONCE = 6
_GAP_S = (0.2, 2.5)
CALM_EVERY_S = 60.0
# After faults that overlapped several waits may follow one another; single ones are the benchmark's business.
CALM_WITHIN_S = 90.0
CALM_WATTS = 7200.0
_BUDGET_EVERY_S = (3.0, 12.0)
_LOADS_EVERY_S = (1.0, 4.0)
_LOOK_EVERY_S = 0.1
_JUDGE_EVERY_S = 1.0
_TICK_S = 0.01
_TOLD_S = 30.0


class NotInControlError(Exception):
    """The rack did not come back under control."""


@dataclass
class Active:
    """A fault that was begun."""

    fault: Fault
    end_boot_s: float
    spans: list[Span]
    ended: bool = False


@dataclass
class Tally:
    """What was done, and what came of it.

    Attributes:
        done: how often each kind of fault began.
        together: the most faults at once.
        on_lease: faults that began while some host might draw more than its own.
        back_s: by calm, seconds from the end of all faults until every host obeyed a new budget.
        diary: what happened, with its time.
    """

    done: Counter[str] = field(default_factory=Counter)
    together: int = 0
    on_lease: int = 0
    back_s: list[float] = field(default_factory=list)
    diary: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=2000))


class Course:
    """Chaos over a rack that is ready and at rest.

    A lower budget leaves a rack time until it counts as its bound. So between every other two calms budgets
    climb only: then the bound is the newest one, and everything that is used twice shows.

    Args:
        kinds: the faults that may happen.
        falls: between the other calms budgets jump, up and down.

    Attributes:
        begun_boot_s: when it began.
        problems: every violation of what is promised, in words.
        before_first: what happened in the 30 s before the first of them was seen.
        messages: heard on the bus.
    """

    def __init__(self, stage: Stage, seed: int, kinds: tuple[Kind, ...] = ALL, *, falls: bool = True) -> None:
        self.stage = stage
        self.seed = seed
        self.tally = Tally()
        self.observer = Observer(stage)
        self.health = Health(stage)
        self.problems: list[str] = []
        self.before_first: list[str] = []
        self.begun_boot_s = boot_s()
        self.messages = 0
        self._kinds = kinds
        self._falls = falls
        # One for each thing that goes on, so that no delay of one changes another.
        self._randoms = {
            name: Random(f"{seed} {name}") for name in ("strike", "budget", "loads", "look", "judge")
        }
        self._strikes = 0
        self._active: list[Active] = []
        self._due: dict[str, float] = {}
        self._is_calm = False
        self._ear = self._listening()

    def run(
        self, seconds: float, *, strikes: float = math.inf, told: Callable[[], None] = lambda: None
    ) -> None:
        """Break things for so long, or so many of them, with a calm every minute and one at the end.

        Args:
            told: called after each calm.

        Raises:
            NotInControlError: the rack did not come back; it is among the problems too.
        """
        end_boot_s = self.begun_boot_s + seconds
        while boot_s() < end_boot_s and self.tally.done.total() < strikes:
            next_calm_boot_s = min(end_boot_s, boot_s() + CALM_EVERY_S)
            while boot_s() < next_calm_boot_s and self.tally.done.total() < strikes:
                self._turn()
            self.calm()
            told()

    def close(self) -> None:
        """End what is under way."""
        for active in self._active:
            with contextlib.suppress(Exception):
                active.fault.end()
        self._ear.loop_stop()

    def calm(self) -> None:
        """Let every fault end, and wait until every host obeys a new budget."""
        self._is_calm = True
        self._note("calm")
        begun_boot_s = boot_s()
        self._turn_until(lambda: not self._active, begun_boot_s, "the end of all faults")
        ended_boot_s = boot_s()
        self.stage.controller.is_silent = False
        self.stage.controller.watts = CALM_WATTS
        self.stage.rack.busy(*self.stage.hosts)
        self.stage.controller.publish()
        self._turn_until(self._is_in_control, ended_boot_s, "a new budget obeyed by every host")
        self.tally.back_s.append(boot_s() - ended_boot_s)
        self._note(f"in control again after {self.tally.back_s[-1]:.1f} s")
        self._report(self.health.weigh())
        self._is_calm = False

    def _is_in_control(self) -> bool:
        """Say whether every host is at its own part of the calm's budget, by the GPUs themselves."""
        own_mw = entitlement_mw(CALM_WATTS)
        return all(self.stage.rack.is_at(name, own_mw) for name in self.stage.hosts)

    def _turn_until(self, condition: Callable[[], bool], since_boot_s: float, what: str) -> None:
        while not condition():
            if boot_s() > since_boot_s + CALM_WITHIN_S:
                rest = "; ".join(active.fault.what() for active in self._active)
                limits = {name: self.stage.rack.worst_mw(name) / 1000 for name in self.stage.hosts}
                self._report([f"{boot_s():.3f}: not within {CALM_WITHIN_S:g} s: {what} ({rest}) {limits}"])
                raise NotInControlError(self.problems[-1])
            self._turn()

    def _turn(self) -> None:
        """Do what is due."""
        self.stage.controller.renew_when_due()
        if not self._is_calm:
            self._when_due("strike", _GAP_S, self._strike)
            self._when_due("budget", _BUDGET_EVERY_S, self._change_budget)
            self._when_due("loads", _LOADS_EVERY_S, self._change_loads)
        self._when_due("look", (_LOOK_EVERY_S, _LOOK_EVERY_S), self._look)
        self._when_due("judge", (_JUDGE_EVERY_S, _JUDGE_EVERY_S), self._judge)
        time.sleep(_TICK_S)

    def _when_due(self, name: str, every_s: tuple[float, float], action: Callable[[], None]) -> None:
        if boot_s() >= self._due.get(name, 0.0):
            self._due[name] = boot_s() + self._randoms[name].uniform(*every_s)
            action()

    def _strike(self) -> None:
        kinds = tuple(kind for kind in self._kinds if self._budgets_jump or kind is not SquareWave)
        self._strikes += 1
        random = Random(f"{self.seed} strike {self._strikes}")
        fault = choose(kinds, random)(self.stage, random)
        lasts_s = random.uniform(*fault.lasts_s)
        if len(self._active) >= MOST_AT_ONCE or fault.claims & self.stage.claimed:
            return
        self.stage.claimed |= fault.claims
        spans = []
        for name in fault.hosts():
            spans.append(Span())
            self.stage.troubled[name].append(spans[-1])
        self._note(f"begins: {fault.what()} for {lasts_s:.1f} s")
        self.tally.on_lease += self.observer.somebody_borrows
        self.tally.done[fault.kind] += 1
        self._active.append(Active(fault, boot_s() + lasts_s, spans))
        self.tally.together = max(self.tally.together, len(self._active))
        fault.begin()

    def _look(self) -> None:
        """Go on with what was begun; see who follows the newest budget."""
        for active in tuple(self._active):
            self._go_on(active)
        for host in self.stage.hosts.values():
            if self.stage.answers(host):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self.stage.rack.follows(host)
        self.stage.look_at_the_clock()

    def _go_on(self, active: Active) -> None:
        if not active.ended and boot_s() >= active.end_boot_s:
            active.fault.end()
            active.ended = True
        if not active.ended:
            active.fault.step()
        elif active.fault.is_over():
            for span in active.spans:
                span.end()
            self._active.remove(active)
            self.stage.claimed -= active.fault.claims
            self._note(f"over: {active.fault.what()}")

    def _judge(self) -> None:
        new = [*self.observer.look(), *self.health.look()]
        self._report(new)

    def _report(self, new: list[str]) -> None:
        if new and not self.problems:
            self.before_first = list(self._last(_TOLD_S))
        self.problems += new

    @property
    def _budgets_jump(self) -> bool:
        return self._falls and len(self.tally.back_s) % 2 == 1

    def _change_budget(self) -> None:
        if self._budgets_jump:
            self.stage.controller.change(self._randoms["budget"])
        else:
            self.stage.controller.climb()
        self._note(f"budget {self.stage.controller.watts}")

    def _change_loads(self) -> None:
        """Let some hosts be busy, so that there is mostly somebody to lend, and to borrow."""
        names = list(self.stage.hosts)
        busy = self._randoms["loads"].sample(names, self._randoms["loads"].choice((1, 1, 2, 3)))
        self.stage.rack.busy(*busy)
        self.stage.rack.idle(*(name for name in names if name not in busy))

    def _note(self, text: str) -> None:
        self.tally.diary.append((boot_s(), text))

    def _last(self, seconds: float) -> Iterator[str]:
        for at_boot_s, text in self.tally.diary:
            if at_boot_s >= boot_s() - seconds:
                yield f"{at_boot_s:.3f} {text}"

    def _listening(self) -> mqtt.Client:
        """Return a client that counts what is said, in a thread of its own."""

        def subscribe(client: mqtt.Client, *_: object) -> None:
            client.subscribe("powerd/#", qos=0)

        def count(*_: object) -> None:
            self.messages += 1

        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.reconnect_delay_set(min_delay=1, max_delay=1)
        client.on_connect = subscribe
        client.on_message = count
        client.connect_async("127.0.0.1", self.stage.rack.broker.port)
        client.loop_start()
        return client
