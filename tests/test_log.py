"""One event, one line, in the format that was asked for."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from powerd.log import BURST_LINES, LINES_PER_S, Format, Throttle, configure


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("method", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_the_journal_sees_each_line_with_its_priority(method: str, priority: int) -> None:
    stream = io.StringIO()
    configure("journal", "debug", stream)
    getattr(structlog.get_logger(), method)("budget_accepted", source="facility-a", watts=30000)
    assert stream.getvalue() == f"<{priority}>budget_accepted source=facility-a watts=30000\n"


def test_a_terminal_sees_no_priority() -> None:
    stream = Terminal()
    configure("journal", "info", stream)
    structlog.get_logger().info("started")
    assert stream.getvalue() == "started\n"


def test_json_lines_carry_event_level_and_time() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    structlog.get_logger().warning("gpu_lost", gpu="GPU-1", watts=None)
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "gpu_lost", "level": "warning", "gpu": "GPU-1", "watts": None}


def test_colour_only_on_a_terminal() -> None:
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        configure("console", "info", stream)
        structlog.get_logger().info("started")
    assert "\x1b" not in plain.getvalue()
    assert "\x1b" in terminal.getvalue()


def test_less_urgent_events_than_the_level_are_dropped() -> None:
    stream = io.StringIO()
    configure("journal", "warning", stream)
    structlog.get_logger().info("started")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("log_format", ["journal", "json", "console"])
def test_a_hostile_value_can_neither_start_a_line_nor_control_a_terminal(log_format: Format) -> None:
    stream = io.StringIO()
    configure(log_format, "info", stream)
    structlog.get_logger().info("budget_rejected", source="x\n<0>panic\r\x1b[2J\x9b\u202e\u2028\u200b")
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue()[:-1].isprintable()


def test_warnings_of_libraries_come_the_same_way() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    logging.getLogger("some.library").warning("refused %s", "x")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["library"], line["text"]) == (
        "library_message",
        "some.library",
        "refused x",
    )


def test_an_exception_stays_on_one_line_of_the_journal() -> None:
    stream = io.StringIO()
    configure("journal", "info", stream)
    try:
        int("why")
    except ValueError:
        structlog.get_logger().exception("iteration_failed")
    assert stream.getvalue().startswith("<3>iteration_failed exception=")
    assert stream.getvalue().count("\n") == 1


class Second:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def lines(throttle: Throttle, method: str, count: int) -> list[dict[str, Any]]:
    written = []
    for _ in range(count):
        with contextlib.suppress(structlog.DropEvent):
            written.append(dict(throttle(None, method, {"event": "x"})))
    return written


def test_a_storm_writes_a_bounded_number_of_lines_and_says_how_many_it_has_not() -> None:
    clock = Second()
    throttle = Throttle(clock)
    written = []
    for _ in range(60):
        clock.now_s += 1
        written += lines(throttle, "warning", 1000)
    assert len(written) <= BURST_LINES + 60 * LINES_PER_S
    clock.now_s += 1
    written += lines(throttle, "warning", 1)
    assert len(written) + sum(line.get("suppressed", 0) for line in written) == 60_001
    assert "suppressed" not in lines(throttle, "warning", 1)[0]


def test_a_storm_of_warnings_drops_no_error_and_one_of_errors_is_bounded_too() -> None:
    throttle = Throttle(Second())
    lines(throttle, "warning", 10_000)
    assert len(lines(throttle, "error", 10_000)) == BURST_LINES


def test_ordinary_lines_are_all_written() -> None:
    clock = Second()
    throttle = Throttle(clock)
    for _ in range(1000):
        clock.now_s += 0.5
        assert len(lines(throttle, "info", 2)) == 2


def test_the_log_that_is_configured_is_bounded_in_lines_and_their_length() -> None:
    stream = io.StringIO()
    configure("journal", "info", stream)
    for _ in range(10 * BURST_LINES):
        structlog.get_logger().warning("storm", text="x" * 100_000)
    written = stream.getvalue().splitlines()
    assert len(written) < 2 * BURST_LINES
    assert max(map(len, written)) < 3000
