"""THE LOOP: sample -> decide -> enforce -> report, every period, and at once when a message arrives.

The only place where the pure core meets the outside. Sampling runs beside deciding, so that a GPU that is
slow to read delays no cut: a cut is decided on the last readings. Invariants: only `enforce` writes; an
iteration ends in a bounded time whatever the guard does; what was decided is reported, also when it failed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from powerd.clock import Clock
from powerd.core.confirm import confirm
from powerd.core.decide import Decision, decide, fits
from powerd.core.events.grid_event import GridEvent
from powerd.core.gpus.overhead import OverheadSample
from powerd.core.leases.host_state import HostState
from powerd.core.leases.news import concerns
from powerd.core.metering.meter import MeterAlive, MeterReading
from powerd.core.model import Notice, Now, Outcome, Result, Severity
from powerd.core.rack.advisory import AdvisorySignal
from powerd.core.rack.timeline import BudgetMessage, Timeline
from powerd.core.reconfigure import reconfigured
from powerd.core.state import Config, Inputs, State
from powerd.core.units import watts
from powerd.daemon.arrivals import Arrivals, Heard
from powerd.daemon.gate import Gate
from powerd.daemon.host_gpus import HostGpus
from powerd.daemon.loop_log import LoopLog
from powerd.daemon.problems import Problems, Waiting
from powerd.desk.changes import Changes
from powerd.desk.in_force import InForce
from powerd.mode import Mode
from powerd.snapshot import BusStatus, Reaction, Snapshot

# A plan whose writes did not all succeed is decided again on what was read back. Twice is enough to take a
# failed GPU's watts from the others; what fails after that waits for the next period.
MAX_PLANS_PER_ITERATION = 3
# What peers say often comes from several of them at a time: it is decided on together.
PEERS_DELAY_S = 0.02


@dataclass(frozen=True, slots=True)
class Options:
    """How the loop runs.

    Attributes:
        mode: at the start; the gate has the one that holds.
        period_s: one iteration at least this often.
        persistence_needed: `enforce` refuses to start on GPUs without persistence mode.
    """

    site: str
    rack: str
    host: str
    mode: Mode
    period_s: float = 1.0
    persistence_needed: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What one iteration hands to everyone who shows or stores it.

    Attributes:
        state: to be remembered over a restart.
        notices: new, or due to be told again.
        sampled: the iteration followed a sample of the GPUs, as one does every period.
        message: the host's state message to be published now, not before `state` is remembered; None if
            none is due.
    """

    snapshot: Snapshot
    state: State
    notices: tuple[Notice, ...]
    sampled: bool
    message: HostState | None = None


