"""What is told of draw above the budget is never less than what a hostile plant does."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from powerd.core.decide import Decision, decide
from powerd.core.gpus.charge import Accounting, AccountingRules
from powerd.core.gpus.demand import DemandRules
from powerd.core.gpus.plan import DeadBand
from powerd.core.model import Capability, Constraints, GpuReading, GpuState, Outcome, Result
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.ramp import RampRules
from powerd.core.state import Config, Inputs, State, initial_state
from powerd.core.topology import Host, Rack
from tests.core.make import W, at, uuid

MIN_W, MAX_W, IDLE_W = 100, 400, 60
# A period of a second has so many moments.
MOMENTS = 5
MOMENT_S = 1 / MOMENTS
FLOORS_MW = 4 * MIN_W * W


@dataclass
class Board:
    """One GPU that can do anything a limit allows, at any moment."""

    index: int
    limit_mw: int = MAX_W * W
    followed_mw: int = MAX_W * W
    energy_mj: int = 0
    reading: GpuReading | None = None
    shown_mw: int = IDLE_W * W

    def draw_mw(self, part: int) -> int:
        """Return the draw of a moment: `part` quarters of the way from idle to the limit."""
        return IDLE_W * W + (self.followed_mw - IDLE_W * W) * part // 4


@dataclass
class Plant:
    """A host of four boards, and the loop of its daemon.

    Attributes:
        lag: boards follow their limits so many moments late.
        done_mj: drawn above the budget so far.
    """

    budget_mw: int
    most_mw: int
    lag: int
    boards: list[Board] = field(default_factory=lambda: [Board(i) for i in range(4)])
    state: State | None = None
    decision: Decision | None = None
    outcomes: tuple[Outcome, ...] = ()
    done_mj: int = 0
    boot_s: float = 100.0

    @property
    def config(self) -> Config:
        """Return that of a host alone, with an operator's own budget."""
        rack = Rack("s", "r", (Host("h", 1.0, FLOORS_MW),), 1600 * W, FLOORS_MW, guard_band_pct=0.0)
        return Config(
            rack,
            "h",
            AdmissionRules(rack.hard_limit_mw),
            RampRules(1600.0 * W),
            overhead_mw=0,
            standing_mw=self.budget_mw,
            demand=DemandRules(idle_after_s=2.0, warmup_s=1.0),
            dead_band=DeadBand(),
            accounting=AccountingRules(
                Accounting.MEASURED,
                self.most_mw,
                period_s=1.0,
                idle_after_s=2.0,
                driver_s=0.0,
                settle_s=self.lag * MOMENT_S,
            ),
        )

    def decide(self, faults: tuple[str, ...], *, late: bool) -> Decision:
        """Read, decide and write. What a sensor shows may be a period old, what a counter says is not."""
        now = at(self.boot_s)
        readings = tuple(
            self._read(board, fault, late=late) for board, fault in zip(self.boards, faults, strict=True)
        )
        inputs = Inputs(readings, outcomes=self.outcomes)
        state = initial_state(now) if self.state is None else self.state
        decision, self.state = decide(inputs, state, now, self.config)
        self.decision = decision
        self.outcomes = tuple(
            Outcome(write.uuid, write.mw, Result.APPLIED, write.mw, write.mw, write.mw)
            for write in decision.plan.cuts + decision.plan.raises
        )
        for outcome in self.outcomes:
            self.boards[int(outcome.uuid[4:])].limit_mw = outcome.target_mw
        return decision

    def live(self, parts: list[tuple[int, ...]]) -> None:
        """Let a period go by, and check every moment of it against what was told."""
        assert self.decision is not None
        for moment in range(MOMENTS):
            draws_mw = [board.draw_mw(parts[board.index][moment]) for board in self.boards]
            above_mw = max(0, sum(draws_mw) - self.budget_mw)
            assert above_mw <= self.decision.excess.worst_mw
            self.done_mj += above_mw // MOMENTS
            for board, mw in zip(self.boards, draws_mw, strict=True):
                board.energy_mj += mw // MOMENTS
                if moment + 1 >= self.lag:
                    board.followed_mw = board.limit_mw
        self.boot_s += 1.0
        self._last_draws_mw = draws_mw

    def _read(self, board: Board, fault: str, *, late: bool) -> GpuReading:
        if fault and board.reading is not None:
            mw = board.limit_mw  # what was written since is known by its outcome
            known = replace(board.reading, requested_mw=mw, enforced_mw=mw, written_mw=mw, worst_case_mw=mw)
            if fault == "stale":
                return known
            state = GpuState.HUNG if fault == "hung" else GpuState.OK
            return replace(known, state=state, draw_mw=None, energy_mj=None)
        last_mw = self._last_draws_mw[board.index]
        shown_mw, board.shown_mw = board.shown_mw if late else last_mw, last_mw
        board.reading = GpuReading(
            uuid=uuid(board.index),
            index=board.index,
            name="A100",
            state=GpuState.OK,
            capability=Capability.SETTABLE,
            constraints=Constraints(MIN_W * W, MAX_W * W, MAX_W * W),
            draw_mw=shown_mw,
            energy_mj=board.energy_mj,
            requested_mw=board.limit_mw,
            enforced_mw=board.limit_mw,
            written_mw=board.limit_mw,
            worst_case_mw=board.limit_mw,
            sampled_boot_s=self.boot_s,
        )
        return board.reading

    def __post_init__(self) -> None:
        self._last_draws_mw = [IDLE_W * W] * 4


