"""How fast a lower budget is obeyed: real Mosquitto, real daemon and guard, eight GPUs of the fake library.

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
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.table import RAM, Figure, Table, quantile
from tests.daemon.rig import Rig
from tests.daemon.waiting import boot_s

# Twelve watts per GPU and cut, so that every GPU is cut each time.
_BUDGETS_WATTS = range(4000, 2400, -100)
# Below the 20 messages a second that a topic may bring before powerd thins them out.
_PACE_S = 0.055
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
        reactions_ms, inside_ms = _reactions_ms(rig, cuts)
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


def _rig(directory: Path) -> Rig:
    control = {"period_s": _PERIOD_S, "hold_s": 5.0}
    return Rig(directory, tables={"control": control, "guard": {"call_deadline_s": 1.0}})


def _reactions_ms(rig: Rig, cuts: int) -> tuple[list[float], list[float]]:
    published: list[float] = []
    inside: list[float] = []
    while len(published) < cuts:
        rig.obey(_BUDGETS_WATTS.start + 100, lease_s=60, within_s=10)
        for watts in _BUDGETS_WATTS:
            before = _last_cut_boot_s(rig)
            grant = rig.publish_budget(watts, lease_s=60)
            # Asking for the status would compete with what is measured: wait until it is over.
            time.sleep(_PACE_S)
            rig.wait_for(partial(_cut_after, rig, before), 10, what="a cut")
            reaction = rig.status()["reaction"]
            published.append((reaction["last_cut_boot_s"] - grant.published_boot_s) * 1e3)
            inside.append(reaction["seconds"] * 1e3)
    return sorted(published), sorted(inside)


def _cut_after(rig: Rig, last_boot_s: float) -> bool:
    return _last_cut_boot_s(rig) > last_boot_s


def _last_cut_boot_s(rig: Rig) -> float:
    reaction = rig.status()["reaction"]
    return float(reaction["last_cut_boot_s"]) if reaction else 0.0


def _broker_round_trips_ms(rig: Rig, count: int) -> list[float]:
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
    for number in range(1, count + 1):
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
