"""A rack of four hosts, all of it real processes: how soon watts reach who needs them, and a cut everybody.

Four guards and daemons with four GPUs each, one Mosquitto. Lease parameters are the defaults, and control
periods are a second long; only what a GPU must show before it counts as idle is shorter than on a real rack.
"""

import math
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.table import RAM, Figure, Table, load_note, quantile
from tests.chaos.catalogue import KILLS
from tests.chaos.course import Course, NotInControlError
from tests.chaos.stage import Stage
from tests.daemon.facility import BASE
from tests.daemon.host import Host
from tests.daemon.rack import BUDGET_WATTS, NAMES, LeaseTimes, Rack, entitlement_mw, usable_mw
from tests.daemon.rack_observer import history
from tests.daemon.waiting import boot_s

_DEFAULT_TIMES = LeaseTimes(5.0, 10.0, 10.0, 1.0, 1.0, 3.5)
_PERIOD_S = 1.0
_CONTROL = {"period_s": _PERIOD_S, "hold_s": 5.0, "idle_after_s": 1.0, "warmup_s": 1.0}
# Lower by twelve watts per GPU each time, and never so low that there is nothing to lend.
_CUTS_WATTS = range(8800, 6400, -200)
_MEASURED_S = 30.0
_PACE_S = 0.1


@contextmanager
def _rack() -> Iterator[Rack]:
    """Yield a rack at rest, of default lease parameters."""
    with (
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory,
        Rack(Path(directory), times=_DEFAULT_TIMES, tables={"control": _CONTROL}) as rack,
    ):
        rack.start()
        rack.wait_for(partial(_rests, rack, BUDGET_WATTS), 60, what="rest")
        yield rack


def _rests(rack: Rack, watts: float) -> bool:
    """Have the budget renewed, and say whether every host is at rest."""
    if not rack.grants or boot_s() > rack.grants[-1].published_boot_s + 20 or rack.grants[-1].watts != watts:
        rack.facility.grant(watts, 120)
    return all(map(rack.is_at_rest, rack.hosts.values()))


def measure_waking(wakings: int, seed: int = 1) -> Table:
    """Wake all GPUs of a host, and time it until it may draw more than what is its own."""
    rng = random.Random(seed)
    with _rack() as rack:
        times_ms = sorted(_waking_ms(rack, NAMES[turn % len(NAMES)], rng) for turn in range(wakings))
    return Table(
        "Four idle hosts: the GPUs of one wake -> it may draw watts of the others",
        (
            Figure(f"p50 of {wakings} wakings", quantile(times_ms, 0.50) / 1e3, "s"),
            Figure("p95", quantile(times_ms, 0.95) / 1e3, "s", 1.5),
            Figure("worst", times_ms[-1] / 1e3, "s"),
        ),
        load_note(),
    )


def _waking_ms(rack: Rack, name: str, rng: random.Random) -> float:
    own_mw = entitlement_mw(BUDGET_WATTS)
    rack.wait_for(partial(_rests, rack, BUDGET_WATTS), 60, what="rest")
    time.sleep(rng.uniform(0, _PERIOD_S))  # at any moment of a period
    woken_boot_s = boot_s()
    rack.busy(name)
    rack.wait_for(lambda: rack.worst_mw(name) > own_mw, what="borrowed watts")
    reached = next(each for each in history(rack, woken_boot_s) if each.worst_mw[name] > own_mw)
    rack.idle(name)
    return (reached.boot_s - woken_boot_s) * 1e3


