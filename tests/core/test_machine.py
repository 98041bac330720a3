"""Anything at any time: messages fresh, late, replayed and forged; clocks that jump; GPUs that fail.

The oracle knows what no rule of the core is told: which messages really were fresh, and since when. It allows
the rack what a fresh message grants, else the failsafe, and never anything in between.
"""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from powerd.core.decide import Decision, decide
from powerd.core.gpus import overhead
from powerd.core.model import GpuState, Now
from powerd.core.orders.override import Override
from powerd.core.rack.failsafe import Phase
from powerd.core.rack.timeline import BudgetMessage, VerdictKind
from powerd.core.state import Inputs
from tests.core.bench import Bench
from tests.core.make import W, at, budget, config, rack, uuid

RACK = rack(overhead=100, guard_band_pct=2.0)
SOURCES = st.sampled_from(["a", "b"])
WATTS = st.none() | st.sampled_from([0, 1999, 2200, 2500, 3000, 3500, 4000, 5000, 6000, 9000])
LEASES = st.sampled_from([0.0, 5.0, 20.0, 60.0, 300.0, 3600.0])
STEPS = st.sampled_from([0.0, 0.01, 0.1, 0.25, 1.0, 4.9, 5.0, 20.0, 59.75, 60.0, 300.0, 7200.0])
INDEX = st.integers(0, 3)


