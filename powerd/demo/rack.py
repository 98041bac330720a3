"""The rack that `powerd demo` runs: its sizes, its budgets, and the configuration of each host.

Decides every number of the demo that is not measured. Times are short on purpose: what takes a real rack
minutes has to fit into one. Must not start anything.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from powerd.core.units import MilliWatts
from powerd.guard.config import SimulatedGpus
from powerd.signals.endpoint import BusOptions
from powerd.signals.topics import DEFAULT_PREFIX, RackTopics, Topics
from powerd.simulator.curves import model_named
from powerd.simulator.loads import curve_at, load_at

SITE = "demo"
MODEL = "A100-SXM"
# Assumed: processors, memory, network and fans of a host, per GPU.
OVERHEAD_WATTS_PER_GPU = 50
# Simulated sensors have no error: what a rack draws is to be seen beside what it was asked for.
GUARD_BAND_PCT = 0
# Assumed: racks are provisioned for less than what all their GPUs could draw at once.
NOMINAL_PCT_OF_MAXIMUM = 80
MAX_HOSTS = 64
MAX_GPUS = 64

# Assumed: so many hosts wait for work; GPUs of the others are idle as often as in the traces.
IDLE_ONE_IN = 4

PERIOD_S = 0.2
LEASE_TTL_S = 2.0
# A training job of two hours takes twelve seconds.
TIME_FACTOR = 600

_CONFIG = """\
[host]
site = {site}
rack = {rack}
name = {host}
mode = "enforce"
overhead_watts = {overhead_watts}
state_dir = {state_dir}
trust_wall_clock = true            # facility and hosts are on one machine

[rack]
hard_limit_watts = {nominal_watts}
failsafe_watts = {failsafe_watts}
guard_band_pct = {guard_band_pct}

[rack.hosts]
{roster}

[rack.leases]                      # times are compressed
ttl_s = {lease_ttl_s}
max_ttl_s = {lease_ttl_s}
guard_bound_s = 2.0
publish_s = 0.25
lead_s = 0.5
silent_s = 1.2

[control]                          # likewise
period_s = {period_s}
hold_s = 2.0
failsafe_hold_s = {failsafe_hold_s}
raise_dwell_s = {raise_dwell_s}
raise_ramp_pct_per_min = {ramp_pct_per_min}
raise_jitter_s = {raise_jitter_s}
idle_after_s = 1.0
warmup_s = 1.0

[gpu]
driver = "simulated"

[gpu.simulated]
count = {gpus}
model = {model}
load = {load}
seed = {seed}
time_factor = {time_factor}
start_boot_s = {start_boot_s!r}

[guard]
socket = {guard_socket}
spawn = true

[mqtt]
url = {url}
protocol = {protocol}
allow_plaintext = true             # whoever names a broker to the demo trusts the way to it

[http]
listen = "127.0.0.1:{port}"
socket = {http_socket}

