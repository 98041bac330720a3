"""Orders given with powerctl to a real daemon: what is done is told and done, and a refusal is one line."""

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from powerd.ctl.client import Daemon
from powerd.errors import DaemonUnreachableError
from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw
from tests.powerctl import POWERCTL, Ran, run
from tests.terminal import Terminal

WHY = ("--reason", "game day")


BUDGET_WATTS = 3000


def at(host: Rig) -> tuple[str, str]:
    return "--socket", str(host.directory / "powerd.sock")


def order(host: Rig, *arguments: str) -> Ran:
    return run(*arguments, *at(host))


def test_a_gpu_gets_the_watts_it_is_given_and_explain_names_who_gave_them(host: Rig) -> None:
    done = order(host, "override", "--gpu", "1", "--watts", "333", "--ttl", "30m", *WHY)
    assert (done.code, done.err) == (0, "")
    assert "until" in done.out
    host.wait_for(lambda: host.limits_mw()[1] == 333_000, what="the override in effect")
    host.wait_iterations(1)
    status = host.powerctl("status").out
    assert "override GPU 1 333 W until" in " ".join(status.split())
    assert ": game day" in status
    said = host.powerctl("explain", "1").out
    assert "To get more: end the override: powerctl override --gpu 1 --end --reason TEXT." in " ".join(
        said.split()
    )
    ended = order(host, "override", "--gpu", "1", "--end", *WHY)
    assert ended.code == 0
    host.wait_for(lambda: not host.status()["orders"]["overrides"], what="the end of the override")


def test_history_has_the_budget_that_came(host: Rig) -> None:
    text = host.powerctl("history", "--since", "1h").out
    assert "facility-a gives 2,000 W for the rack" in text
    assert "rack may " in text


def test_doctor_finds_nothing_wrong_with_a_host_that_is_well(host: Rig) -> None:
    answer = host.powerctl("doctor", "--config", str(host.config), "--json")
    checks = {check["name"]: check for check in json.loads(answer.out)["checks"]}
    assert [check for check in checks.values() if check["verdict"] == "failed"] == []
    assert answer.code == 0
    for name in ("daemon.guard", "gpu.3", "config.drift", "broker.read", "broker.round_trip"):
        assert (name, checks[name]["verdict"]) == (name, "ok")


def test_what_cannot_be_done_is_refused_in_one_line(host: Rig) -> None:
    too_much = order(host, "override", "--gpu", "1", "--watts", "4000", "--ttl", "30m", *WHY)
    assert (too_much.code, too_much.out, too_much.err.count("\n")) == (1, "", 1)
    assert "100" in too_much.err
    assert "400" in too_much.err
    nobody = order(host, "override", "--gpu", "99", "--watts", "300", "--ttl", "30m", *WHY)
    assert (nobody.code, nobody.err.count("\n")) == (1, 1)
    assert "known: 0 GPU-" in nobody.err