class AnythingAnyTime(RuleBasedStateMachine):
    """One host, one facility with two voices, and an adversary."""

    @initialize()
    def start(self) -> None:
        self.boot_s = 10.0
        self.wall_offset_s = 0.0
        self.synced = True
        self.bench = Bench(config(of=RACK))
        self.sent: list[BudgetMessage] = []
        self.seqs = {"a": 0, "b": 0}
        self.grants: list[tuple[float, int]] = []
        self.operator_mw: int | None = None
        self.overrides: tuple[Override, ...] = ()
        self.last: Decision | None = None

    @property
    def now(self) -> Now:
        return at(self.boot_s, synced=self.synced, wall_offset_s=self.wall_offset_s)

    # What the world does

    @rule(source=SOURCES, watts=WATTS, lease_s=LEASES, priority=st.sampled_from([50, 100]), failsafe=WATTS)
    def a_fresh_budget(
        self, source: str, watts: int | None, lease_s: float, priority: int, failsafe: int | None
    ) -> None:
        message = self._next(source, watts, lease_s=lease_s, priority=priority, failsafe_watts=failsafe)
        self._grant(message, min(max(lease_s, 5.0), 300.0))
        self._hear(message)

    @rule(source=SOURCES, watts=WATTS, age_s=st.sampled_from([31.0, 61.0, 301.0, 3600.0, -31.0, -86400.0]))
    def a_message_from_a_wrong_clock_or_from_long_ago(
        self, source: str, watts: int | None, age_s: float
    ) -> None:
        message = self._next(source, watts, age_s=age_s)
        if not self.synced:  # then only its being newer than all before can be judged
            self._grant(message, 60.0)
        self._hear(message)

    @rule(source=SOURCES, watts=WATTS, age_s=st.sampled_from([0.0, 10.0, 59.0, 61.0, 3600.0]))
    def a_retained_message(self, source: str, watts: int | None, age_s: float) -> None:
        message = self._next(source, watts, age_s=age_s, retained=True)
        if self.synced:
            self._grant(message, 60.0 - age_s)
        self._hear(message)

    @rule(which=st.integers(0, 1000), retained=st.booleans())
    def a_replay(self, which: int, retained: bool) -> None:
        if self.sent:
            old = self.sent[which % len(self.sent)]
            if (old.epoch, old.seq) > self._newest_accepted(old.source):  # not heard, or doubtful, until now
                self._grant(old, 300.0)
            self._hear(replace(old, received=self.now, retained=retained))

    @rule(which=st.integers(0, 1000), watts=WATTS)
    def another_content_under_a_used_key(self, which: int, watts: int | None) -> None:
        if self.sent:
            old = self.sent[which % len(self.sent)]
            forged = replace(old, received=self.now, mw=None if watts is None else watts * W, digest="forged")
            if (forged.epoch, forged.seq) <= self._newest_accepted(forged.source):
                self._hear(forged)

    @rule(source=SOURCES)
    def a_publisher_starts_again(self, source: str) -> None:
        self.seqs[source] += 1_000_000

    @rule(offset_s=st.sampled_from([0.0, 1.0, -40.0, 120.0, 86400.0]), synced=st.booleans())
    def the_wall_clock_is_set(self, offset_s: float, synced: bool) -> None:
        self.wall_offset_s, self.synced = offset_s, synced

    @rule(dt=STEPS)
    def time_passes(self, dt: float) -> None:
        self.boot_s += dt
        self._hear()

    @rule(dt=st.floats(0.0, 700.0, allow_nan=False))
    def time_passes_period_by_period(self, dt: float) -> None:
        steps = int(dt) // 10 + 1
        for _ in range(steps):
            self.boot_s += dt / steps
            self._hear()

    @rule(index=INDEX, watts=st.integers(30, 700))
    def a_load_changes(self, index: int, watts: int) -> None:
        self.bench.gpus[index].load_mw = watts * W

    @rule(index=INDEX, state=st.sampled_from(list(GpuState)))
    def a_gpu_is_lost_or_hangs_or_comes_back(self, index: int, state: GpuState) -> None:
        self.bench.gpus[index].state = state

    @rule(index=INDEX, refuses=st.booleans())
    def a_gpu_refuses_writes(self, index: int, refuses: bool) -> None:
        self.bench.gpus[index].refuses = refuses

    @rule(index=INDEX, watts=st.integers(200, 700))
    def another_writer(self, index: int, watts: int) -> None:
        self.bench.gpus[index].limit_mw = watts * W

    @rule(index=INDEX, watts=st.none() | st.integers(200, 700))
    def a_limiter_out_of_band(self, index: int, watts: int | None) -> None:
        self.bench.gpus[index].out_of_band_mw = None if watts is None else watts * W

    @rule(watts=st.none() | st.integers(0, 9000))
    def an_operator(self, watts: int | None) -> None:
        self.operator_mw = None if watts is None else watts * W

    @rule(index=INDEX, watts=st.integers(0, 900), ttl_s=STEPS)
    def an_override(self, index: int, watts: int, ttl_s: float) -> None:
        override = Override(uuid(index), watts * W, self.boot_s + ttl_s, "a game day", "root")
        self.overrides = (*self.overrides[-5:], override)

    @rule(forget=st.booleans())
    def the_daemon_restarts(self, forget: bool) -> None:
        self.bench.restart(self.now, forget=forget)
        if forget:  # a replay cannot be known then, and the limits found are all there is to go by
            self.sent, self.last = [], None

    # What must hold whatever happens

    def the_cap_is_a_fresh_grant_or_the_failsafe(self, decision: Decision) -> None:
        granted = [mw for end, mw in self.grants if self.boot_s < end]
        allowed = max([RACK.failsafe_mw, *granted])
        assert RACK.least_mw <= decision.rack_cap_mw <= min(RACK.hard_limit_mw, allowed)
        if decision.statement is None:
            assert decision.phase in (Phase.INIT, Phase.FAILSAFE)
            assert decision.rack_cap_mw <= RACK.failsafe_mw
        if self.operator_mw is not None:
            assert decision.rack_cap_mw <= max(RACK.least_mw, self.operator_mw)

    def losing_the_controller_raises_nothing(self, before: Decision, decision: Decision) -> None:
        lost = before.statement is not None and decision.statement is None
        if lost:
            assert decision.rack_cap_mw <= before.rack_cap_mw

    def what_counts_fits_the_gpu_budget_or_all_are_at_their_floor(self, decision: Decision) -> None:
        limits = [target.limit_mw for target in decision.targets if target.limit_mw is not None]
        counted = sum(target.counted_mw for target in decision.targets)
        assert counted <= decision.gpu_budget_mw or all(mw == 200 * W for mw in limits)

    def the_fallback_fits_the_failsafe_and_comes_before_the_lease_ends(self, decision: Decision) -> None:
        over = overhead.overhead_step(self.bench.state.overhead, 200 * W, self.boot_s)
        usable_mw = RACK.usable_mw(RACK.failsafe_mw)
        failsafe_mw = RACK.entitlement_mw("h1", usable_mw) - over.mw
        fixed_mw = sum(target.counted_mw for target in decision.targets if target.limit_mw is None)
        controlled = [target.uuid for target in decision.targets if target.limit_mw is not None]
        everyone = {write.uuid: write.mw for write in decision.plan.fallback}
        fallback = {uuid: everyone.pop(uuid) for uuid in controlled}
        fits = sum(fallback.values()) + fixed_mw <= min(failsafe_mw, decision.gpu_budget_mw)
        assert fits or set(fallback.values()) <= {200 * W}
        assert set(everyone.values()) <= {200 * W}, "who resists counts in full, and shall fall to its floor"
        if decision.statement is not None:
            assert decision.plan.end_boot_s <= decision.statement.end_boot_s

    def no_write_on_the_way_exceeds_before_and_after(self) -> None:
        sums = self.bench.sums_mw
        assert max(sums) <= max(sums[0], sums[-1])

    def in_the_end_the_limits_fit_unless_a_gpu_resists(self, decision: Decision) -> None:
        gpus = self.bench.gpus
        controlled = [target for target in decision.targets if target.limit_mw is not None]
        if len(controlled) == len(gpus) and not any(gpu.refuses for gpu in gpus):
            fits = self.bench.sums_mw[-1] <= decision.gpu_budget_mw
            assert fits or all(gpu.limit_mw == 200 * W for gpu in gpus)

    # How the machine works

    def _next(self, source: str, watts: int | None, **options: object) -> BudgetMessage:
        self.seqs[source] += 1
        message = budget(watts, self.seqs[source], self.now, source=source, **options)  # type: ignore[arg-type]
        self.sent.append(message)
        return message

    def _grant(self, message: BudgetMessage, lease_s: float) -> None:
        mw = RACK.hard_limit_mw if message.mw is None else message.mw
        self.grants.append((self.boot_s + lease_s, mw))

    def _newest_accepted(self, source: str) -> tuple[int, int]:
        seen = self.bench.state.timeline.seen.get(source)
        return (seen.epoch, seen.seq) if seen else (0, 0)

    def _hear(self, *messages: BudgetMessage) -> None:
        bench, now = self.bench, self.now
        inputs = Inputs(bench.read(now), messages, operator_cap_mw=self.operator_mw, overrides=self.overrides)
        with_news, state = decide(inputs, bench.state, now, bench.config)
        again, after = decide(replace(inputs, messages=()), state, now, bench.config)
        assert after == state, "a second look at the same moment changes nothing"
        assert again == with_news._replace(verdicts=(), notices=again.notices)
        if all(verdict.kind is not VerdictKind.ACCEPTED for verdict in with_news.verdicts):
            silent, _ = decide(replace(inputs, messages=()), bench.state, now, bench.config)
            assert with_news.rack_cap_mw <= silent.rack_cap_mw, "only an accepted message raises"
        before = self.last
        decision = self.last = bench.tick(
            now, *messages, operator_mw=self.operator_mw, overrides=self.overrides
        )
        self.the_cap_is_a_fresh_grant_or_the_failsafe(decision)
        self.what_counts_fits_the_gpu_budget_or_all_are_at_their_floor(decision)
        self.the_fallback_fits_the_failsafe_and_comes_before_the_lease_ends(decision)
        self.no_write_on_the_way_exceeds_before_and_after()
        self.in_the_end_the_limits_fit_unless_a_gpu_resists(decision)
        if before is not None:
            self.losing_the_controller_raises_nothing(before, decision)


TestAnythingAnyTime = AnythingAnyTime.TestCase
TestAnythingAnyTime.settings = settings(max_examples=100, stateful_step_count=40)