[log]
format = "console"
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a scenario needs of the hosts: how they raise, and the work they have.

    Attributes:
        ramp_pct_per_min, raise_dwell_s, raise_jitter_s, failsafe_hold_s: as in the `[control]` table.
        failsafe_pct: of the nominal budget. The floors, a third of the maximum, need 43 %.
        is_busy: every GPU wants more than it gets, always.
    """

    ramp_pct_per_min: float = 600
    raise_dwell_s: float = 1.0
    raise_jitter_s: float = 0.5
    failsafe_hold_s: float = 7200.0
    failsafe_pct: int = 45
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class DemoRack:
    """One rack of equal hosts.

    Attributes:
        name: of the rack; unlike any other on the broker.
        hosts, gpus: how many hosts, and GPUs on each.
        port: of the first host's page; the others have the ports after it.
        seed: which loads the GPUs have.
        broker_url, protocol: as in the `[mqtt]` table.
        start_boot_s: boot clock at which the loads start.
        pace: as the scenario needs it.
    """

    name: str
    hosts: int
    gpus: int
    port: int
    seed: int
    broker_url: str
    protocol: str
    start_boot_s: float
    pace: Pace = Pace()

    @property
    def host_names(self) -> tuple[str, ...]:
        """Return the hosts of the roster, in order."""
        return tuple(f"n{number}" for number in range(1, self.hosts + 1))

    @property
    def idle_hosts(self) -> tuple[str, ...]:
        """Return the hosts that have no work."""
        return () if self.pace.is_busy else self.host_names[1::IDLE_ONE_IN]

    @property
    def overhead_watts(self) -> int:
        """Return what one host draws besides its GPUs."""
        return self.gpus * OVERHEAD_WATTS_PER_GPU

    @property
    def nominal_watts(self) -> int:
        """Return the most that the facility ever gives; also the rack's hard limit."""
        host_watts = self.gpus * model_named(MODEL).max_mw // 1000 + self.overhead_watts
        return self.hosts * host_watts * NOMINAL_PCT_OF_MAXIMUM // 100

    @property
    def failsafe_watts(self) -> int:
        """Return the budget of a rack that hears no facility."""
        return self.budget_watts(self.pace.failsafe_pct)

    def budget_watts(self, pct: int) -> int:
        """Return a part of the nominal budget, in whole watts."""
        return self.nominal_watts * pct // 100

    def url(self, host: str) -> str:
        """Return where a host serves its page and its status."""
        return f"http://127.0.0.1:{self.port + self.host_names.index(host)}"

    def bus_options(self, client: str) -> BusOptions:
        """Return how a part of the demo that is no host reaches the broker."""
        return BusOptions(
            self.broker_url,
            f"{client}-{self.name}",
            protocol=self.protocol,
            reconnect_max_s=2.0,
            allow_plaintext=True,
        )

    @property
    def topics(self) -> RackTopics:
        """Return the topics of the rack."""
        return RackTopics(DEFAULT_PREFIX, SITE, self.name)

    @property
    def retained_topics(self) -> tuple[str, ...]:
        """Return everything that the broker keeps of this rack after it has gone."""
        hosts = [Topics(DEFAULT_PREFIX, SITE, self.name, host) for host in self.host_names]
        of_hosts = (topic for host in hosts for topic in (host.online, host.state))
        return (self.topics.budget, self.topics.summary, *of_hosts)

    def simulated(self, host: str) -> SimulatedGpus:
        """Return what a host simulates: other loads on each, and none on some."""
        return SimulatedGpus(
            count=self.gpus,
            model=MODEL,
            load="full" if self.pace.is_busy else "idle" if host in self.idle_hosts else "mixed",
            seed=self.seed * MAX_HOSTS + self.host_names.index(host),
            time_factor=TIME_FACTOR,
            start_boot_s=self.start_boot_s,
        )

    def work(self, host: str, gpu: int, limit_mw: MilliWatts, boot_s: float) -> float:
        """Return the work per second, 0..1, that a GPU does under a limit at a moment."""
        simulated = self.simulated(host)
        return curve_at(simulated, gpu).throughput(limit_mw, load_at(simulated, gpu, boot_s))

    @staticmethod
    def state_dir(directory: Path) -> Path:
        """Return what has to exist before a host whose directory this is can keep its state."""
        return directory / "state"

    def config(self, host: str, directory: Path) -> str:
        """Return the configuration file of a host that keeps its files and sockets in `directory`."""
        floor_watts = self.gpus * model_named(MODEL).min_mw // 1000 + self.overhead_watts
        simulated = self.simulated(host)
        return _CONFIG.format(
            site=_text(SITE),
            rack=_text(self.name),
            host=_text(host),
            overhead_watts=self.overhead_watts,
            state_dir=_text(self.state_dir(directory)),
            nominal_watts=self.nominal_watts,
            failsafe_watts=self.failsafe_watts,
            guard_band_pct=GUARD_BAND_PCT,
            roster="\n".join(
                f"{h} = {{ share = 1.0, floor_watts = {floor_watts} }}" for h in self.host_names
            ),
            lease_ttl_s=LEASE_TTL_S,
            period_s=PERIOD_S,
            failsafe_hold_s=self.pace.failsafe_hold_s,
            raise_dwell_s=self.pace.raise_dwell_s,
            ramp_pct_per_min=self.pace.ramp_pct_per_min,
            raise_jitter_s=self.pace.raise_jitter_s,
            gpus=self.gpus,
            model=_text(MODEL),
            load=_text(simulated.load),
            seed=simulated.seed,
            time_factor=TIME_FACTOR,
            start_boot_s=self.start_boot_s,
            guard_socket=_text(directory / "guard.sock"),
            url=_text(self.broker_url),
            protocol=_text(self.protocol),
            port=self.port + self.host_names.index(host),
            http_socket=_text(directory / "powerd.sock"),
        )


def _text(value: str | Path) -> str:
    """Return a TOML string: JSON's escapes are a part of TOML's."""
    return json.dumps(str(value))
