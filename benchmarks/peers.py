"""What a host pays for being one of eighteen: one real host, and seventeen that a broker knows only by name.

They say what real ones would: half of the rack is busy and uses the watts of the idle half, so that every
message speaks of nine leases, each renewed once a second in answer to what the real host said last.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.footprint import cpu_s
from benchmarks.table import RAM, Figure, Table
from tests.broker import Mosquitto
from tests.daemon.facility import BASE, Facility
from tests.daemon.host import Host, floor_watts, roster
from tests.fake_nvml import build

NAMES = tuple(f"r17-n{number}" for number in range(1, 19))
OWN = NAMES[0]
GPUS = 4
HARD_LIMIT_WATTS, FAILSAFE_WATTS, BUDGET_WATTS = 43_000, 23_000, 33_000
BUSY_WATTS = 500
LEASE_S, RENEW_S = 60.0, 20.0
# Without memory of an earlier run a host waits before it lends, about 20 s.
DEALING_WITHIN_S = 60.0

State = dict[str, Any]


def measure_peers(seconds: float) -> Table:
    """Let the host lend for half of the time, and borrow for the other half."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory:
        library = build(Path(directory) / "lib")
        for is_busy, role in ((False, "lending"), (True, "borrowing")):
            place = Path(directory) / role
            place.mkdir()
            with Rack(place, library, is_busy=is_busy) as rack:
                rack.start()
                figures += rack.measure(role, seconds / 2)
    return Table(
        f"One of 18 hosts, 4 GPUs, states at 1 Hz, over 2 x {seconds / 2:.0f} s",
        tuple(figures),
        "bytes are those of payloads: a topic and its header add some 50 to each",
    )


