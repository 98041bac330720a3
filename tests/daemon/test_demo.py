"""`powerd demo`, as a user runs it: real processes, real brokers, and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Mosquitto

KEYS = {
    "hosts",
    "gpus",
    "duration_s",
    "budget_watts",
    "peak_watts",
    "exceeded_watt_seconds",
    "reaction_ms",
    "crossed_watt_hours",
    "recovered_wh",
    "work_vs_uniform",
    "limit_writes",
    "failsafe_entries",
    "messages_rejected",
}
# Long enough for hosts to know that no lease from before their start can be in use, and to lend then.
DURATION_S = 20
WITHIN_S = 30.0
HOSTS = 2


class Demo:
    """One run of the command, with all its output and its own directory for temporary files."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._directory = directory
        self._stderr = directory / "stderr"
        command = [sys.executable, "-m", "powerd", "demo", "--json", "--hosts", str(HOSTS), "--gpus", "2"]
        # Sockets have short paths, so not the directory of the test.
        environment = {
            **os.environ,
            "TMPDIR": str(directory),
            "POWERD_MQTT__URL": "mqtts://elsewhere.example",
        }
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, "--port", str(free_ports()), *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )
        self.family: set[int] = set()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(encoding="utf-8")

    def wait_for(self, text: str, *, children: int) -> None:
        """Wait until it has printed something, and remember the processes that it has started by then."""
        deadline_s = time.monotonic() + WITHIN_S
        while text not in self.stderr or len(self.family) < children:
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline_s, self.stderr
            time.sleep(0.02)
            self.family = descendants(self.process.pid)

    def end(self) -> bytes:
        """Wait for its end; return its standard output."""
        output, _ = self.process.communicate(timeout=WITHIN_S)
        return output

    def summary(self) -> dict[str, Any]:
        """Wait for its end; return the one object on its standard output."""
        output = self.end()
        assert self.process.returncode == 0, self.stderr
        document: dict[str, Any] = json.loads(output)
        return document

    def assert_nothing_is_left(self) -> None:
        assert self.family
        assert {pid for pid in self.family if is_alive(pid)} == set()
        assert [path.name for path in self._directory.iterdir()] == ["stderr"]


def free_ports() -> int:
    """Return the first of two free ports, below those that the kernel gives to outgoing connections."""
    return next(first for first in range(18_000, 20_000, 2) if is_free(first) and is_free(first + 1))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def parents() -> dict[int, int]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if fields[0] != "Z":
            found[int(stat.parent.name)] = int(fields[1])
    return found


def descendants(pid: int) -> set[int]:
    of = parents()
    found: set[int] = set()
    while new := {child for child, parent in of.items() if parent in {pid, *found}} - found:
        found |= new
    return found


def is_alive(pid: int) -> bool:
    return pid in parents()


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pd-") as name:
        yield Path(name)


def test_the_demo_holds_its_budgets_passes_watts_on_shows_the_failsafe_and_cleans_up(
    directory: Path, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path) as broker:
        demo = Demo(directory, "--duration", str(DURATION_S), "--broker", broker.url)
        demo.wait_for("limited", children=2 * HOSTS)
        it = demo.summary()
        assert broker.retained("powerd/#") is None
    assert it.keys() >= KEYS
    assert (it["hosts"], it["gpus"], it["scenario"]) == (HOSTS, 2, "default")
    assert it["duration_s"] == pytest.approx(DURATION_S, abs=0.5)
    assert it["budget_watts"] == {"min": it["failsafe_watts"], "max": it["nominal_watts"]}
    assert it["exceeded_after_reaction_watt_seconds"] == 0
    assert 0 < it["crossed_used_watt_hours"] <= it["crossed_watt_hours"]
    assert 0 < it["peak_watts"] < it["nominal_watts"]
    assert 0 < it["reaction_ms"]["p50"] <= it["reaction_ms"]["p99"] <= it["reaction_ms"]["max"]
    assert it["limit_writes"] > 0
    assert it["failsafe_entries"] == HOSTS
    assert it["messages_rejected"] == 0
    demo.assert_nothing_is_left()


def test_a_grid_event_is_followed_in_compressed_time_and_forgotten(directory: Path, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        demo = Demo(directory, "--scenario", "phoenix", "--duration", "20", "--broker", broker.url)
        demo.wait_for("limited", children=2 * HOSTS)
        it = demo.summary()
        assert broker.retained("powerd/#") is None
    assert it["event_time_factor"] == 810
    [event] = it["events"]
    assert (event["name"], event["class"]) == ("phoenix", "mandatory")
    assert event["target_watts"] == pytest.approx(0.75 * it["nominal_watts"], abs=0.1)
    assert event["time_to_target_event_s"] > 0
    assert 0 < event["tracking_error_pct"]["mean"] < 10
    assert event["rebound_watts"] == 0
    assert event["restore_pct_per_min"] > 0
    assert it["messages_rejected"] == 0
    demo.assert_nothing_is_left()


def test_ctrl_c_ends_it_with_a_summary_and_without_a_trace(directory: Path) -> None:
    """With the broker that it brings itself."""
    demo = Demo(directory, "--duration", "0")
    demo.wait_for("limited", children=1 + 2 * HOSTS)
    demo.process.send_signal(signal.SIGINT)
    it = demo.summary()
    assert it["broker"]["embedded"]
    assert it["limit_writes"] > 0
    demo.assert_nothing_is_left()


def test_a_host_that_dies_ends_it_with_the_last_lines_of_its_log(directory: Path) -> None:
    demo = Demo(directory, "--duration", "0")
    demo.wait_for("limited", children=1 + 2 * HOSTS)
    victim = next(
        pid for pid in demo.family if b"tethered\0run\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(victim, signal.SIGKILL)
    assert demo.end() == b""
    assert demo.process.returncode == 1
    assert "ended with exit code -9; its last lines:" in demo.stderr
    assert "Traceback" not in demo.stderr
    demo.assert_nothing_is_left()


def test_hosts_do_not_outlive_a_demo_that_was_killed(directory: Path) -> None:
    demo = Demo(directory, "--duration", "0")
    demo.wait_for("limited", children=1 + 2 * HOSTS)
    demo.process.kill()
    demo.end()
    deadline_s = time.monotonic() + WITHIN_S
    while left := {pid for pid in demo.family if is_alive(pid)}:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.02)


def test_a_port_in_use_is_named_before_anything_starts(directory: Path) -> None:
    with Mosquitto(directory / "m") as taken:
        demo = Demo(directory, "--port", str(taken.port))
        demo.end()
    assert demo.process.returncode == 1
    assert f"port {taken.port} of {taken.port}" in demo.stderr
    assert len(demo.stderr.splitlines()) == 1
