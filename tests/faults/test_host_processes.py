"""The daemon itself fails: it stands still, has a bug, cannot start, runs out of memory or descriptors."""

import http.client
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw
from tests.faults.host_tools import WITHIN_S, Unit, breakable, short_of_memory

WATCHDOG_S = 5.0
MOST_DESCRIPTORS = 512
# On two doors; they come in groups that the queue of a door has room for.
CONNECTIONS, AT_ONCE = 1000, 50
# Those below it are standard input and output: whatever is open stays open, and nothing can be opened.
NO_MORE_DESCRIPTORS = 3
# Enough for the daemon and a little more.
MEBIBYTES = 200


def is_at_fallback(rig: Rig) -> bool:
    return rig.sum_mw() <= gpu_budget_mw(FAILSAFE_WATTS)


@contextmanager
def managed(rig: Rig, watchdog_s: float = 20.0) -> Iterator[Unit]:
    """Run a rig whose daemon a service manager looks after; it obeys 3000 W for a minute."""
    rig.broker.start()
    rig.start_guard()
    with Unit(rig, rig.daemon, watchdog_s=watchdog_s) as unit:
        unit.until(rig.is_ready, what="the daemon ready")
        rig.obey(3000, lease_s=60, within_s=WITHIN_S)
        yield unit


def test_a_loop_that_stands_still_is_lowered_by_the_guard_and_ended_by_the_watchdog(rig: Rig) -> None:
    """The process lives, and its other threads run; only the loop turns in a circle."""
    fail = breakable(rig)
    with managed(rig, WATCHDOG_S) as unit:
        stuck = rig.directory / "stuck"
        stuck.touch()
        fail(f"stall {stuck}")
        unit.until(lambda: is_at_fallback(rig), what="the guard's fallback")
        assert (rig.daemon.running, unit.codes) == (True, [])
        assert "the plan has ended and no newer one came" in rig.guard.log
        unit.until(lambda: unit.starts == 2 and rig.is_ready(), what="the next daemon ready")
        assert unit.codes == [-signal.SIGABRT]
        rig.obey(2600, lease_s=60, within_s=WITHIN_S)


def test_a_bug_anywhere_in_an_iteration_ends_the_daemon_and_not_just_its_control(rig: Rig) -> None:
    """In deciding, in reading GPUs, in telling of it: to live without control is worse than a crash."""
    fail = breakable(rig)
    with managed(rig) as unit:
        sums_mw: list[int] = []
        unit.on_stop = lambda: sums_mw.append(rig.sum_mw())
        for number, function in enumerate(("decide", "sample", "observe"), 1):
            fail(f"raise {function}")
            unit.until(lambda: len(unit.codes) == number, what=f"the end by a bug in {function}")  # noqa: B023
            assert f"a bug in {function}" in rig.daemon.log
            unit.until(rig.is_ready, what="the next daemon ready")
            rig.obey(3000 - 100 * number, lease_s=60, within_s=WITHIN_S)
        assert unit.codes == [1, 1, 1]
        assert max(sums_mw) <= gpu_budget_mw(FAILSAFE_WATTS)


def test_a_bug_in_handling_one_message_costs_that_message_and_nothing_else(rig: Rig) -> None:
    fail = breakable(rig)
    with managed(rig) as unit:
        fail("raise on_message")
        rig.publish_budget(2800, lease_s=60)
        rig.wait_for(lambda: "a bug in on_message" in rig.daemon.log, what="the bug told of")
        rig.obey(2600, lease_s=60, within_s=WITHIN_S)
        assert (unit.codes, rig.status()["bus"]["connected"]) == ([], True)


def test_a_configuration_that_cannot_be_loaded_keeps_the_fallback_however_often_it_is_tried(rig: Rig) -> None:
    with managed(rig) as unit:
        sums_mw: list[int] = []
        unit.on_stop = lambda: sums_mw.append(rig.sum_mw())
        rig.configure({"rack": {"failsafe_watts": "a lot"}})
        rig.daemon.kill()
        unit.until(lambda: len(unit.codes) == 3, what="three ends")
        assert unit.codes == [-signal.SIGKILL, 2, 2]
        assert "rack.failsafe_watts" in rig.daemon.log
        assert max(sums_mw) <= gpu_budget_mw(FAILSAFE_WATTS)
        rig.configure({})
        unit.until(rig.is_ready, what="the daemon ready again")
        rig.obey(2600, lease_s=60, within_s=WITHIN_S)