STILL, FULL = (0,) * MOMENTS, (4,) * MOMENTS
SOUND = ("",) * 4
load = st.tuples(*[st.integers(0, 4)] * MOMENTS)
quiet = st.just(STILL)
idle_loads = st.lists(st.one_of(quiet, quiet, load), min_size=4, max_size=4)
fault = st.sampled_from(["", "", "", "", "missed", "hung", "stale"])


@given(
    budget=st.one_of(st.integers(400, 480), st.integers(450, 1500)),
    most=st.integers(0, 200),
    lag=st.integers(1, MOMENTS),
    periods=st.lists(st.tuples(idle_loads, st.tuples(*[fault] * 4), st.booleans()), max_size=12),
    busy=st.integers(1, 3),
)
def test_no_more_is_drawn_than_is_told(
    budget: int,
    most: int,
    lag: int,
    periods: list[tuple[list[tuple[int, ...]], tuple[str, ...], bool]],
    busy: int,
) -> None:
    """Some GPUs work all the time; the others idle for a while, and then do the worst that they can."""
    plant = Plant(budget * W, most * W, lag)
    for board in plant.boards:  # as a controller that was there before left them
        board.limit_mw = board.followed_mw = max(MIN_W, budget // 4) * W
    usual = [FULL] * busy + [STILL] * (4 - busy)
    for _ in range(6):
        plant.decide(SOUND, late=False)
        plant.live(usual)
    for loads, faults, late in periods:
        decision = plant.decide(faults, late=late)
        if "" in faults:  # of a time without any sample nothing is told yet
            assert decision.excess.drawn_mj >= plant.done_mj
        assert decision.excess.granted_mw <= most * W
        limits_mw = sum(board.limit_mw for board in plant.boards)
        assert limits_mw <= budget * W + decision.excess.worst_mw
        assert sum(write.mw for write in decision.plan.fallback) <= budget * W
        plant.live([FULL] * busy + loads[busy:])
    assert plant.decide(SOUND, late=False).excess.drawn_mj >= plant.done_mj


def test_before_the_first_reading_there_is_nothing_to_account_for() -> None:
    """A guard may take its time: the daemon decides without readings, and then with the first ones."""
    plant = Plant(budget_mw=FLOORS_MW, most_mw=200 * W, lag=1)
    now = at(plant.boot_s)
    _, plant.state = decide(Inputs(()), initial_state(now), now, plant.config)
    plant.boot_s += 1
    assert plant.decide(SOUND, late=False).excess.drawn_mj == 0
