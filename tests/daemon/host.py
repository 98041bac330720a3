"""One host under test: fake GPUs, and the real guard and daemon as processes.

Nothing in here knows powerd from the inside: it is driven by MQTT and signals, and seen through HTTP, its
log, and the limits and the write log of the fake GPUs.
"""

import http.client
import json
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.broker import free_port
from tests.daemon.processes import POWERD, PYTHON, Process, clean_environment
from tests.daemon.waiting import wait_until
from tests.fake_nvml import FakeNvml, Write
from tests.powerctl import Ran, run

_Value = TypeVar("_Value")
Tables = Mapping[str, Mapping[str, Any]]

SITE, RACK = "hel1", "r17"
GPU_MIN_WATTS, GPU_MAX_WATTS = 100, 400
OVERHEAD_WATTS = 800
GUARD_BAND = 0.02

_WITHIN_S = 60.0


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: str


class OverSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect.

        Raises:
            OSError: nobody listens.
        """
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _answer(connection: http.client.HTTPConnection, *request: Any) -> Answer:
    with closing(connection):
        connection.request(*request)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode())


class Host:
    """The GPUs, the guard and the daemon of one host. No process is started.

    Args:
        directory: for state, sockets and logs; exists, and is short, since it holds Unix sockets.
        library: the fake NVML library.
        broker_port: on the loopback interface.
        name: of this host in the roster.
        gpus: how many.
        rack: the `[rack]` table.
        tables: merged into the configuration, key by key.

    Attributes:
        gpus: the fake GPUs, to be commanded.
        guard, daemon: their `log` is what they wrote to standard error.
        config: the configuration file of both.
        socket: of the daemon, on which it takes orders.
    """

    def __init__(
        self,
        directory: Path,
        library: Path,
        *,
        broker_port: int,
        name: str,
        gpus: int,
        rack: Mapping[str, Any],
        tables: Tables,
    ) -> None:
        self.directory = directory
        self.name = name
        self.config = directory / "powerd.toml"
        self.socket = directory / "powerd.sock"
        self.http_port = free_port()
        self.gpus = FakeNvml(
            library,
            directory / "gpus",
            gpus=gpus,
            limits_mw=(GPU_MIN_WATTS * 1000, GPU_MAX_WATTS * 1000, GPU_MAX_WATTS * 1000),
        )
        for gpu in self.gpus.gpus:
            gpu.persistence = 1
        self.environment = clean_environment(**self.gpus.environment())
        config = ("--config", str(self.config))
        self.guard = Process((*PYTHON, "powerd.guard", *config), directory / "guard.log", self.environment)
        self.daemon = Process((POWERD, "run", *config), directory / "daemon.log", self.environment)
        self._broker_port = broker_port
        self._is_far = False
        self._rack = rack
        (directory / "state").mkdir()
        (directory / "g").mkdir(mode=0o700)
        self.configure(tables)

    def end_processes(self) -> None:
        """End both processes, and say goodbye to nobody."""
        self.daemon.close()
        self.guard.close()

    def configure(self, tables: Tables) -> None:
        """Write the configuration; processes read it when they start."""
        self.config.write_text(to_toml(merged(self._defaults(), tables)), encoding="utf-8")
        self.config.chmod(0o600)

    def move_daemon(self, enter: Sequence[str]) -> None:
        """Have the daemon run elsewhere, such as in a network namespace; it is asked by its Unix socket then.

        Args:
            enter: what its command is to begin with.
        """
        command = (*enter, *self.daemon.command)
        self.daemon = Process(command, self.directory / "daemon.log", self.environment)
        self._is_far = True

    def start_guard(self) -> None:
        """Start the guard and wait until it serves its socket."""
        self.guard.start()
        self.wait_for(self.guard_listens, what="the guard to listen")

    def start_daemon(self, *arguments: str) -> None:
        """Start the daemon and wait until it is connected and `readyz` says so."""
        self.daemon.start(*arguments)
        self.wait_for(self.is_ready, what="the daemon to be ready and connected")

    def guard_listens(self) -> bool:
        """Say whether the guard serves its socket."""
        return "listening on" in self.guard.log_of_run

    def is_ready(self) -> bool:
        """Say whether `readyz` says so, and the daemon is connected to the broker."""
        return self.get("/readyz").status == http.HTTPStatus.OK and bool(self.status()["bus"]["connected"])

    def get(self, path: str) -> Answer:
        """GET from the daemon.

        Raises:
            OSError: it does not answer.
        """
        near = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        connection = OverSocket(self.socket, timeout_s=5) if self._is_far else near
        return _answer(connection, "GET", path)

    def order(self, order: str, **body: Any) -> Answer:
        """POST an order on the daemon's socket; a reason is added where none is given.

        Raises:
            OSError: it does not answer.
        """
        connection = OverSocket(self.socket, timeout_s=30)
        text = json.dumps({"reason": "a game day", **body})
        return _answer(connection, "POST", f"/v1/{order}", text, {"Content-Type": "application/json"})

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

    def powerctl(self, *arguments: str) -> Ran:
        """Ask the daemon with `powerctl`."""
        return run(*arguments, "--url", f"http://127.0.0.1:{self.http_port}")

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

    def wait_for(
        self, condition: Callable[[], _Value], within_s: float = _WITHIN_S, *, what: str = ""
    ) -> _Value:
        """Wait until the condition is true and return its value; no answer from the daemon counts as false.

        Raises:
            AssertionError: it did not come true in time; shows the processes' last lines.
        """
        return wait_until(condition, within_s, what=what, evidence=self.last_lines)

    def last_lines(self, count: int = 15) -> str:
        """Return what the processes wrote last, and the limits in effect."""
        logs = {"guard": self.guard.log, "daemon": self.daemon.log}
        tails = (f"--- {name}\n" + "\n".join(log.splitlines()[-count:]) for name, log in logs.items())
        limits = [mw / 1000 for mw in self.limits_mw()]
        return "\n".join((*tails, f"--- {self.name}: limits {limits} W"))

    def _defaults(self) -> dict[str, dict[str, Any]]:
        return {
            "host": {
                "site": SITE,
                "rack": RACK,
                "name": self.name,
                "mode": "enforce",
                "overhead_watts": OVERHEAD_WATTS,
                "state_dir": str(self.directory / "state"),
                "trust_wall_clock": True,
            },
            "rack": {"guard_band_pct": GUARD_BAND * 100, **self._rack},
            # Raises at once: how slowly they come is the core's business and tested there.
            "control": {
                "period_s": 0.2,
                "hold_s": 1.0,
                "raise_ramp_pct_per_min": 1e6,
                "raise_jitter_s": 0.0,
                "raise_dwell_s": 0.0,
                # Idle GPUs have spare watts alone, for which the dead-band is four times as wide: 5 W.
                "deadband_watts": 1.25,
            },
            "mqtt": {
                "url": f"mqtt://127.0.0.1:{self._broker_port}",
                "reconnect_min_s": 0.1,
                "reconnect_max_s": 0.3,
            },
            "http": {"listen": f"127.0.0.1:{self.http_port}", "socket": str(self.socket)},
            "guard": {"socket": str(self.directory / "g" / "guard.sock"), "call_deadline_s": 0.3},
            "log": {"format": "journal"},
        }


def floor_watts(gpus: int) -> int:
    """Return the least that a host of so many GPUs can be limited to, its overhead included."""
    return OVERHEAD_WATTS + GPU_MIN_WATTS * gpus


def roster(names: Sequence[str], gpus: int) -> dict[str, dict[str, float]]:
    """Return the roster of a rack whose hosts have equal shares and so many GPUs each."""
    return {name: {"share": 1.0, "floor_watts": floor_watts(gpus)} for name in names}


def merged(*layers: Tables) -> dict[str, dict[str, Any]]:
    """Return tables put together key by key, later ones over earlier ones."""
    names = {name: None for layer in layers for name in layer}
    return {
        name: {key: value for layer in layers for key, value in layer.get(name, {}).items()} for name in names
    }


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