def test_a_daemon_that_leaks_is_killed_by_the_kernel_and_that_is_a_crash_like_any_other(rig: Rig) -> None:
    fail = breakable(rig)
    with short_of_memory(rig, MEBIBYTES), managed(rig) as unit:
        sums_mw: list[int] = []
        unit.on_stop = lambda: sums_mw.append(rig.sum_mw())
        fail(f"leak {10 * MEBIBYTES}")
        unit.until(lambda: unit.codes, what="its end")
        assert unit.codes[0] in (-signal.SIGKILL, 1)
        assert sums_mw[0] <= gpu_budget_mw(FAILSAFE_WATTS)
        unit.until(rig.is_ready, what="the next daemon ready")
        rig.obey(2600, lease_s=60, within_s=WITHIN_S)


def test_a_daemon_that_gets_no_memory_any_more_obeys_or_ends_and_never_lives_on_without_control(
    rig: Rig,
) -> None:
    """All that it had left is taken, the system refuses it more, and it is asked for all that it can tell."""
    fail = breakable(rig)
    with managed(rig, WATCHDOG_S) as unit:
        hungry = rig.daemon.pid
        _, hard = resource.prlimit(hungry, resource.RLIMIT_AS)
        resource.prlimit(hungry, resource.RLIMIT_AS, (address_space(hungry), hard))
        fail("exhaust 16")
        rig.publish_budget(2600, lease_s=60)
        for path in ("/metrics", "/v1/history", "/v1/status", "/openapi.json"):
            with suppress(OSError, http.client.HTTPException):
                rig.get(path)
        unit.until(lambda: unit.codes or rig.obeyed(2600), what="the cut, or its end")
        if rig.daemon.pid == hungry:
            resource.prlimit(hungry, resource.RLIMIT_AS, (hard, hard))
        unit.until(rig.is_ready, what="answers")
        rig.obey(2800, lease_s=60, within_s=WITHIN_S)


def address_space(pid: int) -> int:
    """Return the bytes of memory that a process has mapped."""
    pages, _, _ = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").partition(" ")
    return int(pages) * resource.getpagesize()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let the tests have more open connections than the daemon may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * CONNECTIONS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_slow_clients_neither_delay_a_cut_nor_cost_the_guard(rig: Rig) -> None:
    """Each has asked for half a thing, and keeps its connection; descriptors are few."""
    rig.daemon.command = ("prlimit", f"--nofile={MOST_DESCRIPTORS}", *rig.daemon.command)
    rig.start()
    rig.obey(3000, lease_s=60, within_s=WITHIN_S)
    with ExitStack() as stack:
        for number in range(CONNECTIONS):
            stack.enter_context(slow_client(rig, number))
            if number % AT_ONCE == 0:
                assert rig.get("/healthz").status == 200
        rig.obey(2600, lease_s=60, within_s=WITHIN_S)
        assert open_descriptors(rig) < MOST_DESCRIPTORS
    assert rig.metric("powerd_guard_restarts_total") == 0
    assert "mqtt_disconnected" not in rig.daemon.log
    rig.obey(2800, lease_s=60, within_s=WITHIN_S)


@contextmanager
def slow_client(rig: Rig, number: int) -> Iterator[None]:
    """Begin to ask over TCP or over the Unix socket, in turn."""
    family, address = (
        (socket.AF_UNIX, str(rig.socket)) if number % 2 else (socket.AF_INET, ("127.0.0.1", rig.http_port))
    )
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        yield


def open_descriptors(rig: Rig) -> int:
    return len(list(Path(f"/proc/{rig.daemon.pid}/fd").iterdir()))


def test_without_a_free_descriptor_a_cut_is_obeyed_and_all_is_well_once_there_are_some(rig: Rig) -> None:
    """No file can be written, no client served, the service manager not told; what is open goes on."""
    with managed(rig) as unit:
        before = {each: limit_descriptors(each.pid, NO_MORE_DESCRIPTORS) for each in (rig.daemon, rig.guard)}
        for watts in (2600, 2500):
            rig.publish_budget(watts, lease_s=60)
            rig.wait_for(lambda: rig.obeyed(watts), what="the cut")  # noqa: B023
        rig.wait_for(lambda: "runtime_file_not_written" in rig.daemon.log, what="the file told of")
        assert "plan.json: [Errno 24] Too many open files" in rig.guard.log
        for process, descriptors in before.items():
            limit_descriptors(process.pid, descriptors)
        rig.wait_for(rig.is_ready, what="answers again")
        assert rig.metric("powerd_guard_restarts_total") == 0
        assert unit.codes == []
        rig.obey(2800, lease_s=60, within_s=WITHIN_S)


def limit_descriptors(pid: int, most: int) -> int:
    """Let a process open no descriptor from `most` on, and return what was its limit."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
    return soft
