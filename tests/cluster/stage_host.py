"""One host on a stage: the core, the guard and the runtime file as they are; the script is its scheduler."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powerd.core import confirm, decide
from powerd.core.decide import Decision
from powerd.core.gpus.demand import DemandRules
from powerd.core.leases import memory
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import Leases
from powerd.core.model import GpuReading, Now, Outcome, Plan, Result
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.failsafe import FailsafeRules
from powerd.core.rack.ramp import RampRules
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.state import Config, Inputs, State, initial_state
from powerd.files import runtime_file
from powerd.guard.config import GuardConfig
from powerd.guard.jobs import Op
from powerd.guard.keeper import Keeper
from powerd.guard.plans import RefusedError
from tests.cluster.stage_gpus import StageDriver, StageRunner
from tests.core.make import WALL_AT_BOOT_S, W

if TYPE_CHECKING:
    from tests.cluster.stage import Stage

BOOT_ID = "this-boot"
# As often as the controller decides again when a write failed.
MAX_PLANS = 3
CALL_DEADLINE_S = 0.2


@dataclass(frozen=True)
class Envelope:
    """A plan on its way to the guard."""

    token: str
    number: int
    plan: Plan


class Host:
    """One host. Its methods are the steps that a script can have it take.

    Attributes:
        sent: its messages, in order; each may arrive anywhere any number of times, or nowhere.
        runner: of its GPUs; the driver calls of those in `runner.held` do not return.
        state: of the daemon; None while there is none.
    """

    def __init__(self, stage: "Stage", name: str, directory: Path) -> None:
        self.stage, self.name = stage, name
        setting = stage.setting
        index = "abc".index(name)
        self._drift, self._offset_s = setting.drift[index], 1000.0 * index
        self.config = Config(
            stage.rack,
            name,
            AdmissionRules(stage.rack.hard_limit_mw),
            RampRules(1e12),
            overhead_mw=0,
            failsafe=FailsafeRules(dwell_s=0.0),
            demand=DemandRules(idle_after_s=0.0, warmup_s=0.0),
            leases=setting.rules,
            hold_s=setting.hold_s,
        )
        self.directory = directory / name
        self.directory.mkdir(parents=True)
        self.driver = StageDriver(setting, stage.note)
        self.runner = StageRunner(self.driver, lambda: self.boot_s, stage.note)
        guard = GuardConfig(state_dir=str(self.directory), call_deadline_s=CALL_DEADLINE_S)
        self.guard = Keeper(guard, self.runner, lambda: self.boot_s)
        self.sent: list[HostState] = []
        self.settle()
        self.state: State | None = None
        self._wake(runtime_file.NOTHING, known=memory.LeaseMemory(0, (), False, 0.0, stage.rack))

    # Clocks and GPUs

    @property
    def boot_s(self) -> float:
        """Return the host's own clock."""
        return self._offset_s + self.stage.now_s * self._drift

    @property
    def now(self) -> Now:
        """Return both clocks."""
        return Now(self.boot_s, WALL_AT_BOOT_S + self.stage.now_s)

    def true_s(self, boot_s: float) -> float:
        """Return the stage's time of a moment on the host's clock."""
        return (boot_s - self._offset_s) / self._drift

    @property
    def may_draw_mw(self) -> int:
        """Return the sum of the largest limits that are in effect or may still take effect."""
        sent = {uuid: job.target_mw for uuid, (job, _) in self.runner.jobs.items() if job.op is not Op.READ}
        return sum(max(gpu.effective_mw, sent.get(uuid, 0)) for uuid, gpu in self.driver.gpus.items())

    @property
    def limit_w(self) -> float:
        """Return the sum of the limits in effect."""
        return self.driver.sum_mw / W

    @property
    def leases(self) -> Leases:
        """Return what the daemon remembers of its dealings."""
        assert self.state is not None, "no daemon"
        return self.state.leases

    def settle(self) -> None:
        """Let the guard and its GPUs do all they can, except for the calls that hang."""
        self.guard.tick(self.boot_s)
        while self.runner.attaching or set(self.runner.jobs) - self.runner.held:
            if self.runner.attaching:
                self.runner.finish_attach()
            for uuid in sorted(set(self.runner.jobs) - self.runner.held):
                self.runner.finish(uuid)
            self.guard.tick(self.boot_s)

    def hang(self, *gpus: int) -> None:
        """Have the next driver call of these GPUs hang; of all of them if none is named."""
        self.runner.held = {f"GPU-{gpu}" for gpu in gpus} or set(self.driver.gpus)

    def land(self) -> None:
        """Let the calls that hang take effect and return."""
        self.runner.held = set()
        self.settle()
        self.stage.step(f"{self.name}'s driver calls return")

    # The life of a daemon

    def crash(self) -> None:
        """End the daemon. What it has sent to the guard or the network is on its way."""
        self.state = None
        self.stage.step(f"{self.name}'s daemon dies")

    def start(self) -> None:
        """Start a daemon, with the runtime file that is there."""
        self._wake(runtime_file.load(self.directory, BOOT_ID))
        self.stage.step(f"{self.name}'s daemon starts")

    def lose_file(self) -> None:
        """Remove the runtime file."""
        (self.directory / runtime_file.FILE_NAME).unlink()

    def _wake(self, remembered: runtime_file.Remembered, known: memory.LeaseMemory | None = None) -> None:
        leases = memory.recall(known or remembered.leases, self.stage.rack, self.config.leases, self.now)
        self.state = initial_state(self.now, remembered.timeline, remembered.cap_mw, leases)
        self.file = runtime_file.Keeper(self.directory, BOOT_ID, lambda _error: None)
        self.decision: Decision
        self.inbox: list[HostState] = []
        self.budgets: list[BudgetMessage] = []
        self.message: HostState | None = None
        self.readings: tuple[GpuReading, ...] = ()
        self.outcomes: tuple[Outcome, ...] = ()
        self._connect()

    def _connect(self) -> None:
        self.token, self.number = self.guard.new_client(), 0

    # One iteration of the daemon, step by step

    def iterate(self) -> None:
        """Take all steps of one iteration."""
        self.read()
        self.decide()
        self.enforce()
        self.speak()

    def read(self) -> None:
        """Read all GPUs; one that hangs takes its time."""
        replies: list[dict[str, Any]] = []
        self.guard.read(replies.append)
        self._wait_for(replies)
        self.readings = tuple(replies[0]["readings"])

    def decide(self) -> Decision:
        """Decide on what has arrived."""
        assert self.state is not None, "no daemon"
        inputs = Inputs(
            self.readings,
            tuple(self.budgets),
            self.outcomes,
            states=tuple(self.inbox),
            may_lease=True,
        )
        self.inbox, self.budgets, self.outcomes = [], [], ()
        self.decision, self.state = decide.decide(inputs, self.state, self.now, self.config)
        limit_w = self.decision.standing.limit_mw / W
        self.stage.step(f"{self.name} decides on {limit_w:g} W")
        return self.decision

    def enforce(self) -> None:
        """Have the guard carry the decision out; decide again where a GPU fails, as the controller does."""
        for _ in range(MAX_PLANS):
            outcomes = self.run(self.send_plan())
            if outcomes is None:
                return
            self.read()
            self.outcomes = outcomes
            if not any(outcome.result in (Result.FAILED, Result.SKIPPED) for outcome in outcomes):
                return
            self.decide()

    def send_plan(self) -> Envelope:
        """Send the plan of the last decision; the guard has it when it runs it."""
        self.number += 1
        return Envelope(self.token, self.number, self.decision.plan)

    def run(self, envelope: Envelope) -> tuple[Outcome, ...] | None:
        """Have the guard run a plan and wait for its reply; None if it is refused."""
        replies: list[dict[str, Any]] = []
        try:
            self.guard.plan(envelope.token, envelope.number, envelope.plan, replies.append)
        except RefusedError as error:
            self.stage.step(f"{self.name}'s guard refuses a plan: {error}")
            self.readings = ()
            return None
        self._wait_for(replies)
        self.stage.step(f"{self.name} is at {self.limit_w:g} W")
        outcomes: tuple[Outcome, ...] = replies[0]["outcomes"]
        return outcomes

    def speak(self) -> None:
        """Say what came true, once it is written down."""
        self.confirm()
        self.say()
        self.write_file()

    def confirm(self) -> None:
        """Work out what may be said; nothing is sent yet."""
        assert self.state is not None, "no daemon"
        self.message, self.state = confirm.confirm(
            self.decision, self.readings, self.state, self.now, self.config
        )

    def say(self) -> None:
        """Hand over what is to be said: it is sent when the runtime file allows it."""
        assert self.state is not None, "no daemon"
        leases = memory.keep(self.leases, self.stage.rack)
        remembered = runtime_file.Remembered(self.state.timeline, self.state.ramp.cap_mw, leases)
        message, self.message = self.message, None
        if message is None:
            self.file.keep(remembered)
        else:
            self.file.say(remembered, lambda: self.sent.append(message))
        self.stage.step(f"{self.name} says {_in_words(message)}")

    def write_file(self) -> None:
        """Replace the runtime file by what is to be remembered."""
        asyncio.run(self.file.write())

    def _wait_for(self, replies: list[dict[str, Any]]) -> None:
        self.settle()
        while not replies:
            self.stage.advance(CALL_DEADLINE_S)


def _in_words(message: HostState | None) -> str:
    if message is None:
        return "nothing"
    lends = [f"{lend.mw / W:g} W to {lend.to}" for lend in message.lends]
    holds = [f"{hold.mw / W:g} W from {hold.donor}" for hold in message.holds]
    return f"that it lends {', '.join(lends) or 'nothing'} and holds {', '.join(holds) or 'nothing'}"
