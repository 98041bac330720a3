"""A host that decides, writes and speaks as a DSX Flex agent: the core and the reporter, second by second."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from powerd.core.decide import decide
from powerd.core.dsx.breach import BreachRules
from powerd.core.events.grid_event import GridEvent
from powerd.core.events.schedule import EventRules
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import LeaseRules
from powerd.core.model import Now
from powerd.core.rack.ramp import RampRules
from powerd.core.state import Config, Inputs, initial_state
from powerd.core.topology import Host
from powerd.daemon.controller import Report
from powerd.dsx.agent import AgentOptions, DsxReporter
from powerd.dsx.cloud_event import parse
from powerd.dsx.load_target import Feeds, load_targets
from powerd.dsx.traces import Traces
from powerd.signatures.jws import Signer, TrustedKey, Verifier
from powerd.snapshot import BusStatus, GuardStatus, Snapshot
from tests.core.bench import BenchGpu
from tests.core.make import W, budget, rack
from tests.core.make import config as make_config
from tests.dsx.keys import ISV, ISV_SOURCE, private_file, trusted
from tests.dsx.messages import envelope
from tests.dsx.schema import checked
from tests.signals.payloads import encoded

IDENTIFIER = "hel1-r1"
SOURCE = f"//grid/v1/dsx-flex-agent/{IDENTIFIER}"
STATUS_TOPIC = f"grid/v1/dsx-flex-agent/{IDENTIFIER}/powerstate/status"
BREACH_TOPIC = f"grid/v1/dsx-flex-agent/{IDENTIFIER}/powerbreach"
STATUS, ALERT = "grid.powerstate.status.v1", "grid.powerbreach.alert.v1"

# The rack is a hundredth of feed main-a: it draws up to 3 kW, the feed up to 300 kW.
FRACTIONS = {"main-a": 0.01}
OPTIONS = AgentOptions(IDENTIFIER, breach=BreachRules(hold_s=5, escalate_after_s=30, clear_s=5, repeat_s=60))
# Seconds of the boot clock at 2026-11-21T17:00:00Z.
AT_FIVE_S = 1000.0
_WALL_AT_BOOT_S = 1795280400.0 - AT_FIVE_S


def moment(boot_s: float) -> Now:
    return Now(boot_s, _WALL_AT_BOOT_S + boot_s)


def configured(*hosts: str, is_leasing: bool = False) -> Config:
    """Return the configuration of h1, alone or the first of several; the ramp takes ten seconds."""
    names = hosts or ("h1",)
    of = rack(
        hosts=tuple(Host(name, 1.0, 1000 * W) for name in names),
        hard_limit=3000 * len(names),
        failsafe=1500 * len(names),
    )
    made = make_config(of=of, leases=LeaseRules(enabled=is_leasing))
    return Config(
        rack=of,
        host=made.host,
        admission=made.admission,
        ramp=RampRules(of.hard_limit_mw / 10, 0.0),
        policies=made.policies,
        overhead_mw=made.overhead_mw,
        leases=made.leases,
        events=EventRules(feeds=FRACTIONS),
    )


class Said(dict[str, Any]):
    """A message that was published, as the schema wants it, and what was signed in it.

    Attributes:
        data: what was signed.
        qos: at which it was published.
    """

    data: dict[str, Any]
    qos: int


class Rig:
    """One host under a budget of all that it can draw."""

    def __init__(
        self,
        directory: Path,
        config: Config | None = None,
        options: AgentOptions = OPTIONS,
        *,
        is_signing: bool = True,
        mode: str = "enforce",
    ) -> None:
        self.config = config or configured()
        self.gpus = [BenchGpu(index) for index in range(4)]
        self._mode = mode
        self.statuses: list[Said] = []
        self.alerts: list[Said] = []
        self.traces = Traces()
        self._verifier = Verifier({"agent": TrustedKey(trusted(directory, "agent").file, SOURCE)})
        signer = Signer("agent", private_file(directory, "agent")) if is_signing else None
        self.reporter = DsxReporter(options, self.config, self._publish, self.traces, signer)
        self._state = initial_state(moment(0.0))
        self._seq = 0
        self.boot_s = AT_FIVE_S - 60
        self.run(30)
        self.statuses.clear()

    def run(self, seconds: int, *events: GridEvent, states: Iterable[HostState] = ()) -> None:
        """Let time pass; events and states come in at its start."""
        for _ in range(seconds):
            self.boot_s += 1
            self._tick(moment(self.boot_s), events, tuple(states))
            events, states = (), ()

    def hear(self, data: dict[str, Any], **changes: object) -> None:
        """Receive load targets, now."""
        message_s = moment(self.boot_s + 1)
        raw = encoded(checked("LoadTargetSetEvent", envelope(data, **changes)))
        message = parse(raw, kind="grid.loadtarget.set.v1", source=ISV_SOURCE)
        self.traces.remember(message.correlation_id or message.id, message.trace)
        feeds = Feeds.of(self.config.rack.hard_limit_mw, FRACTIONS)
        found = load_targets(
            message,
            data,
            sender=ISV,
            label=ISV,
            feeds=feeds,
            received=message_s,
            retained=False,
            raw=raw,
        )
        self.run(1, *found.events)

    def events(self) -> list[str]:
        """Return why each status was published."""
        return [said.data["feeds"]["main-a"]["event"] for said in self.statuses]

    def feed(self, index: int = -1) -> dict[str, Any]:
        """Return what a status says of the feed."""
        found: dict[str, Any] = self.statuses[index].data["feeds"]["main-a"]
        return found

    def _tick(self, now: Now, events: tuple[GridEvent, ...], states: tuple[HostState, ...]) -> None:
        self._seq += 1
        watts = self.config.rack.hard_limit_mw // W
        inputs = Inputs(
            tuple(gpu.read(now) for gpu in self.gpus),
            (budget(watts, self._seq, now),),
            events=events,
            states=states,
        )
        decision, self._state = decide(inputs, self._state, now, self.config)
        for write in decision.plan.cuts + decision.plan.raises if self._mode == "enforce" else ():
            next(gpu for gpu in self.gpus if f"GPU-{gpu.index}" == write.uuid).write(write)
        snapshot = Snapshot(
            now=now,
            iteration=self._seq,
            period_s=1.0,
            mode=self._mode,
            site=self.config.rack.site,
            rack=self.config.rack.name,
            host=self.config.host,
            readings=tuple(gpu.read(now) for gpu in self.gpus),
            decision=decision,
            outcomes=(),
            guard=GuardStatus(),
            bus=BusStatus(url=""),
            problems=(),
        )
        self.reporter(Report(snapshot, self._state, (), sampled=True))

    def _publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        assert not retain
        is_status = topic.endswith("/powerstate/status")
        said = Said(checked("PowerStateStatusEvent" if is_status else "PowerBreachAlertEvent", payload))
        message = parse(payload, kind=STATUS if is_status else ALERT, source=SOURCE)
        said.qos = qos
        said.data = (
            self._verifier.payload(message.data, signer=SOURCE, wall_s=0.0)
            if isinstance(message.data, str)
            else message.data
        )
        checked("PowerStateStatusData" if is_status else "PowerBreachAlertData", said.data)
        assert topic in (STATUS_TOPIC, BREACH_TOPIC) or "poweragent" in topic
        (self.statuses if is_status else self.alerts).append(said)
