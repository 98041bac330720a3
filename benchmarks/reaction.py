"""How fast a cut is obeyed, by a budget or an event: real Mosquitto, daemon and guard, eight fake GPUs.

Published -> last cut read back, both on CLOCK_BOOTTIME: the publisher stamps just before it hands the message
to its client, the guard stamps when the last read-back has returned.
"""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.table import RAM, Figure, Table, quantile
from powerd.core.events.grid_event import Action, ActionKind, EventClass, GridEvent, Interval, Level
from powerd.core.model import Now
from powerd.signals.grid_event import encode_event
from powerd.signals.topics import DEFAULT_PREFIX, RackTopics
from tests.daemon.host import RACK, SITE, Tables, merged
from tests.daemon.rig import Rig
from tests.daemon.waiting import boot_s

# Twelve watts per GPU and cut, so that every GPU is cut each time.
_BUDGETS_WATTS = range(4000, 2400, -100)
# Below the 20 messages a second that a topic may bring before powerd thins them out.
_PACE_S = 0.055
_BUDGET_LEASE_S = 300.0
_EVENT_S = 3600.0
_LOADED_GPU_MW = 500_000
_PERIOD_S = 1.0
_ANSWER_WITHIN_S = 5.0

_TIME_ONE_WRITE = """
import time
from powerd.guard.nvml import NvmlDriver
driver = NvmlDriver()
uuid = driver.attach()[0].uuid
times = []
for _ in range(40):
    start = time.perf_counter()
    driver.set_limit(uuid, 300_000)
    driver.read_limits(uuid)
    times.append(time.perf_counter() - start)
print(sorted(times)[len(times) // 2])
"""


def measure_reaction(cuts: int, set_latency_ms: float = 0.0) -> Table:
    """Publish `cuts` lower budgets, and time each until its last cut is read back."""
    with tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory, _rig(Path(directory)) as rig:
        rig.start()
        for index in range(len(rig.gpus.gpus)):
            rig.gpus.set_demand(index, _LOADED_GPU_MW)
            rig.gpus.gpus[index].set_latency_ns = int(set_latency_ms * 1e6)
        round_trips_ms = _broker_round_trips_ms(rig, 200)
        write_ms = _one_write_ms(rig)
        reactions_ms, inside_ms = _reactions_ms(
            rig,
            cuts,
            lambda watts: rig.publish_budget(watts, lease_s=60).published_boot_s,
            lambda watts: rig.obey(watts, lease_s=60, within_s=10),
        )
    floor_ms = quantile(round_trips_ms, 0.5) + write_ms
    slow = set_latency_ms > 0
    p50, p99 = quantile(reactions_ms, 0.50), quantile(reactions_ms, 0.99)
    return Table(
        f"Reaction, budget published -> last cut read back, 8 GPUs, {set_latency_ms:g} ms per driver set",
        (
            Figure(f"p50 of {len(reactions_ms)} cuts", p50, "ms", None if slow else 2.0),
            Figure("p99", p99, "ms", 25.0 if slow else 6.0),
            Figure("worst", reactions_ms[-1], "ms"),
            Figure("of which inside powerd: received -> read back, p50", quantile(inside_ms, 0.5), "ms"),
            Figure("of which inside powerd: received -> read back, p99", quantile(inside_ms, 0.99), "ms"),
            Figure("one broker round trip, p50", quantile(round_trips_ms, 0.5), "ms"),
            Figure("one broker round trip, p99", quantile(round_trips_ms, 0.99), "ms"),
            Figure("one driver set and read", write_ms, "ms"),
            Figure("p50 / (round trip + set + read)", p50 / floor_ms, "x", 1.3 if slow else None),
            Figure("p99 / (round trip + set + read)", p99 / floor_ms, "x", 1.3 if slow else None),
        ),
    )


class Cut(NamedTuple):
    """A message that lowers the rack cap."""

    topic: str
    payload: bytes


# Makes the message that brings the rack to so many watts; the number is the cut's, from 0 on.
MakeCut = Callable[[int, float], Cut]


def event_cut(number: int, watts: float) -> Cut:
    """Return a new version of one grid event, which starts now."""
    now_s = time.time()
    event = GridEvent(
        source="bridge",
        event_id="cut",
        epoch=1,
        seq=number + 1,
        issued_at_s=now_s,
        event_class=EventClass.MANDATORY,
        level=Level.RACK,
        targets=(RACK,),
        intervals=(Interval(now_s, now_s + _EVENT_S, Action(ActionKind.LIMIT, mw=round(watts * 1000))),),
        received=Now(boot_s(), now_s),
    )
    return Cut(RackTopics(DEFAULT_PREFIX, SITE, RACK).grid_event("cut"), encode_event(event))