class Rack:
    """One real host, its broker and facility, and the other seventeen."""

    def __init__(self, directory: Path, library: Path, *, is_busy: bool) -> None:
        self._is_busy = is_busy
        self._broker = Mosquitto(directory / "broker")
        self._facility = Facility(self._broker.port)
        self._others = Others(self._broker.port, is_busy=is_busy)
        self._host = Host(
            directory,
            library,
            broker_port=self._broker.port,
            name=OWN,
            gpus=GPUS,
            rack={
                "hard_limit_watts": HARD_LIMIT_WATTS,
                "failsafe_watts": FAILSAFE_WATTS,
                "hosts": roster(NAMES, GPUS),
            },
            # The GPUs are known to be idle, or warm, from the start.
            tables={"control": {"period_s": 1.0, "hold_s": 5.0, "idle_after_s": 1.0, "warmup_s": 1.0}},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._others.close()
        self._host.end_processes()
        self._facility.close()
        self._broker.kill()

    def start(self) -> None:
        """Start everything, and wait until the host deals with the others."""
        self._broker.start()
        self._facility.grant(BUDGET_WATTS, LEASE_S)
        for gpu in range(GPUS):
            self._host.gpus.set_demand(gpu, BUSY_WATTS if self._is_busy else 0)
        self._others.connect()
        self._host.start_guard()
        self._host.start_daemon()
        begun_s = time.monotonic()
        for now_s in self._seconds_of_talk(DEALING_WITHIN_S):
            # A little longer, until what is lent has come to rest.
            if not self._others.deals():
                begun_s = now_s
            elif now_s > begun_s + 5:
                return
        raise AssertionError(f"no lease with the real host\n{self._host.last_lines()}")

    def measure(self, role: str, seconds: float) -> Iterator[Figure]:
        """Let the others talk for a while, and yield what that cost the host and what it said."""
        pids = (self._host.daemon.pid, self._host.guard.pid)
        self._until_next_state()
        cpu_before_s, said_before, begun_s = sum(map(cpu_s, pids)), self._others.said.copy(), time.monotonic()
        for _ in self._seconds_of_talk(seconds):
            pass
        self._until_next_state()
        elapsed_s = time.monotonic() - begun_s
        cpu_pct = (sum(map(cpu_s, pids)) - cpu_before_s) / elapsed_s * 100
        said = {key: count / elapsed_s for key, count in (self._others.said - said_before).items()}
        if not self._others.deals():
            raise AssertionError(f"the leases ended\n{self._host.last_lines()}")
        of_host = [leaf for leaf, what in said if what == "messages" and leaf != "summary"]
        messages, size = (sum(said[leaf, what] for leaf in of_host) for what in ("messages", "bytes"))
        yield Figure(f"{role}: CPU of daemon and guard, of one core", cpu_pct, "%", 2.0)
        # Two a second, and now and then news between them.
        yield Figure(f"{role}: messages", messages, "/s", 2.1)
        yield Figure(f"{role}: what they hold", size, "B/s", 2500.0)
        yield Figure(f"{role}: of that, states", said["state", "bytes"], "B/s")
        yield Figure(f"{role}: the rack's summary, as its first host", said["summary", "bytes"], "B/s")

    def _until_next_state(self) -> None:
        """Go on until the host has spoken, so that whole periods are counted."""
        before = self._others.said["state", "messages"]
        for _ in self._seconds_of_talk(DEALING_WITHIN_S):
            if self._others.said["state", "messages"] > before:
                return

    def _seconds_of_talk(self, seconds: float) -> Iterator[float]:
        """Have each of the others speak once a second, and the facility renew its budget."""
        now_s = begun_s = time.monotonic()
        renewed_s, turn = now_s, 0
        while now_s < begun_s + seconds:
            yield now_s
            self._others.speak(turn % len(self._others.names))
            turn += 1
            if now_s > renewed_s + RENEW_S:
                renewed_s = now_s
                self._facility.grant(BUDGET_WATTS, LEASE_S)
            time.sleep(max(0.0, begun_s + turn / len(self._others.names) - time.monotonic()))
            now_s = time.monotonic()


class Others:
    """Seventeen hosts on one connection.

    Attributes:
        said: what the real host has published, counted by the last level of the topic.
    """

    def __init__(self, port: int, *, is_busy: bool) -> None:
        self.names = NAMES[1:]
        self.said: Counter[tuple[str, str]] = Counter()
        # The real one is the first, and one half has one more of them.
        half = len(NAMES) // 2
        busy = NAMES[:half] if is_busy else NAMES[-half:]
        self._busy = busy
        self._idle = tuple(name for name in NAMES if name not in busy)
        self._epoch = int(time.time() * 1000)
        self._seq: Counter[str] = Counter(self.names)
        self._own: State = {}
        self._port = port
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self._hear(message)

    def connect(self) -> None:
        """Connect, and listen to the real host."""
        self._client.connect("127.0.0.1", self._port)
        self._client.subscribe([(f"{BASE}/host/{OWN}/+", 1), (f"{BASE}/summary", 1)])
        self._client.loop_start()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def deals(self) -> bool:
        """Say whether the real host lends to nine others, or borrows from them."""
        entries = self._own.get("lends", []) + self._own.get("holds", [])
        return len([entry for entry in entries if entry["watts"] > 0]) == len(NAMES) // 2

    def speak(self, turn: int) -> None:
        """Publish the state of one of them, once the real one was heard."""
        name = self.names[turn]
        if self._own:
            self._seq[name] += 1
            self._client.publish(f"{BASE}/host/{name}/state", self._state(name), qos=1, retain=True)

    def _hear(self, message: mqtt.MQTTMessage) -> None:
        leaf = message.topic.rpartition("/")[2]
        self.said[leaf, "messages"] += 1
        self.said[leaf, "bytes"] += len(message.payload)
        if leaf == "state":
            self._own = json.loads(message.payload)

    def _state(self, name: str) -> bytes:
        """Return what a host says that is like the real one, and goes by the same budget."""
        own, is_busy = self._own, name in self._busy
        share_watts, least_watts = own["share_watts"], floor_watts(GPUS)
        spare_watts = 0 if is_busy else share_watts - least_watts
        each_watts = int(spare_watts / len(self._busy))
        lends = [{"to": other, "watts": each_watts, **self._key(other)} for other in self._busy]
        holds = [entry for donor in self._idle for entry in self._hold(donor, name)]
        state = own | {
            "host": name,
            **self._key(name),
            "demand_watts": share_watts + 600 if is_busy else least_watts,
            "worst_case_watts": share_watts,
            "spare_watts": spare_watts,
            "lent_watts": 0 if is_busy else each_watts * len(lends),
            "borrowed_watts": sum(entry["watts"] for entry in holds) if is_busy else 0,
            "over_watts": 0,
            "lends": [] if is_busy else lends,
            "holds": holds if is_busy else [],
        }
        return json.dumps(state, separators=(",", ":")).encode()

    def _hold(self, donor: str, name: str) -> Iterator[State]:
        """Yield what one host uses of another's watts: of the real one, what that lends."""
        if donor != OWN:
            yield {"from": donor, "watts": 66, **self._key(donor)}
            return
        for lend in self._own["lends"]:
            if lend["to"] == name:
                yield {"from": OWN, "watts": lend["watts"], **self._key(OWN)}

    def _key(self, name: str) -> State:
        if name == OWN:
            return {"epoch": self._own["epoch"], "seq": self._own["seq"]}
        return {"epoch": self._epoch, "seq": self._seq[name]}
