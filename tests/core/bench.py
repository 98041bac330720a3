"""A host on the bench: GPUs that do what they are told, or not, and a loop that decides and writes.

The physics are the least that decisions depend on: a GPU draws its load up to its limit, and its power-cap
counter runs while the load is above.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from powerd.core.confirm import confirm
from powerd.core.decide import Decision, decide
from powerd.core.events.grid_event import GridEvent
from powerd.core.gpus.overhead import OverheadSample
from powerd.core.leases.host_state import HostState
from powerd.core.leases.memory import keep, recall
from powerd.core.metering.meter import MeterAlive, MeterReading
from powerd.core.model import Capability, Constraints, GpuReading, GpuState, Now, Outcome, Result, Write
from powerd.core.orders.override import Override
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.state import Config, Inputs, State, initial_state
from tests.core.make import MAX_W, MIN_W, W, at, uuid

# As often as the controller decides again when a write failed.
MAX_PLANS = 3


@dataclass
class BenchGpu:
    """One GPU; limits and draws in milliwatts.

    Attributes:
        load_mw: what its work would draw without a limit.
        out_of_band_mw: what something else limits it to.
        refuses: it answers reads, but every write fails.
    """

    index: int
    limit_mw: int = MAX_W * W
    load_mw: int = MAX_W * W
    min_mw: int = MIN_W * W
    max_mw: int = MAX_W * W
    state: GpuState = GpuState.OK
    capability: Capability = Capability.SETTABLE
    out_of_band_mw: int | None = None
    refuses: bool = False
    reasons: int = 0
    written_mw: int | None = None
    capped_ns: int = 0
    sampled: Now | None = None

    @property
    def enforced_mw(self) -> int:
        """What is in effect."""
        return self.limit_mw if self.out_of_band_mw is None else min(self.limit_mw, self.out_of_band_mw)

    def read(self, now: Now) -> GpuReading:
        """Return a reading; a GPU that does not answer keeps its last limits and no draw."""
        answers = self.state is GpuState.OK
        if answers:
            if self.sampled is not None and self.load_mw > self.enforced_mw:
                self.capped_ns += round((now.boot_s - self.sampled.boot_s) * 1e9)
            self.sampled = now
        return GpuReading(
            uuid=uuid(self.index),
            index=self.index,
            name="H100",
            state=self.state,
            capability=Capability.LOST if self.state is GpuState.LOST else self.capability,
            constraints=Constraints(self.min_mw, self.max_mw, self.max_mw),
            draw_mw=min(self.load_mw, self.enforced_mw) if answers else None,
            requested_mw=self.limit_mw,
            enforced_mw=self.enforced_mw,
            capped_ns=self.capped_ns if answers else None,
            event_reasons=self.reasons if answers else 0,
            written_mw=self.written_mw,
            worst_case_mw=self.enforced_mw if answers else self.limit_mw,
            sampled_boot_s=self.sampled.boot_s if self.sampled else 0.0,
        )

    def write(self, write: Write) -> Outcome:
        """Take a limit, or refuse it."""
        if self.refuses or self.state is not GpuState.OK:
            return Outcome(write.uuid, write.mw, Result.FAILED, worst_case_mw=self.limit_mw, detail="refused")
        self.limit_mw = self.written_mw = write.mw
        result = Result.CLAMPED if self.enforced_mw < write.mw else Result.APPLIED
        return Outcome(write.uuid, write.mw, result, write.mw, self.enforced_mw, self.enforced_mw)


@dataclass
class Bench:
    """One host: its GPUs, its memory, and every sum of limits that was in effect.

    Attributes:
        sums_mw: sum of all GPUs' limits before, between and after the writes of the last tick.
        message: what the last tick said to the hosts of the rack; None if nothing was due.
    """

    config: Config
    gpus: list[BenchGpu] = field(default_factory=lambda: [BenchGpu(i) for i in range(4)])
    state: State = field(default_factory=lambda: initial_state(at(0.0)))
    sums_mw: list[int] = field(default_factory=list)
    message: HostState | None = None

    @property
    def limits(self) -> list[int]:
        """Return the limits in watts, by index."""
        return [gpu.limit_mw // W for gpu in self.gpus]

    def read(self, now: Now) -> tuple[GpuReading, ...]:
        """Read every GPU."""
        return tuple(gpu.read(now) for gpu in self.gpus)

    def tick(
        self,
        now: Now,
        *messages: BudgetMessage,
        operator_mw: int | None = None,
        overhead: OverheadSample | None = None,
        states: tuple[HostState, ...] = (),
        may_lease: bool = True,
        events: tuple[GridEvent, ...] = (),
        meters: tuple[MeterReading | MeterAlive, ...] = (),
        overrides: tuple[Override, ...] = (),
    ) -> Decision:
        """Sample, decide, write; where a write failed, decide again at the same moment. Return the first.

        Where there are peers, say then what may be said.
        """

        def once(
            heard: tuple[BudgetMessage, ...],
            outcomes: tuple[Outcome, ...],
            states: tuple[HostState, ...] = (),
            events: tuple[GridEvent, ...] = (),
            meters: tuple[MeterReading | MeterAlive, ...] = (),
        ) -> Decision:
            inputs = Inputs(
                self.read(now),
                heard,
                outcomes,
                overhead,
                operator_mw,
                states,
                may_lease,
                events,
                meters,
                overrides=overrides,
            )
            decision, self.state = decide(inputs, self.state, now, self.config)
            return decision

        self.sums_mw = [sum(gpu.limit_mw for gpu in self.gpus)]
        first = decision = once(messages, (), states, events, meters)
        for _ in range(MAX_PLANS):
            outcomes = tuple(self.execute(decision.plan.cuts, decision.plan.raises))
            if not any(outcome.result in (Result.FAILED, Result.SKIPPED) for outcome in outcomes):
                break
            decision = once((), outcomes)
        if self.config.has_peers:
            self.message, self.state = confirm(decision, self.read(now), self.state, now, self.config)
        return first

    def until(self, end: Now, every_s: float = 1.0) -> Decision:
        """Tick on, without any news, up to and including a moment; return the last decision."""
        boot_s = self._last_boot_s()
        while boot_s + every_s < end.boot_s:
            boot_s += every_s
            self.tick(Now(boot_s, end.wall_s - end.boot_s + boot_s, end.wall_synced))
        return self.tick(end)

    def execute(self, cuts: Iterable[Write], raises: Iterable[Write]) -> list[Outcome]:
        """Do what the guard does with a plan: no raise before every cut is confirmed."""
        outcomes = [self._write(write) for write in cuts]
        if any(outcome.result is Result.FAILED for outcome in outcomes):
            return outcomes + [Outcome(write.uuid, write.mw, Result.SKIPPED) for write in raises]
        return outcomes + [self._write(write) for write in raises]

    def restart(self, now: Now, *, forget: bool = False) -> None:
        """Start the daemon again, with what it remembered or without."""
        rack, rules = self.config.rack, self.config.leases
        if forget:
            self.state = initial_state(now, leases=recall(None, rack, rules, now))
        else:
            leases = recall(keep(self.state.leases, rack), rack, rules, now)
            held = (self.state.timeline, self.state.known_cap_mw, leases, self.state.schedule)
            self.state = initial_state(now, *held)

    def _write(self, write: Write) -> Outcome:
        outcome = next(gpu for gpu in self.gpus if uuid(gpu.index) == write.uuid).write(write)
        self.sums_mw.append(sum(gpu.limit_mw for gpu in self.gpus))
        return outcome

    def _last_boot_s(self) -> float:
        return max((gpu.sampled.boot_s for gpu in self.gpus if gpu.sampled), default=0.0)
