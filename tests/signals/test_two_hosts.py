"""Two real cores that know of each other only what passes as payloads, each checked against its schema."""

import json
from dataclasses import replace

from powerd.core.confirm import confirm
from powerd.core.decide import decide
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import LeaseRules, Leases
from powerd.core.model import EventReason, GpuReading, Now
from powerd.core.state import Inputs, initial_state
from powerd.signals.host_state import parse_host_state
from powerd.signals.report import HostReport
from powerd.snapshot import BusStatus, GuardStatus, Snapshot
from tests.core.make import MAX_W, at, budget, config, gpu, rack
from tests.signals.payloads import VALIDATORS

RACK = rack()
HOSTS = [host.name for host in RACK.hosts]


_STATUS = (GuardStatus(), BusStatus("mqtt://localhost"))


class OneHost:
    """A host of four GPUs whose limits are what was decided last."""

    def __init__(self, name: str, *, is_busy: bool) -> None:
        self.name = name
        self.latest: HostState | None = None
        self._report = HostReport(host=name, rack=RACK.name, epoch=1)
        self._is_busy = is_busy
        self._config = replace(config(leases=LeaseRules()), host=name)
        self._state = initial_state(at(0), leases=Leases(epoch=1))
        self._limits = dict.fromkeys(range(4), float(MAX_W))

    def period(self, now: Now, heard: list[HostState]) -> bytes | None:
        """Go through one iteration, and return what is said at its end, if anything."""
        messages = (budget(4000, 1, now),) if now == at(1) else ()
        inputs = Inputs(self._readings(now), messages, states=tuple(heard), may_lease=True)
        decision, state = decide(inputs, self._state, now, self._config)
        for write in (*decision.plan.cuts, *decision.plan.raises):
            self._limits[int(write.uuid.removeprefix("GPU-"))] = write.mw / 1000
        readings = self._readings(now)
        message, self._state = confirm(decision, readings, state, now, self._config)
        self.latest = message or self.latest
        snapshot = Snapshot(
            now, 1, 1.0, "enforce", "hel1", RACK.name, self.name, readings, decision, (), *_STATUS, ()
        )
        VALIDATORS["telemetry"].validate(json.loads(self._report.telemetry(snapshot)))
        return self._report.state(snapshot, message) if message else None

    def _readings(self, now: Now) -> tuple[GpuReading, ...]:
        return tuple(self._reading(index, limit, now) for index, limit in self._limits.items())

    def _reading(self, index: int, limit: float, now: Now) -> GpuReading:
        draw = limit if self._is_busy else 60
        reasons = EventReason.SW_POWER_CAP if self._is_busy else 0
        return gpu(index, limit=limit, draw=draw, sampled=now.boot_s, reasons=reasons)


def test_watts_cross_between_hosts_that_exchange_payloads_and_nothing_else() -> None:
    """The idle host's watts reach the busy one, to the milliwatt, and every payload keeps its schema."""
    idle, busy = OneHost(HOSTS[0], is_busy=False), OneHost(HOSTS[1], is_busy=True)
    inbox: dict[str, list[HostState]] = {name: [] for name in HOSTS}
    for second in range(1, 60):
        for speaker, listener in ((idle, busy), (busy, idle)):
            now = at(second)
            heard, inbox[speaker.name] = inbox[speaker.name], []
            payload = speaker.period(now, heard)
            if payload is None:
                continue
            VALIDATORS["state"].validate(json.loads(payload))
            read = parse_host_state(
                payload,
                host=speaker.name,
                rack=RACK.name,
                hosts=HOSTS,
                hard_limit_mw=RACK.hard_limit_mw,
                received_boot_s=now.boot_s,
            )
            inbox[listener.name].append(read)
    assert idle.latest
    assert busy.latest
    lend, hold = idle.latest.lent_to(busy.name), busy.latest.held_from(idle.name)
    assert lend
    assert hold
    assert lend.mw == hold.mw > 500_000