def test_what_is_no_order_is_wrong_usage(host: Rig) -> None:
    too_long = order(host, "override", "--gpu", "1", "--watts", "300", "--ttl", "30d", *WHY)
    assert (too_long.code, too_long.err.count("\n")) == (2, 1)
    assert "ttl_s" in too_long.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["override", "--gpu", "1", *WHY],
        ["override", "--gpu", "1", "--end", "--watts", "300", *WHY],
        ["override", "--gpu", "1", "--watts", "300", "--ttl", "soon", *WHY],
        ["release", *WHY],
        ["drill", "lost-controller", "--yes", "--for", "12s", *WHY],
    ],
)
def test_usage_errors_exit_2_and_change_nothing(host: Rig, arguments: list[str]) -> None:
    answer = order(host, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    assert host.status()["mode"] == "enforce"


def test_the_mode_is_changed_until_the_next_start_and_status_says_so(host: Rig) -> None:
    assert order(host, "mode", "dry-run", *WHY).code == 0
    host.wait_for(lambda: host.status()["mode"] == "dry-run", what="the mode")
    assert "dry-run until the next start; host.mode is enforce" in host.powerctl("status").out
    assert order(host, "mode", "enforce", *WHY).code == 0
    host.wait_for(lambda: host.status()["mode"] == "enforce", what="the mode")


def test_the_driver_is_let_go_and_taken_up_again(host: Rig) -> None:
    assert order(host, "detach", "--force", *WHY).code == 0
    status = host.powerctl("status")
    assert status.code == 1
    assert "! the driver is given up: " in status.out
    assert order(host, "attach", *WHY).code == 0
    host.wait_for(lambda: host.powerctl("verify").code == 0, what="limits as decided again")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user without rights, where one has any to lose."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_who_may_not_open_the_socket_is_told_how_to_be_let_in(tmp_path: Path) -> None:
    path = tmp_path / "powerd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0)
        with as_nobody(), pytest.raises(DaemonUnreachableError, match=r"is not open to you: .*sudo"):
            Daemon(socket_path=path).post("/v1/attach", {"reason": "test"}, within_s=1.0)


@contextmanager
def a_controller(host: Rig) -> Iterator[None]:
    """Have a facility that repeats its budget every second."""
    done = threading.Event()

    def speak() -> None:
        while not done.wait(1.0):
            host.publish_budget(BUDGET_WATTS, lease_s=5)

    host.publish_budget(BUDGET_WATTS, lease_s=5)
    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()


def begin(host: Rig) -> None:
    """Wait until the host goes by the controller's short lease."""

    def is_short() -> bool:
        lease = host.status()["budget"]["lease"]
        return lease is not None and lease["watts"] == BUDGET_WATTS

    host.wait_for(is_short, what="the controller's budget")


def test_a_lost_controller_is_survived_and_the_drill_says_so(host: Rig) -> None:
    with a_controller(host):
        begin(host)
        drill = ("drill", "lost-controller", "--for", "12s", *WHY, "--yes", "--json")
        found: list[int] = []
        seen = threading.Thread(target=lambda: found.append(lowest(host)))
        seen.start()
        answer = order(host, *drill)
        seen.join()
    assert (answer.code, answer.err) == (0, "")
    document = json.loads(answer.out)
    assert document["passed"]
    told = [entry["event"] for entry in document["timeline"]]
    assert told == ["drill_begun", "failsafe", "verified", "drill_over", "control_back"]
    # Seen at the GPUs themselves, not through the daemon.
    assert found[0] <= gpu_budget_mw(FAILSAFE_WATTS, len(host.limits_mw()))


def lowest(host: Rig) -> int:
    """Wait for failsafe and return what all limits sum up to in it, in milliwatts."""
    host.wait_for(lambda: host.status()["state"] == "failsafe", what="failsafe")
    host.wait_iterations(2)
    return host.sum_mw()


def test_ctrl_c_ends_the_drill_on_the_host_too(host: Rig) -> None:
    with a_controller(host):
        begin(host)
        command = [POWERCTL, "drill", "lost-controller", "--for", "60s", *WHY, "--yes", *at(host)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as drill:
            host.wait_for(lambda: host.status()["orders"]["drill"], what="the drill")
            drill.send_signal(signal.SIGINT)
            _, err = drill.communicate(timeout=20)
    assert drill.returncode == 130
    assert "the drill is ended" in err
    host.wait_for(lambda: not host.status()["orders"]["drill"], what="the end of the drill")


def test_a_release_asks_on_a_terminal_and_goes_on_only_with_a_yes(host: Rig) -> None:
    command = [POWERCTL, "release", *WHY, *at(host)]
    with Terminal(command) as terminal:
        terminal.wait_for("Go on?")
        terminal.type("n\n")
        assert terminal.ended() == 1
    assert not host.status()["orders"]["released"]
    assert order(host, "release", "--yes", *WHY).code == 0
    host.wait_for(lambda: set(host.limits_mw()) == {400_000}, what="the limits that were found")
    assert "released " in host.powerctl("status").out
