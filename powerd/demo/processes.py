"""The processes and files of a demo rack: all of them started, and all of them gone afterwards."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from pathlib import Path

from powerd.demo import child_process
from powerd.demo.child_process import Child
from powerd.demo.rack import DemoRack
from powerd.errors import BusError
from powerd.guard.driver import FORBID_WRITES_VARIABLE
from powerd.signals.endpoint import endpoint
from powerd.signals.mqtt import connect
from powerd.signals.outbox import Outgoing

_LISTENS_WITHIN_S = 15.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Processes:
    """What runs.

    Attributes:
        broker: None if the rack uses one that is there anyway.
        hosts: by their name.
    """

    broker: Child | None
    hosts: dict[str, Child]


def writes_are_forbidden() -> bool:
    """Return whether the caller forbids all writes; hosts are told so too."""
    return os.environ.get(FORBID_WRITES_VARIABLE, "0") not in ("", "0")


@contextlib.asynccontextmanager
async def rack_processes(
    rack: DemoRack, *, own_broker: bool, said: Collection[str]
) -> AsyncGenerator[Processes]:
    """Start the broker, if the rack needs its own, and every host; end them all, and remove their files.

    Args:
        said: further topics that the broker keeps of the rack; read when all is over.

    Raises:
        BusError: the broker that is there anyway cannot be used.
        ChildFailedError: the rack's own broker did not start.
    """
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="powerd-demo-")))
        broker = None
        if own_broker:
            broker = await _start_broker(rack, directory, stack)
        else:
            async with connect(rack.bus_options("check")):
                stack.push_async_callback(_forget, rack, said)
        hosts: dict[str, Child] = {}
        stack.push_async_callback(_stop, hosts)
        for host in rack.host_names:
            config = _host_files(rack, host, directory / host)
            hosts[host] = await child_process.start(f"host {host}", "run", str(config), config.parent / "log")
        yield Processes(broker, hosts)


async def _start_broker(rack: DemoRack, directory: Path, stack: contextlib.AsyncExitStack) -> Child:
    port = endpoint(rack.bus_options("check")).port
    broker = await child_process.start("the embedded broker", "broker", str(port), directory / "broker.log")
    stack.push_async_callback(broker.stop)
    ended = asyncio.create_task(broker.ended())
    try:
        async with asyncio.timeout(_LISTENS_WITHIN_S):
            while not await _listens(port):
                await asyncio.wait([ended], timeout=_POLL_S)
                if ended.done():
                    await ended
    except TimeoutError:
        raise broker.failure(f"does not listen on port {port}") from None
    finally:
        ended.cancel()
    return broker


async def _listens(port: int) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _host_files(rack: DemoRack, host: str, directory: Path) -> Path:
    """Make the directories of a host, and return its configuration."""
    rack.state_dir(directory).mkdir(parents=True)
    config = directory / "powerd.toml"
    config.write_text(rack.config(host, directory), encoding="utf-8")
    return config


async def _stop(hosts: dict[str, Child]) -> None:
    await asyncio.gather(*(child.stop() for child in hosts.values()))


async def _forget(rack: DemoRack, said: Collection[str]) -> None:
    """Take back what a broker that stays would keep of a rack that has gone."""
    with contextlib.suppress(BusError):  # then the broker has gone too
        async with connect(rack.bus_options("forget")) as session:
            for topic in (*rack.retained_topics, *said):
                await session.publish(Outgoing(topic, b"", qos=1, retain=True))
