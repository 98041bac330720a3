"""One host under test: fake GPUs, a real broker, and the real guard and daemon as processes.

Nothing in here knows powerd from the inside: it is driven by MQTT and signals, and seen through HTTP, its
log, and the limits and the write log of the fake GPUs.
"""

import http.client
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from tests.broker import Mosquitto, free_port
from tests.daemon.facility import Facility
from tests.daemon.processes import POWERD, PYTHON, Process, clean_environment
from tests.fake_nvml import FakeNvml, Write, build

_Value = TypeVar("_Value")
Tables = Mapping[str, Mapping[str, Any]]

SITE, RACK, HOST = "hel1", "r17", "r17-n1"
GPU_MIN_WATTS, GPU_MAX_WATTS = 100, 400
OVERHEAD_WATTS = 800
HARD_LIMIT_WATTS = 4400
FAILSAFE_WATTS = 2400
GUARD_BAND = 0.02
# The shortest that hosts grant (docs/signals.md, Rack budget).
LEASE_S = 5.0

_POLL_S = 0.005
_START_WITHIN_S = 20.0


class Grant(NamedTuple):
    """A budget that was published: what powerd may rest a raise on, on the boot clock."""

    published_boot_s: float
    watts: float | None
    end_boot_s: float


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: str


class Rig:
    """Everything that one test, or a group of them, needs. A context manager that ends all its processes.

    Args:
        directory: for state, sockets and logs; short, since it holds Unix sockets.
        library: the fake NVML library; None builds it into `directory`.
        gpus: how many.
        tables: merged into the configuration, key by key.
        broker_settings: further lines of mosquitto.conf(5).

    Attributes:
        gpus: the fake GPUs, to be commanded.
        broker: not started.
        guard, daemon: not started; their `log` is what they wrote to standard error.
        facility: publishes anything on the budget topic; `publish_budget` is for budgets in good order.
        config: the configuration file of both.
        grants: what `publish_budget` published, oldest first.
    """

    def __init__(
        self,
        directory: Path,
        library: Path | None = None,
        *,
        gpus: int = 8,
        tables: Tables | None = None,
        broker_settings: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.config = directory / "powerd.toml"
        self.broker = Mosquitto(directory / "broker", settings=broker_settings)
        self.http_port = free_port()
        self.gpus = FakeNvml(
            library or build(directory / "lib"),
            directory / "gpus",
            gpus=gpus,
            limits_mw=(GPU_MIN_WATTS * 1000, GPU_MAX_WATTS * 1000, GPU_MAX_WATTS * 1000),
        )
        for index in range(gpus):
            self.gpus.gpus[index].persistence = 1
        self.environment = clean_environment(**self.gpus.environment())
        config = ("--config", str(self.config))
        self.guard = Process((*PYTHON, "powerd.guard", *config), directory / "guard.log", self.environment)
        self.daemon = Process((POWERD, "run", *config), directory / "daemon.log", self.environment)
        self.facility = Facility(self.broker.port, f"powerd/v1/{SITE}/rack/{RACK}/budget", RACK)
        self.grants: list[Grant] = []
        (directory / "state").mkdir()
        (directory / "g").mkdir(mode=0o700)
        self.configure(tables or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process, and say goodbye to nobody."""
        self.daemon.close()
        self.guard.close()
        self.facility.close()
        self.broker.kill()

    def configure(self, tables: Tables) -> None:
        """Write the configuration; processes read it when they start."""
        merged = {name: {**self._defaults().get(name, {}), **tables.get(name, {})} for name in _TABLES}
        self.config.write_text(to_toml(merged), encoding="utf-8")
        self.config.chmod(0o600)

    def start(self) -> None:
        """Start broker, guard and daemon, and wait until the daemon is ready."""
        if not self.broker.running:
            self.broker.start()
        self.start_guard()
        self.start_daemon()

    def start_guard(self) -> None:
        """Start the guard and wait until it serves its socket."""
        said = self.guard.log.count("listening on")
        self.guard.start()
        self.wait_for(lambda: self.guard.log.count("listening on") > said, what="the guard to listen")

    def start_daemon(self, *arguments: str) -> None:
        """Start the daemon and wait until it is connected and `readyz` says so."""
        self.daemon.start(*arguments)
        self.wait_for(lambda: self.get("/readyz").status == 200, what="the daemon to be ready")
        self.wait_for(lambda: self.status()["bus"]["connected"], what="the daemon to be connected")

    def publish_budget(self, watts: float | None, lease_s: float = LEASE_S, **overrides: Any) -> Grant:
        """Publish a budget in good order, retained, and remember it as a grant.

        Args:
            watts: for the rack; None = no limit.
            overrides: fields of the message to replace or add, as `Facility.budget`.
        """
        now_s = boot_s()
        grant = Grant(now_s, watts, now_s + lease_s)
        self.grants.append(grant)
        self.facility.publish(self.facility.budget(watts, lease_s, **overrides))
        return grant

    def obey(self, watts: float | None, lease_s: float = LEASE_S, within_s: float = 3.0) -> Grant:
        """Publish a budget in good order and wait until the limits follow it."""
        grant = self.publish_budget(watts, lease_s)
        self.wait_for(lambda: self.obeyed(watts), within_s, what=f"{watts} W obeyed")
        # The sum may be there before the last of the GPUs is: let the iteration end.
        self.wait_iterations(1)
        return grant

    def get(self, path: str) -> Answer:
        """GET from the daemon.

        Raises:
            OSError: it does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """Return the status document of now.

        Raises:
            OSError: the daemon does not answer, or has not finished an iteration yet.
        """
        answer = self.get("/v1/status")
        if answer.status != http.HTTPStatus.OK:
            raise ConnectionError(answer.body)
        document: dict[str, Any] = json.loads(answer.body)
        return document

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels; 0 if there are none."""
        total = 0.0
        for line in self.get("/metrics").body.splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
                total += float(match[2])
        return total

    def problem(self, event: str) -> str:
        """Return the text of a problem that status shows; empty if it shows none of that event."""
        return next((str(error["text"]) for error in self.status()["errors"] if error["event"] == event), "")

    def wait_iterations(self, count: int) -> None:
        """Wait until the daemon has finished that many more iterations."""
        last = self.status()["iteration"] + count
        self.wait_for(lambda: self.status()["iteration"] >= last, what=f"{count} iterations")

    def limits_mw(self) -> list[int]:
        """Return the limit in effect of every GPU, from the GPUs themselves."""
        return [gpu.enforced_mw for gpu in self.gpus.gpus]

    def sum_mw(self) -> int:
        """Return the sum of the limits in effect."""
        return sum(self.limits_mw())

    def write_log(self) -> list[Write]:
        """Return every change of a limit since the start, by whomever."""
        return self.gpus.writes()

    def obeyed(self, watts: float | None) -> bool:
        """Say whether the limits use this rack budget, and no more than it, but for rounding."""
        budget_mw = gpu_budget_mw(watts, len(self.limits_mw()))
        return 0.97 * budget_mw < self.sum_mw() <= budget_mw

    def wait_for(
        self, condition: Callable[[], _Value], within_s: float = _START_WITHIN_S, *, what: str = ""
    ) -> _Value:
        """Wait until the condition is true and return its value; no answer from the daemon counts as false.

        Raises:
            AssertionError: it did not come true in time; shows the processes' last lines.
        """
        deadline_s = time.monotonic() + within_s
        while True:
            value = _value_of(condition)
            if value:
                return value
            if time.monotonic() >= deadline_s:
                raise AssertionError(f"not within {within_s:g} s: {what or condition}\n{self._last_lines()}")
            time.sleep(_POLL_S)

    def _last_lines(self) -> str:
        logs = {"guard": self.guard.log, "daemon": self.daemon.log}
        tails = (f"--- {name}\n" + "\n".join(log.splitlines()[-15:]) for name, log in logs.items())
        return "\n".join((*tails, f"--- limits {[mw / 1000 for mw in self.limits_mw()]} W"))

    def _defaults(self) -> dict[str, dict[str, Any]]:
        floor_watts = OVERHEAD_WATTS + GPU_MIN_WATTS * len(self.gpus.gpus)
        return {
            "host": {
                "site": SITE,
                "rack": RACK,
                "name": HOST,
                "mode": "enforce",
                "overhead_watts": OVERHEAD_WATTS,
                "state_dir": str(self.directory / "state"),
                "trust_wall_clock": True,
            },
            "rack": {
                "hard_limit_watts": HARD_LIMIT_WATTS,
                "failsafe_watts": FAILSAFE_WATTS,
                "guard_band_pct": GUARD_BAND * 100,
                "hosts": {HOST: {"share": 1.0, "floor_watts": floor_watts}},
            },
            # Raises at once: how slowly they come is the core's business and tested there.
            "control": {
                "period_s": 0.2,
                "hold_s": 1.0,
                "raise_ramp_pct_per_min": 1e6,
                "raise_jitter_s": 0.0,
                "raise_dwell_s": 0.0,
            },
            "mqtt": {
                "url": f"mqtt://127.0.0.1:{self.broker.port}",
                "reconnect_min_s": 0.1,
                "reconnect_max_s": 0.3,
            },
            "http": {"listen": f"127.0.0.1:{self.http_port}", "socket": str(self.directory / "powerd.sock")},
            "guard": {"socket": str(self.directory / "g" / "guard.sock"), "call_deadline_s": 0.3},
            "log": {"format": "journal"},
        }


_TABLES = ("host", "rack", "control", "gpu", "guard", "signals", "mqtt", "http", "log")


def gpu_budget_mw(watts: float | None, gpus: int = 8) -> int:
    """Return what the GPUs may draw together under a rack budget, worked out by hand."""
    rack_watts = HARD_LIMIT_WATTS if watts is None else min(watts, HARD_LIMIT_WATTS)
    left_mw = round((rack_watts * (1 - GUARD_BAND) - OVERHEAD_WATTS) * 1000)
    return min(gpus * GPU_MAX_WATTS * 1000, max(gpus * GPU_MIN_WATTS * 1000, left_mw))


def boot_s() -> float:
    """Return seconds since boot, as leases and the write log count them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def to_toml(tables: Tables) -> str:
    """Return TOML of tables of scalars, lists and inline tables; None leaves a key out."""
    lines = []
    for name, table in tables.items():
        given = {key: value for key, value in table.items() if value is not None}
        lines += [f"[{name}]", *(f"{key} = {_toml_value(value)}" for key, value in given.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {_toml_value(inner)}" for key, inner in value.items())
        return "{ " + ", ".join(pairs) + " }"
    return json.dumps(value)


def _value_of(condition: Callable[[], _Value]) -> _Value | None:
    try:
        return condition()
    except (OSError, http.client.HTTPException):
        return None
