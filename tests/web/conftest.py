"""A host with every kind of GPU, a clock that tests set, and a running endpoint."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from powerd.core.model import Now, Step
from powerd.core.rack.failsafe import Phase
from powerd.metrics.exposition import Metrics
from powerd.snapshot import Snapshot
from powerd.web.server import WebServer
from tests.daemon.rig import Rig
from tests.web import host
from tests.web.host import BOOT_S, WALL_S, moment


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    boot_s: float = BOOT_S

    def now(self) -> Now:
        return moment(self.boot_s - BOOT_S)


@pytest.fixture
def snapshot() -> Snapshot:
    """Return a host in a fresh lease: five good GPUs, one read-only, one hung, one lost."""
    return host.snapshot(host.decided())


@pytest.fixture
def failsafe(snapshot: Snapshot) -> Snapshot:
    """Return the same host after its controller fell silent; its limits were read back as written."""
    steps = (snapshot.decision.rack_steps[0], Step("failsafe", 20_000_000, "rack.failsafe_watts"))
    lost = snapshot.decision._replace(
        phase=Phase.FAILSAFE,
        failsafe_cause="lease_over",
        statement=None,
        rack_cap_mw=20_000_000,
        rack_steps=steps,
    )
    return replace(snapshot, decision=lost)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics("r17", "r17-n3", clock, certificate_ends=lambda: {"ca": WALL_S + 86_400})


@dataclass
class Endpoint:
    """A running endpoint, what it shows, and a client of it."""

    server: WebServer
    shown: list[Snapshot | None]
    session: aiohttp.ClientSession
    url: str
    socket_path: Path

    def show(self, snapshot: Snapshot | None) -> None:
        self.shown[0] = snapshot


@pytest.fixture
async def endpoint(
    snapshot: Snapshot, clock: Clock, metrics: Metrics, tmp_path: Path
) -> AsyncIterator[Endpoint]:
    """Run the endpoint on a free port and a Unix socket."""
    shown: list[Snapshot | None] = [snapshot]
    path = tmp_path / "powerd.sock"
    server = WebServer(lambda: shown[0], clock, metrics, listen="127.0.0.1:0", socket_path=path)
    async with server, aiohttp.ClientSession() as session:
        yield Endpoint(server, shown, session, f"http://127.0.0.1:{server.port}", path)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Return real processes that obey a budget; the tests leave them as they find them."""
    with Rig(tmp_path_factory.mktemp("host")) as rig:
        rig.start()
        rig.obey(3000, lease_s=600)
        yield rig