def measure_cuts(cuts: int) -> Table:
    """Publish at least `cuts` lower budgets, and time each until all hosts are within it, by read-back."""
    with _rack() as rack:
        rack.busy(NAMES[0])
        lending_ms = _cuts_ms(rack, cuts // 2, lending=True)
        rack.busy(*NAMES)
        own_ms = _cuts_ms(rack, cuts // 2, lending=False)
    all_ms = sorted(lending_ms + own_ms)
    return Table(
        "Four hosts: a lower budget published -> the last cut of the last host read back",
        (
            Figure(f"p50 of {len(all_ms)} cuts", quantile(all_ms, 0.50), "ms"),
            Figure("p99", quantile(all_ms, 0.99), "ms", 30.0),
            Figure("worst", all_ms[-1], "ms"),
            Figure("p50 with leases in force, to be recalled", quantile(lending_ms, 0.50), "ms"),
            Figure("p50 with every host busy, and nothing to lend", quantile(own_ms, 0.50), "ms"),
        ),
        load_note(),
    )


def _cuts_ms(rack: Rack, cuts: int, *, lending: bool) -> list[float]:
    times_ms: list[float] = []
    while len(times_ms) < cuts:
        watts = _CUTS_WATTS.start + 200
        rack.obey(watts)
        for lower in _CUTS_WATTS:
            rack.wait_for(partial(_is_in_use, rack, watts, lending=lending), what=f"{watts} W in use")
            times_ms.append(_cut_ms(rack, lower))
            watts = lower
    return sorted(times_ms)


def _is_in_use(rack: Rack, watts: float, *, lending: bool) -> bool:
    """Say whether the hosts have climbed to a budget, and settled: one on leases, or everyone at its own."""
    if any(host.status()["budget"]["rack_watts"] != watts for host in rack.hosts.values()):
        return False
    own_mw = entitlement_mw(watts)
    if lending:
        return rack.worst_mw(NAMES[0]) > own_mw + 50_000
    return all(rack.is_at(name, own_mw) for name in NAMES)


def _cut_ms(rack: Rack, watts: float) -> float:
    grant = rack.facility.grant(watts, 120)
    # Asking for the status would compete with what is measured: wait until it is over.
    time.sleep(_PACE_S)
    rack.wait_for(lambda: all(map(rack.follows, rack.hosts.values())), what="the cut everywhere")
    own_mw = entitlement_mw(watts)
    moments = history(rack, grant.published_boot_s)
    within = next(
        each for each in moments if max(each.worst_mw.values()) <= own_mw and each.sum_mw <= usable_mw(watts)
    )
    read_back_boot_s = max(map(_last_cut_boot_s, rack.hosts.values()))
    return (max(within.boot_s, read_back_boot_s) - grant.published_boot_s) * 1e3


def _last_cut_boot_s(host: Host) -> float:
    reaction = host.status()["reaction"]
    return float(reaction["last_cut_boot_s"]) if reaction else 0.0


def measure_messages(seconds: float = _MEASURED_S) -> Table:
    """Count what the hosts of a rack say while one of them lives on leases and nothing else happens."""
    with _rack() as rack:
        rack.busy(NAMES[0])
        rack.wait_for(partial(_is_in_use, rack, BUDGET_WATTS, lending=True), what="leases in force")
        time.sleep(2 * _DEFAULT_TIMES.ttl_s)  # until all have settled
        messages, sizes = _heard(rack, seconds)
    per_host = [f"{BASE}/host/{name}/state" for name in NAMES]
    rates = [messages[topic] / seconds for topic in per_host]
    bytes_s = [sizes[topic] / seconds for topic in per_host]
    total = sum(sizes.values()) / seconds / len(NAMES)
    return Table(
        f"What a host of four says, leases in force, over {seconds:.0f} s",
        (
            Figure("states per second, the host that says most", max(rates), "1/s", 2.0),
            Figure("mean of the hosts", statistics.mean(rates), "1/s"),
            Figure("bytes of states per second, topic included, the most", max(bytes_s), "B/s", 2500.0),
            Figure("mean of the hosts", statistics.mean(bytes_s), "B/s"),
            Figure("bytes of all its topics per second, mean", total, "B/s"),
        ),
        load_note(),
    )


def _heard(rack: Rack, seconds: float) -> tuple[Counter[str], Counter[str]]:
    """Return how many messages came on each topic of the rack, and how many bytes."""
    messages: Counter[str] = Counter()
    sizes: Counter[str] = Counter()

    def take(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        if not message.retain:
            messages[message.topic] += 1
            sizes[message.topic] += len(message.topic) + len(message.payload)

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = take
    client.connect("127.0.0.1", rack.broker.port)
    client.subscribe(f"{BASE}/host/#", qos=0)
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        client.loop(left_s)
    client.disconnect()
    return messages, sizes


def measure_kills(kills: int, seed: int) -> Table:
    """Kill processes of a running rack at random, and look for any time at which its budget did not hold."""
    with (
        tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory,
        Stage(Path(directory)) as stage,
    ):
        stage.rack.calm(watts=6400)
        course = Course(stage, seed, KILLS, falls=False)
        with closing(course), suppress(NotInControlError):
            course.run(math.inf, strikes=kills)
        seconds = boot_s() - course.begun_boot_s
    counts = (Figure(kind, count, "times") for kind, count in sorted(course.tally.done.items()))
    note = f"seed {seed}; {load_note()}"
    return Table(
        f"Four hosts: {kills} processes killed or stopped at random in {seconds:.0f} s",
        (
            Figure("times at which anything that is promised did not hold", len(course.problems), "", 0.0),
            *counts,
            Figure("of them while watts of others were in use", course.tally.on_lease, "times"),
            Figure("what hosts might draw beyond their own", course.observer.found.beyond_mws / 3.6e6, "Wh"),
        ),
        "\n  ".join((note, *course.problems[:5])),
    )