def measure_event_reaction(
    cuts: int, make_cut: MakeCut = event_cut, what: str = "grid event", tables: Tables | None = None
) -> Table:
    """Ask for less and less under one budget, and time each message until its last cut is read back.

    Args:
        make_cut: called before each cut; what it takes to make the message is not measured.
        what: the message, for the title.
        tables: of the configuration, if the daemon needs more than its own to read the message.
    """
    with (
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory,
        _rig(Path(directory), tables) as rig,
    ):
        rig.start()
        for index in range(len(rig.gpus.gpus)):
            rig.gpus.set_demand(index, _LOADED_GPU_MW)
        numbers = count()

        def publish(watts: float) -> float:
            cut = make_cut(next(numbers), watts)
            published_boot_s = boot_s()
            rig.facility.publish(cut.payload, topic=cut.topic)
            return published_boot_s

        def restore(watts: float) -> None:
            rig.publish_budget(_BUDGETS_WATTS.start + 200, _BUDGET_LEASE_S)
            publish(watts)
            rig.wait_for(lambda: rig.obeyed(watts), 10, what=f"{watts} W obeyed")
            rig.wait_iterations(1)

        reactions_ms, inside_ms = _reactions_ms(rig, cuts, publish, restore)
    return Table(
        f"Reaction, {what} published -> last cut read back, 8 GPUs, 0 ms per driver set",
        (
            Figure(f"p50 of {len(reactions_ms)} cuts", quantile(reactions_ms, 0.50), "ms"),
            Figure("p99", quantile(reactions_ms, 0.99), "ms", 8.0),
            Figure("worst", reactions_ms[-1], "ms"),
            Figure("of which inside powerd: received -> read back, p50", quantile(inside_ms, 0.5), "ms"),
            Figure("of which inside powerd: received -> read back, p99", quantile(inside_ms, 0.99), "ms"),
        ),
    )


def _rig(directory: Path, tables: Tables | None = None) -> Rig:
    control = {"period_s": _PERIOD_S, "hold_s": 5.0}
    own = {"control": control, "guard": {"call_deadline_s": 1.0}}
    return Rig(directory, tables=merged(own, tables or {}))


def _reactions_ms(
    rig: Rig, cuts: int, publish: Callable[[float], float], restore: Callable[[float], object]
) -> tuple[list[float], list[float]]:
    """Lower the cap step by step, and start at the top again.

    Args:
        publish: lowers it to so many watts; returns when that was published.
        restore: raises it, and returns when that is done.
    """
    published: list[float] = []
    inside: list[float] = []
    while len(published) < cuts:
        restore(_BUDGETS_WATTS.start + 100)
        for watts in _BUDGETS_WATTS:
            before = _last_cut_boot_s(rig)
            published_boot_s = publish(watts)
            # Asking for the status would compete with what is measured: wait until it is over.
            time.sleep(_PACE_S)
            rig.wait_for(partial(_cut_after, rig, before), 10, what="a cut")
            reaction = rig.status()["reaction"]
            published.append((reaction["last_cut_boot_s"] - published_boot_s) * 1e3)
            inside.append(reaction["seconds"] * 1e3)
    return sorted(published), sorted(inside)


def _cut_after(rig: Rig, last_boot_s: float) -> bool:
    return _last_cut_boot_s(rig) > last_boot_s


def _last_cut_boot_s(rig: Rig) -> float:
    reaction = rig.status()["reaction"]
    return float(reaction["last_cut_boot_s"]) if reaction else 0.0


def _broker_round_trips_ms(rig: Rig, trips: int) -> list[float]:
    """Time a message of the same size and quality of service to itself and back, without powerd."""
    received: list[float] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *_: received.append(boot_s())
    client.connect("127.0.0.1", rig.broker.port)
    client.subscribe("bench/echo", qos=1)
    _loop_until(client, client.is_connected)
    # Else the acknowledgement waits for the kernel's delayed ACK, 40 ms.
    connection = client.socket()
    assert isinstance(connection, socket.socket)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    payload, times = b"x" * 220, []
    for number in range(1, trips + 1):
        start = boot_s()
        client.publish("bench/echo", payload, qos=1)
        _loop_until(client, partial(_has, received, number))
        times.append((received[-1] - start) * 1e3)
    client.disconnect()
    return sorted(times)


def _has(received: list[float], count: int) -> bool:
    return len(received) >= count


def _loop_until(client: mqtt.Client, condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _ANSWER_WITHIN_S
    while not condition():
        client.loop(0.01)
        if time.monotonic() > deadline_s:
            raise TimeoutError("the broker did not echo")


def _one_write_ms(rig: Rig) -> float:
    """Time one set and one read through the bindings, with the same latency, in a process of its own."""
    timed = subprocess.run(
        [sys.executable, "-c", _TIME_ONE_WRITE],
        env=rig.environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return float(timed.stdout) * 1e3