class Controller:
    """Runs the loop over one host.

    Args:
        report: called at the end of every iteration; must not block.
        bus_status: asked once per iteration.
        overhead: the latest measurement of what is not GPU, or None.
        may_remember: whether what is lent can be written down before it is said.
        lasting: what else is wrong now, asked once per iteration.
        orders: what operators have ordered, as far as it still holds.

    Attributes:
        iterating: held by an iteration; whoever else holds it does something between two of them.
        changes: how that is done.
        gate: whether limits are written.
        config: what holds.
    """

    def __init__(
        self,
        options: Options,
        config: Config,
        state: State,
        *,
        clock: Clock,
        gpus: HostGpus,
        report: Callable[[Report], None],
        bus_status: Callable[[], BusStatus],
        overhead: Callable[[], OverheadSample | None] = lambda: None,
        may_remember: Callable[[], bool] = lambda: True,
        lasting: Callable[[], tuple[Notice, ...]] = tuple,
        orders: InForce | None = None,
    ) -> None:
        self._options = options
        self.config = config
        self._state = state
        self._clock = clock
        self._gpus = gpus
        self._report = report
        self._bus_status = bus_status
        self._overhead = overhead
        self._may_remember = may_remember
        self._lasting = lasting
        self._orders = orders or InForce(options.mode)
        self._wake = asyncio.Event()
        self.iterating = asyncio.Lock()
        self.changes = Changes(self.iterating, self._wake.set)
        needed = options.persistence_needed
        self.gate = Gate(options.mode, gpus, overhead, persistence_needed=needed)
        self._problems = Problems()
        self._wake_soon: asyncio.TimerHandle | None = None
        self._wake_boot_s: float | None = None
        self._sampled = False
        self._arrivals = Arrivals()
        self._peers: dict[str, HostState] = {}
        self._spare_mw = 0
        self._notices = Waiting()
        self._outcomes: tuple[Outcome, ...] = ()
        self._iteration = 0
        self._reaction: Reaction | None = None
        self._log = LoopLog()

    def submit(self, message: BudgetMessage) -> None:
        """Hand over a message; it is decided on at once."""
        self._arrivals.budgets.append(message)
        self._wake.set()

    def submit_event(self, event: GridEvent) -> None:
        """Hand over a version of a grid event; it is decided on at once."""
        self._arrivals.events.append(event)
        self._wake.set()

    def submit_meter(self, heard: MeterReading | MeterAlive) -> None:
        """Hand over what a meter says; it counts from the next iteration on."""
        self._arrivals.meters.append(heard)

    def submit_signal(self, signal: AdvisorySignal) -> None:
        """Hand over a price or emissions; they count from the next iteration on."""
        self._arrivals.signals.append(signal)

    def submit_state(self, state: HostState) -> None:
        """Hand over what a host of the rack says; decided on soon if it concerns this one."""
        before = self._peers.get(state.host)
        if before is not None and state.key <= before.key and state.host != self._options.host:
            return
        self._peers[state.host] = state
        self._arrivals.states.append(state)
        if self._wake_soon is None and (
            before is None or concerns(before, state, self._options.host, lends=self._spare_mw > 0)
        ):
            self._wake_soon = asyncio.get_running_loop().call_later(PEERS_DELAY_S, self._wake.set)

    def notice(self, notice: Notice) -> None:
        """Hand over something that people should hear about; told with the next iteration."""
        self._notices.add(notice)

    def replace_config(
        self, config: Config, listened_to: Callable[[Timeline], Timeline], mode: Mode | None = None
    ) -> None:
        """Go by another configuration from the next iteration on, which begins at once.

        To be called while `iterating` is held by the caller.

        Args:
            listened_to: drops what senders have said that do not count any more.
            mode: what is configured from now on, and holds; None leaves the mode as it is.

        Raises:
            ConfigError: limits are written here, or shall be, and by that configuration they must not be.
        """
        if mode == "enforce":
            self.gate.enforce_or_raise(config)
        elif mode is not None:
            self.gate.close(mode)
        else:
            self.gate.judge(config, self.config)
        if mode is not None:
            released = self._orders.view.released and mode != "enforce"
            self._orders.change(configured_mode=mode, released=released)
        state = reconfigured(self._state, self.config, config, self._clock.now())
        self._state = state._replace(timeline=listened_to(state.timeline))
        if config.roster != self.config.roster:  # peers may be gone from it
            self._peers.clear()
            self._arrivals.states.clear()
        self.config = config
        self._wake.set()

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            ConfigError: `enforce` must not start on this host.
        """
        await self.sample()  # a message that comes earlier finds nothing to decide on
        self._wake.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sample_forever(), name="sample")
            tasks.create_task(self._iterate_forever(), name="iterate")

    async def _sample_forever(self) -> None:
        due_s = self._clock.now().boot_s
        while True:
            now_s = self._clock.now().boot_s
            due_s = max(due_s + self._options.period_s, now_s)  # late once is not late for ever
            await asyncio.sleep(due_s - now_s)
            await self.sample()
            self._wake.set()

    async def _iterate_forever(self) -> None:
        while True:
            await self._wait()
            await self.iterate()

    async def _wait(self) -> None:
        """Wait for a sample or a message, but not past a lease's end, nor much longer than a period."""
        timeout_s = 1.5 * self._options.period_s
        if self._wake_boot_s is not None:
            timeout_s = min(timeout_s, max(0.0, self._wake_boot_s - self._clock.now().boot_s))
        timer = asyncio.get_running_loop().call_later(timeout_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        self._wake.clear()

    async def sample(self) -> None:
        """Read all GPUs, and check once that `enforce` may start on what was found."""
        await self._gpus.sample()
        if self._orders.view.detached is not None:
            await self._gpus.stay_detached(self._orders.view.detached.why)
        self._sampled = True
        if notice := self.gate.open_at_start(self.config):
            self.notice(notice)

    async def iterate(self) -> None:
        """Decide, enforce, report: once."""
        async with self.iterating:
            await self._iterate()

    async def _iterate(self) -> None:
        now = self._clock.now()
        sampled, self._sampled = self._sampled, False
        if self._wake_soon is not None:  # what it would wake for is decided on now
            self._wake_soon.cancel()
            self._wake_soon = None
        over = self._orders.end_what_is_over(now)
        heard = self._orders.let_in(self._arrivals.take())
        outcomes, self._outcomes = self._outcomes, ()
        decision = self._decide(now, outcomes, heard)
        done = _Enforced(decision, decision)
        if self.gate.may_write:
            done = await self._enforce(decision)
        else:
            self._log.would_write(decision.plan, tells=self.gate.mode == "dry-run")
        done, message = self._confirm(done)
        self._spare_mw = done.decision.standing.spare_mw
        self._iteration += 1
        if self._iteration == 1:
            self._log.first(done.decision)
        self._wake_boot_s = decision.wake_boot_s
        self._log.budget(done.decision.statement, now)
        notices = self._tell(done, over, now)
        snapshot = self._snapshot(done, now, heard)
        self._report(Report(snapshot, self._state, notices, sampled, message))
        self.changes.iterated(snapshot)

    def _decide(self, now: Now, outcomes: tuple[Outcome, ...], heard: Heard) -> Decision:
        may_lease = self.gate.may_write and self._orders.may_lease
        inputs = Inputs(
            self._gpus.readings,
            heard.budgets,
            outcomes,
            self._overhead(),
            states=heard.states,
            may_lease=may_lease and self._may_remember() and self._gpus.keeps_plans,
            events=heard.events,
            meters=heard.meters,
            signals=heard.signals,
            operator_cap_mw=self._orders.cap_mw,
            overrides=self._orders.view.overrides,
        )
        decision, self._state = decide(inputs, self._state, now, self.config)
        return decision

    async def _enforce(self, decision: Decision) -> "_Enforced":
        """Have the plan executed; where a GPU failed, take its watts from the others at once."""
        outcomes: tuple[Outcome, ...] = ()
        executed, last_cut_boot_s = decision, None
        for _ in range(MAX_PLANS_PER_ITERATION):
            report = await self._gpus.execute(decision.plan)
            if report is None:
                break
            executed, outcomes = decision, outcomes + report.outcomes
            last_cut_boot_s = report.last_cut_boot_s or last_cut_boot_s
            if not any(outcome.result in (Result.FAILED, Result.SKIPPED) for outcome in report.outcomes):
                self._outcomes = report.outcomes
                break
            again = self._decide(self._clock.now(), report.outcomes, Heard())
            decision = again._replace(verdicts=decision.verdicts, notices=_merged(decision, again))
        limits_mw = decision.gpu_budget_mw + decision.excess.granted_mw
        compliant = decision.infeasible_mw <= 0 and fits(self._gpus.readings, limits_mw)
        if compliant != decision.compliant:
            decision = decision._replace(compliant=compliant)
        return _Enforced(decision, executed, outcomes, last_cut_boot_s)

    def _confirm(self, done: "_Enforced") -> tuple["_Enforced", HostState | None]:
        """Return what may be said now that the plan is done; what could not be done is not said."""
        now = self._clock.now()
        message, self._state = confirm(done.executed, self._gpus.readings, self._state, now, self.config)
        return done._replace(decision=done.decision._replace(leases=self._state.leases)), message

    def _tell(self, done: "_Enforced", over: tuple[Notice, ...], now: Now) -> tuple[Notice, ...]:
        failed = [_about_failure(o) for o in done.outcomes if o.result is Result.FAILED]
        unusable = []
        error = self._gpus.guard_status.error
        if error and not (self._orders.view.detached and self._gpus.is_given_up):
            text = f"{error}; GPUs keep their limits, and fall back by themselves if the guard still runs"
            unusable = [Notice("guard_unusable", Severity.CRITICAL, text)]
        elif not error and self.config.has_peers and not self._gpus.keeps_plans:
            text = "the guard cannot write its plan into guard.state_dir: no leases with other hosts"
            unusable = [Notice("guard_cannot_remember", Severity.WARNING, text)]
        faults = self._orders.without_its_own(done.decision.notices)
        all_notices = [*faults, *failed, *unusable, *over, *self._notices.take()]
        lasting = (*self._lasting(), *self._orders.notices())
        due = self._problems.take(all_notices, now.boot_s, now.wall_s, lasting)
        self._log.notices(due)
        return due

    def _snapshot(self, done: "_Enforced", now: Now, heard: Heard) -> Snapshot:
        options, gpus = self._options, self._gpus
        asking: tuple[BudgetMessage | GridEvent, ...] = (*heard.budgets, *heard.events)
        if done.last_cut_boot_s is not None and asking:
            received = min(each.received.boot_s for each in asking)
            self._reaction = Reaction(received, done.last_cut_boot_s)
        return Snapshot(
            now=now,
            iteration=self._iteration,
            period_s=options.period_s,
            mode=self.gate.mode,
            site=options.site,
            rack=options.rack,
            host=options.host,
            readings=gpus.readings,
            decision=done.decision,
            outcomes=done.outcomes,
            guard=gpus.guard_status,
            bus=self._bus_status(),
            problems=self._problems.current(),
            reaction=self._reaction,
            elapsed_s=self._clock.now().boot_s - now.boot_s,
            lease_rules=self.config.leases,
            meter_rules=self.config.meter,
            accounting=self.config.accounting,
            orders=self._orders.view,
        )


class _Enforced(NamedTuple):
    """A decision and what came of it.

    Attributes:
        executed: the last one whose plan the guard carried out.
    """

    decision: Decision
    executed: Decision
    outcomes: tuple[Outcome, ...] = ()
    last_cut_boot_s: float | None = None


def _merged(first: Decision, again: Decision) -> tuple[Notice, ...]:
    """Return the notices of both decisions of one moment; of a fact told twice, the later telling."""
    return tuple({(n.event, n.subject): n for n in first.notices + again.notices}.values())


def _about_failure(outcome: Outcome) -> Notice:
    text = f"limit {watts(outcome.target_mw):g} W not confirmed: {outcome.detail or 'read back higher'}"
    return Notice("limit_write_failed", Severity.CRITICAL, text, outcome.uuid)
