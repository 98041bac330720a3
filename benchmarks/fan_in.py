"""What a broker does for 500 hosts, and how they come back to it: Mosquitto, and NATS with JetStream."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.footprint import cpu_s, resident_mib
from benchmarks.table import RAM, Figure, Table, load_note, quantile
from tests.authority import Authority
from tests.broker import Mosquitto
from tests.brokers.fan_in import FanIn
from tests.brokers.kinds import Kind, mosquitto_5, nats
from tests.brokers.nats import Nats
from tests.daemon.waiting import boot_s
from tests.fake_nvml import build

CLIENTS = 500
BUDGETS_WATTS = (33_000, 30_000)
OUTAGE_S = 2.0
_SETTLING_S = 5.0
_WITHIN_S = 200.0
_MAKERS: dict[str, Callable[[Path, Authority], Kind]] = {"Mosquitto": mosquitto_5, "NATS": nats}


def measure_fan_in(seconds: float, cuts: int, clients: int = CLIENTS) -> Table:
    """Let the hosts talk for a while under budgets that change, then take their broker away for a moment.

    Args:
        cuts: how many budgets every rack is given.
    """
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="powerd-", dir=RAM) as directory:
        library = build(Path(directory) / "lib")
        for name, make in _MAKERS.items():
            place = Path(directory) / name[0]
            place.mkdir()
            # Neither broker asks for certificates here.
            with FanIn(place, library, make(place / "broker", Authority(place)), clients) as crowd:
                crowd.start(_WITHIN_S)
                time.sleep(_SETTLING_S)
                figures += [
                    Figure(f"{name}: {what}", value, unit)
                    for what, value, unit in (*_talk(crowd, seconds), *_budgets(crowd, cuts), *_return(crowd))
                ]
    return Table(
        f"{clients} hosts in racks of 18 at one broker, over {seconds:.0f} s and {cuts} budgets",
        tuple(figures),
        f"delays include the simulated hosts' own; bytes are those of payloads; {load_note()}",
    )


def _talk(crowd: FanIn, seconds: float) -> Iterator[tuple[str, float, str]]:
    pid = _pid(crowd)
    cpu_before_s = cpu_s(pid)
    before, after = crowd.watch(seconds)
    cpu, elapsed_s = cpu_s(pid) - cpu_before_s, after.boot_s - before.boot_s
    sent, heard = after.published - before.published, after.received - before.received
    yield "messages published", sent / elapsed_s, "/s"
    yield "messages delivered", heard / elapsed_s, "/s"
    yield "bytes published", (after.published_bytes - before.published_bytes) / elapsed_s / 1e6, "MB/s"
    yield "bytes delivered", (after.received_bytes - before.received_bytes) / elapsed_s / 1e6, "MB/s"
    yield "CPU, of one core", cpu / elapsed_s * 100, "%"
    yield "CPU per 1,000 messages in and out", cpu / (sent + heard) * 1e6, "ms"
    yield "resident memory", resident_mib(pid), "MiB"
    yield "file descriptors", len(list(Path(f"/proc/{pid}/fd").iterdir())), ""


def _budgets(crowd: FanIn, cuts: int) -> Iterator[tuple[str, float, str]]:
    """Yield how long a budget takes from its publication to each host, and lose none."""
    delays_s: list[float] = []
    for number in range(cuts):
        watts = BUDGETS_WATTS[number % 2]
        published = crowd.grant_all(watts)
        _wait(crowd, lambda watts=watts: crowd.obeyed(watts))  # type: ignore[misc] # it takes nothing
        _wait(crowd, lambda published=published: len(crowd.delays_s(published)) >= crowd.clients)  # type: ignore[misc]
        delays_s += crowd.delays_s(published)
    delays_s.sort()
    for share in (0.5, 0.99, 1.0):
        yield f"budget to host, p{share * 100:g}", quantile(delays_s, share) * 1000, "ms"


def _return(crowd: FanIn) -> Iterator[tuple[str, float, str]]:
    """Yield how hosts come back after the broker was gone for a moment."""
    lost_boot_s = boot_s()
    crowd.kind.server.kill()
    time.sleep(OUTAGE_S)
    crowd.kind.server.start()
    back_boot_s = boot_s()
    _wait(crowd, lambda: crowd.connected() == crowd.clients)
    connected = [event.boot_s - back_boot_s for event in crowd.events("connected", back_boot_s)]
    _wait(crowd, lambda: bool(crowd.host.status()["bus"]["connected"]))
    crowd.grant_all(31_000)
    _wait(crowd, lambda: crowd.obeyed(31_000))
    controlled_s = boot_s() - back_boot_s
    waits = crowd.events("wait", lost_boot_s)
    tries = Counter(int(10 * (event.boot_s + event.values[1])) for event in waits)
    yield f"back after {back_boot_s - lost_boot_s:.1f} s away: median", quantile(connected, 0.5), "s"
    yield "back: the last host", connected[-1], "s"
    yield "back: most tries in a tenth of a second", max(tries.values()), ""
    yield "back: tries per host", len(waits) / crowd.clients, ""
    yield "the real host under control again", controlled_s, "s"


def _wait(crowd: FanIn, condition: Callable[[], bool]) -> None:
    crowd.wait_for(condition, _WITHIN_S)


def _pid(crowd: FanIn) -> int:
    server = crowd.kind.server
    assert isinstance(server, Mosquitto | Nats)
    return server.pid
