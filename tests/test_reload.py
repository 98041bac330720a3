"""What a reload changes: every key is decided, the difference is told, and what waits for a restart waits."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from powerd.errors import ConfigError
from powerd.notify import notify_reloading
from powerd.settings.errors import known_keys
from powerd.settings.layers import Key
from powerd.settings.loading import Loaded, load
from powerd.settings.model import Settings
from powerd.settings.reload import LIVE, RESTART, changes, declarations, in_force, is_live

FILE = Path(__file__).parent.parent / "config" / "powerd.toml"
KEYS = sorted(known_keys(Settings))


def loaded(**overrides: Any) -> Loaded:
    """Return the example configuration with some keys otherwise; dots are written as two underscores."""
    return load(FILE, {name.replace("__", "."): value for name, value in overrides.items()})


def told(before: Loaded, after: Loaded) -> list[str]:
    return [change.text for change in changes(before.settings, after)]


def later(before: Loaded, after: Loaded) -> Settings:
    return in_force(before.settings, after.settings)


@pytest.mark.parametrize("key", KEYS, ids=".".join)
def test_every_key_is_declared_once_as_changed_live_or_by_a_restart(key: Key) -> None:
    assert len(declarations(key)) == 1
    assert is_live(key) is (declarations(key)[0] in LIVE)


@pytest.mark.parametrize("dotted", [*LIVE, *RESTART])
def test_nothing_is_declared_that_is_no_key(dotted: str) -> None:
    prefix = tuple(dotted.split("."))
    assert any(key[: len(prefix)] == prefix for key in KEYS)


def test_a_difference_is_told_with_what_was_what_is_and_where_it_stands() -> None:
    assert told(loaded(), loaded()) == []
    after = loaded(rack__failsafe_watts=15000, log__format="json")
    assert told(loaded(), after) == [
        "rack.failsafe_watts: 20000 -> 15000 (flag)",
        "log.format: 'journal' -> 'json' (flag)",
    ]
    assert [change.is_live for change in changes(loaded().settings, after)] == [True, False]


def test_a_value_that_stands_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "powerd.toml").write_text(FILE.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "50-rack.toml").write_text("[rack]\nfailsafe_watts = 15000\n", encoding="utf-8")
    after = load(tmp_path / "powerd.toml")
    assert told(loaded(), after) == [
        f"rack.failsafe_watts: 20000 -> 15000 ({tmp_path}/conf.d/50-rack.toml:2)"
    ]


def test_a_gpu_that_is_new_in_the_configuration_or_gone_from_it_is_told_of_without_its_defaults() -> None:
    without, with_one = loaded(), loaded(gpu__overrides={"GPU-1": {"weight": 2.0}})
    assert told(without, with_one) == ["gpu.overrides.GPU-1.weight: not set -> 2 (flag)"]
    assert told(with_one, without) == [
        "gpu.overrides.GPU-1.priority: 100 -> not set (removed)",
        "gpu.overrides.GPU-1.weight: 2 -> not set (removed)",
        "gpu.overrides.GPU-1.job: '' -> not set (removed)",
    ]


def test_a_key_that_waits_for_a_restart_stays_and_the_others_are_taken_over() -> None:
    before = loaded(http__listen="127.0.0.1:1", guard__spawn=True)
    after = loaded(http__listen="127.0.0.1:2", log__level="debug", gpu__driver="simulated")
    settings = later(before, after)
    assert settings.log.level == "debug"
    assert settings.http == before.settings.http
    assert (settings.guard, settings.gpu.driver) == (before.settings.guard, "nvml")


def test_a_gpu_and_a_host_can_come_and_go() -> None:
    hosts = {f"r17-n{n}": {"share": 1.0, "floor_watts": 2600.0} for n in (2, 3)}
    before = loaded(gpu__overrides={"GPU-1": {"weight": 2.0}})
    after = loaded(gpu__overrides={"GPU-2": {"weight": 3.0}}, rack__hosts={"r17-n9": hosts["r17-n2"]})
    settings = later(before, after)
    assert list(settings.gpu.overrides) == ["GPU-2"]
    assert set(settings.rack.hosts) == {f"r17-n{n}" for n in (1, 2, 3, 4, 9)}


METERS: dict[str, Any] = {
    "a": {"adapter": "generic", "topic": "a"},
    "b": {"adapter": "dsx-bms", "point": "R17", "object_id": "r17"},
}


def test_the_racks_meters_stay_as_they_are_whatever_else_changes() -> None:
    before = loaded(signals__meters__parts=METERS)
    settings = later(before, loaded(log__level="debug"))
    assert settings.signals.meters == before.settings.signals.meters
    assert in_force(settings, settings) == settings


def test_a_table_of_a_restart_that_was_not_there_before_is_left_out() -> None:
    settings = later(loaded(), loaded(signals__meters__parts=METERS))
    assert settings == loaded().settings


def test_what_goes_only_with_a_key_that_waits_is_refused_as_a_whole() -> None:
    """Energy counters need a longer period than the one that the daemon runs by, and goes on with."""
    before = loaded(control__period_s=0.1, control__hold_s=2)
    after = loaded(host__accounting="measured", control__hold_s=3)
    with pytest.raises(ConfigError, match=r"control.period_s 0.1 is too short for .*waits for a restart"):
        later(before, after)


# The signal


def hung_up(*, on_terminal: bool, terminal_is_gone: bool) -> str:
    """Return what SIGHUP means to a process, with a terminal as its standard input or without."""
    outer, inner = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", HANG_UP],
            stdin=inner if on_terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            os.close(inner)
            inner = -1
            if terminal_is_gone:
                os.close(outer)
                outer = -1
            process.send_signal(signal.SIGHUP)
            return process.communicate(timeout=20)[0].strip()
    finally:
        for each in (outer, inner):
            if each >= 0:
                os.close(each)


HANG_UP = """
import signal
from powerd.daemon.reload import on_hang_up
hang_up = on_hang_up(lambda: print("reload", flush=True), lambda: print("stop", flush=True))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
print("ready", flush=True)
signal.sigwait({signal.SIGHUP})
hang_up()
"""


@pytest.mark.parametrize(
    ("on_terminal", "is_gone", "meaning"),
    [(False, False, "reload"), (True, False, "reload"), (True, True, "stop")],
)
def test_sighup_is_a_reload_but_for_a_process_whose_terminal_was_closed(
    *, on_terminal: bool, is_gone: bool, meaning: str
) -> None:
    assert hung_up(on_terminal=on_terminal, terminal_is_gone=is_gone) == meaning


def test_the_service_manager_is_told_when_a_reload_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sd_notify(3): a reload counts from MONOTONIC_USEC on, or a READY=1 of before would end it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        before_us = time.monotonic_ns() // 1000
        notify_reloading()
        state = dict(line.split("=") for line in manager.recv(1024).decode().splitlines())
    assert state["RELOADING"] == "1"
    assert before_us <= int(state["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


# The document


def test_the_document_has_every_key_with_what_is_said_of_it() -> None:
    lines = (FILE.parent.parent / "docs" / "reload.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert rows == [f"| `{key}` | {text} |" for key, text in (*LIVE.items(), *RESTART.items())]
