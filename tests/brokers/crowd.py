"""Hundreds of hosts in one process: powerd's topics, payloads and waits, without GPUs or decisions.

`python -m tests.brokers.crowd`: see `main` for its options. It writes what happens to a file, a JSON array a
line, and ends with SIGTERM. `tests.brokers.fan_in` starts it and reads that.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from powerd.signals.backoff import Backoff
from powerd.signals.endpoint import BusOptions
from powerd.signals.mqtt import ANSWER_TIMEOUT_S
from powerd.signals.report import HostReport
from powerd.signals.topics import Topics
from tests.brokers.lean import LeanClient, Said
from tests.daemon.host import SITE
from tests.daemon.waiting import boot_s

RACK_SIZE: Final = 18
FIRST_RACK: Final = 17
# As many of its peers a host deals with where half of a rack is busy.
_PEERS = RACK_SIZE // 2
_COUNTS_EVERY_S = 0.5
_DEFAULTS = BusOptions("mqtt://localhost", "")

Message = dict[str, Any]


def names(index: int) -> tuple[str, str]:
    """Return rack and name of the host of some number: 0 is the first of rack r17."""
    rack = f"r{FIRST_RACK + index // RACK_SIZE}"
    return rack, f"{rack}-n{index % RACK_SIZE + 1}"


class SimulatedHost:
    """One of a crowd: connected whenever it can be, it says once a second what a real host has said.

    Args:
        index: its number.
        said: state and telemetry of the real host.
        journal: takes what happens.

    Attributes:
        counts: what was published and received: messages and bytes of payload of each.
    """

    def __init__(self, index: int, said: tuple[Message, Message], journal: "Journal") -> None:
        rack, name = names(index)
        self._index = index
        self._journal = journal
        self._state, self._telemetry = said
        self._epoch = int(time.time() * 1000)
        self._own: Message = {"host": name, "rack": rack, "epoch": self._epoch}
        self._topics = Topics("powerd/v1", SITE, rack, name)
        self._budget = self._topics.budget.encode()
        self._report = HostReport(host=name, rack=rack, epoch=self._epoch)
        self._backoff = Backoff(_DEFAULTS.reconnect_min_s, _DEFAULTS.reconnect_max_s, random.SystemRandom())
        self._client: LeanClient | None = None
        self.counts = [0, 0, 0, 0]

    @property
    def is_connected(self) -> bool:
        """Say whether it hears and is heard."""
        return self._client is not None

    async def stay_connected(self, port: int) -> NoReturn:
        """Connect, and again whenever the connection has ended."""
        loop = asyncio.get_running_loop()
        while True:
            begun_s = loop.time()
            with contextlib.suppress(OSError, TimeoutError):
                await self._serve(port)
            wait_s = self._backoff.failed(lasted_s=loop.time() - begun_s)
            self._journal("wait", self._index, wait_s)
            await asyncio.sleep(wait_s)

    async def speak(self) -> NoReturn:
        """Publish state and telemetry once a second, from a random moment on."""
        due_s = time.monotonic() + random.random()
        for seq in range(1, 1_000_000):
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s + 1.0, time.monotonic())
            self._say(self._topics.state, self._dealing(seq), qos=1, retain=True)
            self._say(
                self._topics.telemetry, {**self._telemetry, **self._own, "seq": seq}, qos=0, retain=False
            )
        raise AssertionError("a crowd does not live that long")

    async def _serve(self, port: int) -> None:
        """Hold one connection for as long as it lasts.

        Raises:
            OSError, TimeoutError: it could not be made.
        """
        will = Said(
            self._topics.online, self._report.online(online=False, wall_s=time.time()), 1, retain=True
        )
        filters = {self._topics.budget: 1, self._topics.grid_events: 1, self._topics.states: 0}
        client_id = "-".join(("powerd", SITE, *names(self._index)))
        client = LeanClient(client_id, _DEFAULTS.keepalive_s, will, filters, self._heard)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
                await client.listens
            if client.ended.done():
                return
            client.publish(
                Said(self._topics.online, self._report.online(online=True, wall_s=time.time()), 1, True)
            )
            self._client = client
            self._journal("connected", self._index)
            await client.ended
        finally:
            self._client = None
            client.close()

    def _dealing(self, seq: int) -> Message:
        """Return a state of the size that states have where hosts lend each other watts."""
        deals = [
            {"to": names(peer)[1], "watts": 0, "epoch": self._epoch, "seq": seq} for peer in range(_PEERS)
        ]
        return {**self._state, **self._own, "seq": seq, "leasing": False, "lends": deals, "holds": []}

    def _say(self, topic: str, message: Message, *, qos: int, retain: bool) -> None:
        if self._client is not None:
            payload = json.dumps(message, separators=(",", ":")).encode()
            self._client.publish(Said(topic, payload, qos, retain))
            self._count(0, payload)

    def _heard(self, topic: bytes, payload: bytes, retained: bool) -> None:
        self._count(2, payload)
        if topic == self._budget and not retained:
            self._journal("budget", self._index, json.loads(payload)["seq"])

    def _count(self, which: int, payload: bytes) -> None:
        self.counts[which] += 1
        self.counts[which + 1] += len(payload)


async def live(hosts: list[SimulatedHost], port: int, journal: "Journal") -> None:
    """Let all of them live until this is cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for host in hosts:
            tasks.create_task(host.stay_connected(port))
            tasks.create_task(host.speak())
        while True:
            counts = [sum(values) for values in zip(*(host.counts for host in hosts), strict=True)]
            journal("counts", sum(host.is_connected for host in hosts), *counts)
            await asyncio.sleep(_COUNTS_EVERY_S)


class Journal:
    """Writes what happens, with the time since boot."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w", encoding="utf-8", buffering=1)

    def __call__(self, what: str, *values: float) -> None:
        self._file.write(json.dumps([boot_s(), what, *values]) + "\n")


async def main() -> None:
    """Read the options, and live until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True, help="of the broker on the loopback interface")
    parser.add_argument("--first", type=int, required=True, help="number of the first host")
    parser.add_argument("--count", type=int, required=True, help="how many")
    parser.add_argument(
        "--like", type=Path, required=True, help="state and telemetry of a real host, as JSON"
    )
    parser.add_argument("--journal", type=Path, required=True)
    options = parser.parse_args()
    said = json.loads(options.like.read_text(encoding="utf-8"))
    journal = Journal(options.journal)
    indices = range(options.first, options.first + options.count)
    hosts = [SimulatedHost(index, said, journal) for index in indices]
    life = asyncio.ensure_future(live(hosts, options.port, journal))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, life.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await life


if __name__ == "__main__":
    asyncio.run(main())
